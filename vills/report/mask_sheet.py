"""A sheet of crops with keypoints and area masks, to look at.

Shapes: H, W of a tile.
"""

from pathlib import Path

import cv2
import numpy as np

from vills.areas import AREAS
from vills.data.files import read_table
from vills.data.images import CorruptImageError
from vills.data.mask_store import REMEDY, MaskStore
from vills.errors import InputError
from vills.lse.chunk import KEYPOINTS, KEYPOINTS_SCHEMA
from vills.report.pictures import CropReader, Picture, render_stack, save_sheet

AREA_COLOURS = {"head": (255, 190, 0), "upper_body": (235, 30, 90), "lower_body": (20, 110, 255)}
TILE_HEIGHT = 224
COLUMNS = 6


def build_mask_sheet(
    curated: Path, lse: Path, out_png: Path, num: int = 24, *, min_score: float = 0.5
) -> list[str]:
    """Write pairs of crop and overlay of `num` frames, spread evenly over the LSE cache `lse`.

    Keypoints above `min_score`, the tau to show, are filled green, the others hollow and grey.

    Returns:
        Why frames among them are left out: they cannot be decoded.

    Raises:
        FileNotFoundError: no manifest or no cache.
        InputError: the cache holds no frame, or is damaged.
    """
    reader, store = CropReader(curated), MaskStore(lse)
    path = lse / KEYPOINTS
    cached = read_table(path, remedy=REMEDY, is_full=True, schema=KEYPOINTS_SCHEMA)
    if not cached.num_rows:
        raise InputError(f"{path} has no frame. What to do: {REMEDY}.")
    chosen = np.unique(np.linspace(0, cached.num_rows - 1, min(num, cached.num_rows)).astype(int))
    tiles, damaged = [], list[str]()
    for row in cached.take(chosen).to_pylist():
        try:
            image = reader.read(row["record_id"], row["frame"])
        except CorruptImageError as error:
            damaged.append(f"{row['record_id']}, frame {row['frame']}: {error}")
            continue
        loaded = {area: store.load(row["record_id"], row["frame"], area) for area in AREAS}
        masks = {area: found[0] for area, found in loaded.items() if found is not None}
        keypoints = np.asarray(row["keypoints"], np.float32).reshape(-1, 3)
        tiles.append(render_tile(image, masks=masks, keypoints=keypoints, min_score=min_score))
    if not tiles:
        raise InputError(
            f"no frame of {path} can be decoded from {curated} ({damaged[0]}). What to do: run the "
            "curate stage again, then the lse stage."
        )
    width = max(tile.shape[1] for tile in tiles)
    cells = [
        np.pad(tile, ((0, 0), (0, width - tile.shape[1]), (0, 0)), constant_values=255)
        for tile in tiles
    ]
    lines = [render_stack(cells[i : i + COLUMNS], axis=1) for i in range(0, len(cells), COLUMNS)]
    save_sheet(out_png, render_stack(lines))
    return damaged


def render_tile(
    image: Picture, *, masks: dict[str, np.ndarray], keypoints: np.ndarray, min_score: float
) -> Picture:
    """Draw a crop [H, W, 3] beside itself with masks and keypoints: [TILE_HEIGHT, 2 W scaled, 3].

    Masks are bool [H, W] by area; keypoints [n, 3] as x, y, score, filled above `min_score`.
    """
    zoom = TILE_HEIGHT / image.shape[0]
    size = (max(1, round(image.shape[1] * zoom)), TILE_HEIGHT)
    plain = cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC)
    overlay = plain.copy()
    for area, mask in masks.items():
        large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        tint = np.asarray(AREA_COLOURS[area], np.float32)
        where = large > 0
        overlay[where] = (0.55 * overlay[where] + 0.45 * tint).astype(np.uint8)
        outline, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(overlay, outline, -1, AREA_COLOURS[area], 1)
    for x, y, score in keypoints:
        if score <= 0:
            continue
        centre = (round(float(x) * zoom), round(float(y) * zoom))
        colour, thickness = ((40, 255, 60), -1) if score > min_score else ((170, 170, 170), 1)
        cv2.circle(overlay, centre, 3, colour, thickness, cv2.LINE_AA)
    return np.hstack([plain, overlay])
