"""Batches to fine-tune on, and their augmentation (PASS, TransReID, SOLIDER; CAL).

Legend: T frames of a clip (1 for an image), H x W pixels of an input, P people and K samples of
each in a global batch. A slot is a place of a batch that wants an image or, of kind tracklet, a
clip: P x K of each. A clip is augmented by one draw for all of its frames.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.data.clips import build_track_samples, sample_train_clip
from vills.data.frames import FrameReader
from vills.data.loading import ReidBatch, load_batches, normalise
from vills.data.reid import KINDS_OF, ReidData
from vills.data.samplers import REID_STREAM, Batch, PKSampler, build_groups, sample_key, sample_rng
from vills.data.transforms import ColorDraw, convert_color, resize, sample_gains, set_noise


class FinetuneLoader(Dataset[ReidBatch]):
    """PK batches of augmented samples; rows do not depend on rank, world size or workers.

    An image slot takes the person's images, else a random frame of a tracklet; a clip slot takes
    the person's tracklets, else an image as a clip that stands still. So any set of videos can be
    trained on mixed.

    Raises:
        ConfigError: if there are fewer people than `num_ids`, or a batch does not divide by the
            world size.
    """

    def __init__(
        self,
        data: ReidData,
        *,
        config: FinetuneConfig,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        cache_mb: float = 0.0,
    ) -> None:
        self._config = config
        self._rank, self._world_size, self._workers = rank, world_size, workers
        self._slots = KINDS_OF[config.modality]
        self._tracks = build_track_samples(
            data.train.column("num_frames"), max_track=config.max_track
        )
        self._labels = data.labels[self._tracks.rows]
        self._cameras = data.train.column("camid").astype(np.int64)[self._tracks.rows]
        self._size = config.num_ids * config.num_instances
        if self._size % world_size:
            raise ConfigError(
                f"finetune.*.num_ids * num_instances = {self._size} cannot be divided among the "
                f"{world_size} processes. Allowed: a multiple of their number. What to do: change "
                "one of the two, or the number of processes."
            )
        is_image = (data.train.column("kind").astype(str) == "image")[self._tracks.rows]
        self._sampler = PKSampler(
            [_build_pool(self._labels, preferred=is_image == (s == "image")) for s in self._slots],
            config.num_ids,
            config.num_instances,
            config.seed,
        )
        self._frames = FrameReader(data.train, data.reader, cache_mb=cache_mb)
        self._batches: list[Batch] = []
        self._epoch = -1

    @property
    def num_batches(self) -> int:
        """Batches of every epoch: what schedules count by."""
        return self._sampler.num_batches

    def epoch(self, epoch: int, *, start: int = 0) -> Generator[ReidBatch, None, None]:
        """Return this rank's rows of the batches of an epoch, from batch `start`."""
        self._epoch, self._batches = epoch, self._sampler.epoch(epoch)
        numbers = range(start, self.num_batches)
        with closing(load_batches(self, numbers=numbers, workers=self._workers)) as loader:
            for batch in loader:
                yield replace(batch, inputs=tuple(normalise(part) for part in batch.inputs))

    def __getitem__(self, number: int) -> ReidBatch:
        """Batch `number` of the current epoch, pixels as uint8."""
        share = self._size // self._world_size
        own = range(self._rank * share, (self._rank + 1) * share)
        inputs: list[np.ndarray] = []
        chosen: list[int] = []
        keys: list[tuple[int, ...]] = []
        for slot, kind in enumerate(self._slots):
            # by place in the epoch, not by row: a sample that fills up its group gets another view
            first = (number * len(self._slots) + slot) * self._size
            places = [(self._config.seed, REID_STREAM, self._epoch, first + place) for place in own]
            samples = [self._batches[number][slot][place] for place in own]
            views = map(self._load, samples, places, [kind] * share)
            inputs.append(np.stack(list(views)))
            chosen += samples
            keys += places
        rows = np.array(chosen, dtype=np.int64)
        return ReidBatch(
            inputs=tuple(torch.from_numpy(part) for part in inputs),
            pids=torch.from_numpy(self._labels[rows]),
            camids=torch.from_numpy(self._cameras[rows]),
            indices=torch.from_numpy(self._tracks.rows[rows]),
            keys=torch.tensor([sample_key(*key) for key in keys], dtype=torch.long),
        )

    def _load(self, sample: int, key: tuple[int, ...], kind: str) -> np.ndarray:
        """uint8 [3, H, W], or [T, 3, H, W] for a clip."""
        config, rng = self._config, sample_rng(*key)
        tracks = self._tracks
        row, start, length = (
            int(column[sample]) for column in (tracks.rows, tracks.starts, tracks.lengths)
        )
        if kind == "image":
            # of a tracklet, where the person has no image
            position = int(rng.integers(length)) if length > 1 else 0
            view = sample_inputs([self._frames.read(row, start + position)], rng, config=config)
            return view.reshape(view.shape[1:])
        positions = start + sample_train_clip(
            length, config.num_frames, rng, sampling=config.sampling, stride=config.stride
        )
        frames = [self._frames.read(row, int(position)) for position in positions]
        return sample_inputs(frames, rng, config=config)


def _build_pool(labels: np.ndarray, *, preferred: np.ndarray) -> list[np.ndarray]:
    """List the samples of each person: the preferred ones, or all where there are none."""
    return [
        chosen if len(chosen := samples[preferred[samples]]) else samples
        for samples in build_groups(labels)
    ]


_ZOOM = 1.125
"""Of torchreid's Random2DTranslation and CAL's RandomCroping."""
_JITTER = 0.3


def sample_inputs(
    frames: Sequence[np.ndarray], rng: np.random.Generator, *, config: FinetuneConfig
) -> np.ndarray:
    """uint8 [T, 3, H, W]: resized, then changed by one draw for all frames.

    In this order: flip, pad and crop, jitter, white balance, erase.
    """
    views = _resize_or_zoom(frames, rng, config=config)
    flip, jitter, erase = rng.random(3).tolist()
    if flip < config.flip:
        views = views[:, :, ::-1]
    views = _pad_and_crop(views, rng, pad=config.pad)
    if jitter < config.jitter:
        _jitter(views, rng)
    if config.white_balance:
        _balance(views, rng, deviation=config.white_balance)
    if erase < config.erase:
        set_noise(views, rng)
    return np.ascontiguousarray(views.transpose(0, 3, 1, 2))


def _resize_or_zoom(
    frames: Sequence[np.ndarray], rng: np.random.Generator, *, config: FinetuneConfig
) -> np.ndarray:
    """[T, H, W, 3]: the whole picture, or a window of it enlarged by an eighth."""
    height, width = config.input_size
    top = left = 0
    tall, wide = height, width
    if config.zoom and rng.random() < config.zoom:
        tall, wide = round(height * _ZOOM), round(width * _ZOOM)
        top, left = int(rng.integers(tall - height + 1)), int(rng.integers(wide - width + 1))
    views = np.stack([resize(frame, height=tall, width=wide) for frame in frames])
    return views[:, top : top + height, left : left + width]


def _pad_and_crop(views: np.ndarray, rng: np.random.Generator, *, pad: int) -> np.ndarray:
    """[T, H, W, 3] moved by up to `pad` px; black comes in, as in the recipes."""
    top, left = rng.integers(0, 2 * pad + 1, size=2).tolist()
    height, width = views.shape[1:3]
    padded = np.pad(views, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    # contiguous: what follows changes the pixels in place
    return np.ascontiguousarray(padded[:, top : top + height, left : left + width])


def _jitter(views: np.ndarray, rng: np.random.Generator) -> None:
    brightness, contrast, saturation = rng.uniform(1 - _JITTER, 1 + _JITTER, 3).tolist()
    order = tuple(rng.permutation(3).tolist())
    draw = ColorDraw((brightness, contrast, saturation, 0.0), order, gray=False)
    convert_color(views, draw)


def _balance(views: np.ndarray, rng: np.random.Generator, *, deviation: float) -> None:
    """Another colour of light: a gain per channel, log-normal; their mean is 1."""
    table = np.arange(256)[:, None] * np.array(sample_gains(rng, deviation))
    tall = views.reshape(-1, views.shape[2], 3)
    cv2.LUT(tall, np.clip(np.rint(table), 0, 255).astype(np.uint8)[None], dst=tall)
