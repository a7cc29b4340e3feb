"""What a pre-training's features know of persons and of cameras, in plain words."""

from collections.abc import Mapping
from typing import Any

from vills.report.figures import build_curves
from vills.report.page import Block, build_picture, build_table

ALL = "all"
VALUES = {
    "effective_rank": "effective rank: how many directions the features use, of all they have",
    "knn": "nearest neighbour in another camera is the same person, %",
    "map": "mean average precision over the other cameras, %",
    "lda_knn": "nearest neighbour is the same person after LDA fitted on other people, %",
    "lda_map": "mean average precision after LDA fitted on other people, %",
    "camera": "camera told, % (information: it should not be all that features know)",
}
TRACKLET_VALUES = {
    **VALUES,
    "knn": "nearest neighbour at the other end of a tracklet is the same tracklet, %",
    "map": "mean average precision over the other ends, %",
    "lda_knn": "nearest neighbour is the same tracklet after LDA fitted on other tracklets, %",
    "lda_map": "mean average precision after LDA fitted on other tracklets, %",
    "camera": "video told, % (information: it should not be all that features know)",
}
NOTE = (
    "Training features should beat pixels and the untrained network in every line but the last. "
    "Features are all roles of an image side by side, less their mean, compared by cosine."
)
TRACKLET_NOTE = (
    "No labelled source was named: a tracklet stands for a person, its first frame looks for its "
    "last one among the last frames of all. The scene alone can solve that, so a high share proves "
    "little; name a source of role reid in pretrain.probe.source to ask for persons."
)


def build_probe_blocks(health: Mapping[str, Any], curves: Mapping[str, Any]) -> list[Block]:
    """Warnings, table and curves of a health.json whose run was probed; nothing of others."""
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
        Block(heading="What features know", text=_describe(probe), table=build_table(table))
    )
    rows: list[dict[str, object]] = [
        {
            "features": f"{name}, {role}",
            **{value.replace("_", " "): cells.get(f"{role}/{value}") for value in VALUES},
        }
        for name, cells in columns.items()
        for role in sorted({key.split("/")[0] for key in cells})
    ]
    roles = Block(text="In the order of the lines above.", table=build_table(rows))
    blocks.append(Block(folded=(roles,), subheading="The same of each role"))
    panels = _collect_panels(curves)
    if panels:
        caption = "All roles side by side, from step 0 to the end."
        picture = build_curves(panels, x_label="step", columns=3)
        blocks.append(build_picture(picture, plot=True, caption=caption))
    return blocks


def _describe(probe: Mapping[str, Any]) -> str:
    kinds = ("people", "cameras") if probe["source"] else ("tracklets", "videos")
    origin = f" for training of {probe['source']}" if probe["source"] else " of pre-training"
    asked = (
        f"Asked: {probe['crops']} crops of {probe['people']} {kinds[0]}{origin}, in "
        f"{probe['cameras']} {kinds[1]}; nothing is trained on them."
    )
    return " ".join([asked, NOTE] if probe["source"] else [asked, TRACKLET_NOTE, NOTE])


def _build_columns(probe: Mapping[str, Any], *, published: bool) -> dict[str, dict[str, object]]:
    """Title -> `<role>/<value>` -> cell."""
    columns = {
        "pixels at 16x8": _pick(probe, "start", "pixels"),
        "untrained": _pick(probe, "start", "untrained"),
        "published": _pick(probe, "start", "teacher") if published else {},
        "student": _pick(probe, "end", "student"),
        "teacher": _pick(probe, "end", "teacher"),
    }
    return {title: cells for title, cells in columns.items() if cells}


def _pick(probe: Mapping[str, Any], when: str, network: str) -> dict[str, object]:
    """A network's shares as they are, its ranks beside the width of what they are the rank of."""
    cells: dict[str, object] = {}
    for name, number in probe[when].items():
        found, role, value = name.split("/")
        if found != network:
            continue
        width = probe["widths"]["pixels" if network == "pixels" else role]
        is_rank = value == "effective_rank"
        cells[f"{role}/{value}"] = f"{number:.1f} of {width}" if is_rank else number
    return cells


def _collect_panels(curves: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    titles = {
        "effective_rank": "effective rank",
        "knn": "nearest neighbour is right",
        "lda_knn": "the same after LDA",
    }
    panels = {}
    for value, title in titles.items():
        names = {net: f"probe/{net}/{ALL}/{value}" for net in ("student", "teacher")}
        series = {net: curves[name] for net, name in names.items() if name in curves}
        if series:
            panels[title] = series
    return panels
