"""What a detector and a human parser would say about a picture, with their mistakes.

Boxes are jittered, some are missing, and some show nobody. Scores fall with occlusion, so that a
threshold of .8 keeps people in plain view and a lower one lets in false alarms; keypoints that are
hidden are guessed, with little confidence. The parsing map has all persons together.

Shape legend: H, W picture size.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.areas import AREAS, KEYPOINTS, NUM_KEYPOINTS
from vills.miniature.canvas import Instance

Array = NDArray[np.float64]

_OTHER_SIDE = {"left": "right", "right": "left"}
_SWAPPED = [
    KEYPOINTS.index("_".join(_OTHER_SIDE.get(word, word) for word in name.split("_")))
    for name in KEYPOINTS
]
_GRID = 12  # px between the nodes of the distortion of a parsing map


@dataclass(frozen=True, slots=True)
class Detection:
    """A predicted person."""

    box: Array
    """[4] x1, y1, x2, y2 in px."""
    score: float
    keypoints: Array
    """[17, 3] x, y, score."""


Clutter = Array
"""[n, 5] boxes of things that a detector takes for people now and then, px, and mean scores."""


def sample_clutter(rng: np.random.Generator, *, height: int, width: int, count: int) -> Clutter:
    """Draw `count` upright boxes of a picture that look like people to a detector."""
    tall = rng.uniform(0.25, 0.6, size=count) * height
    wide = tall * rng.uniform(0.3, 0.5, size=count)
    left = rng.uniform(0, np.maximum(width - wide, 1.0))
    top = rng.uniform(0, np.maximum(height - tall, 1.0))
    scores = rng.uniform(0.35, 0.66, size=count)
    return np.stack((left, top, left + wide, top + tall, scores), axis=1)


def sample_predictions(
    instances: list[Instance],
    rng: np.random.Generator,
    *,
    height: int,
    width: int,
    clutter: Clutter | None = None,
) -> list[Detection]:
    """Return what a detector would report for a picture with `instances`."""
    size = np.array([width, height], dtype=np.float64)
    found = []
    for instance in instances:
        hidden = 1.0 - instance.visible
        if rng.random() < 0.012 + 0.75 * hidden**1.7:
            continue
        found.append(_detect(instance, rng, size))
        if rng.random() < 0.03 + 0.10 * hidden:
            found.append(_repeat(found[-1], rng, size))
    if clutter is not None:
        found += _detect_clutter(clutter, rng, size)
    return found


def _detect(instance: Instance, rng: np.random.Generator, size: Array) -> Detection:
    hidden = 1.0 - instance.visible
    box = instance.box.astype(np.float64)
    extent = np.tile(box[2:] - box[:2], 2)
    box = box + rng.normal(0.0, 0.018 + 0.07 * hidden, size=4) * extent
    score = 1.0 - rng.beta(2.0, 28.0) - 0.62 * max(0.0, hidden - 0.08) ** 1.15
    score -= 0.25 * float(rng.random() < 0.03)  # a blink: now and then a detector is just unsure
    return Detection(
        box=_clip(box, size),
        score=float(np.clip(score, 0.05, 0.999)),
        keypoints=_guess_keypoints(instance, rng, size),
    )


def _guess_keypoints(instance: Instance, rng: np.random.Generator, size: Array) -> Array:
    tall = float(instance.box[3] - instance.box[1])
    seen = instance.keypoints[:, 2] > 0
    guess = instance.keypoints.astype(np.float64)
    # A detector that takes the back for the front swaps the sides.
    if rng.random() < 0.03:
        guess, seen = guess[_SWAPPED], seen[_SWAPPED]
    spread = np.where(seen, 0.011, 0.10) * tall
    guess[:, :2] += rng.normal(0.0, 1.0, size=(NUM_KEYPOINTS, 2)) * spread[:, None]
    sure = 1.0 - rng.beta(1.6, 10.0, size=NUM_KEYPOINTS)
    unsure = rng.beta(2.2, 4.5, size=NUM_KEYPOINTS)
    guess[:, 2] = np.where(seen, sure, unsure)
    # Plain mistakes: far off, and usually, but not always, with a low score.
    wrong = rng.random(NUM_KEYPOINTS) < 0.07
    guess[wrong, :2] += rng.normal(0.0, 0.16 * tall, size=(int(wrong.sum()), 2))
    guess[wrong, 2] *= rng.uniform(0.1, 0.7, size=int(wrong.sum()))
    guess[:, :2] = np.clip(guess[:, :2], 0.0, size - 1.0)
    return guess


def _repeat(first: Detection, rng: np.random.Generator, size: Array) -> Detection:
    """Return a second box on the same person, often of half the body."""
    box = first.box.copy()
    middle = 0.5 * (box[1] + box[3])
    half = rng.random()
    if half < 0.4:
        box[3] = middle
    elif half < 0.6:
        box[1] = middle
    box += rng.normal(0.0, 0.06, size=4) * (box[2] - box[0])
    score = float(rng.uniform(0.15, 0.72)) * first.score
    return Detection(box=_clip(box, size), score=score, keypoints=first.keypoints)


def _detect_clutter(clutter: Clutter, rng: np.random.Generator, size: Array) -> list[Detection]:
    found = []
    for *corners, mean in clutter.tolist():
        if rng.random() > mean:
            continue
        box = np.array(corners)
        wide, tall = box[2:] - box[:2]
        shaken = box + rng.normal(0.0, 0.03, size=4) * np.array([wide, tall, wide, tall])
        score = float(np.clip(rng.normal(mean, 0.10), 0.05, 0.93))
        spots = rng.uniform(0.1, 0.9, size=(NUM_KEYPOINTS, 2)) * (wide, tall) + box[:2]
        doubt = rng.beta(1.5, 6.0, size=(NUM_KEYPOINTS, 1))
        guess = np.concatenate((np.clip(spots, 0, size - 1.0), doubt), axis=1)
        found.append(Detection(box=_clip(shaken, size), score=score, keypoints=guess))
    return found


def _clip(box: Array, size: Array) -> Array:
    box = np.clip(box, 0.0, np.tile(size, 2))
    # A box keeps a pixel of width and height, however the jitter fell.
    box[2:] = np.maximum(box[2:], np.minimum(box[:2] + 1.0, size))
    box[:2] = np.minimum(box[:2], box[2:] - 1.0)
    return box


def parse(
    instances: list[Instance], rng: np.random.Generator, *, height: int, width: int
) -> dict[str, NDArray[np.bool_]]:
    """Return a mask [H, W] for each area, with the errors of a parser.

    Outlines wobble, grow or shrink, holes open, and now and then a person's upper and lower
    body are taken for each other.
    """
    labels = np.zeros((height, width), dtype=np.uint8)
    for instance in instances:
        # Of upper body, lower body and head.
        numbers = (2, 1, 3) if rng.random() < 0.05 else (1, 2, 3)
        for number, area in zip(numbers, AREAS, strict=True):
            np.copyto(labels, np.uint8(number), where=instance.areas[area])
    labels = _wobble(labels, rng)
    masks = {}
    for number, area in enumerate(AREAS, start=1):
        mask = (labels == number).astype(np.uint8)
        kernel = np.ones((3, 3), dtype=np.uint8)
        change = rng.random()
        if change < 0.35:
            mask = cv2.dilate(mask, kernel)
        elif change < 0.65:
            mask = cv2.erode(mask, kernel)
        masks[area] = mask > 0
    return masks


def _wobble(labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = labels.shape
    nodes = (2, height // _GRID + 2, width // _GRID + 2)
    shift = rng.normal(0.0, 1.3, size=nodes).astype(np.float32)
    # The field is stretched over the picture: neighbouring outlines move together.
    down, across = (cv2.resize(s, (width, height), interpolation=cv2.INTER_LINEAR) for s in shift)
    rows, columns = _build_grid(height, width)
    moved = cv2.remap(labels, columns + across, rows + down, cv2.INTER_NEAREST)
    for _ in range(int(rng.integers(0, 3))):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        cv2.circle(moved, (x, y), int(rng.integers(2, 6)), 0, -1)
    return moved.astype(np.uint8)


@functools.lru_cache(maxsize=4)
def _build_grid(height: int, width: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows, columns = np.indices((height, width), dtype=np.float32)
    return rows, columns
