"""Body geometry drawn from keypoints: limbs as capsules, torso and head as filled shapes.

Shapes: n = 17 COCO keypoints; H, W of the canvas.
Lengths are in torso lengths (middle of the shoulders to middle of the hips, about .5 m for an
adult), so that one table serves any resolution.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from vills.areas import AREA_KEYPOINTS, KEYPOINTS
from vills.lse.crop import Floats, Mask

INDEX = {name: i for i, name in enumerate(KEYPOINTS)}
HEAD = [INDEX[name] for name in AREA_KEYPOINTS["head"]]
SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]
HIPS = [INDEX["left_hip"], INDEX["right_hip"]]

# (from, to, radius, share of its length by which the limb reaches past `to`: hand, foot)
ARMS = tuple(
    limb
    for side in ("left", "right")
    for limb in (
        (f"{side}_shoulder", f"{side}_elbow", 0.13, 0.0),
        (f"{side}_elbow", f"{side}_wrist", 0.10, 0.3),
    )
)
LEGS = tuple(
    limb
    for side in ("left", "right")
    for limb in (
        (f"{side}_hip", f"{side}_knee", 0.17, 0.0),
        (f"{side}_knee", f"{side}_ankle", 0.13, 0.15),
    )
)
DISC_RADIUS = 0.12  # around a keypoint alone
HEAD_RADIUS = (0.21, 0.27)  # half width, half height
TORSO_RADIUS = 0.14  # around the quadrangle of shoulders and hips
_SUBPIXEL = 4  # bits of fraction that cv2's drawing takes


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The keypoints of one crop that may be trusted, and the scale of the person."""

    points: Floats
    """[n, 2] px."""
    valid: Mask
    """[n] whether the keypoint may be used."""
    torso: float
    """Torso length, px."""

    def middle(self, indices: list[int]) -> Floats | None:
        """Average the usable ones of some keypoints."""
        chosen = [i for i in indices if self.valid[i]]
        result: Floats | None = self.points[chosen].mean(axis=0) if chosen else None
        return result


def build_skeleton(points: Floats, *, valid: Mask, height: int) -> Skeleton:
    """Estimate the person's scale from whichever keypoints are usable.

    Args:
        points: [n, 2] px.
        valid: [n] usable keypoints.
        height: height of the crop, px; the last resort for the scale.
    """
    draft = Skeleton(points=points, valid=valid, torso=1.0)
    guesses = []
    shoulders, hips = draft.middle(SHOULDERS), draft.middle(HIPS)
    knees = draft.middle([INDEX["left_knee"], INDEX["right_knee"]])
    ankles = draft.middle([INDEX["left_ankle"], INDEX["right_ankle"]])
    face = draft.middle(HEAD)
    # Vertical extents of an upright adult, in torso lengths; the median forgives one bad keypoint.
    for above, below, extent in (
        (shoulders, hips, 1.0),
        (hips, knees, 0.8),
        (knees, ankles, 0.8),
        (face, shoulders, 0.42),
    ):
        if above is not None and below is not None:
            guesses.append(float(np.linalg.norm(below - above)) / extent)
    torso = float(np.median(guesses)) if guesses else 0.28 * height
    return Skeleton(points=points, valid=valid, torso=float(np.clip(torso, 4.0, 0.5 * height)))


def draw_area(skeleton: Skeleton, *, area: str, size: tuple[int, int], grow: float) -> Mask:
    """Fill the place that an area is expected to take.

    Args:
        skeleton: usable keypoints.
        area: head, upper_body or lower_body.
        size: (H, W) of the canvas.
        grow: factor on every radius: below 1 the core of the area, above 1 its surroundings.

    Returns:
        bool [H, W].
    """
    canvas = np.zeros(size, np.uint8)
    if area == "head":
        _draw_head(canvas, skeleton, grow)
    elif area == "upper_body":
        _draw_torso(canvas, skeleton, grow)
        _draw_limbs(canvas, skeleton, ARMS, grow)
    else:
        _draw_limbs(canvas, skeleton, LEGS, grow)
        _draw_hips(canvas, skeleton, grow)
    result: Mask = canvas.astype(bool)
    return result


def draw_discs(skeleton: Skeleton, chosen: Mask, *, size: tuple[int, int], grow: float) -> Mask:
    """Fill a disc of an arm's width around each chosen keypoint, usable or not.

    Args:
        skeleton: gives points and scale.
        chosen: [n] keypoints.
        size: (H, W) of the canvas.
        grow: factor on the radius.

    Returns:
        bool [H, W].
    """
    canvas = np.zeros(size, np.uint8)
    for point in skeleton.points[chosen]:
        _draw_capsule(canvas, point, point, DISC_RADIUS * skeleton.torso * grow)
    result: Mask = canvas.astype(bool)
    return result


def _draw_head(canvas: np.ndarray, skeleton: Skeleton, grow: float) -> None:
    face = skeleton.middle(HEAD)
    if face is None:
        return
    up = np.array([0.0, -1.0], np.float32)
    shoulders = skeleton.middle(SHOULDERS)
    if shoulders is not None and np.linalg.norm(face - shoulders) > 0.2 * skeleton.torso:
        up = (face - shoulders) / np.linalg.norm(face - shoulders)
    # The face's points lie below and before the middle of the skull with its hair.
    centre = face + 0.06 * skeleton.torso * up
    axes = [radius * skeleton.torso * grow for radius in HEAD_RADIUS]
    angle = float(np.degrees(np.arctan2(up[1], up[0]))) + 90.0
    cv2.ellipse(
        canvas,
        _fixed(centre),
        (_fixed_length(axes[0]), _fixed_length(axes[1])),
        angle,
        0,
        360,
        1,
        -1,
        cv2.LINE_8,
        _SUBPIXEL,
    )


def _draw_torso(canvas: np.ndarray, skeleton: Skeleton, grow: float) -> None:
    shoulders, hips = skeleton.middle(SHOULDERS), skeleton.middle(HIPS)
    if shoulders is None:
        return
    if hips is None:
        hips = shoulders + np.array([0.0, skeleton.torso], np.float32)
    corners = []
    for side in (0, 1):
        top = skeleton.points[SHOULDERS[side]] if skeleton.valid[SHOULDERS[side]] else shoulders
        bottom = skeleton.points[HIPS[side]] if skeleton.valid[HIPS[side]] else hips
        # Hip joints lie below the waist; the core stops well above them.
        corners.append((top, top + (bottom - top) * (0.72 + 0.2 * grow)))
    quad = np.stack([corners[0][0], corners[1][0], corners[1][1], corners[0][1]])
    shape = np.round(quad * (1 << _SUBPIXEL)).astype(np.int32)
    cv2.fillConvexPoly(canvas, cv2.convexHull(shape), 1, cv2.LINE_8, _SUBPIXEL)
    radius = TORSO_RADIUS * skeleton.torso * grow
    for start, stop in ((0, 1), (1, 2), (3, 0)):
        _draw_capsule(canvas, quad[start], quad[stop], radius)


def _draw_hips(canvas: np.ndarray, skeleton: Skeleton, grow: float) -> None:
    if skeleton.valid[HIPS].all():
        left, right = skeleton.points[HIPS]
        _draw_capsule(canvas, left, right, 0.15 * skeleton.torso * grow)


def _draw_limbs(
    canvas: np.ndarray,
    skeleton: Skeleton,
    limbs: tuple[tuple[str, str, float, float], ...],
    grow: float,
) -> None:
    for first, last, radius, reach in limbs:
        i, j = INDEX[first], INDEX[last]
        width = radius * skeleton.torso * grow
        if skeleton.valid[i] and skeleton.valid[j]:
            start, stop = skeleton.points[i], skeleton.points[j]
            _draw_capsule(canvas, start, stop + reach * (stop - start), width)
        for k in (i, j):
            if skeleton.valid[k]:
                _draw_capsule(canvas, skeleton.points[k], skeleton.points[k], width)


def _draw_capsule(canvas: np.ndarray, start: Floats, stop: Floats, radius: float) -> None:
    width = max(1, round(2 * radius))
    cv2.line(canvas, _fixed(start), _fixed(stop), 1, width, cv2.LINE_8, _SUBPIXEL)


def _fixed(point: Floats) -> tuple[int, int]:
    x, y = np.clip(np.round(point * (1 << _SUBPIXEL)), -30_000, 30_000).astype(int)
    return int(x), int(y)


def _fixed_length(value: float) -> int:
    return max(1, round(value * (1 << _SUBPIXEL)))
