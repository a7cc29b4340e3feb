"""What a fine-tuned model found for queries, as ranked strips, and where its tokens look."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from vills.config.evaluate import ReportConfig
from vills.config.finetune import list_variants
from vills.data.files import read_table
from vills.data.loading import normalise
from vills.data.transforms import resize
from vills.evaluation.attention import compute_clip_attention, compute_image_attention
from vills.evaluation.distance import FloatArray
from vills.evaluation.result_files import get_ranking_name
from vills.evaluation.tables import OURS
from vills.models.backbone import Backbone
from vills.models.weights import load_backbone
from vills.report.inputs import ReportInputs, load_rows
from vills.report.page import Block, Section, build_picture
from vills.report.pictures import (
    GAP,
    CropReader,
    Picture,
    encode_picture,
    render_row,
    render_stack,
    select_evenly,
)

HEIGHT, WIDTH, EDGE = 112, 56, 3
SCALE_HEIGHT, SHARE = 128, 0.55
COLOURS = {"query": (70, 90, 110), "right": (60, 150, 80), "wrong": (200, 70, 60)}
READING = (
    "Left the query (grey edge), then the gallery nearest first: green right, red wrong; entries "
    "that the protocol ignores are not shown. Queries are taken at equal distances, not selected. "
    "A tracklet is shown by its middle frame, a template by its first image. With several draws, "
    "galleries or splits, the first is shown."
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
        for row in select_rows(load_rows(inputs.artifacts, item)):
            name = f"{item}: {row.get('title', row['protocol'])}"
            path = folder / get_ranking_name(str(row["row"]), str(row["protocol"]))
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
        notes.append(Block(text=f"No ranked lists were kept for {'; '.join(skipped)}."))
    return Section("Retrieval", [*notes, *blocks])


def select_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
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
    remedy = "run the evaluate stage again"
    for row in read_table(path, remedy=remedy).to_pylist() if path.is_file() else ():
        found = lists.setdefault((row["query_id"], row["query_frame"]), [])
        if row["verdict"] != "junk" and len(found) < length:
            found.append((row["gallery_id"], row["verdict"] == "right"))
    return {name: lists[name] for name in select_evenly(sorted(lists), count)}


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
        lines.append(render_row([query, space, *crops]))
    return encode_picture(render_stack(lines))


def _frame_crop(picture: Picture, colour: tuple[int, int, int]) -> Picture:
    """Draw a crop at strip size with a coloured edge."""
    small = cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    edged = cv2.copyMakeBorder(small, EDGE, EDGE, EDGE, EDGE, cv2.BORDER_CONSTANT, value=colour)
    return np.asarray(edged, np.uint8)


def render_image_attention(
    backbone: Backbone, reader: CropReader, record_ids: list[str], *, size: list[int]
) -> tuple[bytes, tuple[str, ...]]:
    """Draw a JPEG, a line per person: the crop, then a map per role; return the roles too."""
    lines: list[Picture] = []
    roles: tuple[str, ...] = ()
    for record_id in record_ids:
        picture = resize(reader.read(record_id), height=size[0], width=size[1])
        attention = compute_image_attention(backbone, _to_tensor([picture])[0])
        roles = attention.roles
        maps = [_show(render_overlay(picture, heat)) for heat in attention.maps]
        lines.append(render_row([_show(picture), *maps]))
    return encode_picture(render_stack(lines)), roles


def render_clip_attention(
    backbone: Backbone, reader: CropReader, record_id: str, *, size: list[int], num_frames: int
) -> tuple[bytes, tuple[str, ...]]:
    """Draw a JPEG of one clip: its frames, then a line per role; return the roles too."""
    frames = reader.read_frames(record_id)
    chosen = np.linspace(0, len(frames) - 1, num_frames).round().astype(int)
    pictures = [resize(frames[i], height=size[0], width=size[1]) for i in chosen]
    attention = compute_clip_attention(backbone, _to_tensor(pictures))
    lines = [render_row([_show(picture) for picture in pictures])]
    for heat in attention.maps:
        peak = float(heat.max())
        pairs = zip(pictures, heat, strict=True)
        lines.append(render_row([_show(render_overlay(p, h, peak=peak)) for p, h in pairs]))
    return encode_picture(render_stack(lines)), attention.roles


def build_attention(inputs: ReportInputs, *, config: ReportConfig) -> Section:
    """Build the section: the role tokens of each fine-tuned model, on its own data set."""
    blocks: list[Block] = []
    for model, trained in inputs.models.items():
        variant = list_variants(trained)[0]
        backbone = load_backbone(inputs.artifacts / "finetune" / model / variant.name).eval()
        reader = CropReader(inputs.artifacts / "curated" / trained.source)
        users = [item for item, used in inputs.items.items() if used == model and item != model]
        heading = f"{model}, fine-tuned from {variant.initialisation}"
        if len(trained.split_ids) > 1:
            heading += f" on split {variant.split_id}"
        if users:
            heading += f" (scored on {', '.join(users)} too)"
        size = trained.input_size
        shown: list[tuple[str, bytes, tuple[str, ...]]] = []
        if trained.modality != "video":
            people = select_people(reader, kind="image", count=config.num_attention)
            if people:
                picture = render_image_attention(backbone, reader, people, size=size)
                shown.append(("Crops, then", *picture))
        if trained.modality != "image":
            count = max(1, config.num_attention // 2)
            for person in select_people(reader, kind="tracklet", count=count):
                picture = render_clip_attention(
                    backbone, reader, person, size=size, num_frames=trained.num_frames
                )
                shown.append(("Frames of a clip; below them", *picture))
        if not shown:
            blocks.append(Block(heading=heading, text="No query of the model's modality to draw."))
        for number, (first, png, roles) in enumerate(shown):
            names = ", ".join(role.replace("_", " ") for role in roles)
            caption = f"{first} where each token looks: {names}."
            blocks.append(build_picture(png, caption=caption, heading="" if number else heading))
    return Section("Attention", blocks)


def select_people(reader: CropReader, *, kind: str, count: int) -> list[str]:
    """Pick records of as many different people, evenly over the query split."""
    queries = reader.manifest.where(split="query", kind=kind)
    pids, ids = queries.column("pid"), queries.column("record_id")
    first = {int(pid): str(name) for pid, name in reversed(list(zip(pids, ids, strict=True)))}
    return [first[person] for person in select_evenly(sorted(first), count)]


def _to_tensor(pictures: list[Picture]) -> torch.Tensor:
    pixels = np.stack(pictures).transpose(0, 3, 1, 2)
    return normalise(torch.from_numpy(np.ascontiguousarray(pixels)))


def render_overlay(picture: Picture, heat: FloatArray, *, peak: float | None = None) -> Picture:
    """Render an RGB picture [H, W, 3] with a map [h, w] laid over it in colour, of weight SHARE.

    The map has any resolution and scale; `peak`, or its own maximum, gets the hottest colour.
    Frames of a clip need a common one to be comparable.
    """
    height, width = picture.shape[:2]
    top = float(heat.max()) if peak is None else peak
    level = np.clip(heat / top, 0, 1) if top > 0 else np.zeros_like(heat)
    level = cv2.resize(level.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(np.rint(255 * level).astype(np.uint8), cv2.COLORMAP_TURBO)
    return np.rint((1 - SHARE) * picture + SHARE * colours[..., ::-1]).astype(np.uint8)


def _show(picture: Picture) -> Picture:
    width = round(SCALE_HEIGHT * picture.shape[1] / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, SCALE_HEIGHT)))
