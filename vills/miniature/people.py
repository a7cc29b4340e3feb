"""Who lives in the world: people, their numbers, and the cameras that see them."""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.look import Look, build_look
from vills.miniature.person import Group, build_identity, build_outfit

_PIDS = range(2, 1502)  # of Market-1501, whose pids MARS goes on using
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


@dataclass(frozen=True, slots=True)
class Subject:
    """A person of market1501 and mars, in the one outfit they wear there."""

    actor: Actor
    pid: int
    cameras: tuple[int, ...]
    """0-based cameras that see the person, at least two."""


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


def build_pretrain_actor(config: MiniatureConfig, index: int, outfit: int) -> Actor:
    """Return a person of pre-training, who may wear any of several outfits."""
    return build_actor(config.seed, Group.PRETRAIN, index, outfit, person=PRETRAIN_OFFSET + index)


def build_distractor(seed: int, index: int) -> Actor:
    """Return a person that no query asks for."""
    return build_actor(seed, Group.DISTRACTOR, index, 0, person=DISTRACTOR_OFFSET + index)


@functools.lru_cache(maxsize=8)
def build_passers(seed: int) -> tuple[Actor, ...]:
    """Return people that get in the way and belong to no data set."""
    return tuple(build_distractor(seed, _FIRST_PASSER + i) for i in range(_NUM_PASSERS))


def build_subjects(config: MiniatureConfig) -> list[Subject]:
    """Return the people of the training split, then of the test split, each by rising pid.

    Pids are drawn from 2 to 1501 without gaps being filled: as in the real data sets they neither
    start at 0 nor follow each other.
    """
    counts = (config.num_train_ids, config.num_test_ids)
    drawn = _draw_pids(sample_rng(config.seed, Stream.CAST), _PIDS, *counts)
    return [
        _build_subject(config, group, index, pid)
        for group, pids in zip((Group.TRAIN, Group.TEST), drawn, strict=True)
        for index, pid in enumerate(pids)
    ]


def draw_pids(seed: int, group: Group, pool: range, *counts: int) -> list[list[int]]:
    """Return so many lists of pids that no two share, each as long as asked for and rising."""
    return _draw_pids(sample_rng(seed, Stream.CAST, group), pool, *counts)


def _draw_pids(rng: np.random.Generator, pool: range, *counts: int) -> list[list[int]]:
    pids = rng.permutation(np.array(pool)).tolist()
    assert sum(counts) <= len(pids), "the config's ranges keep to the pool"
    ends = np.cumsum(counts).tolist()
    return [sorted(pids[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def _build_subject(config: MiniatureConfig, group: Group, index: int, pid: int) -> Subject:
    rng = sample_rng(config.seed, Stream.CAST, group, index)
    seen = config.num_cameras - int(config.num_cameras > 2 and rng.random() < 0.5)
    cameras = sorted(int(c) for c in rng.permutation(config.num_cameras)[:seen])
    actor = build_actor(config.seed, group, index, 0, person=pid)
    return Subject(actor=actor, pid=pid, cameras=tuple(cameras))
