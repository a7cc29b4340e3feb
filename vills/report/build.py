"""Build the report from published outs and metrics files."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vills.config.report import ReportConfig
from vills.report.accuracy import build_accuracy
from vills.report.attention import build_attention
from vills.report.data import build_data
from vills.report.inputs import ReportInputs
from vills.report.page import Block, Section, build_table, render_page
from vills.report.retrieval import build_retrieval
from vills.report.scores import build_scores_page, load_rows
from vills.report.sections import build_pretraining, build_scores
from vills.report.timing import build_run_rows

Progress = Callable[[str, int, int], None]


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
        lambda: build_runs(metrics, inputs.runs),
    ]
    sections = []
    for number, step in enumerate(steps):
        sections.append(step())
        progress("sections", number + 1, len(steps))
    out.mkdir(parents=True, exist_ok=True)
    (out / "index.html").write_text(render_page(sections), encoding="utf-8")
    rows = [row for item in inputs.items for row in load_rows(inputs.artifacts, item)]
    (out / "tables.md").write_text(build_scores_page(rows), encoding="utf-8")


def load_metrics(inputs: ReportInputs) -> dict[str, dict[str, Any]]:
    """Metrics files in the order of the DAG; data sets that are no longer evaluated stay out."""
    names = ["miniature", "curate", "lse", "pretrain"]
    names += [f"finetune_{model}" for model in inputs.models]
    names += [f"evaluate_{item}" for item in inputs.items]
    folder = inputs.artifacts / "metrics"
    paths = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(p.read_text()) for name, p in paths.items() if p.is_file()}


def build_runs(metrics: Mapping[str, Any], runs: Path) -> Section:
    """Times and fingerprints."""
    rows = build_run_rows(metrics, runs)
    note = "Seconds of the last attempt on the machine that ran it."
    return Section("Runs", [Block(text=note, table=build_table(rows, text=("run",)))])
