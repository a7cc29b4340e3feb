from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.sources import WriteSource, make_crop
from vills.config.checks import ConfigError
from vills.config.model import ModelConfig
from vills.config.pretrain import PretrainConfig, ViewConfig
from vills.data.loading import PretrainBatch
from vills.data.pretrain_sources import (
    PretrainData,
    build_pretrain_sampler,
    load_pretrain_source,
)
from vills.data.pretraining import PretrainSteps, build_pretrain_loader

VIEWS = ViewConfig(
    global_size=[64, 32],
    frame_size=[32, 22],
    lse_size=[32, 16],
    num_frames=4,
    lse_frames=2,
    lse_views=2,
)
CONFIG = PretrainConfig(
    model=ModelConfig(width=32, num_heads=2, patch_size=8, image_size=[64, 32]),
    views=VIEWS,
    image_batch=6,
    video_batch=4,
)
IMAGES = [("image", 1, "pretrain", -1, -1, "")] * 10
CLIPS = [("tracklet", 3 + i, "pretrain", -1, -1, f"video{i // 2}") for i in range(12)]


@pytest.fixture
def data(write_source: WriteSource, tmp_path: Path) -> PretrainData:
    write_source("a", IMAGES, skip=lambda i, area: (i, area) == (3, "head"))
    write_source("b", IMAGES[:3] + CLIPS[:2])
    write_source("v", CLIPS, stride=2)
    sources = {
        name: load_pretrain_source(tmp_path / "curated" / name, lse=tmp_path / "lse" / name)
        for name in "abv"
    }
    return PretrainData([sources["a"], sources["b"]], [sources["v"]], config=CONFIG)


def load(data: PretrainData, config: PretrainConfig = CONFIG, **kwargs: Any) -> list[PretrainBatch]:
    settings = {"start_step": 0, "num_steps": 3, **kwargs}
    return list(build_pretrain_loader(data, config=config, **settings))


def tensors(batch: PretrainBatch) -> dict[str, Tensor]:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


ROW_AXIS = {"images": 1, "image_masks": 1, "image_lse": 2, "image_lse_weight": 2, "frames": 1}
ROW_AXIS |= {"frame_masks": 1, "clip_lse": 1, "clip_lse_weight": 1, "clip_lse_index": 1}


def assert_equal(one: PretrainBatch, two: PretrainBatch) -> None:
    assert one.step == two.step
    assert tensors(one).keys() == tensors(two).keys()
    for name, value in tensors(one).items():
        assert torch.equal(value, tensors(two)[name]), name


def test_shapes_and_values(data: PretrainData) -> None:
    assert (data.num_images, data.num_videos) == (13, 6)
    (batch,) = load(data, num_steps=1)
    shapes = {name: tuple(value.shape) for name, value in tensors(batch).items()}
    assert shapes == {
        "images": (2, 6, 3, 64, 32),
        "image_masks": (2, 6, 32),
        "image_lse": (3, 2, 6, 3, 32, 16),
        "image_lse_weight": (3, 2, 6),
        "image_keys": (6,),
        "frames": (2, 4, 4, 3, 32, 24),
        "frame_index": (4,),
        "frame_masks": (2, 4, 12),
        "clip_lse": (3, 4, 2, 3, 32, 16),
        "clip_lse_weight": (3, 4, 2),
        "clip_lse_index": (3, 4, 2),
        "video_ids": (4,),
        "video_keys": (4,),
    }
    for name in ("images", "frames", "image_lse", "clip_lse"):
        value = tensors(batch)[name]
        assert value.dtype == torch.float32
        assert -1 <= value.min() < -0.5 < 0.5 < value.max() <= 1
    assert batch.frames is not None
    assert batch.frames[..., 0].unique().tolist() == pytest.approx([128 / 127.5 - 1], abs=1e-6)


@pytest.mark.slow
def test_a_step_does_not_depend_on_workers_world_size_or_start(data: PretrainData) -> None:
    alone = load(data)
    for batch, other in zip(alone, load(data, workers=2), strict=True):
        assert_equal(batch, other)
    assert_equal(alone[2], load(data, start_step=2, num_steps=1)[0])
    parts = [load(data, rank=rank, world_size=2) for rank in range(2)]
    for step, batch in enumerate(alone):
        for name, value in tensors(batch).items():
            halves = [tensors(parts[rank][step])[name] for rank in range(2)]
            assert torch.equal(torch.cat(halves, dim=ROW_AXIS.get(name, 0)), value), name


@pytest.mark.slow
def test_the_cache_changes_nothing(data: PretrainData, tmp_path: Path) -> None:
    names = ("a", "b"), ("v",)
    sources = [
        [load_pretrain_source(tmp_path / "curated" / n, lse=tmp_path / "lse" / n) for n in part]
        for part in names
    ]
    for megabytes in (0.02, 8.0):
        cached = PretrainData(*sources, config=CONFIG, cache_mb=megabytes)
        for _ in range(2):
            for one, two in zip(load(data), load(cached, workers=1), strict=True):
                assert_equal(one, two)


def test_every_image_once_per_epoch_and_new_views_each_epoch(data: PretrainData) -> None:
    sampler = build_pretrain_sampler(data, CONFIG)
    assert sampler.steps_per_epoch == 13 / 6
    keys = torch.cat([b.image_keys for b in load(data, num_steps=13) if b.image_keys is not None])
    assert len(keys.unique()) == 78
    steps = [sampler.batch(step).image for step in range(13)]
    seen = sorted(pair for step in steps for pair in step)
    assert seen == sorted((index, epoch) for index in range(13) for epoch in range(6))


def test_missing_areas_have_weight_zero_and_zero_views(data: PretrainData) -> None:
    sampler = build_pretrain_sampler(data, CONFIG)
    found = 0
    for batch in load(data, num_steps=4):
        rows = [index for index, _ in sampler.batch(batch.step).image]
        assert batch.image_lse is not None
        assert batch.image_lse_weight is not None
        expected = torch.ones(3, 2, 6)
        for b, index in enumerate(rows):
            if index == 3:  # row 3 of the first source has no head
                expected[2, :, b] = 0
                found += 1
        assert torch.equal(batch.image_lse_weight, expected)
        energy = batch.image_lse.abs().sum(dim=(3, 4, 5))
        assert torch.equal(energy > 0, expected > 0)
    assert found


def test_lse_frames_are_where_masks_are(data: PretrainData) -> None:
    for batch in load(data, num_steps=4):
        assert batch.clip_lse is not None
        assert batch.clip_lse_index is not None
        assert batch.clip_lse_weight is not None
        # every second frame has masks, so that clips of 4 always hold the 2 wanted
        assert batch.clip_lse_weight.all()
        assert (batch.clip_lse_index[..., 1:] > batch.clip_lse_index[..., :-1]).all()
        assert batch.clip_lse_index.min() >= 0
        assert batch.clip_lse_index.max() <= 3
        assert (batch.clip_lse.abs().sum(dim=(3, 4, 5)) > 0).all()


def test_clips_without_masks(write_source: WriteSource, tmp_path: Path) -> None:
    write_source("v", CLIPS, skip=lambda i, area: area != "head" or i < 6)
    source = load_pretrain_source(tmp_path / "curated/v", lse=tmp_path / "lse/v")
    data = PretrainData([], [source], config=CONFIG)
    (batch,) = load(data, num_steps=1)
    assert batch.images is None
    assert batch.clip_lse is not None
    assert batch.clip_lse_weight is not None
    assert batch.clip_lse_weight[:2].sum() == 0
    assert batch.clip_lse[:2].abs().sum() == 0
    assert batch.clip_lse_weight[2].sum() > 0
    assert load(PretrainData([], [load_pretrain_source(tmp_path / "curated/v")], config=CONFIG))


def test_areas_in_use_change_nothing_else(data: PretrainData) -> None:
    full = load(data, num_steps=1)[0]
    part = load(data, replace(CONFIG, areas=["upper_body", "lower_body"]), num_steps=1)[0]
    none = load(data, replace(CONFIG, areas=[]), num_steps=1)[0]
    for name in ("images", "image_masks", "image_keys"):
        assert torch.equal(tensors(full)[name], tensors(none)[name])
    assert torch.equal(tensors(full)["image_lse"][:2], tensors(part)["image_lse"])
    assert none.image_lse is None
    assert none.clip_lse is None


def test_modalities(data: PretrainData, write_source: WriteSource, tmp_path: Path) -> None:
    source = data.images.sources[0]
    config = replace(CONFIG, modalities="image", alignment_weight=0.0)
    (batch,) = load(PretrainData([source], config=config), config, num_steps=1)
    assert batch.frames is None
    with pytest.raises(ConfigError, match="role pretrain_videos"):
        PretrainData([source], config=CONFIG)
    with pytest.raises(ConfigError, match="role pretrain_images"):
        PretrainData([], data.clips.sources, config=config)


def test_batches_that_do_not_fit(data: PretrainData) -> None:
    with pytest.raises(ConfigError, match="the 6 distinct videos"):
        PretrainSteps(data, config=replace(CONFIG, video_batch=8), rank=0, world_size=1)
    with pytest.raises(ValueError, match="image_batch = 6 cannot be divided among the 4 processes"):
        PretrainSteps(data, config=CONFIG, rank=0, world_size=4)


@pytest.mark.slow
def test_masking_is_off_with_its_weight(data: PretrainData) -> None:
    (batch,) = load(data, replace(CONFIG, masking_weight=0.0), num_steps=1)
    assert batch.image_masks is not None
    assert not batch.image_masks.any()
    batches = load(data, num_steps=20)
    share = np.mean([tensors(b)["image_masks"].any(dim=2).float().mean() for b in batches])
    assert 0.35 < share < 0.65


def test_seeds_differ(data: PretrainData) -> None:
    one = load(data, num_steps=1)[0]
    two = load(data, replace(CONFIG, seed=1), num_steps=1)[0]
    assert not torch.equal(tensors(one)["images"], tensors(two)["images"])


def test_views_without_augmentation_are_the_picture(data: PretrainData) -> None:
    plain = ViewConfig(
        global_size=[64, 32], frame_size=[64, 32], lse_size=[32, 16], num_frames=4, lse_frames=2,
        global_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], flip=0.0, jitter=0.0, gray=0.0,
        blur=[0.0, 0.0, 0.0], solarize=0.0,
    )  # fmt: skip
    config = replace(CONFIG, views=plain)
    (batch,) = load(data, config, num_steps=1)
    assert batch.images is not None
    assert torch.equal(batch.images[0], batch.images[1])
    for b, (index, _) in enumerate(build_pretrain_sampler(data, config).batch(0).image):
        row = index if index < 10 else index - 10
        expected = torch.from_numpy(make_crop(1000 * row)).permute(2, 0, 1) / 127.5 - 1
        assert (batch.images[0, b] - expected).abs().mean() < 0.05


def test_tracklets_as_videos_and_views_of_different_times(data: PretrainData) -> None:
    views = replace(VIEWS, view_times="apart", num_frames=1, lse_frames=1, jitter=0.0, gray=0.0)
    config = replace(CONFIG, video_unit="tracklet", views=views, video_batch=12)
    units = PretrainData([], [*data.clips.sources], config=config)
    assert units.num_videos == 12
    (batch,) = load(units, config, num_steps=1)
    assert batch.frames is not None
    assert batch.frames.shape == (2, 12, 1, 3, 32, 24)
    assert batch.video_ids is not None
    assert sorted(batch.video_ids.tolist()) == list(range(12))
    same = load(units, replace(config, views=replace(views, view_times="same")), num_steps=1)[0]
    assert not torch.equal(batch.frames, same.frames)


def test_a_frame_beside_its_clip_is_the_last_of_the_row(data: PretrainData) -> None:
    config = replace(CONFIG, views=replace(VIEWS, frame_in_clip=False, num_frames=2))
    (batch,) = load(data, config, num_steps=1)
    assert batch.frames is not None
    assert batch.frame_index is not None
    assert batch.frames.shape[2] == 3
    assert batch.frame_index.tolist() == [2, 2, 2, 2]
    assert batch.clip_lse_index is not None
    assert batch.clip_lse_index.max() < 2


def test_shuffled_tracklets_hold_every_frame_once_and_not_their_own(data: PretrainData) -> None:
    config = replace(CONFIG, shuffle_tracklets=True)
    mixed = PretrainData([], [*data.clips.sources], config=config)
    assert [mixed.clips.num_frames(i) for i in range(12)] == list(range(3, 15))

    def digest(pool: PretrainData) -> list[list[bytes]]:
        sizes = [pool.clips.num_frames(i) for i in range(12)]
        return [[pool.clips.read(i, t).tobytes() for t in range(n)] for i, n in enumerate(sizes)]

    plain, shuffled = digest(data), digest(mixed)
    assert sorted(sum(plain, [])) == sorted(sum(shuffled, []))
    kept = sum(frame in plain[i] for i, row in enumerate(shuffled) for frame in row)
    assert kept < 30  # of 102; 11 by chance
    for i in range(12):
        for t in range(mixed.clips.num_frames(i)):
            mask = mixed.clips.mask(i, t, "head")
            home = next(j for j, row in enumerate(plain) if shuffled[i][t] in row)
            other = data.clips.mask(home, plain[home].index(shuffled[i][t]), "head")
            assert (mask is None) == (other is None)


def test_without_lse_frames_images_alone_have_lse_views(data: PretrainData) -> None:
    config = replace(CONFIG, views=replace(VIEWS, lse_frames=0))
    (batch,) = load(data, config, num_steps=1)
    assert batch.image_lse is not None
    assert batch.clip_lse is None
    assert batch.clip_lse_weight is None
    without = replace(CONFIG, feature_weight=0.0)
    (batch,) = load(data, without, num_steps=1)
    assert batch.image_lse is None
    assert batch.frames is not None
