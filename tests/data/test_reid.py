from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.sources import WriteSource, make_crop
from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.data.batch import ReidBatch
from vills.data.feature_loading import build_feature_loader
from vills.data.reid import ReidData, build_finetune_loader, load_reid_data

TRAIN = [("image", 1, "train", pid, cam, "") for pid in (3, 7, 8, 20) for cam in (0, 1, 1)]
TEST = [
    ("image", 1, "query", 30, 0, ""),
    ("image", 1, "query", -1, 0, ""),
    ("image", 1, "gallery", 30, 1, ""),
    ("image", 1, "gallery", 0, 1, ""),
    ("image", 1, "gallery", -1, 1, ""),
]
CONFIG = FinetuneConfig(input_size=[32, 16], num_ids=2, num_instances=2, pad=2)


@pytest.fixture
def images(write_source: WriteSource) -> ReidData:
    return load_reid_data(write_source("m", TRAIN + TEST), modality="image")


@pytest.fixture
def clips(write_source: WriteSource) -> ReidData:
    items = [("tracklet", 2 + i % 5, split, pid, cam, "") for i, (_, _, split, pid, cam, _) in enumerate(TRAIN + TEST)]  # fmt: skip  # noqa: E501
    return load_reid_data(write_source("v", items), modality="video")


def test_splits_labels_and_statistics(images: ReidData) -> None:
    assert (len(images.train), len(images.query), len(images.gallery)) == (12, 1, 3)
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert images.num_ids == 4
    assert images.describe() == (
        "m: train 12 of 4 people in 2 cameras, query 1 of 1 people in 1 cameras, "
        "gallery 3 of 1 people in 1 cameras (1 distractors, 1 junk)"
    )


def test_the_wrong_modality_is_said(write_source: WriteSource) -> None:
    folder = write_source("m", TRAIN + TEST)
    with pytest.raises(ConfigError, match="no tracklet in split train; it holds image"):
        load_reid_data(folder, modality="video")


def test_batches_are_pk_and_labelled(images: ReidData) -> None:
    loader = build_finetune_loader(images, config=CONFIG)
    for epoch in range(3):
        batches = list(loader.epoch(epoch))
        assert len(batches) == loader.num_batches == 4
        for batch in batches:
            assert batch.inputs.shape == (4, 3, 32, 16)
            assert batch.inputs.abs().max() <= 1
            assert batch.pids[0] == batch.pids[1] != batch.pids[2] == batch.pids[3]
            assert batch.pids.tolist() == images.labels[batch.indices].tolist()
            assert batch.camids.tolist() == [images.train[int(i)].camid for i in batch.indices]


def assert_same(one: ReidBatch, two: ReidBatch) -> None:
    for name in ("inputs", "pids", "camids", "indices", "keys"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


@pytest.mark.parametrize("modality", ["image", "video"])
def test_rows_do_not_depend_on_workers_world_size_start_or_cache(
    modality: str, images: ReidData, clips: ReidData
) -> None:
    data = images if modality == "image" else clips
    config = FinetuneConfig(
        modality=modality, input_size=[32, 16], num_ids=2, num_instances=2, pad=2, num_frames=3
    )
    alone = list(build_finetune_loader(data, config=config).epoch(1))
    assert alone[0].inputs.dim() == (4 if modality == "image" else 5)
    workers = build_finetune_loader(data, config=config, workers=2, cache_mb=1)
    for one, two in zip(alone, workers.epoch(1), strict=True):
        assert_same(one, two)
    assert_same(alone[2], next(build_finetune_loader(data, config=config).epoch(1, start=2)))
    halves = [
        list(build_finetune_loader(data, config=config, rank=r, world_size=2).epoch(1))
        for r in (0, 1)
    ]
    for one, left, right in zip(alone, *halves, strict=True):
        assert torch.equal(one.inputs, torch.cat([left.inputs, right.inputs]))
    other = next(build_finetune_loader(data, config=config).epoch(2))
    assert not torch.equal(alone[0].inputs, other.inputs)
    with pytest.raises(ValueError, match="= 4 does not divide by the 3 processes"):
        build_finetune_loader(data, config=config, world_size=3)


def load(data: ReidData, **settings: object) -> list[tuple[torch.Tensor, torch.Tensor]]:
    defaults: dict[str, object] = {"input_size": [64, 32], "batch_size": 3}
    loader = build_feature_loader(data.train, data.reader, **{**defaults, **settings})  # type: ignore[arg-type]
    return list(loader)


@pytest.mark.parametrize("mode", ["image", "frame", "video"])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_record_is_covered_exactly_once(mode: str, world_size: int, clips: ReidData) -> None:
    rows = np.concatenate(
        [
            indices.numpy()
            for rank in range(world_size)
            for _, indices in load(clips, mode=mode, rank=rank, world_size=world_size, num_frames=4)
        ]
    )
    frames = clips.train.column("num_frames")
    expected = {"image": np.ones(12), "frame": frames, "video": np.ceil(frames / 4)}[mode]
    assert np.bincount(rows, minlength=12).tolist() == expected.tolist()


def test_inputs_are_the_frames(clips: ReidData) -> None:
    row = 4
    record = clips.train[row]
    number = int(record.record_id.split("-")[1])

    def expect(position: int) -> torch.Tensor:
        pixels = make_crop(1000 * number + position)
        return torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1

    def find(**settings: object) -> torch.Tensor:
        parts = [inputs[rows == row] for inputs, rows in load(clips, **settings)]
        return torch.cat(parts)

    assert record.num_frames == 6
    for frame, position in (("first", 0), ("middle", 3)):
        assert (find(frame=frame)[0] - expect(position)).abs().mean() < 0.05
    every = find(mode="frame")
    for position in range(6):
        assert (every[position] - expect(position)).abs().mean() < 0.05
    both = find(mode="video", num_frames=4)
    assert both.shape[:2] == (2, 4)
    assert torch.equal(both, find(mode="video", num_frames=4, workers=1))
    one = find(mode="video", num_frames=3, clips="one")
    assert one.shape[:2] == (1, 3)
    assert torch.equal(one[0], every[[1, 3, 5]])
    assert torch.equal(find(frame="random", seed=3), find(frame="random", seed=3))


def test_unknown_choices(images: ReidData) -> None:
    with pytest.raises(ConfigError, match="query_frame = 'last'"):
        load(images, frame="last")
    with pytest.raises(ConfigError, match="mode = 'clip'"):
        load(images, mode="clip")


def test_cut_shards_are_said(images: ReidData) -> None:
    shard: Path = images.reader.folder / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(ValueError, match="ends before byte .* run curate again"):
        load(images)
