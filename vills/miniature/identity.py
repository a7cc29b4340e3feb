"""Who a person is, whatever the clothes: body, hair, skin, gait, bag."""

import functools
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from vills.miniature.palette import CLOTHES, HAIR, SKIN, Colour
from vills.miniature.rng import Stream, sample_rng

HAIR_STYLES = ("bald", "short", "medium", "long", "ponytail", "bun", "cap", "beanie")
BAGS = ("none", "none", "backpack", "shoulder_bag", "handbag")


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
    return Identity(
        group=group,
        index=index,
        body=_build_body(rng),
        gait=_build_gait(rng),
        skin=SKIN[rng.integers(len(SKIN))],
        hair_style=HAIR_STYLES[rng.integers(len(HAIR_STYLES))],
        hair_colour=HAIR[rng.integers(len(HAIR))],
        hat_colour=colours[rng.integers(len(colours))],
        bag=BAGS[rng.integers(len(BAGS))],
        bag_colour=colours[rng.integers(len(colours))],
        bag_side=int(rng.choice((-1, 1))),
    )


def _build_body(rng: np.random.Generator) -> Body:
    girth = rng.uniform(0.0, 1.0)  # thin to stout: widths go together, as they do in people
    jitter = rng.uniform(-1.0, 1.0, size=4)
    return Body(
        height=float(np.clip(rng.normal(1.70, 0.09), 1.48, 1.95)),
        leg=float(rng.uniform(0.455, 0.535)),
        shoulder=float(0.100 + 0.030 * girth + 0.010 * jitter[0]),
        waist=float(0.070 + 0.055 * girth + 0.008 * jitter[1]),
        hip=float(0.078 + 0.036 * girth + 0.008 * jitter[2]),
        depth=float(0.060 + 0.042 * girth),
        head=float(rng.uniform(0.058, 0.072)),
        arm_radius=float(0.021 + 0.010 * girth),
        leg_radius=float(0.036 + 0.018 * girth + 0.003 * jitter[3]),
    )


def _build_gait(rng: np.random.Generator) -> Gait:
    return Gait(
        frequency=float(rng.uniform(0.70, 1.20)),
        stride=float(rng.uniform(0.28, 0.58)),
        knee_lift=float(rng.uniform(0.45, 1.10)),
        arm_swing=float(rng.uniform(0.08, 0.70)),
        elbow_bend=float(rng.uniform(0.05, 1.20)),
        lean=float(rng.uniform(-0.04, 0.16)),
        sway=float(rng.uniform(0.002, 0.022)),
        twist=float(rng.uniform(0.02, 0.22)),
        toe_out=float(rng.uniform(-0.05, 0.35)),
    )
