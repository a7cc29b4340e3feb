"""Randomness keyed by what a sample is, and which samples form a step.

Who makes a sample (process, worker) never matters. Samplers are pure functions of the step or the
epoch, so that a resumed run has no state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from vills.config.checks import ConfigError, check_range

IMAGE_STREAM, VIDEO_STREAM, REID_STREAM = range(3)
"""First part of the keys of each kind of sample, after the seed."""
_VAL_STREAM, _TRAIN_STREAM = 74, 75
"""Keep the draws of people apart from other uses of the same seed."""
_MASK = (1 << 64) - 1


def sample_rng(*key: int) -> np.random.Generator:
    """Return a generator of its own for `key`, e.g. (seed, stream, epoch, sample index).

    Philox is counter-based: generators of neighbouring keys are independent by construction. The
    key's length is part of it, since SeedSequence fills short ones up with zeros.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((len(key), *key))))


def sample_key(*key: int) -> int:
    """Mix `key` into a 63-bit number, for noise drawn where the key itself is not known."""
    state = 0x9E3779B97F4A7C15
    for part in key:
        # splitmix64 finaliser: every bit of the input reaches every bit of the output
        state = (state + part * 0xBF58476D1CE4E5B9 + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


class PretrainIndices(NamedTuple):
    """Samples of a global batch as (index, epoch); the pair keys all randomness of the sample."""

    image: list[tuple[int, int]]
    """Of the images."""
    video: list[tuple[int, int]]
    """Of the videos, distinct."""


@lru_cache(maxsize=4)
def _permutation(seed: int, stream: int, epoch: int, size: int) -> np.ndarray:
    return sample_rng(seed, stream, epoch).permutation(size)


@dataclass(frozen=True)
class PretrainSampler:
    """Random epochs of images and of videos side by side.

    Images are one endless stream of permutations: a batch may begin an epoch in its middle, and no
    image is left out. Videos must be distinct within a batch (two clips of one video would be false
    negatives of L^a), so that an epoch of videos ends at its last whole batch.

    Raises:
        ConfigError: if there are fewer videos than a batch needs.
    """

    num_images: int
    num_videos: int
    image_batch: int
    video_batch: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_videos and self.num_videos < self.video_batch:
            raise ConfigError(
                f"pretrain.video_batch = {self.video_batch} is not allowed. Allowed: up to the "
                f"{self.num_videos} distinct videos of the data. What to do: set "
                f"pretrain.video_batch={self.num_videos} or less, or add videos."
            )

    @property
    def steps_per_epoch(self) -> float:
        """Steps of a pass over the images, over the videos if there are no images."""
        if self.num_images:
            return self.num_images / self.image_batch
        return float(self.num_videos // self.video_batch)

    def batch(self, step: int) -> PretrainIndices:
        """Return the global batch of a step, in the order of its rows."""
        return PretrainIndices(self._images(step), self._videos(step))

    def _images(self, step: int) -> list[tuple[int, int]]:
        if not self.num_images:
            return []
        rows = []
        for position in range(step * self.image_batch, (step + 1) * self.image_batch):
            epoch, offset = divmod(position, self.num_images)
            order = _permutation(self.seed, IMAGE_STREAM, epoch, self.num_images)
            rows.append((int(order[offset]), epoch))
        return rows

    def _videos(self, step: int) -> list[tuple[int, int]]:
        if not self.num_videos:
            return []
        epoch, number = divmod(step, self.num_videos // self.video_batch)
        order = _permutation(self.seed, VIDEO_STREAM, epoch, self.num_videos)
        chosen = order[number * self.video_batch : (number + 1) * self.video_batch]
        return [(int(index), epoch) for index in chosen]


Batch = tuple[list[int], ...]
"""Samples of every pool, K neighbours of one person after another, the same people in each."""


class PKSampler:
    """Batches of P people with K samples each; an epoch shows nearly every sample once.

    A person's samples are shuffled and cut into groups of K (the last one filled up with others of
    theirs). Every batch takes one group of each of the P people that have most groups left, ties
    drawn at random; the batches are shuffled in the end. Unlike a draw among all people left, this
    always makes the same number of batches, which schedules rely on.

    With several pools (images and clips), a batch takes K samples of each of them of the same P
    people; a person has as many groups as the fullest pool asks for, and those of the other pools
    come again, shuffled anew.

    Raises:
        ConfigError: if there are fewer people than P.
    """

    def __init__(
        self, pools: Sequence[Sequence[np.ndarray]], num_ids: int, num_instances: int, seed: int
    ) -> None:
        """Take, for every pool, the samples of each person; none of them is empty."""
        self._pools = pools
        check_num_ids(num_ids, people=len(pools[0]))
        self._num_ids = num_ids
        self._num_instances = num_instances
        self._seed = seed
        needed = [[-(-len(samples) // num_instances) for samples in pool] for pool in pools]
        counts = np.array(needed).max(axis=0)
        batches = max(int(counts.sum()) // num_ids, 1)
        # a person stands in a batch once: groups beyond the number of batches would never be used
        while int(np.minimum(counts, batches).sum()) // num_ids < batches:
            batches -= 1
        self._counts = np.minimum(counts, batches)
        self.num_batches = batches
        """Batches of every epoch."""

    def epoch(self, epoch: int) -> list[Batch]:
        """Return samples of every batch."""
        rng = sample_rng(self._seed, REID_STREAM, epoch)
        groups = [
            [self._groups(samples, int(count), rng) for samples, count in people]
            for people in (zip(pool, self._counts, strict=True) for pool in self._pools)
        ]
        left = self._counts.copy()
        batches = []
        for _ in range(self.num_batches):
            order = np.lexsort((rng.random(len(left)), -left))
            chosen = rng.permutation(order[: self._num_ids])
            left[chosen] -= 1
            batches.append(
                tuple(
                    [int(sample) for person in chosen for sample in pool[person].pop()]
                    for pool in groups
                )
            )
        return [batches[i] for i in rng.permutation(len(batches))]

    def _groups(
        self, samples: np.ndarray, count: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        """At least `count` groups of K."""
        groups = self._cut(samples, rng)
        while len(groups) < count:
            groups = self._cut(samples, rng) + groups
        return groups

    def _cut(self, samples: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        size = self._num_instances
        shuffled = rng.permutation(samples)
        rest = len(shuffled) % size
        if rest and len(shuffled) > size:
            # from the other groups, so that no batch has a sample twice
            fill = rng.permutation(shuffled[:-rest])[: size - rest]
            shuffled = np.concatenate([shuffled, fill])
        while len(shuffled) < size:
            shuffled = np.concatenate([shuffled, rng.permutation(samples)[: size - len(shuffled)]])
        return list(shuffled.reshape(-1, size))


def check_num_ids(num_ids: int, *, people: int) -> None:
    """Refuse batches of more people than a training split has.

    Raises:
        ConfigError: saying how many there are.
    """
    if people < num_ids:
        raise ConfigError(
            f"finetune.*.num_ids = {num_ids} is not allowed. Allowed: up to the "
            f"{people} people of the training split. What to do: set a smaller number."
        )


def build_groups(labels: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Return the samples of each person, in the order of labels: a pool of `PKSampler`."""
    labels = np.asarray(labels)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


@dataclass(frozen=True)
class TrainingPeople:
    """How many people of a training split are held out for accuracy, and how many are learned.

    A person's place in a draw depends on the person alone: fewer people are some of more, and a
    person who is missing moves nobody else. See `FinetuneConfig`.
    """

    num_val_ids: int = 0
    num_train_ids: int = 0
    """0: all that are left."""
    seed: int = 0
    """Of those that are learned; who is held out does not depend on it."""

    def draw_val(self, pids: np.ndarray) -> np.ndarray:
        """Pids that are held out, of those of a training split.

        Raises:
            ConfigError: if hardly anybody would be left to learn.
        """
        order = _shuffle(pids, _VAL_STREAM) if self.num_val_ids else np.empty(0, np.int64)
        check_range(
            "finetune.*.num_val_ids",
            self.num_val_ids,
            low=0,
            high=max(len(order) - 2, 0),
            remedy=f"hold out fewer of the {len(order)} training people",
        )
        return order[: self.num_val_ids]

    def draw_train(self, pids: np.ndarray) -> np.ndarray:
        """Pids that are learned, of those that are not held out.

        Raises:
            ConfigError: if there are fewer.
        """
        if not self.num_train_ids:
            return np.unique(pids)
        order = _shuffle(pids, self.seed, _TRAIN_STREAM)
        check_range(
            "finetune.*.num_train_ids",
            self.num_train_ids,
            low=0,
            high=len(order),
            remedy=f"keep at most the {len(order)} people that num_val_ids = {self.num_val_ids} "
            "does not hold out, or set 0 for all of them",
        )
        return order[: self.num_train_ids]


def _shuffle(pids: np.ndarray, *key: int) -> np.ndarray:
    """Each person once, in an order of chance."""
    people = np.unique(pids).tolist()
    return np.array(sorted(people, key=lambda pid: sample_rng(*key, pid).random()), np.int64)
