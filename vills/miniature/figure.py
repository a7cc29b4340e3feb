"""A dressed person, painted from the far parts to the near ones."""

import numpy as np

from vills.miniature.bag import stroke_bag
from vills.miniature.hair import stroke_hair
from vills.miniature.head import build_head
from vills.miniature.limbs import stroke_arm, stroke_leg
from vills.miniature.look import Look, turn_look
from vills.miniature.painter import Canvas
from vills.miniature.parts import Part
from vills.miniature.projection import Placement, project
from vills.miniature.stroke import Sitter, Stroke
from vills.miniature.trunk import stroke_trunk
from vills.miniature.walk import Point, Pose


def draw_figure(canvas: Canvas, look: Look, pose: Pose, placement: Placement) -> dict[str, Point]:
    """Paint a person; return its joints as (x, y, depth) on the canvas."""
    sitter = Sitter(
        canvas=canvas,
        look=look,
        side=turn_look(look, placement.yaw),
        joints=project(pose, placement),
        place=placement,
    )
    strokes = [
        *stroke_leg(sitter, "left"),
        *stroke_leg(sitter, "right"),
        *stroke_trunk(sitter),
        *stroke_arm(sitter, "left"),
        *stroke_arm(sitter, "right"),
        _stroke_head(sitter),
        *stroke_hair(sitter),
        *stroke_bag(sitter),
    ]
    for stroke in sorted(strokes, key=lambda stroke: stroke.depth):
        stroke.paint()
    return sitter.joints


def _stroke_head(sitter: Sitter) -> Stroke:
    radius = sitter.look.identity.body.head * sitter.place.scale
    centre = sitter.joints["head"][:2]
    face = build_head(sitter.look.identity, sitter.place.yaw)
    axes = np.array([radius * 0.86, radius * 1.12])
    return Stroke(0.01, lambda: sitter.canvas.paint_disc(centre, axes, face, part=Part.HEAD))
