"""Inputs for features: every record once, whatever the ranks; damage is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.sources import WriteSource, make_crop
from vills.config.checks import ConfigError
from vills.data.clips import build_clips
from vills.data.feature_loading import DamagedRecordError, build_feature_loader
from vills.data.records import Manifest, load_manifest
from vills.data.shards import ShardReader

Source = tuple[Manifest, ShardReader]


@pytest.fixture
def source(write_source: WriteSource) -> Source:
    folder = write_source("v", [("tracklet", 2 + i % 5, "query", 1 + i, 0, "") for i in range(12)])
    return load_manifest(folder / "manifest.parquet"), ShardReader(folder)


def load(source: Source, **settings: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    defaults: dict[str, Any] = {"input_size": [64, 32], "batch_size": 3}
    return list(build_feature_loader(*source, **{**defaults, **settings}))


@pytest.mark.parametrize("mode", ["frame", "clip"])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_record_is_covered_exactly_once(mode: str, world_size: int, source: Source) -> None:
    rows = np.concatenate(
        [
            indices.numpy()
            for rank in range(world_size)
            for _, indices in load(
                source, mode=mode, rank=rank, world_size=world_size, num_frames=4
            )
        ]
    )
    frames = source[0].column("num_frames")
    expected = {"frame": frames, "clip": np.ceil(frames / 4)}[mode]
    assert np.bincount(rows, minlength=12).tolist() == expected.tolist()


def test_inputs_are_the_frames(source: Source) -> None:
    row = 4
    record = source[0][row]
    number = int(record.record_id.split("-")[1])

    def find(**settings: Any) -> torch.Tensor:
        return torch.cat([inputs[rows == row] for inputs, rows in load(source, **settings)])

    assert record.num_frames == 6
    every = find(mode="frame")
    for position in range(6):
        pixels = torch.from_numpy(make_crop(1000 * number + position)).permute(2, 0, 1)
        assert (every[position] - (pixels / 127.5 - 1)).abs().mean() < 0.05
    both = find(mode="clip", num_frames=4)
    assert both.shape[:2] == (2, 4)
    assert torch.equal(both, find(mode="clip", num_frames=4, workers=1))
    for sampling in ("all", "dense", "evenly", "begin"):
        clips = find(mode="clip", num_frames=4, sampling=sampling)
        assert torch.equal(clips, every[build_clips(6, 4, sampling=sampling)])
    assert torch.equal(find(num_frames=3, sampling="evenly"), every[[1, 3, 5]])


def test_unknown_choices(source: Source) -> None:
    with pytest.raises(ConfigError, match="mode = 'image'"):
        load(source, mode="image")
    with pytest.raises(ConfigError, match="sampling = 'one'"):
        load(source, sampling="one")


@pytest.mark.parametrize("workers", [0, 1])
def test_damage_is_named_by_its_record(source: Source, workers: int) -> None:
    manifest, reader = source
    shard: Path = reader.folder / "shard-000000.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:700])
    with pytest.raises(DamagedRecordError, match=r"record v-0000, frame 0 .*What to do"):
        load(source, workers=workers)
    row = next(row for row in range(12) if manifest[row].shard == shard.name and row > 1)
    start, length = manifest[row].offsets[1], manifest[row].lengths[1]
    shard.write_bytes(whole[:start] + b"\0" * length + whole[start + length :])
    reader.close()
    with pytest.raises(DamagedRecordError, match=f"record {manifest[row].record_id}, frame 1 "):
        load(source, workers=workers)
    shard.unlink()
    reader.close()
    with pytest.raises(DamagedRecordError, match="record v-0000, frame 0 .*No such file"):
        load(source, workers=workers)
