from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.sources import WriteSource, build_source_writer, make_crop
from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.data.finetune_loading import FinetuneLoader
from vills.data.loading import ReidBatch
from vills.data.reid import ReidData, load_reid_data

PEOPLE = (3, 7, 8, 20)
TEST = [("image", 1, "query", 30, 0, ""), ("image", 1, "gallery", 30, 1, "")]
CONFIG = FinetuneConfig(input_size=[32, 16], num_ids=2, num_instances=2, pad=2, num_frames=3)
STILL: dict[str, Any] = {"flip": 0.0, "pad": 0, "erase": 0.0}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReidData]:
    write = build_source_writer(tmp_path_factory.mktemp("sources"))
    images = [("image", 1, "train", pid, cam, "") for pid in PEOPLE for cam in (0, 1, 1)]
    clips = [
        ("tracklet", 2 + i % 5, "train", pid, cam, "")
        for i, (pid, cam) in enumerate((pid, cam) for pid in PEOPLE for cam in (0, 1, 1))
    ]
    # person 3 has images alone, person 20 tracklets alone
    both = [row for row in images if row[3] != 20] + [row for row in clips if row[3] != 3]
    folders = {
        "image": write("i", images + TEST),
        "video": write("v", clips + TEST),
        "mixed": write("m", both + TEST),
    }
    data = {m: load_reid_data(folder, modality=m) for m, folder in folders.items()}
    return {**data, "mixed_of_video": load_reid_data(folders["video"], modality="mixed")}


def test_batches_are_pk_and_labelled(sources: dict[str, ReidData]) -> None:
    data = sources["image"]
    loader = FinetuneLoader(data, config=CONFIG)
    for epoch in range(3):
        batches = list(loader.epoch(epoch))
        assert len(batches) == loader.num_batches == 4
        for batch in batches:
            (inputs,) = batch.inputs
            assert inputs.shape == (4, 3, 32, 16)
            assert inputs.abs().max() <= 1
            assert batch.pids[0] == batch.pids[1] != batch.pids[2] == batch.pids[3]
            assert batch.pids.tolist() == data.labels[batch.indices].tolist()
            assert batch.camids.tolist() == [data.train[int(i)].camid for i in batch.indices]


def assert_same(one: ReidBatch, two: ReidBatch) -> None:
    for name in ("pids", "camids", "indices", "keys"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    for own, other in zip(one.inputs, two.inputs, strict=True):
        assert torch.equal(own, other)


@pytest.mark.parametrize("modality", ["image", "video", "mixed"])
def test_rows_do_not_depend_on_workers_world_size_start_or_cache(
    modality: str, sources: dict[str, ReidData]
) -> None:
    data, config = sources[modality], replace(CONFIG, modality=modality)
    alone = list(FinetuneLoader(data, config=config).epoch(1))
    dims = {"image": [4], "video": [5], "mixed": [4, 5]}[modality]
    assert [part.dim() for part in alone[0].inputs] == dims
    workers = FinetuneLoader(data, config=config, workers=2, cache_mb=1)
    for one, two in zip(alone, workers.epoch(1), strict=True):
        assert_same(one, two)
    assert_same(alone[2], next(FinetuneLoader(data, config=config).epoch(1, start=2)))
    halves = [
        list(FinetuneLoader(data, config=config, rank=r, world_size=2).epoch(1)) for r in (0, 1)
    ]
    for one, left, right in zip(alone, *halves, strict=True):
        for own, first, second in zip(one.inputs, left.inputs, right.inputs, strict=True):
            assert torch.equal(own, torch.cat([first, second]))
        assert sorted(one.keys.tolist()) == sorted([*left.keys.tolist(), *right.keys.tolist()])
    assert len({int(key) for batch in alone for key in batch.keys}) == 4 * len(dims) * len(alone)
    other = next(FinetuneLoader(data, config=config).epoch(2))
    assert not torch.equal(alone[0].inputs[0], other.inputs[0])
    with pytest.raises(ConfigError, match="= 4 cannot be divided among the 3 processes"):
        FinetuneLoader(data, config=config, world_size=3)


def show(data: ReidData, row: int, position: int) -> Tensor:
    """A frame of the record, as `sources` drew it."""
    number = int(data.train[row].record_id.split("-")[1])
    pixels = make_crop(1000 * number + position)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1


def find_frame(data: ReidData, row: int, picture: Tensor) -> int:
    """Which frame of the record the picture is."""
    gaps = [
        float((picture - show(data, row, position)).abs().mean())
        for position in range(data.train[row].num_frames)
    ]
    assert min(gaps) < 0.05
    return int(np.argmin(gaps))


def test_mixed_batches_hold_both_of_the_same_people(sources: dict[str, ReidData]) -> None:
    data = sources["mixed"]
    config = replace(CONFIG, modality="mixed", input_size=[64, 32], **STILL)
    kinds = data.train.column("kind").astype(str)
    fallbacks: Counter[tuple[str, int]] = Counter()
    for batch in (b for epoch in range(6) for b in build_loader(data, config).epoch(epoch)):
        images, clips = batch.inputs
        assert (images.shape, clips.shape) == ((4, 3, 64, 32), (4, 3, 3, 64, 32))
        assert batch.pids[:4].tolist() == batch.pids[4:].tolist()
        for place, row in enumerate(batch.indices.tolist()):
            pid = int(data.train.column("pid")[row])
            slot = "image" if place < 4 else "clip"
            if slot == "image":
                assert kinds[row] == ("tracklet" if pid == 20 else "image")
                shown = [find_frame(data, row, images[place])]
            else:
                assert kinds[row] == ("image" if pid == 3 else "tracklet")
                shown = [find_frame(data, row, frame) for frame in clips[place - 4]]
                assert shown == sorted(shown)
            if pid in (3, 20):
                fallbacks.update((slot, frame) for frame in shown)
    # a random frame of a tracklet, and an image that stands still, have been met
    assert len([key for key in fallbacks if key[0] == "image"]) > 3
    assert fallbacks["clip", 0]


def build_loader(data: ReidData, config: FinetuneConfig):  # type: ignore[no-untyped-def]
    return FinetuneLoader(data, config=config)


def test_any_set_of_videos_is_mixed(sources: dict[str, ReidData]) -> None:
    data = sources["mixed_of_video"]
    config = replace(CONFIG, modality="mixed", input_size=[64, 32], **STILL)
    frames = set()
    for batch in (b for epoch in range(8) for b in build_loader(data, config).epoch(epoch)):
        images = batch.inputs[0]
        assert batch.pids[:4].tolist() == batch.pids[4:].tolist()
        for row, picture in zip(batch.indices[:4].tolist(), images, strict=True):
            frames.add((row, find_frame(data, row, picture)))
    counts = data.train.column("num_frames")
    assert len(frames) > 0.8 * counts.sum()


@pytest.mark.parametrize("sampling", ["stride", "consecutive", "evenly", "restricted"])
def test_the_sampling_of_the_parameters_is_the_clips(
    sources: dict[str, ReidData], sampling: str
) -> None:
    data = sources["video"]
    config = replace(
        CONFIG,
        modality="video",
        input_size=[64, 32],
        num_frames=2,
        sampling=sampling,
        stride=3,
        **STILL,
    )
    for batch in build_loader(data, config).epoch(0):
        for row, clip in zip(batch.indices.tolist(), batch.inputs[0], strict=True):
            first, second = (find_frame(data, row, frame) for frame in clip)
            count = data.train[row].num_frames
            if sampling == "evenly":
                assert (first, second) == (count // 4, 3 * count // 4)
            elif sampling == "restricted":
                assert first < count // 2 <= second
            else:
                widest = count - 1
                assert second - first == (1 if sampling == "consecutive" else min(3, widest))


def test_long_tracklets_are_cut_without_losing_frames(tmp_path: Path) -> None:
    write: WriteSource = build_source_writer(tmp_path)
    rows = [("tracklet", count, "train", pid, 0, "") for pid, count in ((1, 11), (1, 3), (2, 4))]
    data = load_reid_data(write("long", [*rows, *TEST]), modality="video")
    config = replace(
        CONFIG, modality="video", input_size=[64, 32], num_frames=4, max_track=4, **STILL
    )
    frames: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
    spans = set()
    for batch in (b for epoch in range(12) for b in build_loader(data, config).epoch(epoch)):
        for row, clip in zip(batch.indices.tolist(), batch.inputs[0], strict=True):
            shown = [find_frame(data, row, frame) for frame in clip]
            frames[row] |= set(shown)
            if row == 0:
                spans.add(shown[0] // 4 if shown[0] < 8 else 1)
                assert shown[-1] < 4 or shown[0] >= 4
    assert frames == {0: set(range(11)), 1: set(range(3)), 2: set(range(4))}
    assert spans == {0, 1}
