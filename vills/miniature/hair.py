"""Hair and peaks that stand off the head."""

import numpy as np

from vills.miniature.palette import fill
from vills.miniature.parts import Part
from vills.miniature.stroke import Sitter, Stroke
from vills.miniature.texture import AROUND, turn

# From and to (behind the head's centre, below it), radii there; all in radii of the head.
_SHAPES = {
    "long": ((0.55, -0.2), (0.55, 1.9), 0.85, 0.80),
    "ponytail": ((0.95, -0.4), (1.25, 1.6), 0.34, 0.26),
    "bun": ((0.75, -1.0), (0.75, -0.95), 0.46, 0.46),
    "cap": ((-0.8, -0.25), (-1.35, -0.15), 0.16, 0.12),
}


def stroke_hair(sitter: Sitter) -> list[Stroke]:
    """Return what to paint of hair, or of a cap's peak, outside the skull."""
    identity, yaw = sitter.look.identity, sitter.place.yaw
    style = identity.hair_style
    if style not in _SHAPES:
        return []
    radius = identity.body.head * sitter.place.scale
    centre = sitter.joints["head"][:2]
    behind = np.array([-np.sin(yaw), 0.0])
    (back_a, down_a), (back_b, down_b), wide_a, wide_b = _SHAPES[style]
    start = centre + radius * (behind * back_a + np.array([0.0, down_a]))
    end = centre + radius * (behind * back_b + np.array([0.0, down_b]))
    radii = (radius * wide_a, radius * wide_b)
    colour = identity.hat_colour if style == "cap" else identity.hair_colour
    texture = turn(fill(2, AROUND, colour), yaw)
    # Towards the viewer when the back is turned; a peak points the other way.
    near = float(np.cos(yaw)) * (1.0 if style == "cap" else -1.0)
    over = near > (0.0 if style == "long" else -0.2)

    def paint() -> None:
        sitter.canvas.paint_tube(start, end, radii, texture, part=Part.HAIR)

    return [Stroke(0.012 if over else -0.012, paint)]
