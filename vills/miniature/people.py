"""Who lives in the world: people, their numbers, and the cameras that see them."""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from vills.config.miniature import MiniatureConfig
from vills.miniature.crop import Actor
from vills.miniature.identity import Group, build_identity
from vills.miniature.look import build_look
from vills.miniature.outfit import build_outfit
from vills.miniature.rng import Stream, sample_rng

LAST_PID = 1501  # of Market-1501, whose pids MARS goes on using
PRETRAIN_OFFSET, DISTRACTOR_OFFSET = 100_000, 200_000  # truth numbers of those without a pid
# The later data sets number their people anew: their truth numbers are these plus the pid.
PRCC_OFFSET, LTCC_OFFSET, PRID_OFFSET, SIGSET_OFFSET = 300_000, 400_000, 500_000, 600_000
_FIRST_PASSER, _NUM_PASSERS = 10_000, 12
_FIRST_HANGER = 10_000  # outfits from here on belong to a wardrobe, not to a person


@dataclass(frozen=True, slots=True)
class Subject:
    """A person of market1501 and mars, in the one outfit they wear there."""

    actor: Actor
    pid: int
    cameras: tuple[int, ...]
    """0-based cameras that see the person, at least two."""


def build_actor(seed: int, group: Group, index: int, outfit: int, *, person: int) -> Actor:
    """Return a person in clothes under the truth number `person`."""
    identity = build_identity(seed, group, index)
    return Actor(build_look(identity, build_outfit(seed, group, index, outfit)), person)


def dress(seed: int, group: Group, index: int, outfit: int, *, person: int, size: int) -> Actor:
    """Return a person in clothes of a wardrobe of `size` outfits that the group shares.

    Where many wear the same, clothes do not tell who somebody is: a model that trains on such
    people has to look at the body too.

    Args:
        seed: of the world.
        group: whose wardrobe it is.
        index: of the person in the group.
        outfit: from 0; a person's outfits differ.
        person: truth number.
        size: more than the outfits of a person.
    """
    order = sample_rng(seed, Stream.OUTFIT, group, _FIRST_HANGER, index).permutation(size)
    worn = build_outfit(seed, group, _FIRST_HANGER + int(order[outfit]), 0)
    identity = build_identity(seed, group, index)
    return Actor(build_look(identity, dataclasses.replace(worn, index=outfit)), person)


def build_pretrain_actor(config: MiniatureConfig, index: int, outfit: int) -> Actor:
    """Return a person of pre-training, who may wear any of several outfits."""
    return build_actor(config.seed, Group.PRETRAIN, index, outfit, person=PRETRAIN_OFFSET + index)


@functools.lru_cache(maxsize=8)
def build_passers(seed: int) -> tuple[Actor, ...]:
    """Return people that get in the way and belong to no data set."""
    numbers = range(_FIRST_PASSER, _FIRST_PASSER + _NUM_PASSERS)
    return tuple(
        build_actor(seed, Group.DISTRACTOR, i, 0, person=DISTRACTOR_OFFSET + i) for i in numbers
    )


def build_distractor(config: MiniatureConfig, index: int) -> Actor:
    """Return a person of the gallery that no query asks for."""
    person = DISTRACTOR_OFFSET + index
    return build_actor(config.seed, Group.DISTRACTOR, index, 0, person=person)


def draw_pids(seed: int, group: Group, pool: range, *counts: int) -> list[list[int]]:
    """Return so many lists of pids that no two share, each as long as asked for and rising."""
    pids = sample_rng(seed, Stream.CAST, group).permutation(np.array(pool)).tolist()
    assert sum(counts) <= len(pids), "the config's ranges keep to the pool"
    ends = np.cumsum(counts).tolist()
    return [sorted(pids[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def build_subjects(config: MiniatureConfig, group: Group) -> list[Subject]:
    """Return the people of the training or of the test split, by rising pid.

    The pids of both splits are drawn from 2 to 1501 without gaps being filled: as in the real
    data sets they neither start at 0 nor follow each other.
    """
    rng = sample_rng(config.seed, Stream.CAST)
    pids = rng.permutation(np.arange(2, LAST_PID + 1))
    first = 0 if group is Group.TRAIN else config.num_train_ids
    count = config.num_train_ids if group is Group.TRAIN else config.num_test_ids
    return [
        _build_subject(config, group, index, int(pid))
        for index, pid in enumerate(sorted(pids[first : first + count]))
    ]


def _build_subject(config: MiniatureConfig, group: Group, index: int, pid: int) -> Subject:
    rng = sample_rng(config.seed, Stream.CAST, group, index)
    seen = config.num_cameras - int(config.num_cameras > 2 and rng.random() < 0.5)
    cameras = sorted(int(c) for c in rng.permutation(config.num_cameras)[:seen])
    actor = build_actor(config.seed, group, index, 0, person=pid)
    return Subject(actor=actor, pid=pid, cameras=tuple(cameras))
