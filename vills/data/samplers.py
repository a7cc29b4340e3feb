"""Which samples form a step: pure functions of the step, so that a resumed run has no state."""

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
