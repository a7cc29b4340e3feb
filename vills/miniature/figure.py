"""A dressed person, painted from the far parts to the near ones."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vills.miniature import accessories
from vills.miniature.head import build_head
from vills.miniature.identity import Identity
from vills.miniature.outfit import Outfit
from vills.miniature.painter import Canvas, Image, Vector
from vills.miniature.palette import fill
from vills.miniature.parts import Part
from vills.miniature.projection import Placement, project
from vills.miniature.texture import (
    AROUND,
    ROWS,
    Map,
    build_leg_map,
    build_sleeve_map,
    build_torso_map,
    turn,
)
from vills.miniature.walk import Point, Pose

Stroke = tuple[float, Callable[[], None]]  # depth towards the viewer, what to paint


@dataclass(frozen=True, slots=True)
class Look:
    """A person in an outfit, with the maps of the garments."""

    identity: Identity
    outfit: Outfit
    torso: Map
    sleeve: Map
    leg: Map
    skin: Map
    shoe: Map


@functools.lru_cache(maxsize=4096)
def build_look(identity: Identity, outfit: Outfit) -> Look:
    """Return the look of `identity` in `outfit`."""
    return Look(
        identity=identity,
        outfit=outfit,
        torso=accessories.strap(build_torso_map(outfit), identity),
        sleeve=build_sleeve_map(outfit),
        leg=build_leg_map(outfit),
        skin=fill(ROWS, AROUND, identity.skin),
        shoe=fill(ROWS, AROUND, outfit.shoe_colour),
    )


def draw_figure(canvas: Canvas, look: Look, pose: Pose, placement: Placement) -> dict[str, Point]:
    """Paint a person; return its joints as (x, y, depth) on the canvas."""
    joints = project(pose, placement)
    strokes: list[Stroke] = []
    for side in ("left", "right"):
        strokes += _stroke_leg(canvas, look, joints, placement, side)
        strokes += _stroke_arm(canvas, look, joints, placement, side)
    strokes += _stroke_trunk(canvas, look, joints, placement)
    strokes += _stroke_head(canvas, look, joints, placement)
    strokes += accessories.stroke_bag(canvas, look.identity, joints, placement)
    for _, paint in sorted(strokes, key=lambda stroke: stroke[0]):
        paint()
    return joints


def _tube(
    canvas: Canvas, joints: tuple[Point, Point], radii: tuple[float, float], skin: Image, part: Part
) -> Callable[[], None]:
    start, end = joints[0][:2], joints[1][:2]
    return lambda: canvas.paint_tube(start, end, radii, skin, part=part)


def _stroke_leg(
    canvas: Canvas, look: Look, joints: dict[str, Point], place: Placement, side: str
) -> list[Stroke]:
    hip, knee, ankle, heel, toe = (
        joints[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "heel", "toe")
    )
    radius = look.identity.body.leg_radius * place.scale
    long = look.outfit.bottom == "trousers"
    half = ROWS // 2
    cloth = turn(look.leg, place.yaw)
    bare = turn(look.skin, place.yaw)
    thigh = bare if look.outfit.bottom == "skirt" else cloth[: half if long else ROWS]
    shin = cloth[half:] if long else bare
    ankle_radius = radius * (0.66 if long else 0.5)
    upper, lower, foot = (Part[f"{side}_{name}".upper()] for name in ("THIGH", "SHIN", "FOOT"))
    knee_radius = radius * (0.80 if look.outfit.bottom != "shorts" else 1.02)
    # Always behind the trunk: a jacket hangs over the thighs, from every side.
    depth = 0.1 * (hip[2] + knee[2]) - 0.08
    low = 0.1 * (knee[2] + ankle[2]) - 0.08
    shoe = turn(look.shoe, place.yaw)
    sole = 0.023 * place.scale
    shin_radii = (radius * 0.78, ankle_radius)
    return [
        (min(low, depth) - 0.012, _tube(canvas, (heel, toe), (sole, sole * 0.85), shoe, foot)),
        (min(low, depth) - 0.004, _tube(canvas, (knee, ankle), shin_radii, shin, lower)),
        (depth, _tube(canvas, (hip, knee), (radius * 1.1, knee_radius), thigh, upper)),
    ]


def _stroke_arm(
    canvas: Canvas, look: Look, joints: dict[str, Point], place: Placement, side: str
) -> list[Stroke]:
    shoulder, elbow, wrist, hand = (
        joints[f"{side}_{name}"] for name in ("shoulder", "elbow", "wrist", "hand")
    )
    radius = look.identity.body.arm_radius * place.scale
    sleeve, bare = turn(look.sleeve, place.yaw), turn(look.skin, place.yaw)
    half = ROWS // 2
    upper = bare if look.outfit.top == "vest" else sleeve[:half]
    covered = look.outfit.top in ("long_sleeve", "open_jacket")
    lower = sleeve[half:] if covered else bare
    thick = radius * (1.18 if covered else 0.85)
    up, fore = Part[f"{side}_UPPER_ARM".upper()], Part[f"{side}_FOREARM".upper()]
    depth = 0.5 * (shoulder[2] + elbow[2]) + 0.03
    ahead = max(depth, 0.5 * (elbow[2] + wrist[2]) + 0.03)
    return [
        (depth, _tube(canvas, (shoulder, elbow), (radius * 1.3, radius * 1.1), upper, up)),
        (ahead + 0.001, _tube(canvas, (wrist, hand), (radius * 0.8, radius * 0.8), bare, fore)),
        (ahead + 0.002, _tube(canvas, (elbow, wrist), (radius * 1.1, thick * 0.9), lower, fore)),
    ]


def _half_width(width: float, depth: float, yaw: float) -> float:
    """Half width of an elliptic cylinder seen at `yaw`."""
    return float(np.hypot(width * np.cos(yaw), depth * np.sin(yaw)))


def _stroke_trunk(
    canvas: Canvas, look: Look, joints: dict[str, Point], place: Placement
) -> list[Stroke]:
    body, scale = look.identity.body, place.scale
    neck, pelvis = joints["neck"][:2], joints["pelvis"][:2]
    levels = (
        (-0.04, body.shoulder * 0.55, body.depth * 0.6),
        (0.06, body.shoulder * 1.02, body.depth * 0.95),
        (0.35, max(body.shoulder * 0.95, body.waist), body.depth),
        (0.70, body.waist, body.depth),
        (1.04, body.hip * 1.08, body.depth * 0.98),
    )
    widths = np.array([_half_width(w, d, place.yaw) * scale for _, w, d in levels])
    rows = np.array([level[0] for level in levels])
    torso = _stack(neck, pelvis, rows, widths)
    hips = widths[-1] * 0.99
    hem = 0.36 if look.outfit.bottom == "skirt" else 0.09
    flare = 1.25 if look.outfit.bottom == "skirt" else 0.92
    down = pelvis + np.array([0.0, hem * body.leg * 2 * scale])
    skirt = _stack(pelvis, down, np.array([-0.2, 0.0, 1.0]), np.array([hips, hips, hips * flare]))
    width = float(widths.max())
    cloth, leg = turn(look.torso, place.yaw, width=36), turn(look.leg, place.yaw)
    rows_shown = ROWS if look.outfit.bottom == "skirt" else 10
    skin = turn(look.skin, place.yaw)
    throat = body.head * 0.48 * scale
    head = joints["head"][:2]
    return [
        (-0.001, _sheet(canvas, skirt, (pelvis, down), hips, leg[:rows_shown], Part.PELVIS)),
        (0.0, _sheet(canvas, torso, (neck, pelvis), width, cloth, Part.TORSO)),
        (
            -0.0005,
            lambda: canvas.paint_tube(head, neck, (throat, throat), skin, part=Part.NECK),
        ),
    ]


def _stack(top: Vector, bottom: Vector, rows: Vector, widths: Vector) -> Vector:
    """Outline [2 R, 2] of a body of half `widths` [R] at shares `rows` [R] from top to bottom."""
    along = bottom - top
    length = max(float(np.hypot(*along)), 1e-6)
    across = np.array([along[1], -along[0]]) / length
    middle = top + rows[:, None] * along
    offset = widths[:, None] * across
    return np.concatenate((middle + offset, (middle - offset)[::-1]))


def _sheet(
    canvas: Canvas,
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
    return lambda: canvas.paint(outline, texture, matrix, part=part)


def _stroke_head(
    canvas: Canvas, look: Look, joints: dict[str, Point], place: Placement
) -> list[Stroke]:
    radius = look.identity.body.head * place.scale
    centre = joints["head"][:2]
    face = build_head(look.identity, place.yaw)
    axes = np.array([radius * 0.86, radius * 1.12])
    strokes: list[Stroke] = [
        (0.01, lambda: canvas.paint_disc(centre, axes, face, part=Part.HEAD)),
    ]
    return strokes + accessories.stroke_hair(canvas, look.identity, joints, place)
