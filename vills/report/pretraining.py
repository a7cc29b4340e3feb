"""What the report says of pre-training: losses, health, and what its features know."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vills.curves import load_curves
from vills.io import load_json
from vills.report.figures import build_curves
from vills.report.page import Block, Section, build_picture, build_table

LOSSES = {
    "loss/feature": "L^f, feature",
    "loss/masking": "L^m, masking",
    "loss/koleo": "L^r, KoLeo",
    "loss/alignment": "L^a, alignment in pairs",
    "loss/index": "L^a, index of the video",
    "loss/total": "L, weighted sum",
}
HEALTH_CAPTION = (
    "Norm of each weighted term's gradient on shared parameters; entropy of a teacher's target per "
    "sample (low: it is confident) and of the mean target (high: targets differ, no collapse); "
    "spread of the teacher's features."
)
HEALTH = {
    "gradient norm": "gradient/",
    "entropy per sample": "/sample_entropy",
    "entropy of the mean target": "/mean_target_entropy",
    "feature spread": "/feature_spread",
}
"""Title of a panel -> what the names of its curves have in common."""
PROBE_PANELS = {
    "effective rank": "effective_rank",
    "nearest neighbour is right": "knn",
    "the same after LDA": "lda_knn",
}
ALL = "all"
VALUES = {
    "effective_rank": "effective rank: how many directions of the feature space the features use",
    "knn": "nearest neighbour in another camera is the same person, %",
    "map": "mean average precision over the other cameras, %",
    "lda_knn": "nearest neighbour is the same person after LDA fitted on other people, %",
    "lda_map": "mean average precision after LDA fitted on other people, %",
    "camera": "camera recognised, % (for information: features should contain more than that)",
}
TRACKLET_VALUES = {
    **VALUES,
    "knn": "nearest neighbour at the other end of a tracklet is the same tracklet, %",
    "map": "mean average precision over the other ends, %",
    "lda_knn": "nearest neighbour is the same tracklet after LDA fitted on other tracklets, %",
    "lda_map": "mean average precision after LDA fitted on other tracklets, %",
    "camera": "video recognised, % (for information: features should contain more than that)",
}
NOTE = (
    "Trained features should be better than pixels and the untrained network in every line but the "
    "last. Features are all roles of an image, concatenated, minus their mean, compared by cosine."
)
TRACKLET_NOTE = (
    "No labelled source was named, so a tracklet counts as a person: its first frame is the "
    "query, its last frame the match among the last frames of all tracklets. A feature of the "
    "background can solve that, so a high share proves little; to test people, name a source of "
    "role reid in pretrain.probe.source."
)


def build_pretraining(
    metrics: Mapping[str, Mapping[str, Any]], *, plots: Path, folder: Path
) -> Section:
    """Build the section: losses, health at the start and the end, what features know, views."""
    if not metrics.get("pretrain", {}).get("enabled", "pretrain" in metrics):
        return Section("Pre-training")
    values = metrics["pretrain"]
    curves = load_curves(plots)
    counts = f"{values['images']} images and {values['videos']} videos."
    losses = {title: {title: curves[key]} for key, title in LOSSES.items() if key in curves}
    blocks = [
        Block(text=counts, run=values["fingerprint"]),
        build_picture(
            build_curves(losses, x_label="step", smooth=10),
            heading="Losses",
            plot=True,
            caption="Raw loss terms of eq. 8 to 11 and their weighted sum, eq. 12 (running mean).",
        ),
    ]
    health = {
        title: {
            name.replace(part, "").removeprefix("health/"): points
            for name, points in sorted(curves.items())
            if part in name
        }
        for title, part in HEALTH.items()
    }
    if any(health.values()):
        picture = build_curves(health, x_label="step", columns=2)
        blocks.append(build_picture(picture, heading="Health", plot=True, caption=HEALTH_CAPTION))
    report = load_json(
        folder / "health.json", "start", "end", remedy="run the pretrain stage again"
    )
    times = {"step 0": report["start"], "last tenth": report["end"]}
    rows = [
        {"value": name, **{t: f"{found.get(name, math.nan):.4g}" for t, found in times.items()}}
        for name in sorted({*report["start"], *report["end"]})
    ]
    bounds = ", ".join(f"{k.replace('_', ' ')} {v:.4g}" for k, v in report["bounds"].items())
    table = Block(table=build_table(rows), text=f"For comparison: {bounds}.")
    blocks.append(Block(folded=(table,), subheading="Health at the start and at the end"))
    blocks += _build_probe_blocks(report, curves)
    views = folder / "views.png"
    if views.is_file():
        caption = "Global views (masked patches are hidden from the student) and LSE views."
        heading = "Views of the first step"
        blocks.append(build_picture(views.read_bytes(), heading=heading, caption=caption))
    return Section("Pre-training", blocks)


def _build_probe_blocks(health: Mapping[str, Any], curves: Mapping[str, Any]) -> list[Block]:
    """Build warnings, table and curves of a health.json whose run was probed; nothing of others."""
    if "probe" not in health:
        return []
    probe = health["probe"]
    blocks = [Block(heading="Warning: low effective rank", text=w) for w in probe["warnings"]]
    columns = _build_columns(probe, published=health["initial"] is not None)
    words = VALUES if probe["source"] else TRACKLET_VALUES
    table: list[dict[str, object]] = [
        {"asked": text, **{name: cells.get(f"{ALL}/{value}") for name, cells in columns.items()}}
        for value, text in words.items()
    ]
    blocks.append(
        Block(heading="What the features contain", text=_describe(probe), table=build_table(table))
    )
    rows: list[dict[str, object]] = [
        {
            "features": f"{name}, {role}",
            **{value.replace("_", " "): cells.get(f"{role}/{value}") for value in VALUES},
        }
        for name, cells in columns.items()
        for role in sorted({key.split("/")[0] for key in cells})
    ]
    roles = Block(text="The rows are in the order of the lines above.", table=build_table(rows))
    blocks.append(Block(folded=(roles,), subheading="The same for each role"))
    panels = {
        title: {
            network: curves[name]
            for network in ("student", "teacher")
            if (name := f"probe/{network}/{ALL}/{value}") in curves
        }
        for title, value in PROBE_PANELS.items()
    }
    if any(panels.values()):
        caption = "All roles concatenated, from step 0 to the end."
        picture = build_curves(panels, x_label="step", columns=3)
        blocks.append(build_picture(picture, plot=True, caption=caption))
    return blocks


def _describe(probe: Mapping[str, Any]) -> str:
    kinds = ("people", "cameras") if probe["source"] else ("tracklets", "videos")
    origin = f" for training of {probe['source']}" if probe["source"] else " of pre-training"
    asked = (
        f"Probed: {probe['crops']} crops of {probe['people']} {kinds[0]}{origin}, in "
        f"{probe['cameras']} {kinds[1]}; nothing is trained on them."
    )
    return " ".join([asked, NOTE] if probe["source"] else [asked, TRACKLET_NOTE, NOTE])


def _build_columns(probe: Mapping[str, Any], *, published: bool) -> dict[str, dict[str, object]]:
    """Build title -> `<role>/<value>` -> cell."""
    columns = {
        "pixels at 16x8": _pick(probe, "start", "pixels"),
        "untrained": _pick(probe, "start", "untrained"),
        "published": _pick(probe, "start", "teacher") if published else {},
        "student": _pick(probe, "end", "student"),
        "teacher": _pick(probe, "end", "teacher"),
    }
    return {title: cells for title, cells in columns.items() if cells}


def _pick(probe: Mapping[str, Any], when: str, network: str) -> dict[str, object]:
    """Return a network's shares as they are, its ranks beside the width of their features."""
    cells: dict[str, object] = {}
    for name, number in probe[when].items():
        found, role, value = name.split("/")
        if found != network:
            continue
        width = probe["widths"]["pixels" if network == "pixels" else role]
        is_rank = value == "effective_rank"
        cells[f"{role}/{value}"] = f"{number:.1f} of {width}" if is_rank else number
    return cells
