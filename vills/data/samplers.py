"""Which samples form a step: pure functions of the step, so that a resumed run has no state.

Legend: P people and K samples of each in a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vills.config.checks import ConfigError
from vills.data.rng import sample_rng

IMAGE_STREAM, VIDEO_STREAM, REID_STREAM = range(3)
"""First part of the keys of each kind of sample, after the seed."""


@dataclass(frozen=True, slots=True)
class PretrainIndices:
    """Samples of a global batch as (index, epoch); the pair keys all randomness of the sample."""

    image: list[tuple[int, int]]
    """Of the images."""
    video: list[tuple[int, int]]
    """Of the videos, distinct."""


@lru_cache(maxsize=4)
def _permutation(seed: int, stream: int, epoch: int, size: int) -> np.ndarray:
    return sample_rng(seed, stream, epoch).permutation(size)


class PretrainSampler:
    """Random epochs of images and of videos side by side.

    Images are one endless stream of permutations: a batch may begin an epoch in its middle, and no
    image is left out. Videos must be distinct within a batch (two clips of one video would be false
    negatives of L^a), so that an epoch of videos ends at its last whole batch.

    Raises:
        ConfigError: if there are fewer videos than a batch needs.
    """

    def __init__(
        self, num_images: int, num_videos: int, image_batch: int, video_batch: int, seed: int
    ) -> None:
        if num_videos and num_videos < video_batch:
            raise ConfigError(
                f"pretrain.video_batch = {video_batch} is not allowed. Allowed: up to the "
                f"{num_videos} distinct videos that there are. What to do: set "
                f"pretrain.video_batch={num_videos} or less, or add videos."
            )
        self.num_images = num_images
        self.num_videos = num_videos
        self.image_batch = image_batch
        self.video_batch = video_batch
        self.seed = seed

    @property
    def steps_per_epoch(self) -> float:
        """Steps of a pass over the images, over the videos if there are no images."""
        if self.num_images:
            return self.num_images / self.image_batch
        return float(self.num_videos // self.video_batch)

    def batch(self, step: int) -> PretrainIndices:
        """The global batch of a step, in the order of its rows."""
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


class PKSampler:
    """Batches of P people with K samples each; an epoch shows nearly every sample once.

    A person's samples are shuffled and cut into groups of K (the last one filled up with others of
    theirs). Every batch takes one group of each of the P people that have most groups left, ties
    drawn at random; the batches are shuffled in the end. Unlike a draw among all people left, this
    always makes the same number of batches, which schedules rely on.

    Raises:
        ConfigError: if there are fewer people than P.
    """

    def __init__(self, pids: Sequence[int], num_ids: int, num_instances: int, seed: int) -> None:
        labels = np.asarray(pids)
        self._rows = [np.flatnonzero(labels == pid) for pid in np.unique(labels)]
        if len(self._rows) < num_ids:
            raise ConfigError(
                f"finetune.*.num_ids = {num_ids} is not allowed. Allowed: up to the "
                f"{len(self._rows)} people of the training split. What to do: set a smaller one."
            )
        self._num_ids = num_ids
        self._num_instances = num_instances
        self._seed = seed
        counts = np.array([-(-len(rows) // num_instances) for rows in self._rows])
        batches = max(int(counts.sum()) // num_ids, 1)
        # a person stands in a batch once: groups beyond the number of batches would never be used
        while int(np.minimum(counts, batches).sum()) // num_ids < batches:
            batches -= 1
        self._counts = np.minimum(counts, batches)
        self.num_batches = batches
        """Batches of every epoch."""

    def epoch(self, epoch: int) -> list[list[int]]:
        """Rows of every batch, K neighbours of one person after another."""
        rng = sample_rng(self._seed, REID_STREAM, epoch)
        groups = [self._groups(rows, rng) for rows in self._rows]
        left = self._counts.copy()
        batches = []
        for _ in range(self.num_batches):
            order = np.lexsort((rng.random(len(left)), -left))
            chosen = rng.permutation(order[: self._num_ids])
            left[chosen] -= 1
            batches.append([int(row) for person in chosen for row in groups[person].pop()])
        return [batches[i] for i in rng.permutation(len(batches))]

    def _groups(self, rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        size = self._num_instances
        shuffled = rng.permutation(rows)
        rest = len(shuffled) % size
        if rest and len(shuffled) > size:
            # from the other groups, so that no batch has a sample twice
            fill = rng.permutation(shuffled[:-rest])[: size - rest]
            shuffled = np.concatenate([shuffled, fill])
        while len(shuffled) < size:
            shuffled = np.concatenate([shuffled, rng.permutation(rows)[: size - len(shuffled)]])
        return list(shuffled.reshape(-1, size))
