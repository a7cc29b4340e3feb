"""Body parts that the painter tells apart, their areas, and which parts show a keypoint."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from vills.areas import AREAS, KEYPOINTS
from vills.miniature.painter import PARTS_PER_INSTANCE


class Part(IntEnum):
    """What a pixel of a person shows."""

    HEAD = 1
    HAIR = 2
    NECK = 3
    TORSO = 4
    LEFT_UPPER_ARM = 5
    RIGHT_UPPER_ARM = 6
    LEFT_FOREARM = 7
    RIGHT_FOREARM = 8
    PELVIS = 9
    LEFT_THIGH = 10
    RIGHT_THIGH = 11
    LEFT_SHIN = 12
    RIGHT_SHIN = 13
    LEFT_FOOT = 14
    RIGHT_FOOT = 15
    BAG = 16


_AREA_PARTS: dict[str, tuple[Part, ...]] = {
    "head": (Part.HEAD, Part.HAIR, Part.NECK),
    "upper_body": (
        Part.TORSO,
        Part.LEFT_UPPER_ARM,
        Part.RIGHT_UPPER_ARM,
        Part.LEFT_FOREARM,
        Part.RIGHT_FOREARM,
    ),
    "lower_body": (
        Part.PELVIS,
        Part.LEFT_THIGH,
        Part.RIGHT_THIGH,
        Part.LEFT_SHIN,
        Part.RIGHT_SHIN,
        Part.LEFT_FOOT,
        Part.RIGHT_FOOT,
    ),
}


def _build_lookup() -> NDArray[np.uint8]:
    table = np.zeros(PARTS_PER_INSTANCE, dtype=np.uint8)
    for number, area in enumerate(AREAS, start=1):
        table[list(_AREA_PARTS[area])] = number
    return table


AREA_NUMBERS = _build_lookup()
"""[32] area of a part, 1 for the first of AREAS; 0 for a part of none."""


def _get_parts(name: str) -> tuple[Part, ...]:
    if not name.startswith(("left_", "right_")):
        return (Part.HEAD,)
    side, joint = name.split("_")
    own = {
        "eye": ("HEAD",),
        "ear": ("HEAD",),
        "shoulder": (f"{side}_UPPER_ARM", "TORSO"),
        "elbow": (f"{side}_UPPER_ARM", f"{side}_FOREARM"),
        "wrist": (f"{side}_FOREARM",),
        "hip": ("PELVIS", "TORSO", f"{side}_THIGH"),
        "knee": (f"{side}_THIGH", f"{side}_SHIN"),
        "ankle": (f"{side}_SHIN", f"{side}_FOOT"),
    }[joint]
    return tuple(Part[part.upper()] for part in own)


KEYPOINT_PARTS: dict[str, frozenset[int]] = {
    name: frozenset(_get_parts(name)) for name in KEYPOINTS
}
