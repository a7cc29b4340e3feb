"""Legs and arms: tapered tubes in trousers, sleeves or skin."""

from vills.miniature.parts import Part
from vills.miniature.stroke import Sitter, Stroke
from vills.miniature.texture import ROWS

_HALF = ROWS // 2


def stroke_leg(sitter: Sitter, side: str) -> list[Stroke]:
    """Return thigh, shin and foot of one side ("left" or "right")."""
    joints, bottom = sitter.joints, sitter.look.outfit.bottom
    hip, knee, ankle = (f"{side}_{name}" for name in ("hip", "knee", "ankle"))
    upper, lower, foot = (Part[f"{side}_{name}".upper()] for name in ("THIGH", "SHIN", "FOOT"))
    long = bottom == "trousers"
    cloth, bare = sitter.side.leg, sitter.side.skin
    thigh = bare if bottom == "skirt" else cloth[:_HALF] if long else cloth
    shin = cloth[_HALF:] if long else bare
    radius = sitter.look.identity.body.leg_radius * sitter.place.scale
    knee_radius = radius * (1.02 if bottom == "shorts" else 0.80)
    shin_radii = (radius * 0.78, radius * (0.66 if long else 0.5))
    sole = 0.023 * sitter.place.scale
    ends = (f"{side}_heel", f"{side}_toe")
    # Always behind the trunk: a jacket hangs over the thighs, from every side.
    depth = 0.1 * float(joints[hip][2] + joints[knee][2]) - 0.08
    low = min(depth, 0.1 * float(joints[knee][2] + joints[ankle][2]) - 0.08)
    return [
        Stroke(low - 0.012, sitter.tube(ends, (sole, sole * 0.85), sitter.side.shoe, foot)),
        Stroke(low - 0.004, sitter.tube((knee, ankle), shin_radii, shin, lower)),
        Stroke(depth, sitter.tube((hip, knee), (radius * 1.1, knee_radius), thigh, upper)),
    ]


def stroke_arm(sitter: Sitter, side: str) -> list[Stroke]:
    """Return upper arm, forearm and hand of one side ("left" or "right")."""
    joints, top = sitter.joints, sitter.look.outfit.top
    shoulder, elbow, wrist, hand = (
        f"{side}_{name}" for name in ("shoulder", "elbow", "wrist", "hand")
    )
    sleeve, bare = sitter.side.sleeve, sitter.side.skin
    covered = top in ("long_sleeve", "open_jacket")
    upper = bare if top == "vest" else sleeve[:_HALF]
    lower = sleeve[_HALF:] if covered else bare
    radius = sitter.look.identity.body.arm_radius * sitter.place.scale
    cuff = radius * (1.06 if covered else 0.77)
    up, fore = Part[f"{side}_UPPER_ARM".upper()], Part[f"{side}_FOREARM".upper()]
    depth = 0.5 * float(joints[shoulder][2] + joints[elbow][2]) + 0.03
    ahead = max(depth, 0.5 * float(joints[elbow][2] + joints[wrist][2]) + 0.03)
    palm = (radius * 0.8, radius * 0.8)
    return [
        Stroke(depth, sitter.tube((shoulder, elbow), (radius * 1.3, radius * 1.1), upper, up)),
        Stroke(ahead + 0.001, sitter.tube((wrist, hand), palm, bare, fore)),
        Stroke(ahead + 0.002, sitter.tube((elbow, wrist), (radius * 1.1, cuff), lower, fore)),
    ]
