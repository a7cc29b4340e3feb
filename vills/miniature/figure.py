"""A dressed person, painted from the far parts to the near ones, and the shadow below."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter

import cv2
import numpy as np

from vills.miniature.canvas import Canvas, Part, Vector
from vills.miniature.people import ROWS, Actor, Map, build_head, render_flat, render_turned
from vills.miniature.walk import Placement, Point, Pose, compute_joints

_HALF = ROWS // 2  # rows of a sleeve or a leg above the elbow or the knee
_SEAT_ROWS = 10  # rows of the trousers' map that the seat shows
_FLAP = ROWS // 5  # rows of a bag's map that are darker

# From and to (behind the head's centre, below it), radii there; all in radii of the head.
_HAIR_SHAPES = {
    "long": (((0.55, -0.2), (0.55, 1.9)), (0.85, 0.80)),
    "ponytail": (((0.95, -0.4), (1.25, 1.6)), (0.34, 0.26)),
    "bun": (((0.75, -1.0), (0.75, -0.95)), (0.46, 0.46)),
    "cap": (((-0.8, -0.25), (-1.35, -0.15)), (0.16, 0.12)),
}

# Half width across and along the way the person faces, half height; shares of the body's height.
_BAG_SIZES = {
    "backpack": (0.085, 0.050, 0.075),
    "shoulder_bag": (0.032, 0.065, 0.045),
    "handbag": (0.030, 0.070, 0.050),
}


Stroke = tuple[float, Callable[[], None]]
"""A part that waits for its turn: depth towards the viewer, in body heights, and its painting."""


@dataclass(frozen=True, slots=True)
class Sitter:
    """The person to be painted, as projected onto the canvas."""

    canvas: Canvas
    actor: Actor
    maps: dict[str, Map]
    """Those of the actor, as they show from the viewer's side."""
    joints: dict[str, Point]
    place: Placement

    def tube(
        self, depth: float, ends: tuple[str, str], radii: tuple[float, float], skin: Map, part: Part
    ) -> Stroke:
        """Return the painting of a limb between two joints."""
        start, end = (self.joints[name][:2] for name in ends)
        return depth, partial(self.canvas.paint_tube, start, end, radii, skin, part=part)


def render_figure(canvas: Canvas, actor: Actor, pose: Pose, place: Placement) -> dict[str, Point]:
    """Paint a person; return its joints as (x, y, depth) on the canvas."""
    maps = {name: render_turned(texture, place.yaw) for name, texture in actor.maps.items()}
    sitter = Sitter(canvas, actor, maps, compute_joints(pose, place), place)
    radius, centre = actor.identity.body.head * place.scale, sitter.joints["head"][:2]
    face, axes = build_head(actor.identity, place.yaw), np.array([radius * 0.86, radius * 1.12])
    strokes: list[Stroke] = [
        *_stroke_leg(sitter, "left"),
        *_stroke_leg(sitter, "right"),
        *_stroke_trunk(sitter),
        *_stroke_arm(sitter, "left"),
        *_stroke_arm(sitter, "right"),
        (0.01, partial(canvas.paint_disc, centre, axes, face, part=Part.HEAD)),
        *_stroke_hair(sitter),
        *_stroke_bag(sitter),
    ]
    for _, paint in sorted(strokes, key=itemgetter(0)):  # far ones first
        paint()
    return sitter.joints


def render_shadow(canvas: Canvas, place: Placement) -> None:
    """Darken the ground below a person."""
    axes = (int(place.scale * 0.14), int(place.scale * 0.025))
    left, right = int(place.x) - axes[0] - 1, int(place.x) + axes[0] + 2
    top, bottom = int(place.y) - axes[1] - 1, int(place.y) + axes[1] + 2
    region = canvas.colour[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if region.size == 0:
        return
    dark = (region * 0.7).astype(np.uint8)
    mask = np.zeros(region.shape[:2], dtype=np.uint8)
    centre = (int(place.x) - max(0, left), int(place.y) - max(0, top))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
    cv2.copyTo(dark, mask, region)


def _stroke_leg(sitter: Sitter, side: str) -> list[Stroke]:
    """Return foot, shin and thigh of one side ("left" or "right")."""
    joints, bottom = sitter.joints, sitter.actor.outfit.bottom
    hip, knee, ankle = (f"{side}_{name}" for name in ("hip", "knee", "ankle"))
    upper, lower, foot = (Part[f"{side}_{name}".upper()] for name in ("THIGH", "SHIN", "FOOT"))
    long = bottom == "trousers"
    cloth, bare = sitter.maps["leg"], sitter.maps["skin"]
    thigh = bare if bottom == "skirt" else cloth[:_HALF] if long else cloth
    shin = cloth[_HALF:] if long else bare
    radius = sitter.actor.identity.body.leg_radius * sitter.place.scale
    thigh_radii = (radius * 1.1, radius * (1.02 if bottom == "shorts" else 0.80))
    shin_radii = (radius * 0.78, radius * (0.66 if long else 0.5))
    sole = 0.023 * sitter.place.scale
    ends = (f"{side}_heel", f"{side}_toe")
    # Always behind the trunk: a jacket hangs over the thighs, from every side.
    depth = 0.1 * float(joints[hip][2] + joints[knee][2]) - 0.08
    low = min(depth, 0.1 * float(joints[knee][2] + joints[ankle][2]) - 0.08)
    return [
        sitter.tube(low - 0.012, ends, (sole, sole * 0.85), sitter.maps["shoe"], foot),
        sitter.tube(low - 0.004, (knee, ankle), shin_radii, shin, lower),
        sitter.tube(depth, (hip, knee), thigh_radii, thigh, upper),
    ]


def _stroke_arm(sitter: Sitter, side: str) -> list[Stroke]:
    """Return upper arm, hand and forearm of one side ("left" or "right")."""
    joints, top = sitter.joints, sitter.actor.outfit.top
    shoulder, elbow, wrist, hand = (
        f"{side}_{name}" for name in ("shoulder", "elbow", "wrist", "hand")
    )
    sleeve, bare = sitter.maps["sleeve"], sitter.maps["skin"]
    covered = top in ("long_sleeve", "open_jacket")
    upper = bare if top == "vest" else sleeve[:_HALF]
    lower = sleeve[_HALF:] if covered else bare
    radius = sitter.actor.identity.body.arm_radius * sitter.place.scale
    palm, cuff = radius * 0.8, radius * (1.06 if covered else 0.77)
    up, fore = Part[f"{side}_UPPER_ARM".upper()], Part[f"{side}_FOREARM".upper()]
    depth = 0.5 * float(joints[shoulder][2] + joints[elbow][2]) + 0.03
    ahead = max(depth, 0.5 * float(joints[elbow][2] + joints[wrist][2]) + 0.03)
    return [
        sitter.tube(depth, (shoulder, elbow), (radius * 1.3, radius * 1.1), upper, up),
        sitter.tube(ahead + 0.001, (wrist, hand), (palm, palm), bare, fore),
        sitter.tube(ahead + 0.002, (elbow, wrist), (radius * 1.1, cuff), lower, fore),
    ]


def _stroke_trunk(sitter: Sitter) -> list[Stroke]:
    """Return seat or skirt, neck and torso."""
    body, scale, yaw = sitter.actor.identity.body, sitter.place.scale, sitter.place.yaw
    # Shares of the way from neck to pelvis; half width across and deep there.
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
    widths = np.hypot(levels[:, 1] * np.cos(yaw), levels[:, 2] * np.sin(yaw)) * scale
    ends = (sitter.joints["neck"][:2], sitter.joints["pelvis"][:2])
    throat = body.head * 0.48 * scale
    torso = _wrap(sitter, ends, levels[:, 0], widths, sitter.maps["torso"], Part.TORSO)
    return [
        (-0.001, _paint_seat(sitter, float(widths[-1]))),
        sitter.tube(-0.0005, ("head", "neck"), (throat, throat), sitter.maps["skin"], Part.NECK),
        (0.0, torso),
    ]


def _paint_seat(sitter: Sitter, hips: float) -> Callable[[], None]:
    body, pelvis = sitter.actor.identity.body, sitter.joints["pelvis"][:2]
    skirt = sitter.actor.outfit.bottom == "skirt"
    down = pelvis + np.array([0.0, (0.62 if skirt else 0.18) * body.leg * sitter.place.scale])
    hem = hips * 0.92
    if skirt:
        # The cloth goes around both legs, wherever they are.
        knees = [sitter.joints[f"{side}_knee"][0] for side in ("left", "right")]
        reach = max(abs(float(knee - pelvis[0])) for knee in knees)
        hem = max(hips * 1.15, reach + body.leg_radius * sitter.place.scale)
    shares, widths = np.array([-0.2, 0.0, 1.0]), np.array([hips, hips, hem])
    texture = sitter.maps["leg"] if skirt else sitter.maps["leg"][:_SEAT_ROWS]
    return _wrap(sitter, (pelvis, down), shares, widths, texture, Part.PELVIS)


def _wrap(
    sitter: Sitter,
    ends: tuple[Vector, Vector],
    shares: Vector,
    widths: Vector,
    texture: Map,
    part: Part,
) -> Callable[[], None]:
    """Return the painting of a body of half `widths` [R] at `shares` [R] of the way down."""
    top, along = ends[0], ends[1] - ends[0]
    across = np.array([along[1], -along[0]]) / max(float(np.hypot(*along)), 1e-6)
    middle, offset = top + shares[:, None] * along, widths[:, None] * across
    outline = np.concatenate((middle + offset, (middle - offset)[::-1]))
    rows, columns = texture.shape[:2]
    width = float(widths.max())
    matrix = np.stack((across * 2 * width / columns, along / rows, top - across * width), axis=1)
    return partial(sitter.canvas.paint, outline, texture, matrix, part=part)


def _stroke_hair(sitter: Sitter) -> list[Stroke]:
    """Return what to paint of hair, or of a cap's peak, outside the skull."""
    identity, yaw = sitter.actor.identity, sitter.place.yaw
    style = identity.hair_style
    if style not in _HAIR_SHAPES:
        return []
    radius = identity.body.head * sitter.place.scale
    centre = sitter.joints["head"][:2]
    behind = np.array([-np.sin(yaw), 0.0])
    points, wide = _HAIR_SHAPES[style]
    start, end = (
        centre + radius * (behind * back + np.array([0.0, down])) for back, down in points
    )
    radii = (radius * wide[0], radius * wide[1])
    texture = render_turned(
        render_flat(2, identity.hat_colour if style == "cap" else identity.hair_colour), yaw
    )
    # Towards the viewer when the back is turned; a peak points the other way.
    near = float(np.cos(yaw)) * (1.0 if style == "cap" else -1.0)
    over = near > (0.0 if style == "long" else -0.2)
    paint = partial(sitter.canvas.paint_tube, start, end, radii, texture, part=Part.HAIR)
    return [(0.012 if over else -0.012, paint)]


def _stroke_bag(sitter: Sitter) -> list[Stroke]:
    """Return what to paint of the person's bag: on the back, at the hip or in the hand."""
    identity = sitter.actor.identity
    if identity.bag == "none":
        return []
    scale, yaw = sitter.place.scale, sitter.place.yaw
    across, along, high = _BAG_SIZES[identity.bag]
    side = "left" if identity.bag_side > 0 else "right"
    if identity.bag == "backpack":
        centre = sitter.joints["back"].copy()
    elif identity.bag == "shoulder_bag":
        centre = sitter.joints[f"{side}_hip"].copy()
        centre[0] += np.cos(yaw) * identity.bag_side * identity.body.hip * 0.75 * scale
        centre[2] = centre[2] * 2 + 0.02
    else:
        centre = sitter.joints[f"{side}_hand"] + np.array([0.0, 0.085 * scale, 0.02])
    width = float(np.hypot(across * np.cos(yaw), along * np.sin(yaw))) * scale
    texture = render_turned(render_flat(ROWS, identity.bag_colour), yaw)
    texture[:_FLAP] = (texture[:_FLAP] * 0.7).astype(np.uint8)
    reach = np.array([0.0, high * scale])
    start, end = centre[:2] - reach, centre[:2] + reach
    paint = partial(sitter.canvas.paint_tube, start, end, (width, width), texture, part=Part.BAG)
    return [(float(centre[2]), paint)]
