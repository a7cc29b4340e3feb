"""The trunk: an elliptic cylinder from the shoulders to the hips, and the skirt or seat below."""

from collections.abc import Callable

import numpy as np

from vills.miniature.identity import Body
from vills.miniature.painter import Image, Vector
from vills.miniature.parts import Part
from vills.miniature.stroke import Sitter, Stroke

_SEAT_ROWS = 10  # rows of the trousers' map that the seat shows


def stroke_trunk(sitter: Sitter) -> list[Stroke]:
    """Return seat or skirt, neck and torso."""
    neck, pelvis = sitter.joints["neck"][:2], sitter.joints["pelvis"][:2]
    shares, widths = _measure_torso(sitter)
    torso = _outline(neck, pelvis, shares, widths)
    width = float(widths.max())
    throat = sitter.look.identity.body.head * 0.48 * sitter.place.scale
    return [
        _stroke_seat(sitter, float(widths[-1])),
        Stroke(
            -0.0005, sitter.tube(("head", "neck"), (throat, throat), sitter.side.skin, Part.NECK)
        ),
        Stroke(
            0.0,
            _sheet(sitter, torso, (neck, pelvis), width, sitter.side.torso, Part.TORSO),
        ),
    ]


def _measure_torso(sitter: Sitter) -> tuple[Vector, Vector]:
    """Levels from neck (0) to pelvis (1) and the half widths there, px."""
    body: Body = sitter.look.identity.body
    levels = np.array(
        [
            (-0.04, body.shoulder * 0.55, body.depth * 0.6),
            (0.06, body.shoulder * 1.02, body.depth * 0.95),
            (0.35, max(body.shoulder * 0.95, body.waist), body.depth),
            (0.70, body.waist, body.depth),
            (1.04, body.hip * 1.08, body.depth * 0.98),
        ]
    )
    # An elliptic cylinder seen at an angle.
    across, deep = np.cos(sitter.place.yaw), np.sin(sitter.place.yaw)
    widths = np.hypot(levels[:, 1] * across, levels[:, 2] * deep) * sitter.place.scale
    return levels[:, 0], widths


def _stroke_seat(sitter: Sitter, hips: float) -> Stroke:
    body, pelvis = sitter.look.identity.body, sitter.joints["pelvis"][:2]
    skirt = sitter.look.outfit.bottom == "skirt"
    down = pelvis + np.array([0.0, (0.62 if skirt else 0.18) * body.leg * sitter.place.scale])
    hem = hips * 0.92
    if skirt:
        # The cloth goes around both legs, wherever they are.
        knees = [sitter.joints[f"{side}_knee"][0] for side in ("left", "right")]
        reach = max(abs(float(knee - pelvis[0])) for knee in knees)
        hem = max(hips * 1.15, reach + body.leg_radius * sitter.place.scale)
    outline = _outline(pelvis, down, np.array([-0.2, 0.0, 1.0]), np.array([hips, hips, hem]))
    texture = sitter.side.leg if skirt else sitter.side.leg[:_SEAT_ROWS]
    width = max(hips, hem)
    return Stroke(-0.001, _sheet(sitter, outline, (pelvis, down), width, texture, Part.PELVIS))


def _outline(top: Vector, bottom: Vector, shares: Vector, widths: Vector) -> Vector:
    """Corners [2 R, 2] of a body of half `widths` [R] at `shares` [R] of the way down."""
    along = bottom - top
    length = max(float(np.hypot(*along)), 1e-6)
    across = np.array([along[1], -along[0]]) / length
    middle = top + shares[:, None] * along
    offset = widths[:, None] * across
    return np.concatenate((middle + offset, (middle - offset)[::-1]))


def _sheet(
    sitter: Sitter,
    outline: Vector,
    axis: tuple[Vector, Vector],
    width: float,
    texture: Image,
    part: Part,
) -> Callable[[], None]:
    top, along = axis[0], axis[1] - axis[0]
    across = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-6)
    rows, columns = texture.shape[:2]
    matrix = np.stack((across * 2 * width / columns, along / rows, top - across * width), axis=1)
    return lambda: sitter.canvas.paint(outline, texture, matrix, part=part)
