import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.curation.scenes import (
    HEIGHT,
    WIDTH,
    build_config,
    predict,
    walk_right,
    write_image,
    write_predictions,
    write_scene,
)
from tests.damage import DAMAGES, list_files
from vills.config.curate import CurateConfig, SourceConfig
from vills.curation.images import get_frame_numbers
from vills.curation.packer import TooManyDamagedError
from vills.curation.source import EmptySourceError, run_source
from vills.data.frames import FrameReader
from vills.data.images import decode_image
from vills.data.inventory import InventoryError, Registered, build_inventory, check_inventory
from vills.data.layouts import LayoutError
from vills.data.records import Manifest, load_manifest
from vills.data.shards import ShardReader

IMAGES = SourceConfig("luperson", "luperson", "pretrain_images")
VIDEOS = SourceConfig("kinetics", "kinetics", "pretrain_videos")
WALKS = {
    "a.mp4": [walk_right(4, top=4), walk_right(30, top=66)],
    "b.mp4": [walk_right(10)],
    "c.mp4": [walk_right(2, top=20), walk_right(6, top=40, since=8)],
}
NUM_FRAMES = 40


class KilledError(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, and images for a little more than two shards."""
    root = tmp_path_factory.mktemp("root")
    rows = []
    for name, walks in WALKS.items():
        write_scene(root / "kinetics", name, walks, num_frames=NUM_FRAMES)
        rows += predict(name, walks, num_frames=NUM_FRAMES)
    rows += predict("a.mp4", [walk_right(100, top=10)], num_frames=NUM_FRAMES, score=0.5)
    write_predictions(root / "kinetics", rows)
    for i in range(24):
        write_image(root / "luperson" / f"{i % 3}" / f"{i:04d}.jpg", seed=i, size=(200, 300))
    return root


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (IMAGES, "luperson/1/0013.jpg"),
        (VIDEOS, "kinetics/b.mp4"),
        (VIDEOS, "kinetics/predictions/detections.parquet"),
    ],
)
def test_what_changed_since_it_was_registered_is_refused(
    root: Path, tmp_path: Path, source: SourceConfig, name: str
) -> None:
    """Equal in size and time; found while it is read, and nothing is made of it."""
    data = tmp_path / "data"
    shutil.copytree(root, data)
    table = build_inventory(data / source.path)
    path, whole = data / name, (data / name).read_bytes()
    status = path.stat()
    content = bytearray(whole)
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    check_inventory(data / source.path, table)

    def curate(folder: Path) -> None:
        registered = Registered(data / source.path, table)
        places = {"root": data, "out": folder / "out", "work": folder / "work"}
        run_source("source", source, build_config(), registered=registered, **places)  # type: ignore[arg-type]

    with pytest.raises(InventoryError, match=f"{path.name} has another content"):
        curate(tmp_path)
    assert not (tmp_path / "out/report.json").exists()
    path.write_bytes(whole)
    curate(tmp_path)
    curate(tmp_path / "other")
    assert _digests(tmp_path / "out") == _digests(tmp_path / "other/out")


def _curate(
    folder: Path,
    source: SourceConfig,
    *,
    root: Path,
    config: CurateConfig | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    max_corrupt_share: float = 0.05,
) -> tuple[dict[str, Any], Manifest]:
    report = run_source(
        "source",
        source,
        config or build_config(),
        root=root,
        out=folder / "out",
        work=folder / "work",
        progress=progress,
        max_corrupt_share=max_corrupt_share,
    )
    return report, load_manifest(folder / "out" / "manifest.parquet")


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def test_images_are_copied_byte_for_byte(root: Path, tmp_path: Path) -> None:
    report, manifest = _curate(tmp_path, IMAGES, root=root)
    assert report["records"] == len(manifest) == 24
    assert report["shards"] == len(set(manifest.column("shard"))) > 1
    reader = ShardReader(tmp_path / "out")
    for i in range(len(manifest)):
        record = manifest[i]
        stored = reader.read(record.shard, record.offsets[0], record.lengths[0])
        assert stored == (root / "luperson" / record.origins[0]).read_bytes()
        assert (record.kind, record.split, record.pid) == ("image", "pretrain", -1)
        assert (record.width, record.height) == (200, 300)
        assert record.boxes == ((0, 0, 200, 300),)
        assert record.frames == (0,)


def test_videos_become_tracklets(root: Path, tmp_path: Path) -> None:
    report, manifest = _curate(tmp_path, VIDEOS, root=root)
    # in c somebody steps in front of another: that box shows somebody else from then on
    assert manifest.column("video_id").tolist() == ["a", "a", "b", "c", "c", "c"]
    assert len(set(manifest.column("record_id"))) == 6
    assert report["video"]["split_at_jumps"] == 1
    reader = ShardReader(tmp_path / "out")
    record = manifest[2]
    assert (record.kind, record.split, record.origins) == ("tracklet", "pretrain", ("b.mp4",))
    assert record.frames == tuple(range(1, NUM_FRAMES)), "a track begins with its second box"
    assert record.boxes[4] == (20, 30, 44, 90)
    for offset, length in zip(record.offsets, record.lengths, strict=True):
        crop = decode_image(reader.read(record.shard, offset, length))
        assert crop.shape == (60, 24, 3)
    assert (record.width, record.height) == (24, 60)
    assert abs(crop.mean(axis=(0, 1)) - [0, 200, 90]).max() < 12, "the person, not the street"
    assert report["video"]["videos"] == {"whole": 3, "damaged": 0, "unreadable": 0}


def test_every_rejection_has_a_reason_and_every_box_is_counted(root: Path, tmp_path: Path) -> None:
    config = build_config(min_seconds=0.48, max_overlap=0.3)
    report, manifest = _curate(tmp_path, VIDEOS, root=root, config=config)
    video = report["video"]
    for level in ("detections", "tracked_frames", "tracklets"):
        counts = video[level]
        assert counts["found"] == counts["kept"] + sum(counts["rejected"].values())
    assert video["detections"]["rejected"]["low_confidence"] > 0
    assert video["detections"]["rejected"]["untracked"] == 5, "the first box of each track"
    assert video["tracked_frames"]["rejected"]["overlapped"] > 0
    assert video["tracked_frames"]["found"] == video["detections"]["kept"]
    assert video["tracked_frames"]["kept"] == report["frames"]
    assert report["frames"] == manifest.column("num_frames").sum()
    assert video["tracklets"]["kept"] == len(manifest)
    tracks = pq.read_table(tmp_path / "out" / "tracks.parquet").to_pydict()
    assert len(tracks["path"]) == video["tracked_frames"]["found"]
    kept = [name for name in tracks["record_id"] if name]
    assert len(kept) == report["frames"]
    assert set(kept) == set(manifest.column("record_id"))
    pairs = zip(tracks["record_id"], tracks["reason"], strict=True)
    assert all(bool(name) != bool(reason) for name, reason in pairs)
    keys = list(zip(tracks["path"], tracks["frame"], tracks["track_id"], strict=True))
    assert keys == sorted(keys)


def test_long_tracks_are_cut_and_short_rests_rejected(root: Path, tmp_path: Path) -> None:
    config = build_config(max_seconds=0.72, min_seconds=0.32)
    report, manifest = _curate(tmp_path, VIDEOS, root=root, config=config)
    lengths = manifest.where(video_id="b").column("num_frames").tolist()
    assert lengths == [18, 18]
    assert report["video"]["tracklets"]["rejected"]["too_short"] > 0
    assert manifest[0].frames[-1] + 1 == manifest[1].frames[0]


@pytest.mark.slow
def test_each_parameter_of_the_filters_is_honoured(root: Path, tmp_path: Path) -> None:
    def count(**changes: Any) -> int:
        name = hashlib.sha256(repr(changes).encode()).hexdigest()[:8]
        try:
            report, _ = _curate(tmp_path / name, VIDEOS, root=root, config=build_config(**changes))
        except EmptySourceError:
            return 0
        return int(report["frames"])

    base = count()
    assert base > 0
    for changes in (
        {"confidence": 0.95},
        {"min_seconds": 1.56},
        {"min_height": 61},
        {"min_width": 25},
        {"min_aspect": 2.6},
        {"max_aspect": 2.4, "min_aspect": 1.0},
        {"max_overlap": 0.1},
        {"border_margin": 8},
        {"frames_per_second": 12.5},
        {"track_iou": 0.99},
    ):
        assert count(**changes) < base, changes
    assert count(confidence=0.4) > base
    assert count(tracker="ocsort") > 0


@pytest.mark.slow
@pytest.mark.parametrize("source", [IMAGES, VIDEOS])
def test_killed_at_every_step_it_ends_with_the_same_bytes(
    source: SourceConfig, root: Path, tmp_path: Path
) -> None:
    calls: list[tuple[str, int]] = []
    _curate(tmp_path / "whole", source, root=root, progress=lambda *call: calls.append(call[:2]))
    expected = _digests(tmp_path / "whole" / "out")
    # frames of videos are many and all alike
    steps = [i for i, (label, done) in enumerate(calls) if "frames" not in label or done == 21]
    assert len(steps) > 5
    for step in steps:
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(KilledError):
            _curate(folder, source, root=root, progress=_kill_at(step))
        _curate(folder, source, root=root)
        assert _digests(folder / "out") == expected, calls[step]


@pytest.mark.slow
@pytest.mark.parametrize("source", [IMAGES, VIDEOS])
def test_damaged_after_a_kill_it_ends_with_the_same_bytes(
    source: SourceConfig, root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    _curate(tmp_path / "whole", source, root=root, progress=lambda *call: calls.append(call[0]))
    expected = _digests(tmp_path / "whole" / "out")
    stopped = tmp_path / "stopped"
    with pytest.raises(KilledError):  # at the last record: all units, and a shard of images
        _curate(stopped, source, root=root, progress=_kill_at(len(calls) - 1))
    for path in list_files(stopped):
        for name, damage in DAMAGES.items():
            folder = tmp_path / f"{path.name}-{name}"
            shutil.copytree(stopped, folder)
            damage(folder / path.relative_to(stopped))
            caplog.clear()
            _curate(folder, source, root=root)
            assert _digests(folder / "out") == expected, (path, name)
            assert "done again" in caplog.text or name == "remove" or path.suffix == ".tmp"


def _kill_at(step: int) -> Callable[[str, int, int], None]:
    count: Iterator[int] = iter(range(10**9))

    def progress(label: str, done: int, total: int) -> None:
        if next(count) == step:
            raise KilledError

    return progress


@pytest.mark.parametrize("source", [IMAGES, VIDEOS])
def test_killed_again_and_again_it_still_moves_on(
    source: SourceConfig, root: Path, tmp_path: Path
) -> None:
    _curate(tmp_path / "whole", source, root=root)
    folder = tmp_path / "killed"
    # enough for one video, or for one shard of images
    patience = NUM_FRAMES + 12 if source is VIDEOS else 18
    for _ in range(20):
        try:
            _curate(folder, source, root=root, progress=_kill_at(patience))
            break
        except KilledError:
            continue
    else:
        pytest.fail("it began anew each time")
    assert _digests(folder / "out") == _digests(tmp_path / "whole" / "out")


def test_a_finished_source_is_not_curated_again(root: Path, tmp_path: Path) -> None:
    report, _ = _curate(tmp_path, VIDEOS, root=root)
    calls: list[str] = []
    again, _ = _curate(tmp_path, VIDEOS, root=root, progress=lambda *call: calls.append(call[0]))
    assert again == report
    assert not calls
    assert not (tmp_path / "work" / "units").exists()


def test_outputs_that_were_lost_are_made_again(root: Path, tmp_path: Path) -> None:
    _curate(tmp_path, IMAGES, root=root)
    expected = _digests(tmp_path / "out")
    for name in ("report.json", "shard-000000.tar"):
        (tmp_path / "out" / name).unlink()
    _curate(tmp_path, IMAGES, root=root)
    assert _digests(tmp_path / "out") == expected


def test_work_of_other_parameters_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        _curate(tmp_path, VIDEOS, root=root, progress=_kill_at(50))
    with pytest.raises(ValueError, match="other files or parameters"):
        _curate(tmp_path, VIDEOS, root=root, config=build_config(confidence=0.5))


def test_outputs_hold_no_path_and_no_time(root: Path, tmp_path: Path) -> None:
    for source in (IMAGES, VIDEOS):
        folder = tmp_path / source.layout
        _curate(folder, source, root=root)
        for path in (folder / "out").iterdir():
            assert str(root).encode() not in path.read_bytes()
    report = json.loads((tmp_path / "luperson" / "out" / "report.json").read_text())
    assert "time" not in json.dumps(report)


def write_turned_and_others(folder: Path) -> None:
    """Write a plain JPEG, three turned ones, a 16-bit PNG and a WebP that is called .jpg."""
    pixels = np.arange(60 * 40 * 3, dtype=np.uint32).reshape(60, 40, 3) // 29
    image = Image.fromarray(pixels.astype(np.uint8))
    tags = Image.Exif()
    folder.mkdir()
    image.save(folder / "0.jpg")
    for i in (1, 2, 3):
        tags[0x0112] = i + 4
        image.save(folder / f"{i}.jpg", exif=tags)
    Image.fromarray((pixels[..., 0] * 9).astype(np.uint16)).save(folder / "4.png")
    image.save(folder / "5.jpg", "WEBP")


def test_what_the_fast_decoder_reads_otherwise_is_stored_as_png(tmp_path: Path) -> None:
    folder = tmp_path / "luperson"
    write_turned_and_others(folder)
    _curate(tmp_path, IMAGES, root=tmp_path)
    report, manifest = _curate(tmp_path, IMAGES, root=tmp_path)
    assert report["notes"][:4] == [
        "3 images turned upright by their EXIF orientation",
        "1 image of more than 8 bits a value: the upper 8 are read",
        "1 image of another format than their suffix says",
        "3 images stored as PNG, so that the fast decoder reads the same pixels",
    ]
    frames = FrameReader(manifest, ShardReader(tmp_path / "out"))
    for i in range(6):
        content = (folder / manifest[i].origins[0]).read_bytes()
        pixels = decode_image(content)
        np.testing.assert_array_equal(frames.read(i), pixels)
        assert (manifest[i].height, manifest[i].width) == pixels.shape[:2]
        assert manifest[i].boxes == ((0, 0, pixels.shape[1], pixels.shape[0]),)
        assert (manifest[i].lengths[0] == len(content)) == (i in (0, 4, 5))
    assert [manifest[i].height for i in range(6)] == [60, 40, 40, 40, 60, 60]
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as shard:
        ends = [name.rpartition(".")[2] for name in shard.getnames()]
    assert ends == ["jpg", "png", "png", "png", "png", "jpg"]


def test_killed_at_any_image_it_counts_each_once(tmp_path: Path) -> None:
    write_turned_and_others(tmp_path / "luperson")
    tags = Image.Exif()
    tags[0x0112] = 3
    noise = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    for i in range(6):  # two to a shard
        Image.fromarray(noise).save(tmp_path / "luperson" / f"1{i}.png", exif=tags)
    report, _ = _curate(tmp_path / "whole", IMAGES, root=tmp_path)
    assert report["shards"] > 2
    assert report["notes"][0] == "9 images turned upright by their EXIF orientation"
    for step in (2, 7, 11):
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(KilledError):
            _curate(folder, IMAGES, root=tmp_path, progress=_kill_at(step))
        _curate(folder, IMAGES, root=tmp_path)
        assert _digests(folder / "out") == _digests(tmp_path / "whole" / "out")


@pytest.mark.parametrize(
    "content", [b"", b"this is text", None], ids=["empty", "text", "truncated"]
)
def test_an_unreadable_image_is_named_and_skipped(content: bytes | None, tmp_path: Path) -> None:
    for i in range(6):
        write_image(tmp_path / "luperson" / f"{i}.jpg", seed=i)
    bad = tmp_path / "luperson" / "2.jpg"
    bad.write_bytes(bad.read_bytes()[:-40] if content is None else content)
    report, manifest = _curate(tmp_path, IMAGES, root=tmp_path, max_corrupt_share=0.2)
    assert len(manifest) == 5
    assert [entry["path"] for entry in report["damaged"]["named"]] == ["2.jpg"]
    assert report["damaged"]["named"][0]["reason"]
    assert report["damaged"]["share"] == pytest.approx(1 / 6)


def test_too_many_unreadable_images_stop_the_stage(tmp_path: Path) -> None:
    for i in range(6):
        write_image(tmp_path / "luperson" / f"{i}.jpg", seed=i)
    for i in (1, 4):
        (tmp_path / "luperson" / f"{i}.jpg").write_bytes(b"")
    with pytest.raises(TooManyDamagedError, match=r"2 of 6 .*4\.jpg.*max_corrupt_share = 0\.2"):
        _curate(tmp_path, IMAGES, root=tmp_path, max_corrupt_share=0.2)
    # mended, the stage goes on
    write_image(tmp_path / "luperson" / "4.jpg", seed=4)
    assert _curate(tmp_path, IMAGES, root=tmp_path, max_corrupt_share=0.2)[0]["records"] == 5


def test_broken_videos(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "kinetics"
    rows = []
    for name, walks in WALKS.items():
        content = (root / "kinetics" / name).read_bytes()
        folder.mkdir(exist_ok=True)
        # one is whole, one breaks off, one is no video
        share = {"a.mp4": 1.0, "b.mp4": 0.8, "c.mp4": 0.0}[name]
        (folder / name).write_bytes(content[: int(len(content) * share)])
        rows += predict(name, walks, num_frames=NUM_FRAMES)
    write_predictions(folder, rows)
    report, manifest = _curate(tmp_path, VIDEOS, root=tmp_path, max_corrupt_share=0.7)
    assert report["video"]["videos"] == {"whole": 1, "damaged": 1, "unreadable": 1}
    assert [entry["path"] for entry in report["damaged"]["named"]] == ["b.mp4", "c.mp4"]
    assert set(manifest.column("video_id")) == {"a", "b"}
    assert 0 < manifest.where(video_id="b").column("num_frames")[0] < NUM_FRAMES - 1
    with pytest.raises(TooManyDamagedError, match="1 of 3"):
        _curate(tmp_path / "strict", VIDEOS, root=tmp_path)


def test_nothing_kept_says_why(root: Path, tmp_path: Path) -> None:
    with pytest.raises(EmptySourceError, match='"low_confidence": '):
        _curate(tmp_path, VIDEOS, root=root, config=build_config(confidence=1.0))


def test_tracklets_of_images_keep_their_frame_numbers(tmp_path: Path) -> None:
    for person, camera, frame in [(1, 1, f) for f in range(1, 6)] + [(2, 2, f) for f in (1, 2)]:
        name = f"{person:04d}C{camera}T0001F{frame:03d}.jpg"
        write_image(tmp_path / "mine" / name, seed=frame)
    (tmp_path / "mine" / "0001C1T0001F003.jpg").write_bytes(b"")
    source = SourceConfig("folder", "mine", "reid")
    report, manifest = _curate(tmp_path, source, root=tmp_path, max_corrupt_share=0.5)
    assert [manifest[i].frames for i in range(2)] == [(1, 2, 4, 5), (1, 2)]
    found = [manifest[i].get_raw_frame(p) for i, n in enumerate((4, 2)) for p in range(n)]
    names = [f"0001C1T0001F{f:03d}.jpg" for f in (1, 2, 4, 5)]
    names += [f"0002C2T0001F{f:03d}.jpg" for f in (1, 2)]
    assert found == [(name, 0) for name in names]
    assert [manifest[i].pid for i in range(2)] == [1, 2]
    assert [manifest[i].kind for i in range(2)] == ["tracklet", "tracklet"]
    assert report["damaged"]["files"] == 7
    assert report["splits"]["train"]["people"] == 1


def test_frame_numbers() -> None:
    assert get_frame_numbers(("x/0001C1T0001F007.jpg", "x/0001C1T0001F009.jpg")) == (7, 9)
    assert get_frame_numbers(("b.jpg", "a.jpg")) == (0, 1)
    assert get_frame_numbers(("f2.jpg", "f1.jpg")) == (0, 1)


def test_no_folder_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no folder"):
        _curate(tmp_path, IMAGES, root=tmp_path)
    (tmp_path / "luperson").mkdir()
    with pytest.raises(LayoutError, match="is empty"):
        _curate(tmp_path, IMAGES, root=tmp_path)


def test_crops_are_inside_the_frame(root: Path, tmp_path: Path) -> None:
    _, manifest = _curate(tmp_path, VIDEOS, root=root, config=build_config(crop_height=30))
    for i in range(len(manifest)):
        record = manifest[i]
        assert record.height == 30
        assert all(
            0 <= x1 < x2 <= WIDTH and 0 <= y1 < y2 <= HEIGHT for x1, y1, x2, y2 in record.boxes
        )
