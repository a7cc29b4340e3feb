"""Which labelled samples form a batch: P people, K samples of each.

Pure functions of the epoch, so that a resumed run has no state.
"""

from collections.abc import Sequence

import numpy as np

from vills.config.checks import ConfigError
from vills.data.rng import sample_rng
from vills.data.samplers import REID_STREAM

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
        """Samples of every batch."""
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
            f"{people} people of the training split. What to do: set a smaller one."
        )


def group_samples(labels: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """Samples of each person, in the order of labels: a pool of `PKSampler`."""
    labels = np.asarray(labels)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]
