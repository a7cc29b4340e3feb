"""Bags: on the back, at the hip, in the hand."""

import numpy as np

from vills.miniature.palette import fill
from vills.miniature.parts import Part
from vills.miniature.stroke import Sitter, Stroke
from vills.miniature.texture import AROUND, ROWS, turn

_FLAP = ROWS // 5

# Half width across and along the way the person faces, half height; shares of the body's height.
_SIZES = {
    "backpack": (0.085, 0.050, 0.075),
    "shoulder_bag": (0.032, 0.065, 0.045),
    "handbag": (0.030, 0.070, 0.050),
}


def stroke_bag(sitter: Sitter) -> list[Stroke]:
    """Return what to paint of the person's bag."""
    identity = sitter.look.identity
    if identity.bag == "none":
        return []
    scale, yaw = sitter.place.scale, sitter.place.yaw
    across, along, high = _SIZES[identity.bag]
    side = "left" if identity.bag_side > 0 else "right"
    if identity.bag == "backpack":
        centre = sitter.joints["back"].copy()
    elif identity.bag == "shoulder_bag":
        centre = sitter.joints[f"{side}_hip"].copy()
        centre[0] += np.cos(yaw) * identity.bag_side * identity.body.hip * 0.75 * scale
        centre[2] = centre[2] * 2 + 0.02
    else:
        centre = sitter.joints[f"{side}_hand"].copy()
        centre[1] += 0.085 * scale
        centre[2] += 0.02
    width = float(np.hypot(across * np.cos(yaw), along * np.sin(yaw))) * scale
    texture = turn(fill(ROWS, AROUND, identity.bag_colour), yaw)
    texture[:_FLAP] = (texture[:_FLAP] * 0.7).astype(np.uint8)
    reach = np.array([0.0, high * scale])
    start, end = centre[:2] - reach, centre[:2] + reach

    def paint() -> None:
        sitter.canvas.paint_tube(start, end, (width, width), texture, part=Part.BAG)

    return [Stroke(float(centre[2]), paint)]
