"""What the report says about each stage, from its metrics file and its curves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vills.evaluation.tables import ScoreTable, build_score_tables, explain
from vills.report.figures import build_curves
from vills.report.inputs import ReportInputs
from vills.report.page import Block, Section, Table, build_picture, build_table
from vills.report.probe import build_probe_blocks
from vills.report.scores import build_overview, load_left_out, load_rows
from vills.runner.store.journal import load_curves

Metrics = Mapping[str, Mapping[str, Any]]
"""stage or stage_item -> its metrics file."""

LOSSES = {
    "loss/feature": "L^f, feature",
    "loss/masking": "L^m, masking",
    "loss/koleo": "L^r, KoLeo",
    "loss/alignment": "L^a, alignment in pairs",
    "loss/index": "L^a, index of the video",
    "loss/total": "L, weighted sum",
}
SCORES_NOTE = (
    "Scores in percent, under the protocol's full name. finetuned starts from the pre-trained "
    "teacher, scratch from random weights of the same architecture, others from the published "
    "weights of that name; pretrained has seen no label, untrained nothing."
)


def build_scores(inputs: ReportInputs) -> Section:
    """Retrieval scores, ours beside the baselines, one table per data set and protocol."""
    by_item = {item: load_rows(inputs.artifacts, item) for item in inputs.items}
    rows = [row for found in by_item.values() for row in found]
    if not rows:
        return Section("Scores")
    overview = build_table(build_overview(rows), text=("data set", "protocol"))
    marks = " ".join(explain(build_score_tables(rows)))
    blocks = [Block(text=SCORES_NOTE), Block(text=marks)]
    blocks.append(Block(heading="mAP / R-1 at a glance", table=overview))
    for item, found in by_item.items():
        model, source = inputs.items[item], inputs.sources[item]
        texts = [f"Scored on {source}."] if source != item else []
        texts += [f"Scored with the models of {model}."] if model != item else []
        left_out = load_left_out(inputs.artifacts, item)
        texts += [f"In no query and no gallery: {'; '.join(left_out)}."] if left_out else []
        tables = build_score_tables(found)
        blocks.append(Block(heading=item, text=" ".join(texts)))
        blocks += _build_score_blocks(tables)
        splits = _build_score_blocks(build_score_tables(found, splits=True))
        if splits:
            blocks.append(Block(folded=tuple(splits), subheading="Scores of each split"))
        blocks.append(Block(run=found[0]["run"] if found else ""))
    return Section("Scores", blocks)


def _build_score_blocks(tables: Sequence[ScoreTable]) -> list[Block]:
    """Each table, and below it what pre-training is worth."""
    blocks = []
    for table in tables:
        facts = table.facts.split(", run ")[0].rstrip(".") + "." if table.facts else ""
        cells = Table(table.head, table.body, table.text_columns, table.marked)
        blocks.append(Block(subheading=table.title, text=facts, table=cells))
        blocks += [Block(text=text) for text in table.differences]
    return blocks


def build_pretraining(metrics: Metrics, *, plots: Path, folder: Path) -> Section:
    """Loss and health curves, health at the start and at the end, what features know, views."""
    if "pretrain" not in metrics:
        return Section("Pre-training")
    values = metrics["pretrain"]
    curves = load_curves(plots)
    losses = {title: {title: curves[key]} for key, title in LOSSES.items() if key in curves}
    blocks = [
        Block(
            text=f"{values['images']} images and {values['videos']} videos.",
            run=values["fingerprint"],
        ),
        build_picture(
            build_curves(losses, x_label="step", smooth=10),
            heading="Losses",
            plot=True,
            caption="Raw loss terms of eq. 8 to 11 and their weighted sum, eq. 12 (running mean).",
        ),
    ]
    health = _collect_health(curves)
    if health:
        blocks.append(
            build_picture(
                build_curves(health, x_label="step", columns=2),
                heading="Health",
                plot=True,
                caption="Norm of each weighted term's gradient on shared parameters; entropy of "
                "a teacher's target per sample (low: it has an opinion) and of the mean target "
                "(high: opinions differ, no collapse); spread of the teacher's features.",
            )
        )
    report = json.loads((folder / "health.json").read_text())
    blocks.append(_build_health_table(report))
    blocks += build_probe_blocks(report, curves)
    views = folder / "views.png"
    if views.is_file():
        blocks.append(
            build_picture(
                views.read_bytes(),
                heading="Views of the first step",
                caption="Global views (masked patches are hidden from the student) and LSE views.",
            )
        )
    return Section("Pre-training", blocks)


def _collect_health(curves: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    groups = {
        "gradient norm": "gradient/",
        "entropy per sample": "/sample_entropy",
        "entropy of the mean target": "/mean_target_entropy",
        "feature spread": "/feature_spread",
    }
    panels: dict[str, dict[str, Any]] = {}
    for title, part in groups.items():
        series = {
            name.replace(part, "").removeprefix("health/"): points
            for name, points in sorted(curves.items())
            if part in name
        }
        if series:
            panels[title] = series
    return panels


def _build_health_table(health: Mapping[str, Any]) -> Block:
    names = sorted({*health["start"], *health["end"]})
    rows = [
        {
            "value": name,
            "step 0": f"{health['start'].get(name, float('nan')):.4g}",
            "last tenth": f"{health['end'].get(name, float('nan')):.4g}",
        }
        for name in names
    ]
    bounds = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in health["bounds"].items())
    table = Block(table=build_table(rows), text=f"For comparison: {bounds}.")
    return Block(folded=(table,), subheading="Health at the start and at the end")
