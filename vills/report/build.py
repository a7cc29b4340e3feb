"""Build the report from published outs; the sections on data and on runs stand here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vills.config.evaluate import ReportConfig
from vills.io import load_json, save_bytes
from vills.progress import Progress
from vills.report.accuracy import build_accuracy
from vills.report.inputs import ReportInputs, load_metrics, load_rows
from vills.report.page import Block, Section, build_table, render_page
from vills.report.pretraining import build_pretraining
from vills.report.queries import build_attention, build_retrieval
from vills.report.scores import build_scores, build_scores_page

STAGES = (
    ("curate", "curated", "Curation", "MOTA, IDF1, purity: from the world's ground truth."),
    ("lse", "lse", "Local Semantic Extraction", "IoU of masks: from the world's ground truth."),
)
"""Stage, folder of its outs, title, what its figures are."""


def build_report(
    inputs: ReportInputs, *, config: ReportConfig, out: Path, progress: Progress
) -> None:
    """Write index.html, which needs nothing beside itself, and tables.md into `out`."""
    metrics = load_metrics(inputs)
    steps: list[Callable[[], Section]] = [
        lambda: build_scores(inputs),
        lambda: build_accuracy(metrics, inputs),
        lambda: build_retrieval(inputs, config=config),
        lambda: build_attention(inputs, config=config),
        lambda: build_pretraining(
            metrics,
            plots=inputs.artifacts / "plots" / "pretrain.csv",
            folder=inputs.artifacts / "pretrain",
        ),
        lambda: build_data(metrics, inputs.artifacts),
        lambda: build_runs(metrics),
    ]
    sections = []
    for number, step in enumerate(steps):
        sections.append(step())
        progress("sections", number + 1, len(steps))
    save_bytes(out / "index.html", render_page(sections).encode())
    rows = [row for item in inputs.items for row in load_rows(inputs.artifacts, item)]
    save_bytes(out / "tables.md", build_scores_page(rows).encode())


def build_data(metrics: Mapping[str, Mapping[str, Any]], artifacts: Path) -> Section:
    """Build the section: a row per source, a row per split; all counts behind a click."""
    blocks = []
    for stage, out, title, text in STAGES:
        values = metrics.get(stage, {})
        for key, found in values.items():
            if isinstance(found, Mapping):
                heading = title if key == out else f"{title}: {key.replace('_', ' ')}"
                rows = [
                    {"data set": name, **dict(_flatten(cells))}
                    for name, value in found.items()
                    for cells in [value if isinstance(value, Mapping) else {"value": str(value)}]
                ]
                blocks.append(Block(heading=heading, text=text, table=build_table(rows)))
        reports = {
            path.parent.name: load_json(path)
            for path in sorted((artifacts / out).glob("*/report.json"))
        }
        splits = [
            {"data set": name, "split": split, **counts}
            for name, report in reports.items()
            for split, counts in report.get("splits", {}).items()
        ]
        if splits:
            table = build_table(splits, text=("data set", "split"))
            blocks.append(Block(subheading="Splits", table=table))
        blocks += [_build_details(name, report) for name, report in reports.items()]
        if values:
            blocks.append(Block(run=str(values["fingerprint"])))
    return Section("Data", blocks)


def _build_details(name: str, report: Mapping[str, Any]) -> Block:
    """Build all counts of one source, and what is odd about it, folded."""
    notes = [str(note) for note in report.get("notes", ())]
    hidden = {"notes", "copies", "splits", "source"}
    counts = {key: value for key, value in report.items() if key not in hidden}
    rows = [{"count": k, "value": v} for k, v in _flatten(counts) if v not in ("", "0")]
    parts = [Block(table=build_table(rows))]
    if notes:
        parts.append(Block(table=build_table([{"note": note} for note in notes])))
    summary = f"{name}: all counts" + (f", {len(notes)} notes" if notes else "")
    return Block(folded=tuple(parts), subheading=summary)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """List the leaves of a nested mapping as (path, text)."""
    lines: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            lines += _flatten(value, f"{name} / ")
        elif isinstance(value, list):
            lines.append((name, ", ".join(map(str, value))))
        else:
            lines.append((name, f"{value:.4g}" if isinstance(value, float) else str(value)))
    return lines


def build_runs(metrics: Mapping[str, Mapping[str, Any]]) -> Section:
    """Build a row per stage (or stage_item): its fingerprint.

    How long it took, and in how many attempts, differs from machine to machine: the report is a
    DVC out, and gets the same bytes everywhere.
    """
    rows = [
        {"stage": name.replace("_", "@", 1), "run": values["fingerprint"]}
        for name, values in metrics.items()
    ]
    note = "Where they were computed, `vills status` says how long each took."
    return Section("Runs", [Block(text=note, table=build_table(rows, text=("run",)))])
