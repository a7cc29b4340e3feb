"""Who lives in the world: people in clothes, and their numbers."""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from vills.miniature import Stream, sample_rng
from vills.miniature.look import Look, build_look
from vills.miniature.person import Group, build_identity, build_outfit

PRETRAIN_OFFSET, DISTRACTOR_OFFSET = 100_000, 200_000  # truth numbers of those without a pid
# The later data sets number their people anew: their truth numbers are these plus the pid.
PRCC_OFFSET, LTCC_OFFSET, PRID_OFFSET, SIGSET_OFFSET = 300_000, 400_000, 500_000, 600_000
_FIRST_PASSER, _NUM_PASSERS = 10_000, 12
_FIRST_HANGER = 10_000  # outfits from here on belong to a wardrobe, not to a person


@dataclass(frozen=True, slots=True)
class Actor:
    """A person in clothes, with the number that the truth gives."""

    look: Look
    person: int


def build_actor(
    seed: int, group: Group, index: int, outfit: int, *, person: int, wardrobe: int | None = None
) -> Actor:
    """Return a person in clothes: their own, or some of a wardrobe that the group shares.

    Where many wear the same, clothes do not tell who somebody is: a model that trains on such
    people has to look at the body too.

    Args:
        seed: of the world.
        group: that the person belongs to.
        index: of the person in the group.
        outfit: from 0; a person's outfits differ.
        person: truth number.
        wardrobe: outfits of the shared wardrobe, more than those of a person.
    """
    if wardrobe is None:
        worn = build_outfit(seed, group, index, outfit)
    else:
        order = sample_rng(seed, Stream.OUTFIT, group, _FIRST_HANGER, index).permutation(wardrobe)
        shared = build_outfit(seed, group, _FIRST_HANGER + int(order[outfit]), 0)
        worn = dataclasses.replace(shared, index=outfit)
    return Actor(build_look(build_identity(seed, group, index), worn), person)


def build_distractor(seed: int, index: int) -> Actor:
    """Return a person that no query asks for."""
    return build_actor(seed, Group.DISTRACTOR, index, 0, person=DISTRACTOR_OFFSET + index)


@functools.lru_cache(maxsize=8)
def build_passers(seed: int) -> tuple[Actor, ...]:
    """Return people that get in the way and belong to no data set."""
    return tuple(build_distractor(seed, _FIRST_PASSER + i) for i in range(_NUM_PASSERS))


def draw_pids(rng: np.random.Generator, pool: range, *counts: int) -> list[list[int]]:
    """Return so many lists of pids that no two share, each as long as asked for and rising."""
    pids = rng.permutation(np.array(pool)).tolist()
    assert sum(counts) <= len(pids), "the config's ranges keep to the pool"
    ends = np.cumsum(counts).tolist()
    return [sorted(pids[end - count : end]) for end, count in zip(ends, counts, strict=True)]
