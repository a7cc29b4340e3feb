"""Where the tokens look: coarse, areas and time, over people and over the frames of a clip."""

import cv2
import numpy as np
import torch

from vills.config.evaluate import ReportConfig
from vills.config.finetune import list_variants
from vills.data.images import decode_image
from vills.data.loading import normalise
from vills.evaluation.attention import (
    compute_clip_attention,
    compute_image_attention,
    render_overlay,
)
from vills.models.backbone import Backbone
from vills.models.weights import load_backbone
from vills.report.inputs import ReportInputs
from vills.report.page import Block, Section, build_picture
from vills.report.pictures import CropReader, Picture, encode_picture, join, stack

SCALE_HEIGHT = 128


def render_image_attention(
    backbone: Backbone, reader: CropReader, record_ids: list[str], *, size: list[int]
) -> tuple[bytes, tuple[str, ...]]:
    """Draw a JPEG, a line per person: the crop, then a map per role; return the roles too."""
    lines: list[Picture] = []
    roles: tuple[str, ...] = ()
    for record_id in record_ids:
        picture = _resize(reader.read(record_id), size)
        attention = compute_image_attention(backbone, _to_tensor([picture])[0])
        roles = attention.roles
        maps = [_overlay(picture, heat) for heat in attention.maps]
        lines.append(join([_show(picture), *maps]))
    return encode_picture(stack(lines)), roles


def render_clip_attention(
    backbone: Backbone, reader: CropReader, record_id: str, *, size: list[int], num_frames: int
) -> tuple[bytes, tuple[str, ...]]:
    """Draw a JPEG of one clip: its frames, then a line per role; return the roles too."""
    frames = reader.read_frames(record_id)
    chosen = np.linspace(0, len(frames) - 1, num_frames).round().astype(int)
    pictures = [_resize(frames[i], size) for i in chosen]
    attention = compute_clip_attention(backbone, _to_tensor(pictures))
    lines = [join([_show(picture) for picture in pictures])]
    for heat in attention.maps:
        peak = float(heat.max())
        overlays = [_overlay(p, h, peak=peak) for p, h in zip(pictures, heat, strict=True)]
        lines.append(join(overlays))
    return encode_picture(stack(lines)), attention.roles


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
            people = pick_people(reader, kind="image", count=config.num_attention)
            if people:
                picture = render_image_attention(backbone, reader, people, size=size)
                shown.append(("Crops, then", *picture))
        if trained.modality != "image":
            count = max(1, config.num_attention // 2)
            for person in pick_people(reader, kind="tracklet", count=count):
                picture = render_clip_attention(
                    backbone, reader, person, size=size, num_frames=trained.num_frames
                )
                shown.append(("Frames of a clip, below them", *picture))
        if not shown:
            blocks.append(Block(heading=heading, text="No query of the model's modality to draw."))
        for number, (first, png, roles) in enumerate(shown):
            names = ", ".join(role.replace("_", " ") for role in roles)
            caption = f"{first} where each token looks: {names}."
            blocks.append(build_picture(png, caption=caption, heading="" if number else heading))
    return Section("Attention", blocks)


def pick_people(reader: CropReader, *, kind: str, count: int) -> list[str]:
    """Pick records of as many different people, evenly over the query split."""
    queries = reader.manifest.where(split="query", kind=kind)
    pids, ids = queries.column("pid"), queries.column("record_id")
    first = {int(pid): str(name) for pid, name in reversed(list(zip(pids, ids, strict=True)))}
    people = sorted(first)
    rows = sorted({round(i) for i in np.linspace(0, len(people) - 1, count)}) if people else []
    return [first[people[row]] for row in rows]


def _resize(picture: Picture, size: list[int]) -> Picture:
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA))


def _to_tensor(pictures: list[Picture]) -> torch.Tensor:
    pixels = np.stack(pictures).transpose(0, 3, 1, 2)
    return normalise(torch.from_numpy(np.ascontiguousarray(pixels)))


def _overlay(picture: Picture, heat: np.ndarray, *, peak: float | None = None) -> Picture:
    return _show(decode_image(render_overlay(picture, heat, peak=peak)))


def _show(picture: Picture) -> Picture:
    width = round(SCALE_HEIGHT * picture.shape[1] / picture.shape[0])
    return np.asarray(cv2.resize(picture, (width, SCALE_HEIGHT)))
