"""Build the report from published outs and metrics files."""

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vills.config.finetune import FinetuneConfig
from vills.config.report import ReportConfig
from vills.evaluation.tables import build_markdown_table
from vills.models.weights import load_backbone
from vills.report.attention import pick_people, render_clip_attention, render_image_attention
from vills.report.page import Block, Section, build_picture, build_table, render_page
from vills.report.scores import load_rows
from vills.report.sections import (
    OURS,
    build_accuracy,
    build_data,
    build_pretraining,
    build_scores,
)
from vills.report.strips import CropReader, load_strips, render_strips
from vills.report.timing import build_run_rows

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ReportInputs:
    """Where the published outs lie, and what was evaluated."""

    artifacts: Path
    items: Mapping[str, FinetuneConfig]
    """Evaluated data sets, and how their models were trained."""
    runs: Path
    """Folder of all runs, for their times."""


def build_report(
    inputs: ReportInputs, *, config: ReportConfig, out: Path, progress: Progress
) -> None:
    """Write index.html, which needs nothing beside itself, and tables.md into `out`."""
    metrics = load_metrics(inputs)
    steps: list[Callable[[], Section]] = [
        lambda: build_scores(metrics, inputs.artifacts),
        lambda: build_accuracy(metrics, load_accuracy(inputs)),
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
    (out / "tables.md").write_text(build_tables(inputs), encoding="utf-8")


def load_metrics(inputs: ReportInputs) -> dict[str, dict[str, Any]]:
    """Metrics files in the order of the DAG; data sets that are no longer evaluated stay out."""
    names = ["miniature", "curate", "lse", "pretrain"]
    names += [f"{stage}_{item}" for stage in ("finetune", "evaluate") for item in inputs.items]
    folder = inputs.artifacts / "metrics"
    paths = {name: folder / f"{name}.json" for name in names}
    return {name: json.loads(p.read_text()) for name, p in paths.items() if p.is_file()}


def load_accuracy(inputs: ReportInputs) -> dict[str, dict[str, Any]]:
    """Data set -> metric -> initialisation -> (epochs, percent)."""
    curves: dict[str, dict[str, Any]] = {}
    for item in inputs.items:
        path = inputs.artifacts / "plots" / f"finetune_{item}.csv"
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for column, title in (("map", "mAP"), ("rank1", "rank-1")):
                    series = curves.setdefault(item, {}).setdefault(title, {})
                    epochs, values = series.setdefault(row["initialisation"], ([], []))
                    epochs.append(int(row["epoch"]))
                    values.append(100 * float(row[column]))
    return curves


def build_retrieval(inputs: ReportInputs, *, config: ReportConfig) -> Section:
    """Ranked strips of the fine-tuned model, one picture per protocol."""
    blocks = []
    for item in inputs.items:
        reader = CropReader(inputs.artifacts / "curated" / item)
        folder = inputs.artifacts / "evaluate" / item
        for path in sorted((folder / "ranking").glob(f"{OURS}_*.parquet")):
            protocol = path.stem.removeprefix(f"{OURS}_")
            strips = load_strips(path, count=config.num_strips, length=config.strip_length)
            if strips:
                caption = (
                    "Left the query, then the gallery nearest first: green right, red wrong; what "
                    "the protocol leaves out is left out. Queries are taken evenly, not chosen."
                )
                picture = render_strips(strips, reader)
                blocks.append(
                    build_picture(picture, caption=caption, heading=f"{item}, {protocol}")
                )
    return Section("Retrieval", blocks)


def build_attention(inputs: ReportInputs, *, config: ReportConfig) -> Section:
    """Attention of the role tokens of each fine-tuned model."""
    blocks = []
    for item, trained in inputs.items.items():
        folder = inputs.artifacts / "finetune" / item / "pretrained"
        if not folder.is_dir():
            continue
        backbone = load_backbone(folder).eval()
        reader = CropReader(inputs.artifacts / "curated" / item)
        people = pick_people(reader, count=config.num_attention)
        size = trained.input_size
        if trained.modality == "image":
            picture, roles = render_image_attention(backbone, reader, people, size=size)
            blocks.append(_caption(picture, item, "Crop", roles))
            continue
        for person in people[: max(1, config.num_attention // 2)]:
            picture, roles = render_clip_attention(
                backbone, reader, person, size=size, num_frames=trained.num_frames
            )
            blocks.append(_caption(picture, item, "Frames of a clip; below", roles))
    return Section("Attention", blocks)


def _caption(picture: bytes, item: str, first: str, roles: tuple[str, ...]) -> Block:
    names = ", ".join(role.replace("_", " ") for role in roles)
    caption = f"{first}, then where each token looks: {names}."
    return build_picture(picture, caption=caption, heading=item)


def build_runs(metrics: Mapping[str, Any], runs: Path) -> Section:
    """Times and fingerprints."""
    rows = build_run_rows(metrics, runs)
    note = "Seconds of the last attempt on the machine that ran it."
    return Section("Runs", [Block(text=note, table=build_table(rows, text=("run",)))])


def build_tables(inputs: ReportInputs) -> str:
    """All scores as Markdown."""
    parts = ["# Scores", ""]
    for item in inputs.items:
        rows = load_rows(inputs.artifacts, item)
        parts += [f"## {item}", "", build_markdown_table(rows), ""]
    return "\n".join(parts)
