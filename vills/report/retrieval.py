"""What a model found, as ranked strips: one picture per data set and protocol."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq

from vills.config.evaluate import ReportConfig
from vills.evaluation.result_files import name_ranking
from vills.evaluation.tables import OURS
from vills.report.inputs import ReportInputs, load_rows
from vills.report.page import Block, Section, build_picture
from vills.report.pictures import GAP, CropReader, Picture, encode_picture, join, stack

HEIGHT, WIDTH, EDGE = 112, 56, 3
COLOURS = {"query": (70, 90, 110), "right": (60, 150, 80), "wrong": (200, 70, 60)}
READING = (
    "Left the query (grey edge), then the gallery nearest first: green right, red wrong; what a "
    "protocol leaves out is left out. Queries are taken evenly, not chosen. Of a tracklet its "
    "middle frame is shown, of a template its first image. Of several draws, galleries or splits "
    "it is the first."
)
Strips = dict[tuple[str, int], list[tuple[str, bool]]]
"""(query, which of its frames; -1: all) -> (gallery record, whether it is right), nearest first."""


def build_retrieval(inputs: ReportInputs, *, config: ReportConfig) -> Section:
    """Build the section: strips of the fine-tuned model; protocols without lists are named."""
    blocks: list[Block] = []
    skipped: list[str] = []
    for item in inputs.items:
        reader = CropReader(inputs.artifacts / "curated" / inputs.sources[item])
        folder = inputs.artifacts / "evaluate" / item / "ranking"
        for row in pick_rows(load_rows(inputs.artifacts, item)):
            name = f"{item}: {row.get('title', row['protocol'])}"
            path = folder / name_ranking(str(row["row"]), str(row["protocol"]))
            strips = load_strips(path, count=config.num_strips, length=config.strip_length)
            if not strips:
                skipped.append(name)
                continue
            split = f", split {row['split']}" if row.get("split") is not None else ""
            caption = f"Model {row['row']} of {inputs.items[item]}{split}."
            picture = render_strips(strips, reader)
            blocks.append(build_picture(picture, caption=caption, heading=name))
    notes = [Block(text=READING)] if blocks else []
    if skipped:
        notes.append(Block(text=f"No ranked lists were kept of {'; '.join(skipped)}."))
    return Section("Retrieval", [*notes, *blocks])


def pick_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Pick each protocol's first row of the product's own model, or of the last there is."""
    names = list(dict.fromkeys(str(row["row"]) for row in rows))
    shown = OURS if OURS in names else names[-1] if names else ""
    first: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        if row["row"] == shown:
            first.setdefault(str(row["protocol"]), row)
    return list(first.values())


def load_strips(path: Path, *, count: int, length: int) -> Strips:
    """Load strips of one model, if it has lists.

    They are taken evenly over its queries in record order: not the best, not the worst.
    """
    lists: Strips = {}
    for entry in pq.read_table(path).to_pylist() if path.is_file() else ():
        found = lists.setdefault((entry["query_id"], entry["query_frame"]), [])
        if entry["verdict"] != "junk" and len(found) < length:
            found.append((entry["gallery_id"], entry["verdict"] == "right"))
    names = sorted(lists)
    chosen = sorted({round(i) for i in np.linspace(0, len(names) - 1, count)}) if names else []
    return {names[i]: lists[names[i]] for i in chosen}


def render_strips(strips: Strips, reader: CropReader) -> bytes:
    """Draw a JPEG: a line per strip, the query first."""
    lines = []
    for (name, frame), gallery in strips.items():
        query = _frame_crop(reader.read(name, frame), COLOURS["query"])
        crops = [
            _frame_crop(reader.read(found), COLOURS["right" if right else "wrong"])
            for found, right in gallery
        ]
        space = np.full((query.shape[0], 3 * GAP, 3), 255, np.uint8)
        lines.append(join([query, space, *crops]))
    return encode_picture(stack(lines))


def _frame_crop(picture: Picture, colour: tuple[int, int, int]) -> Picture:
    """Draw a crop at strip size with a coloured edge."""
    small = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    edged = cv2.copyMakeBorder(small, EDGE, EDGE, EDGE, EDGE, cv2.BORDER_CONSTANT, value=colour)
    return np.asarray(edged, np.uint8)
