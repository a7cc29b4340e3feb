"""The places that areas of a body take, drawn from its skeleton: capsules, hulls, an ellipse.

Shapes: n = 17 COCO keypoints; H, W of the canvas.
Lengths are in torso lengths (middle of the shoulders to middle of the hips, about .5 m for an
adult), so that one table serves any resolution.
"""

import cv2
import numpy as np

from vills.areas import AREA_KEYPOINTS
from vills.lse.crop import Floats, Mask
from vills.lse.skeleton import HIPS, INDEX, SHOULDERS, Skeleton, build_skeleton

# Chains of joints, the radius at each, and the share by which the last limb reaches past its end.
ARM_RADIUS, LEG_RADIUS = 0.09, 0.13
ARMS = tuple(
    ((f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"), ARM_RADIUS, 0.3)
    for side in ("left", "right")
)
LEGS = tuple(
    ((f"{side}_hip", f"{side}_knee", f"{side}_ankle"), LEG_RADIUS, 0.2)
    for side in ("left", "right")
)
JOINT_RADIUS = 0.06  # around a joint, in every shape of its area
LIMB_LENGTH = 0.75  # of a thigh or a shin; arms are shorter, and hang
DISC_RADIUS = 0.12  # around a keypoint alone
HEAD_RADIUS = (0.2, 0.25)  # half width, half height
HEAD_LIFT = -0.02  # of the ellipse above the ears
NECK_RADIUS = 0.08
TORSO_RADIUS = 0.13  # around the quadrangle of shoulders and hips
TORSO_DEPTH = 0.26  # half of its least width, seen from the side
WAIST = 0.95  # where the torso ends, on the way from the shoulders to the hip joints
HIP_RADIUS = 0.16
_SUBPIXEL = 4  # bits of fraction that cv2's drawing takes


class Places:
    """The places that areas take on one crop, each drawn once: its cuts ask again and again.

    Nobody may write into a mask that was given.

    Args:
        points: [n, 2] px of the canvas.
        size: (H, W) of the canvas.
    """

    def __init__(self, points: Floats, *, size: tuple[int, int]) -> None:
        self.points = points
        self.size = size
        self._skeletons: dict[bytes, Skeleton] = {}
        self._drawn: dict[tuple[bytes, str, float, bool], Mask] = {}

    def draw(self, area: str, *, valid: Mask, grow: float, reach: bool = False) -> Mask:
        """Fill the place [H, W] that an area is expected to take, or may reach at most.

        Args:
            area: head, upper_body or lower_body.
            valid: [n] usable keypoints.
            grow: factor on every radius; below 1 the core of the area.
            reach: what it may take at most: a skirt, or a limb whose lower joints are not usable.
        """
        key = valid.tobytes(), area, grow, reach
        if key not in self._drawn:
            canvas, skeleton = np.zeros(self.size, np.uint8), self._build(valid)
            _draw_area(canvas, skeleton, area, grow)
            if reach:
                _draw_unseen(canvas, skeleton, area, grow)
            if reach and area == "lower_body":
                _draw_skirt(canvas, skeleton)
            self._drawn[key] = canvas.astype(bool)
        return self._drawn[key]

    def draw_discs(self, chosen: Mask, *, valid: Mask, grow: float) -> Mask:
        """Fill discs [H, W] of an arm's width around the `chosen` keypoints [n], usable or not."""
        canvas, torso = np.zeros(self.size, np.uint8), self._build(valid).torso
        for point in self.points[chosen]:
            _draw_capsule(canvas, point, point, DISC_RADIUS * torso * grow)
        return canvas.astype(bool)

    def _build(self, valid: Mask) -> Skeleton:
        key = valid.tobytes()
        if key not in self._skeletons:
            height = self.size[0]
            self._skeletons[key] = build_skeleton(self.points, valid=valid, height=height)
        return self._skeletons[key]


def _draw_area(canvas: np.ndarray, skeleton: Skeleton, area: str, grow: float) -> None:
    if area == "head":
        _draw_head(canvas, skeleton, grow)
        return
    if area == "upper_body":
        _draw_torso(canvas, skeleton, grow)
        _draw_limbs(canvas, skeleton, ARMS, grow)
    else:
        _draw_limbs(canvas, skeleton, LEGS, grow)
        if skeleton.valid[HIPS].all():
            left, right = skeleton.points[HIPS]
            _draw_capsule(canvas, left, right, HIP_RADIUS * skeleton.torso * grow)
    # a point says by itself that here is the area, however thin the core around it
    for i in (INDEX[name] for name in AREA_KEYPOINTS[area]):
        if skeleton.valid[i]:
            point = skeleton.points[i]
            _draw_capsule(canvas, point, point, JOINT_RADIUS * skeleton.torso)


def _draw_head(canvas: np.ndarray, skeleton: Skeleton, grow: float) -> None:
    centre = skeleton.find_head()
    if centre is None:
        return
    torso = skeleton.torso
    up = np.array([0.0, -1.0], np.float32)
    shoulders = skeleton.middle(SHOULDERS)
    if shoulders is not None and np.linalg.norm(centre - shoulders) > 0.2 * torso:
        up = (centre - shoulders) / np.linalg.norm(centre - shoulders)
        neck = shoulders + 0.1 * torso * up
        _draw_capsule(canvas, centre, neck, NECK_RADIUS * torso * grow)
    axes = [max(1, round(radius * torso * grow * (1 << _SUBPIXEL))) for radius in HEAD_RADIUS]
    angle = float(np.degrees(np.arctan2(up[1], up[0]))) + 90.0
    where = _fixed(centre + HEAD_LIFT * torso * up)
    cv2.ellipse(canvas, where, (axes[0], axes[1]), angle, 0, 360, 1, -1, cv2.LINE_8, _SUBPIXEL)


def _draw_torso(canvas: np.ndarray, skeleton: Skeleton, grow: float) -> None:
    shoulders, hips = skeleton.middle(SHOULDERS), skeleton.find_pelvis()
    if shoulders is None or hips is None:
        return
    corners = []
    for side in (0, 1):
        top = skeleton.points[SHOULDERS[side]] if skeleton.valid[SHOULDERS[side]] else shoulders
        bottom = skeleton.points[HIPS[side]] if skeleton.valid[HIPS[side]] else hips
        # Hip joints lie below the waist; a core (grow < 1) stops well above them.
        corners.append((top, top + (bottom - top) * (WAIST - 0.25 * max(0.0, 1.0 - grow))))
    quad = np.stack([corners[0][0], corners[1][0], corners[1][1], corners[0][1]])
    shape = np.round(quad * (1 << _SUBPIXEL)).astype(np.int32)
    cv2.fillConvexPoly(canvas, cv2.convexHull(shape), 1, cv2.LINE_8, _SUBPIXEL)
    radius = TORSO_RADIUS * skeleton.torso * grow
    for start, stop in ((0, 1), (1, 2), (3, 0)):
        _draw_capsule(canvas, quad[start], quad[stop], radius)
    depth = TORSO_DEPTH * skeleton.torso * grow
    low = shoulders + (hips - shoulders) * WAIST
    along = (low - shoulders) / max(float(np.linalg.norm(low - shoulders)), 1e-6)
    _draw_capsule(canvas, shoulders + 0.6 * depth * along, low - depth * along, depth)


def _draw_limbs(
    canvas: np.ndarray,
    skeleton: Skeleton,
    chains: tuple[tuple[tuple[str, ...], float, float], ...],
    grow: float,
) -> None:
    for names, radius, reach in chains:
        width = radius * skeleton.torso * grow
        # A joint that is not usable is skipped: hip to ankle, when the knee is hidden.
        joints = [INDEX[name] for name in names if skeleton.valid[INDEX[name]]]
        for i in joints[:1]:
            _draw_capsule(canvas, skeleton.points[i], skeleton.points[i], width)
        for i, j in zip(joints, joints[1:], strict=False):
            start, stop = skeleton.points[i], skeleton.points[j]
            past = reach if j == INDEX[names[-1]] else 0.0
            _draw_capsule(canvas, start, stop + past * (stop - start), width)


def _draw_skirt(canvas: np.ndarray, skeleton: Skeleton) -> None:
    """Fill a skirt between hips and knees, or the ankles below knees that it hides."""
    corners = [i for i in HIPS if skeleton.valid[i]]
    for side in ("left", "right"):
        lower = [INDEX[f"{side}_knee"], INDEX[f"{side}_ankle"]]
        corners += [i for i in lower if skeleton.valid[i]][:1]
    if len(corners) > 2:
        shape = np.round(skeleton.points[corners] * (1 << _SUBPIXEL)).astype(np.int32)
        cv2.fillConvexPoly(canvas, cv2.convexHull(shape), 1, cv2.LINE_8, _SUBPIXEL)


def _draw_unseen(canvas: np.ndarray, skeleton: Skeleton, area: str, grow: float) -> None:
    """Draw the parts of limbs whose joints are not usable; colours decide if they are there.

    A limb hangs on from its last usable joint, and comes from where the trunk must be to its first.
    """
    chains = {"upper_body": ARMS, "lower_body": LEGS}.get(area, ())
    trunk = skeleton.middle(SHOULDERS) if area == "upper_body" else skeleton.find_pelvis()
    for names, radius, _ in chains:
        joints = [number for number, name in enumerate(names) if skeleton.valid[INDEX[name]]]
        if not joints:
            continue
        width = radius * skeleton.torso * grow
        first, last = (skeleton.points[INDEX[names[joints[end]]]] for end in (0, -1))
        if joints[-1] < len(names) - 1:
            length = LIMB_LENGTH * skeleton.torso * (len(names) - 1 - joints[-1])
            _draw_capsule(canvas, last, last + np.array([0.0, length], np.float32), width)
        if joints[0] > 0 and trunk is not None:
            _draw_capsule(canvas, trunk, first, width)


def _draw_capsule(canvas: np.ndarray, start: Floats, stop: Floats, radius: float) -> None:
    width = max(1, round(2 * radius))
    cv2.line(canvas, _fixed(start), _fixed(stop), 1, width, cv2.LINE_8, _SUBPIXEL)


def _fixed(point: Floats) -> tuple[int, int]:
    # Plain numbers: hundreds of points are drawn for a picture, each too small for NumPy.
    x, y = (min(max(v * (1 << _SUBPIXEL), -30_000.0), 30_000.0) for v in point.tolist())
    return round(x), round(y)
