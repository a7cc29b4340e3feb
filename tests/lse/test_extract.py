import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.lse.conftest import Source
from tests.processes import list_group, wait_until
from vills.areas import AREAS
from vills.config.checks import ConfigError
from vills.config.lse import LseConfig
from vills.data.mask_store import MaskStore
from vills.data.records import load_manifest, save_manifest
from vills.data.shards import ShardReader, ShardWriter
from vills.lse import extract
from vills.lse.chunk import ChunkWorker, Summary
from vills.lse.crop import Crop, Floats, Labels
from vills.lse.extract import extract_source
from vills.lse.parts import compute_cache_key
from vills.lse.segmenter import AreaMask, AreaMasks

FILES = ("keypoints.parquet", "report.json", *(f"masks_{area}.parquet" for area in AREAS))


class BoxSegmenter:
    """Marks the box around an area's positive points: quick, and it shows the prompts."""

    def segment(
        self,
        crops: Sequence[Crop],
        *,
        points: Sequence[Floats],
        labels: Sequence[Mapping[str, Labels]],
    ) -> list[AreaMasks]:
        found = []
        for crop, p, prompts in zip(crops, points, labels, strict=True):
            masks = {}
            for area, v in prompts.items():
                if (v == 1).any():
                    low, high = p[v == 1].min(axis=0), p[v == 1].max(axis=0)
                    mask = np.zeros(crop.image.shape[:2], bool)
                    mask[int(low[1]) : int(high[1]) + 1, int(low[0]) : int(high[0]) + 1] = True
                    masks[area] = AreaMask(mask, 0.5)
            found.append(masks)
        return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "build_segmenter", lambda *_, **__: BoxSegmenter())


def run(source, folder: Path, config: LseConfig | None = None, **settings) -> Summary:  # type: ignore[no-untyped-def]
    return extract_source(
        source.name,
        config or LseConfig(),
        curated=settings.pop("curated", source.curated),
        root=source.root,
        out=folder / "out",
        work=folder / "work",
        weights=None,
        chunk_records=settings.pop("chunk_records", 8),
        **settings,
    )


def read_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "out" / name).read_bytes() for name in FILES}


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_every_image_and_every_fourth_frame_is_cached(
    world: dict[str, Source], tmp_path: Path
) -> None:
    for name, source in world.items():
        run(source, tmp_path / name)
        manifest = load_manifest(source.curated / "manifest.parquet")
        expected = sorted(
            (manifest[row].record_id, position)
            for row in range(len(manifest))
            for position in range(0, manifest[row].num_frames, 4)
        )
        table = pq.read_table(tmp_path / name / "out" / "keypoints.parquet")
        got = zip(table["record_id"].to_pylist(), table["frame"].to_pylist(), strict=True)
        assert list(got) == expected
        assert all(len(k) == 51 for k in table["keypoints"].to_pylist())
        report = json.loads((tmp_path / name / "out" / "report.json").read_text())
        assert report["records"] == len(manifest)
        assert report["frames"] == len(expected)
        store = MaskStore(tmp_path / name / "out")
        for area in AREAS:
            counts = report["areas"][area]
            assert counts["found"] + counts["missing"] == len(expected)
            assert counts["found"] == sum(store.load(r, p, area) is not None for r, p in expected)
        # The box around a face's points can be below min_area; that of arms is not.
        assert report["areas"]["upper_body"]["found"] > 0.8 * len(expected)


@pytest.mark.usefixtures("quick")
def test_masks_have_the_size_of_their_crops(world: dict[str, Source], tmp_path: Path) -> None:
    source = world["kinetics"]
    run(source, tmp_path)
    store = MaskStore(tmp_path / "out")
    manifest = load_manifest(source.curated / "manifest.parquet")
    reader = ShardReader(source.curated)
    record = manifest[0]
    for position in store.cached_frames(record.record_id).tolist():
        loaded = store.load(record.record_id, position, "upper_body")
        if loaded is not None:
            data = reader.read(record.shard, record.offsets[position], record.lengths[position])
            assert loaded[0].shape == extract_size(data)


def extract_size(data: bytes) -> tuple[int, int]:
    from vills.data.images import decode_image

    image = decode_image(data)
    return image.shape[0], image.shape[1]


@pytest.mark.usefixtures("quick")
def test_an_interrupted_run_goes_on_with_the_same_bytes(
    world: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = world["luperson"]
    run(source, tmp_path / "whole")
    compute = ChunkWorker.compute
    done: list[Any] = []

    def stop_at_third(self: ChunkWorker, folder: Path, *, rows: range) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        compute(self, folder, rows=rows)
        done.append(rows)

    monkeypatch.setattr(ChunkWorker, "compute", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "cut")
    assert not (tmp_path / "cut" / "out" / "report.json").exists()
    again: list[range] = []

    def count(self: ChunkWorker, folder: Path, *, rows: range) -> None:
        again.append(rows)
        compute(self, folder, rows=rows)

    monkeypatch.setattr(ChunkWorker, "compute", count)
    reported: list[tuple[str, int, int]] = []
    run(source, tmp_path / "cut", progress=lambda *a: reported.append(a))
    assert not set(again) & set(done)
    assert reported[0] == ("luperson", 16, 64)
    assert reported[-1] == ("luperson", 64, 64)
    assert read_files(tmp_path / "cut") == read_files(tmp_path / "whole")


SCRIPT = """
import os, sys
from pathlib import Path
from vills.config.lse import LseConfig
from vills.lse.extract import extract_source
from vills.interrupt import InterruptedRunError, open_interruption
if __name__ == "__main__":
    curated, root, folder = map(Path, sys.argv[1:4])
    workers, rank, world_size = map(int, sys.argv[4:])
    try:
        with open_interruption(ends_process=True):
            extract_source("luperson", LseConfig(), curated=curated, root=root, out=folder / "out",
                           work=folder / "work", weights=None, chunk_records=4, workers=workers,
                           rank=rank, world_size=world_size,
                           progress=lambda *a: print(*a, flush=True))
    except InterruptedRunError as error:
        sys.exit(error.exit_status + error.wants_requeue)
"""


def start(  # type: ignore[no-untyped-def]
    source, folder: Path, *, workers: int = 1, rank: int = 0, world_size: int = 1
) -> "subprocess.Popen[str]":
    """An extraction in processes of its own group."""
    script = folder / "main.py"
    folder.mkdir(exist_ok=True)
    script.write_text(SCRIPT)
    numbers = map(str, (workers, rank, world_size))
    return subprocess.Popen(
        [sys.executable, str(script), str(source.curated), str(source.root), str(folder), *numbers],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def list_finished(folder: Path) -> list[Path]:
    return list(folder.glob("work/*/chunk-*/summary.seal"))


@pytest.fixture(scope="module")
def whole(world: dict[str, Source], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of the images, with the segmenter that the scripts use."""
    folder = tmp_path_factory.mktemp("whole")
    run(world["luperson"], folder, chunk_records=64)
    return read_files(folder)


@pytest.mark.slow
def test_a_killed_run_of_two_processes_leaves_none_behind_and_resumes(
    world: dict[str, Source], whole: dict[str, bytes], tmp_path: Path
) -> None:
    process = start(world["luperson"], tmp_path, workers=2)
    wait_until(lambda: list_finished(tmp_path))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: not list_group(process.pid))
    assert not (tmp_path / "out").exists()
    run(world["luperson"], tmp_path, chunk_records=4)
    assert read_files(tmp_path) == whole


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_signals_to_every_process_end_it_at_once_and_it_goes_on(
    world: dict[str, Source], whole: dict[str, bytes], tmp_path: Path, workers: int
) -> None:
    process = start(world["luperson"], tmp_path, workers=workers)
    wait_until(lambda: list_finished(tmp_path))
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGUSR2)
    os.killpg(process.pid, signal.SIGTERM)
    said, _ = process.communicate()
    assert time.monotonic() - begin < 15
    assert process.returncode == 75 + 1  # and it wants to be queued again
    assert all(line.startswith("luperson ") for line in said.splitlines()), said
    wait_until(lambda: not list_group(process.pid))
    assert not (tmp_path / "out").exists()
    assert run(world["luperson"], tmp_path, chunk_records=4).records == 64
    assert read_files(tmp_path) == whole


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_chunks_and_the_first_publishes_the_same_bytes(
    world: dict[str, Source], whole: dict[str, bytes], tmp_path: Path, world_size: int
) -> None:
    ranks = [
        start(world["luperson"], tmp_path, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    said = [process.communicate()[0] for process in ranks]
    assert [process.returncode for process in ranks] == [0] * world_size, said
    assert read_files(tmp_path) == whole
    assert said[0].splitlines()[-1] == "luperson 64 64"


@pytest.mark.usefixtures("quick")
def test_a_rank_computes_its_own_chunks_and_publishes_nothing(
    world: dict[str, Source], tmp_path: Path
) -> None:
    source = world["luperson"]
    guarded: list[int] = []
    second = run(source, tmp_path, rank=1, world_size=3, guard=lambda: guarded.append(1))
    numbers = sorted(path.parent.name for path in list_finished(tmp_path))
    assert numbers == [f"chunk-{number:06d}" for number in (1, 4, 7)]
    assert second.records == 24
    assert not (tmp_path / "out").exists()
    assert guarded == []
    run(source, tmp_path, rank=2, world_size=3)
    reported: list[tuple[str, int, int]] = []
    whole = run(
        source,
        tmp_path,
        rank=0,
        world_size=3,
        guard=lambda: guarded.append(1),
        progress=lambda *a: reported.append(a),
    )
    assert whole.records == 64
    assert guarded == [1]
    assert reported[0] == ("luperson", 40, 64)  # the others' are counted


@pytest.mark.usefixtures("quick")
def test_an_orphan_publishes_nothing(world: dict[str, Source], tmp_path: Path) -> None:
    def guard() -> None:
        raise RuntimeError("attempt 1 was taken over by attempt 2")

    with pytest.raises(RuntimeError, match="taken over"):
        run(world["luperson"], tmp_path, guard=guard)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("quick")
def test_finished_chunks_of_other_settings_are_dropped(
    world: dict[str, Source], tmp_path: Path
) -> None:
    source = world["luperson"]
    run(source, tmp_path)
    first = read_files(tmp_path)
    strict = LseConfig(area_threshold=dict.fromkeys(AREAS, 0.85))
    run(source, tmp_path, strict)
    assert read_files(tmp_path)["masks_head.parquet"] != first["masks_head.parquet"]
    assert read_files(tmp_path)["keypoints.parquet"] == first["keypoints.parquet"]


@pytest.mark.usefixtures("quick")
def test_size_of_batches_and_chunks_changes_nothing(
    world: dict[str, Source], tmp_path: Path
) -> None:
    source = world["luperson"]
    run(source, tmp_path / "a")
    run(source, tmp_path / "b", LseConfig(batch_size=5), chunk_records=13)
    assert read_files(tmp_path / "a") == read_files(tmp_path / "b")


def damage(source, folder: Path, rows: list[int]) -> Path:  # type: ignore[no-untyped-def]
    """Copy a curated source with some records cut off, empty, or no image."""
    manifest = load_manifest(source.curated / "manifest.parquet")
    reader = ShardReader(source.curated)
    records = []
    kinds = (lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"text")
    with ShardWriter(folder, 1 << 30) as writer:
        for row in range(len(manifest)):
            record = manifest[row]
            data = reader.read(record.shard, record.offsets[0], record.lengths[0])
            if row in rows:
                data = kinds[rows.index(row) % 3](data)
            shard, offsets, lengths = writer.add(record.record_id, [data])
            records.append(replace(record, shard=shard, offsets=offsets, lengths=lengths))
    save_manifest(folder / "manifest.parquet", records)
    return folder


@pytest.mark.usefixtures("quick")
def test_corrupt_records_are_named_and_skipped_up_to_a_share(
    world: dict[str, Source], tmp_path: Path
) -> None:
    source = world["luperson"]
    curated = damage(source, tmp_path / "curated", [3, 20, 41])
    summary = run(source, tmp_path / "a", curated=curated, max_corrupt_share=0.05)
    manifest = load_manifest(curated / "manifest.parquet")
    named = sorted(manifest[row].record_id for row in (3, 20, 41))
    assert summary.to_report()["corrupt"] == named
    assert summary.frames == len(manifest) - 3
    with pytest.raises(ConfigError, match=f"3 of 64 records.*{named[0]}.*max_corrupt_share"):
        run(source, tmp_path / "a", curated=curated, max_corrupt_share=0.01)


@pytest.mark.usefixtures("quick")
def test_small_masks_count_as_missing(world: dict[str, Source], tmp_path: Path) -> None:
    summary = run(world["luperson"], tmp_path, LseConfig(min_area=0.9))
    for area in AREAS:
        assert summary.areas[area]["found"] == 0
        assert summary.areas[area]["too_small"] > 0
    assert MaskStore(tmp_path / "out").cached_frames("any").size == 0


@pytest.mark.usefixtures("quick")
def test_source_without_records_gives_empty_tables(
    world: dict[str, Source], tmp_path: Path
) -> None:
    source = world["luperson"]
    curated = tmp_path / "curated"
    curated.mkdir()
    save_manifest(curated / "manifest.parquet", [])
    assert run(source, tmp_path, curated=curated).records == 0
    assert pq.read_table(tmp_path / "out" / "masks_head.parquet").num_rows == 0


def test_cache_key_changes_with_everything_that_changes_masks(tmp_path: Path) -> None:
    (tmp_path / "k.onnx").write_bytes(b"one")
    config = LseConfig(keypoint_detector="onnx", keypoint_weights="k.onnx")
    key = compute_cache_key(config, folder=tmp_path)
    for change in (
        {"segmenter": "parsing"},
        {"low_confidence": "negative"},
        {"frame_stride": 2},
        {"min_area": 0.1},
        {"area_threshold": {**config.area_threshold, "head": 0.4}},
        {"keypoint_detector": "predictions"},
        {"keypoint_convention": "half"},
    ):
        assert compute_cache_key(replace(config, **change), folder=tmp_path) != key, change
    assert compute_cache_key(replace(config, batch_size=3), folder=tmp_path) == key
    sam = replace(config, segmenter="sam", segmenter_weights="k.onnx")
    assert compute_cache_key(sam, folder=tmp_path) != key
    for change in ({"sam_type": "vit_b"}, {"sam_precision": "bf16"}):
        assert compute_cache_key(replace(config, **change), folder=tmp_path) == key  # type: ignore[arg-type]
        changed = compute_cache_key(replace(sam, **change), folder=tmp_path)  # type: ignore[arg-type]
        assert changed != compute_cache_key(sam, folder=tmp_path)
    (tmp_path / "k.onnx").write_bytes(b"two")
    assert compute_cache_key(config, folder=tmp_path) != key
    shutil.rmtree(tmp_path)
    with pytest.raises(ConfigError, match="keypoint_weights"):
        compute_cache_key(config, folder=tmp_path)
