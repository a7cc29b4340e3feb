"""What a model found, as ranked strips: one picture per data set and protocol."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vills.config.report import ReportConfig
from vills.evaluation.result_files import name_ranking
from vills.evaluation.tables import OURS
from vills.report.inputs import ReportInputs
from vills.report.page import Block, Section, build_picture
from vills.report.scores import load_rows
from vills.report.strips import CropReader, load_strips, render_strips

READING = (
    "Left the query (grey edge), then the gallery nearest first: green right, red wrong; what a "
    "protocol leaves out is left out. Queries are taken evenly, not chosen. Of a tracklet its "
    "middle frame is shown, of a template its first image. Of several draws, galleries or splits "
    "it is the first."
)


def build_retrieval(inputs: ReportInputs, *, config: ReportConfig) -> Section:
    """Strips of the fine-tuned model; a protocol without ranked lists is named."""
    blocks: list[Block] = []
    skipped: list[str] = []
    for item in inputs.items:
        reader = CropReader(inputs.artifacts / "curated" / inputs.sources[item])
        folder = inputs.artifacts / "evaluate" / item / "ranking"
        for row in pick_rows(load_rows(inputs.artifacts, item)):
            name = f"{item}: {row.get('title', row['protocol'])}"
            path = folder / name_ranking(str(row["row"]), str(row["protocol"]))
            strips = _load(path, config)
            if not strips:
                skipped.append(name)
                continue
            caption = f"Model {row['row']} of {inputs.items[item]}{_name_split(row)}."
            picture = render_strips(strips, reader)
            blocks.append(build_picture(picture, caption=caption, heading=name))
    notes = [Block(text=READING)] if blocks else []
    if skipped:
        notes.append(Block(text=f"No ranked lists were kept of {'; '.join(skipped)}."))
    return Section("Retrieval", [*notes, *blocks])


def pick_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first row of each protocol of the product's own model, or of the last model there is."""
    names = list(dict.fromkeys(str(row["row"]) for row in rows))
    shown = OURS if OURS in names else names[-1] if names else ""
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["row"] == shown:
            first.setdefault(str(row["protocol"]), row)
    return list(first.values())


def _load(path: Path, config: ReportConfig) -> list[Any]:
    if not path.is_file():
        return []
    return list(load_strips(path, count=config.num_strips, length=config.strip_length))


def _name_split(row: Mapping[str, Any]) -> str:
    return f", split {row['split']}" if row.get("split") is not None else ""
