"""A person: body, gait, hair and bag, whatever the clothes; and the outfits to choose from.

Everyone dresses from the same few colour sets: a colour says little about who wears it, which
colour sits where says more. Colours are RGB, 0-255.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeVar

import numpy as np

from vills.miniature import Stream, sample_rng

T = TypeVar("T")
Colour = tuple[int, int, int]

CLOTHES: Final[dict[str, Colour]] = {
    "black": (38, 38, 42),
    "white": (222, 222, 216),
    "grey": (128, 130, 132),
    "navy": (42, 54, 104),
    "denim": (88, 122, 166),
    "red": (172, 52, 50),
    "maroon": (104, 38, 54),
    "olive": (98, 104, 58),
    "khaki": (190, 168, 126),
    "green": (48, 120, 82),
    "mustard": (206, 164, 56),
    "pink": (208, 142, 154),
    "brown": (110, 74, 48),
    "teal": (54, 126, 134),
}

# Sets of three: most contain a dark, a light and a coloured garment, and every colour is in
# several sets, so that people who share all their colours differ by where they wear them.
COLOUR_SETS: Final[tuple[tuple[str, str, str], ...]] = (
    ("black", "white", "red"),
    ("navy", "white", "grey"),
    ("black", "denim", "mustard"),
    ("olive", "khaki", "black"),
    ("maroon", "grey", "white"),
    ("teal", "khaki", "navy"),
    ("brown", "denim", "white"),
    ("pink", "navy", "grey"),
    ("green", "black", "khaki"),
    ("red", "denim", "grey"),
)

HAIR: Final[tuple[Colour, ...]] = (
    (28, 24, 24),
    (62, 42, 30),
    (112, 76, 44),
    (186, 152, 96),
    (150, 148, 146),
    (124, 54, 34),
)

SKIN: Final[tuple[Colour, ...]] = (
    (236, 200, 176),
    (218, 176, 142),
    (184, 138, 104),
    (134, 94, 68),
    (92, 64, 48),
)

HAIR_STYLES = ("bald", "short", "medium", "long", "ponytail", "bun", "cap", "beanie")
BAGS = ("none", "none", "backpack", "shoulder_bag", "handbag")
TOPS = ("short_sleeve", "long_sleeve", "long_sleeve", "open_jacket", "vest")
TOP_PATTERNS = (
    "plain",
    "hoops",
    "pinstripes",
    "checks",
    "yoke",
    "hem",
    "chest_band",
    "dots",
    "diagonal",
    "logo",
)
BOTTOMS = ("trousers", "trousers", "trousers", "shorts", "skirt")
BOTTOM_PATTERNS = ("plain", "plain", "side_stripe", "checks", "knee_panel", "cuffs")
SHOES = ("black", "white", "brown", "red")
LOGOS = ("disc", "bar", "cross", "triangle", "ring")


class Group(IntEnum):
    """Which part of the world a person lives in; no person is in two."""

    PRETRAIN = 0
    TRAIN = 1
    TEST = 2
    DISTRACTOR = 3
    PRCC = 4
    LTCC = 5
    PRID2011 = 6
    SIGSET = 7


@dataclass(frozen=True, slots=True)
class Body:
    """Proportions as shares of the person's height, except `height`."""

    height: float
    """Metres; decides how large a person is in a scene."""
    leg: float
    """Height of the hips above the ground."""
    shoulder: float
    """Half the distance of the shoulder joints."""
    waist: float
    """Half width of the waist."""
    hip: float
    """Half width of the hips."""
    depth: float
    """Half depth of the trunk."""
    head: float
    """Radius of the head."""
    arm_radius: float
    leg_radius: float


@dataclass(frozen=True, slots=True)
class Gait:
    """How a person walks; angles in radians, lengths as shares of the height."""

    frequency: float
    """Cycles (two steps) per second."""
    stride: float
    """Largest angle of the thigh."""
    knee_lift: float
    arm_swing: float
    elbow_bend: float
    lean: float
    """Forward tilt of the trunk."""
    sway: float
    """Sideways travel of the hips."""
    twist: float
    """Rotation of the shoulders against the hips."""
    toe_out: float


@dataclass(frozen=True, slots=True)
class Identity:
    """A person of the world."""

    group: Group
    index: int
    body: Body
    gait: Gait
    skin: Colour
    hair_style: str
    hair_colour: Colour
    hat_colour: Colour
    bag: str
    bag_colour: Colour
    bag_side: int
    """+1: at the person's left, -1: at the right."""


@functools.lru_cache(maxsize=4096)
def build_identity(seed: int, group: Group, index: int) -> Identity:
    """Return person `index` of a group; the same for every size of the world."""
    rng = sample_rng(seed, Stream.IDENTITY, group, index)
    colours = list(CLOTHES.values())
    girth = rng.uniform(0.0, 1.0)  # thin to stout: widths go together, as they do in people
    jitter = rng.uniform(-1.0, 1.0, size=4)
    body = Body(
        height=float(np.clip(rng.normal(1.70, 0.09), 1.48, 1.95)),
        leg=rng.uniform(0.455, 0.535),
        shoulder=float(0.100 + 0.030 * girth + 0.010 * jitter[0]),
        waist=float(0.070 + 0.055 * girth + 0.008 * jitter[1]),
        hip=float(0.078 + 0.036 * girth + 0.008 * jitter[2]),
        depth=0.060 + 0.042 * girth,
        head=rng.uniform(0.058, 0.072),
        arm_radius=0.021 + 0.010 * girth,
        leg_radius=float(0.036 + 0.018 * girth + 0.003 * jitter[3]),
    )
    gait = Gait(
        frequency=rng.uniform(0.70, 1.20),
        stride=rng.uniform(0.28, 0.58),
        knee_lift=rng.uniform(0.45, 1.10),
        arm_swing=rng.uniform(0.08, 0.70),
        elbow_bend=rng.uniform(0.05, 1.20),
        lean=rng.uniform(-0.04, 0.16),
        sway=rng.uniform(0.002, 0.022),
        twist=rng.uniform(0.02, 0.22),
        toe_out=rng.uniform(-0.05, 0.35),
    )
    return Identity(
        group=group,
        index=index,
        body=body,
        gait=gait,
        skin=_draw(rng, SKIN),
        hair_style=_draw(rng, HAIR_STYLES),
        hair_colour=_draw(rng, HAIR),
        hat_colour=_draw(rng, colours),
        bag=_draw(rng, BAGS),
        bag_colour=_draw(rng, colours),
        bag_side=int(rng.choice((-1, 1))),
    )


@dataclass(frozen=True, slots=True)
class Outfit:
    """One set of clothes; `top_second` is the other colour of the top's pattern."""

    index: int
    top: str
    top_pattern: str
    top_colour: Colour
    top_second: Colour
    sleeve_second: bool
    """Sleeves take the second colour."""
    num_bands: int
    """Stripes, checks or dots over the garment's height."""
    logo: str
    bottom: str
    bottom_pattern: str
    bottom_colour: Colour
    bottom_second: Colour
    bottom_bands: int
    shoe_colour: Colour


@functools.lru_cache(maxsize=4096)
def build_outfit(seed: int, group: Group, person: int, index: int) -> Outfit:
    """Return outfit `index` of a person; colours come from the sets that everybody shares."""
    rng = sample_rng(seed, Stream.OUTFIT, group, person, index)
    names = _draw(rng, COLOUR_SETS)
    first, second, third = (CLOTHES[names[i]] for i in rng.permutation(3))
    return Outfit(
        index=index,
        top=_draw(rng, TOPS),
        top_pattern=_draw(rng, TOP_PATTERNS),
        top_colour=first,
        top_second=second,
        sleeve_second=bool(rng.random() < 0.4),
        num_bands=int(rng.integers(3, 7)),
        logo=_draw(rng, LOGOS),
        bottom=_draw(rng, BOTTOMS),
        bottom_pattern=_draw(rng, BOTTOM_PATTERNS),
        bottom_colour=third,
        bottom_second=second if rng.random() < 0.5 else first,
        bottom_bands=int(rng.integers(4, 8)),
        shoe_colour=CLOTHES[_draw(rng, SHOES)],
    )


def _draw(rng: np.random.Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]
