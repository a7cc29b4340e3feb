"""Truth and predictions drawn over a picture."""

from pathlib import Path

import av
import cv2
import numpy as np
import pycocotools.mask as coco

from vills.areas import AREAS
from vills.miniature.painter import Image
from vills.miniature.person import Colour
from vills.miniature.sink import Row

AREA_COLOURS: dict[str, Colour] = {
    "upper_body": (255, 80, 60),
    "lower_body": (60, 120, 255),
    "head": (255, 220, 60),
}
_SURE: Colour = (60, 230, 90)
_UNSURE: Colour = (255, 60, 220)
_THRESHOLD = 0.8  # the paper's, of a detection


def draw_truth(image: Image, rows: list[Row], *, thick: int = 1) -> Image:
    """Return `image` with areas, boxes and keypoints; hidden keypoints in another colour."""
    drawn = image.copy()
    for row in rows:
        for area in AREAS:
            _tint(drawn, row[f"mask_{area}"], area, (row["height"], row["width"]))
    for row in rows:
        _draw_box(drawn, row, f"{row['person']} {row['visible']:.2f}" if thick > 1 else "", _SURE)
        _draw_points(drawn, row["keypoints"], 0.5, thick)
    return drawn


def draw_predictions(image: Image, found: list[Row], parsed: list[Row]) -> Image:
    """Return `image` with predicted boxes, scores, keypoints and the parsing map."""
    drawn = image.copy()
    for row in parsed:
        _tint(drawn, row["counts"], row["area"], (row["height"], row["width"]))
    for row in found:
        colour = _SURE if row["score"] >= _THRESHOLD else _UNSURE
        _draw_box(drawn, row, f"{row['score']:.2f}", colour)
        if row["keypoints"] is not None:
            _draw_points(drawn, row["keypoints"], 0.5, 2)
    return drawn


def read_frames(path: Path) -> list[Image]:
    """Return all frames of a short video, RGB uint8 [H, W, 3]."""
    with av.open(str(path)) as container:
        pictures = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return [np.asarray(picture, dtype=np.uint8) for picture in pictures]


def _tint(image: Image, counts: bytes, area: str, size: tuple[int, int]) -> None:
    mask = coco.decode({"size": list(size), "counts": counts}).astype(bool)
    colour = np.array(AREA_COLOURS[area])
    image[mask] = (0.45 * image[mask] + 0.55 * colour).astype(np.uint8)


def _draw_box(image: Image, row: Row, label: str, colour: Colour) -> None:
    left, top, right, bottom = (round(row[name]) for name in ("x1", "y1", "x2", "y2"))
    cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, 1)
    if label:
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(image, label, (left, max(8, top - 2)), font, 0.32, colour, 1, cv2.LINE_AA)


def _draw_points(image: Image, flat: list[float], threshold: float, thick: int) -> None:
    for x, y, score in np.asarray(flat).reshape(-1, 3):
        colour = _SURE if score > threshold else _UNSURE
        cv2.circle(image, (round(float(x)), round(float(y))), thick, colour, -1)
