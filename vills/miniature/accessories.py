"""Hair that hangs or stands off the head, and bags with their straps."""

from collections.abc import Callable

import numpy as np

from vills.miniature.identity import Identity
from vills.miniature.painter import Canvas
from vills.miniature.palette import fill, shade
from vills.miniature.parts import Part
from vills.miniature.projection import Placement
from vills.miniature.texture import AROUND, ROWS, Map, turn
from vills.miniature.walk import Point

Stroke = tuple[float, Callable[[], None]]


def strap(torso: Map, identity: Identity) -> Map:
    """Return the torso map with the straps of the bag over it."""
    worn = torso.copy()
    column = np.arange(AROUND) / AROUND - 0.5
    row = np.arange(ROWS) / ROWS
    colour = shade(identity.bag_colour, 0.8)
    if identity.bag == "backpack":
        front = np.abs(np.abs(column) - 0.115) < 0.024
        worn[np.ix_(row < 0.6, front)] = colour
    elif identity.bag == "shoulder_bag":
        # From the shoulder away from the bag, over chest and back, down to the bag's hip.
        ahead = 0.25 - np.abs(np.abs(column) - 0.25)  # 0 at front and back, 0.25 at the sides
        to_bag = identity.bag_side * np.sign(column) * np.where(np.abs(column) < 0.25, 1.0, 1.0)
        offset = to_bag * ahead * 2.0 + 0.5
        worn[np.abs(row[:, None] - offset[None, :]) < 0.07] = colour
    return worn


def stroke_bag(
    canvas: Canvas, identity: Identity, joints: dict[str, Point], place: Placement
) -> list[Stroke]:
    """Return what to paint of the person's bag."""
    if identity.bag == "none":
        return []
    scale, yaw = place.scale, place.yaw
    texture = turn(fill(ROWS, AROUND, identity.bag_colour), yaw)
    texture[: ROWS // 5] = (texture[: ROWS // 5] * 0.7).astype(np.uint8)
    side = "left" if identity.bag_side > 0 else "right"
    if identity.bag == "backpack":
        centre = joints["back"]
        width = float(np.hypot(0.085 * np.cos(yaw), 0.05 * np.sin(yaw))) * scale
        reach, depth = np.array([0.0, 0.075 * scale]), centre[2]
    elif identity.bag == "shoulder_bag":
        hip = joints[f"{side}_hip"]
        out = np.array([np.cos(yaw), 0.0]) * identity.bag_side * identity.body.hip * 0.75 * scale
        centre = hip.copy()
        centre[:2] += out
        width = float(np.hypot(0.032 * np.cos(yaw), 0.065 * np.sin(yaw))) * scale
        depth = hip[2] * 2 + 0.02
        reach = np.array([0.0, 0.045 * scale])
    else:
        centre = joints[f"{side}_hand"].copy()
        centre[1] += 0.085 * scale
        width = float(np.hypot(0.030 * np.cos(yaw), 0.070 * np.sin(yaw))) * scale
        reach, depth = np.array([0.0, 0.050 * scale]), centre[2] + 0.02
    middle = centre[:2]
    return [
        (
            float(depth),
            lambda: canvas.paint_tube(
                middle - reach, middle + reach, (width, width), texture, part=Part.BAG
            ),
        )
    ]


def stroke_hair(
    canvas: Canvas, identity: Identity, joints: dict[str, Point], place: Placement
) -> list[Stroke]:
    """Return what to paint of hair outside the skull."""
    if identity.hair_style not in ("long", "ponytail", "bun", "cap"):
        return []
    radius = identity.body.head * place.scale
    yaw = place.yaw
    centre = joints["head"][:2]
    behind = np.array([-np.sin(yaw), 0.0])
    depth = -float(np.cos(yaw))  # towards the viewer when the person's back is turned
    colour = identity.hat_colour if identity.hair_style == "cap" else identity.hair_colour
    texture = turn(fill(ROWS, AROUND, colour), yaw)
    shapes = {
        # start, end (radii of the head), start and end radius
        "long": ((0.55, -0.2), (0.55, 1.9), 0.85, 0.80),
        "ponytail": ((0.95, -0.4), (1.25, 1.6), 0.34, 0.26),
        "bun": ((0.75, -1.0), (0.75, -0.95), 0.46, 0.46),
        "cap": ((-0.8, -0.25), (-1.35, -0.15), 0.16, 0.12),
    }
    (back_a, down_a), (back_b, down_b), radius_a, radius_b = shapes[identity.hair_style]
    start = centre + radius * (behind * back_a + np.array([0.0, down_a]))
    end = centre + radius * (behind * back_b + np.array([0.0, down_b]))
    if identity.hair_style == "cap":
        depth = -depth
    radii = (radius * radius_a, radius * radius_b)
    part = Part.HAIR
    return [
        (
            0.011 if depth > -0.2 and identity.hair_style != "long" else 0.012 * np.sign(depth),
            lambda: canvas.paint_tube(start, end, radii, texture, part=part),
        )
    ]
