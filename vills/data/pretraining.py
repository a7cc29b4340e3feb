"""Pre-training batches: every row is a function of (seed, epoch, index), whoever makes it.

Legend: B images and V videos of this rank, T frames of a clip, Tl frames of it with LSE views,
N patches of an image view, Nf of a frame, A areas, K LSE views per area, H x W pixels of a view,
h x w of an LSE view.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from vills.areas import AREAS
from vills.config.pretrain import PretrainConfig
from vills.data.clips import sample_clips, sample_frame
from vills.data.loading import PretrainBatch, load_batches, normalise
from vills.data.pretrain_sources import PretrainData, build_pretrain_sampler
from vills.data.pretrain_views import build_lse_views, sample_block_mask, sample_lse_view
from vills.data.samplers import IMAGE_STREAM, VIDEO_STREAM, sample_key, sample_rng
from vills.data.transforms import (
    FILL,
    ViewDraw,
    compute_padded_size,
    render_view,
    sample_view,
    set_channels,
)
from vills.errors import InputError

Rows = Sequence[tuple[int, int]]
Arrays = dict[str, np.ndarray]


class PretrainSteps(Dataset[PretrainBatch]):
    """Item s is this rank's rows of step s, with pixels still as uint8.

    Raises:
        ConfigError: if a batch does not fit the data.
        InputError: if a global batch does not divide by the world size.
    """

    def __init__(
        self, data: PretrainData, *, config: PretrainConfig, rank: int, world_size: int
    ) -> None:
        for name in ("image_batch", "video_batch"):
            if getattr(config, name) % world_size:
                raise InputError(
                    f"pretrain.{name} = {getattr(config, name)} cannot be divided among the "
                    f"{world_size} processes. What to do: change one of the two."
                )
        self._data = data
        self._config = config
        # LSE views serve L^f alone: without it they are not cut
        self._areas = config.areas if config.feature_weight else []
        self._sampler = build_pretrain_sampler(data, config)
        self._rank, self._world_size = rank, world_size

    def __getitem__(self, step: int) -> PretrainBatch:
        """Rows of a step."""
        indices = self._sampler.batch(step)
        arrays: Arrays = {}
        if indices.image:
            arrays |= self._build_images(self._share(indices.image))
        if indices.video:
            arrays |= self._build_videos(self._share(indices.video))
        return PretrainBatch(
            step, **{name: torch.from_numpy(array) for name, array in arrays.items()}
        )

    def _share(self, rows: Rows) -> Rows:
        share = len(rows) // self._world_size
        return rows[self._rank * share : (self._rank + 1) * share]

    def _keys(self, stream: int, rows: Rows) -> np.ndarray:
        seed = self._config.seed
        keys = [sample_key(seed, stream, epoch, index) for index, epoch in rows]
        return np.array(keys, dtype=np.int64)

    def _grid(self, size: Sequence[int]) -> tuple[int, int]:
        height, width = compute_padded_size(size, self._config.model.patch_size)
        return height // self._config.model.patch_size, width // self._config.model.patch_size

    def _empty_views(self, shape: tuple[int, ...], size: Sequence[int]) -> np.ndarray:
        """uint8 [*shape, 3, H, W] of `size` padded to whole patches."""
        padded = compute_padded_size(size, self._config.model.patch_size)
        return np.full((*shape, 3, *padded), FILL, dtype=np.uint8)

    def _sample_globals(self, rng: np.random.Generator) -> list[ViewDraw]:
        """Return the draws of the two global views; only the second is solarized."""
        views = self._config.views
        scale, erase = views.global_scale, views.erase
        return [
            sample_view(rng, views, scale=scale, blur=blur, solarize=solarize, erase=erase)
            for blur, solarize in ((views.blur[0], 0.0), (views.blur[1], views.solarize))
        ]

    def _build_images(self, rows: Rows) -> Arrays:
        config, views = self._config, self._config.views
        grid, areas, count = self._grid(views.global_size), self._areas, len(rows)
        images = self._empty_views((2, count), views.global_size)
        masks = np.zeros((2, count, grid[0] * grid[1]), dtype=bool)
        lse = self._empty_views((len(areas), views.lse_views, count), views.lse_size)
        weight = np.zeros(lse.shape[:3], dtype=np.float32)
        for b, (index, epoch) in enumerate(rows):
            key = (config.seed, IMAGE_STREAM, epoch, index)
            rng = sample_rng(*key)
            pixels = self._data.images.read(index)
            for v, draw in enumerate(self._sample_globals(rng)):
                view = render_view([pixels], draw, size=views.global_size)
                set_channels(view, out=images[v, b : b + 1])
                if config.masking_weight:
                    masks[v, b] = sample_block_mask(rng, grid=grid, config=config.masking)
            for a, area in enumerate(areas):
                mask = self._data.images.mask(index, 0, area)
                if mask is None:
                    continue
                weight[a, :, b] = 1.0
                for k in range(views.lse_views):
                    out = lse[a, k, b : b + 1]
                    self._write_lse([pixels], [mask], key=(*key, AREAS.index(area), k), out=out)
        arrays = {"images": images, "image_masks": masks}
        if areas:
            arrays |= {"image_lse": lse, "image_lse_weight": weight}
        return arrays | {"image_keys": self._keys(IMAGE_STREAM, rows)}

    def _write_lse(
        self,
        frames: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        *,
        key: tuple[int, ...],
        out: np.ndarray,
    ) -> None:
        """Keyed by the area's own number, so that the areas in use do not change each other."""
        views = self._config.views
        draw = sample_lse_view(sample_rng(*key), views)
        set_channels(build_lse_views(frames, masks, draw, config=views), out=out)

    def _build_videos(self, rows: Rows) -> Arrays:
        config, views = self._config, self._config.views
        grid, count, length = self._grid(views.frame_size), len(rows), views.num_frames
        held, has_lse = length + int(not views.frame_in_clip), self._areas and views.lse_frames
        frames = self._empty_views((2, count, held), views.frame_size)
        masks = np.zeros((2, count, grid[0] * grid[1]), dtype=bool)
        chosen = np.zeros(count, dtype=np.int64)
        parts = []
        for b, (index, epoch) in enumerate(rows):
            key = (config.seed, VIDEO_STREAM, epoch, index)
            rng = sample_rng(*key)
            clip = int(rng.choice(self._data.tracklets_of[index]))
            cached = self._data.clips.cached_frames(clip) if has_lse else None
            size = self._data.clips.num_frames(clip)
            clips = sample_clips(
                size,
                length,
                rng,
                apart=views.view_times == "apart",
                prefer=cached,
                num_preferred=views.lse_frames,
            )
            chosen[b] = rng.integers(length) if views.frame_in_clip else length
            for v, draw in enumerate(self._sample_globals(rng)):
                shown = clips[v].tolist()
                if not views.frame_in_clip:
                    shown.append(sample_frame(size, clips[v], rng))
                pixels = [self._data.clips.read(clip, p) for p in shown]
                set_channels(render_view(pixels, draw, size=views.frame_size), out=frames[v, b])
                if config.masking_weight:
                    masks[v, b] = sample_block_mask(rng, grid=grid, config=config.masking)
            if has_lse:
                parts.append(self._build_clip_lse(clip, clips[0], key=key))
        arrays = {"frames": frames, "frame_index": chosen, "frame_masks": masks}
        if has_lse:
            names = ("clip_lse", "clip_lse_weight", "clip_lse_index")
            stacks = (np.stack(part, axis=1) for part in zip(*parts, strict=True))
            arrays |= dict(zip(names, stacks, strict=True))
        videos = np.array([index for index, _ in rows], dtype=np.int64)
        return arrays | {"video_ids": videos, "video_keys": self._keys(VIDEO_STREAM, rows)}

    def _build_clip_lse(
        self,
        clip: int,
        positions: np.ndarray,
        *,
        key: tuple[int, ...],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return views uint8 [A, Tl, 3, h, w], weight [A, Tl], index [A, Tl] of one clip.

        An area's frames are those with its mask, spread over the clip if there are more than Tl,
        filled up with others of weight 0.
        """
        areas, length = self._areas, self._config.views.lse_frames
        lse = self._empty_views((len(areas), length), self._config.views.lse_size)
        weight = np.zeros((len(areas), length), dtype=np.float32)
        index = np.zeros((len(areas), length), dtype=np.int64)
        for a, area in enumerate(areas):
            masks = [self._data.clips.mask(clip, int(p), area) for p in positions]
            known = [t for t, mask in enumerate(masks) if mask is not None]
            if len(known) > length:
                known = [known[i * len(known) // length] for i in range(length)]
            missing = [t for t in range(len(positions)) if t not in known]
            index[a] = sorted(known + missing[: length - len(known)])
            used = np.array([t in known for t in index[a].tolist()])
            weight[a] = used
            if known:
                views = np.empty((len(known), *lse.shape[2:]), dtype=np.uint8)
                found = [mask for t in known if (mask := masks[t]) is not None]
                chosen = [self._data.clips.read(clip, int(positions[t])) for t in known]
                self._write_lse(chosen, found, key=(*key, AREAS.index(area)), out=views)
                lse[a, used] = views
        return lse, weight, index


def build_pretrain_loader(
    data: PretrainData,
    *,
    config: PretrainConfig,
    start_step: int,
    num_steps: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Generator[PretrainBatch, None, None]:
    """Batches of steps start_step, ..., start_step + num_steps - 1.

    Pixels are normalised here, in the consumer's process: workers hand over bytes, a quarter of the
    floats.
    """
    steps = PretrainSteps(data, config=config, rank=rank, world_size=world_size)
    numbers = range(start_step, start_step + num_steps)
    with closing(load_batches(steps, numbers=numbers, workers=workers)) as loader:
        for batch in loader:
            names = ("images", "frames", "image_lse", "clip_lse")
            pixels = {n: values for n in names if (values := getattr(batch, n)) is not None}
            weights = {"image_lse": batch.image_lse_weight, "clip_lse": batch.clip_lse_weight}
            changed: Any = {n: normalise(pixels[n], weight=weights.get(n)) for n in pixels}
            yield replace(batch, **changed)
