"""Stills, folders of frames and labelled videos of one source, with its entries."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.curation.scenes import (
    Walk,
    build_config,
    draw_frame,
    predict,
    walk_right,
    write_image,
    write_predictions,
    write_scene,
    write_video,
)
from vills.config.checks import ConfigError
from vills.config.curate import CurateConfig, SourceConfig
from vills.curation.packer import TooManyDamagedError
from vills.curation.source import run_source
from vills.data.records import Manifest, load_manifest
from vills.data.shards import ShardReader

SIGSET = SourceConfig("sigset", "sigset", "reid")
NUM_FRAMES = 40
LATE = [walk_right(2, top=20), walk_right(6, top=40, since=20)]
WALKS: dict[str, list[Walk]] = {
    "full/G1_set1_a.mp4": [walk_right(10)],
    "full/G1_set2_b.mp4": LATE,
    "full/G2_set1_a.mp4": [walk_right(40, top=10)],
    "full/G3_set1_a.mp4": [lambda frame: None],
    "train/G9_set1_a.mp4": [walk_right(20)],
}
Member = tuple[str, str]


class KilledError(Exception):
    """Stands for a kill."""


def _write_xml(path: Path, signatures: Sequence[tuple[str, str, list[Member]]]) -> None:
    parts = []
    for name, subject, members in signatures:
        parts.append(f"<signature><name>{name}</name><subjectId>{subject}</subjectId>")
        for file, segment in members:
            media = "digitalStill" if file.endswith("jpg") else "digitalVideo"
            parts.append(
                f"<sigmember><filePath>./{file}</filePath><media>{media}</media>{segment}"
                "</sigmember>"
            )
        parts.append("</signature>")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<sigset>{''.join(parts)}</sigset>")


def _segment(start: object, stop: object, unit: str = "frame") -> str:
    return f"<start>{start}</start><stop>{stop}</stop><unit>{unit}</unit>"


def _write_sigset(root: Path, probes: Sequence[tuple[str, str, list[Member]]]) -> None:
    """Five videos, stills and a folder of frames of four subjects."""
    folder = root / "sigset"
    rows = []
    for name, walks in WALKS.items():
        write_scene(folder, name, walks, num_frames=NUM_FRAMES)
        rows += predict(name, walks, num_frames=NUM_FRAMES)
    write_predictions(folder, rows)
    for i in range(10):
        write_image(folder / "full" / f"G2_set1_{i}.jpg", seed=i, size=(100, 150))
    for i in range(4):
        write_image(folder / "full" / "G2_frames" / f"{i}.jpg", seed=i)
    _write_xml(folder / "sigsets_main" / "Probe.xml", probes)
    gallery = [
        ("g1", "G1", [("full/G1_set1_a.mp4", "")]),
        ("g2", "G2", [(f"full/G2_set1_{i}.jpg", "") for i in range(10)]),
        ("g3", "G2", [("full/G2_set1_a.mp4", ""), ("full/G2_frames", "")]),
        ("g4", "G3", [("full/G3_set1_a.mp4", "")]),
    ]
    _write_xml(folder / "sigsets_gallery" / "Gallery_1.xml", gallery)
    train = [("t", "G9", [("train/G9_set1_a.mp4", "")])]
    _write_xml(folder / "sigsets_main" / "Train.xml", train)


PROBES = [
    ("p-both", "G1", [("full/G1_set2_b.mp4", "")]),
    ("p-first", "G1", [("full/G1_set2_b.mp4", _segment(0, 20))]),
    ("p-second", "G1", [("full/G1_set2_b.mp4", _segment("0.8", "1.2", "second"))]),
    ("p-short", "G1", [("full/G1_set2_b.mp4", _segment(5, 9))]),
    ("p-nobody", "G3", [("full/G3_set1_a.mp4", "")]),
    ("p-still", "G2", [("full/G2_set1_3.jpg", "")]),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    _write_sigset(root, PROBES)
    return root


def _curate(
    folder: Path,
    root: Path,
    *,
    config: CurateConfig | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    max_corrupt_share: float = 0.05,
) -> tuple[dict[str, Any], Manifest]:
    report = run_source(
        "sigset",
        SIGSET,
        config or build_config(),
        root=root,
        out=folder / "out",
        work=folder / "work",
        progress=progress,
        max_corrupt_share=max_corrupt_share,
    )
    return report, load_manifest(folder / "out" / "manifest.parquet")


@pytest.fixture(scope="module")
def curated(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curated")
    _curate(folder, root)
    return folder


def _load(folder: Path) -> tuple[dict[str, Any], Manifest]:
    report = json.loads((folder / "out" / "report.json").read_text())
    return report, load_manifest(folder / "out" / "manifest.parquet")


def _load_entries(folder: Path) -> dict[tuple[str, str], list[str]]:
    rows = pq.read_table(folder / "out" / "entries.parquet").to_pylist()
    return {(row["group"], row["name"]): row["record_ids"] for row in rows}


def test_all_three_kinds_are_one_source(root: Path, curated: Path) -> None:
    report, manifest = _load(curated)
    kinds = [(r.kind, bool(r.video_id)) for r in (manifest[i] for i in range(len(manifest)))]
    assert kinds.count(("image", False)) == 10
    assert kinds.count(("tracklet", False)) == 1
    assert kinds.count(("tracklet", True)) == len(kinds) - 11 == 7
    assert len(set(manifest.column("record_id"))) == len(manifest) == report["records"]
    reader = ShardReader(curated / "out")
    for record in (manifest[i] for i in range(len(manifest))):
        for offset, length in zip(record.offsets, record.lengths, strict=True):
            data = reader.read(record.shard, offset, length)
            assert data[:2] == b"\xff\xd8"
        if record.kind == "image":
            assert data == (root / "sigset" / record.origins[0]).read_bytes()
    assert report["damaged"]["files"] == 10 + 4 + 8
    assert report["splits"]["train"]["people"] == 1


def test_records_carry_the_labels_of_their_video(curated: Path) -> None:
    _, manifest = _load(curated)
    rows = {manifest[i].video_id: manifest[i] for i in range(len(manifest))}
    train = rows["train/G9_set1_a.mp4"]
    assert (train.split, train.pid, train.camid, train.clothes_id) == ("train", 9, -1, 901)
    probe = rows["full/G1_set2_b.mp4"]
    assert (probe.split, probe.pid, probe.clothes_id) == ("query", 1, 102)
    assert (rows["full/G1_set1_a.mp4"].split, rows["full/G1_set1_a.mp4"].pid) == ("gallery", 1)


def test_entries_name_their_records(curated: Path) -> None:
    report, manifest = _load(curated)
    entries = _load_entries(curated)
    records = [manifest[i] for i in range(len(manifest))]
    origin = {record.record_id: record.origins[0] for record in records}
    found = {key: [origin[i] for i in ids] for key, ids in entries.items()}
    assert found["gallery_1", "G1"] == ["full/G1_set1_a.mp4"]
    assert sorted(found["gallery_1", "G2"]) == [
        "full/G2_frames/0.jpg",
        *(f"full/G2_set1_{i}.jpg" for i in range(10)),
        "full/G2_set1_a.mp4",
    ]
    assert found["probe", "p-still"] == ["full/G2_set1_3.jpg"]
    assert found["gallery_1", "G3"] == found["probe", "p-nobody"] == []
    assert report["entries"]["probe"] == {
        "entries": 6,
        "people": 3,
        "empty": {"count": 1, "named": ["p-nobody"]},
    }
    assert not (curated / "out" / "splits.json").exists()


def test_the_longest_track_is_the_subject(curated: Path) -> None:
    report, manifest = _load(curated)
    record = next(r for r in map(manifest.__getitem__, range(len(manifest)))
                  if r.video_id == "full/G1_set2_b.mp4")  # fmt: skip
    assert record.frames == tuple(range(1, NUM_FRAMES)), "not who comes later"
    tracklets = report["video"]["tracklets"]
    assert tracklets["rejected"]["not_the_subject"] == 2, "of the whole video and of its last part"
    for level in ("detections", "tracked_frames", "tracklets"):
        counts = report["video"][level]
        assert counts["found"] == counts["kept"] + sum(counts["rejected"].values())
    assert tracklets["kept"] == len(manifest.where(kind="tracklet")) - 1
    tracks = pq.read_table(curated / "out" / "tracks.parquet").to_pydict()
    kept = [name for name in tracks["record_id"] if name]
    assert len(kept) == report["video"]["tracked_frames"]["kept"]
    assert set(kept) <= set(manifest.column("record_id"))
    assert (
        tracks["reason"].count("not_the_subject")
        == (report["video"]["tracked_frames"]["rejected"]["not_the_subject"])
    )


def test_segments_of_one_file(curated: Path) -> None:
    _, manifest = _load(curated)
    records = [manifest[i] for i in range(len(manifest))]
    frames = {r.record_id: r.frames for r in records if r.origins == ("full/G1_set2_b.mp4",)}
    entries = _load_entries(curated)
    by_probe = {name: [frames[i] for i in ids] for (group, name), ids in entries.items()
                if group == "probe" and set(ids) <= set(frames) and ids}  # fmt: skip
    assert by_probe == {
        "p-both": [tuple(range(1, 40))],
        "p-first": [tuple(range(1, 20))],
        # 25 frames a second: 20 to 29, and a track begins with its second box
        "p-second": [tuple(range(21, 30))],
        "p-short": [(6, 7, 8)],
    }


def test_short_subjects_are_kept_and_counted(root: Path, tmp_path: Path) -> None:
    report, _ = _curate(tmp_path, root, config=build_config(min_seconds=0.6))
    labelled = report["video"]["labelled"]
    assert labelled == {
        "videos": 8,
        "with_subject": 7,
        "without_subject": {"count": 1, "named": ["full/G3_set1_a.mp4"]},
        "shorter_than_min_seconds": 2,
    }
    assert report["video"]["tracklets"]["rejected"]["too_short"] == 0
    assert report["entries"]["probe"]["empty"]["count"] == 1


def test_a_cut_track_stays_one_subject(root: Path, tmp_path: Path) -> None:
    _, manifest = _curate(tmp_path, root, config=build_config(max_seconds=0.6))
    entries = _load_entries(tmp_path)
    ids = entries["probe", "p-both"]
    rows = {manifest[i].record_id: manifest[i] for i in range(len(manifest))}
    assert [rows[i].num_frames for i in ids] == [15, 15, 9]
    assert {rows[i].pid for i in ids} == {1}


@pytest.mark.slow
def test_killed_at_every_step_it_ends_with_the_same_bytes(root: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    _curate(tmp_path / "whole", root, progress=lambda *call: calls.append(call[:2]))
    expected = _read(tmp_path / "whole" / "out")
    assert {"entries.parquet", "tracks.parquet", "report.json"} <= set(expected)
    steps = [i for i, (label, done) in enumerate(calls) if "frames" not in label or done == 11]
    assert len(steps) > 20
    for step in steps[::3]:
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(KilledError):
            _curate(folder, root, progress=_kill_at(step))
        _curate(folder, root)
        assert _read(folder / "out") == expected, calls[step]


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _kill_at(step: int) -> Callable[[str, int, int], None]:
    count: Iterator[int] = iter(range(10**9))

    def progress(label: str, done: int, total: int) -> None:
        assert done <= max(total, done if "frames" in label else 0)
        if next(count) == step:
            raise KilledError

    return progress


@pytest.mark.slow
def test_killed_between_shards_of_stills_and_videos(tmp_path: Path) -> None:
    """Shards of 1 MB: kills fall into images, tracklets and videos."""
    _write_sigset(tmp_path, PROBES)
    for i in range(10):
        path = tmp_path / "sigset" / "full" / f"G2_set1_{i}.jpg"
        write_image(path, seed=i, size=(400, 600))
    calls: list[str] = []
    _curate(tmp_path / "whole", tmp_path, progress=lambda *call: calls.append(call[0]))
    expected = _read(tmp_path / "whole" / "out")
    assert sum(name.startswith("shard") for name in expected) > 1
    for step in [i for i, label in enumerate(calls) if label == "sigset: records"][::2]:
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(KilledError):
            _curate(folder, tmp_path, progress=_kill_at(step))
        _curate(folder, tmp_path)
        assert _read(folder / "out") == expected


@pytest.mark.slow
def test_entries_that_were_lost_are_made_again(root: Path, tmp_path: Path) -> None:
    _curate(tmp_path, root)
    expected = _read(tmp_path / "out")
    (tmp_path / "out" / "entries.parquet").unlink()
    _curate(tmp_path, root)
    assert _read(tmp_path / "out") == expected


def test_other_labels_are_other_work(tmp_path: Path) -> None:
    _write_sigset(tmp_path, PROBES)
    with pytest.raises(KilledError):
        _curate(tmp_path, tmp_path, progress=_kill_at(60))
    _write_sigset(tmp_path, PROBES[:-1])
    with pytest.raises(ValueError, match="with other files"):
        _curate(tmp_path, tmp_path)


def test_damaged_media_leave_their_entries(tmp_path: Path) -> None:
    _write_sigset(tmp_path, PROBES)
    folder = tmp_path / "sigset" / "full"
    (folder / "G2_set1_3.jpg").write_bytes(b"")
    (folder / "G1_set2_b.mp4").write_bytes(b"no video")
    with pytest.raises(TooManyDamagedError, match=r"G1_set2_b\.mp4"):
        _curate(tmp_path / "strict", tmp_path)
    report, _ = _curate(tmp_path, tmp_path, max_corrupt_share=0.5)
    assert report["damaged"]["count"] == 5, "the still, and four rows of the video"
    assert report["entries"]["probe"]["empty"]["named"] == [
        "p-both",
        "p-first",
        "p-nobody",
        "p-second",
        "p-short",
        "p-still",
    ]
    assert len(_load_entries(tmp_path)["gallery_1", "G2"]) == 11
    assert report["video"]["labelled"]["without_subject"]["count"] == 5


def test_a_segment_behind_the_end_is_named(tmp_path: Path) -> None:
    probes = [("p", "G1", [("full/G1_set2_b.mp4", _segment(90, 99))])]
    _write_sigset(tmp_path, probes)
    report, _ = _curate(tmp_path, tmp_path, max_corrupt_share=0.5)
    assert report["damaged"]["named"] == [
        {"path": "full/G1_set2_b.mp4", "reason": "has 40 frames, its segment begins at 90"}
    ]


def test_videos_need_a_detector(tmp_path: Path) -> None:
    _write_sigset(tmp_path, PROBES)
    (tmp_path / "sigset" / "predictions" / "detections.parquet").unlink()
    with pytest.raises(ConfigError, match=r"no\s+predictions/detections\.parquet"):
        _curate(tmp_path, tmp_path)


def test_the_report_says_what_the_reader_noted(curated: Path) -> None:
    report, _ = _load(curated)
    assert any("media are in a probe and in a gallery" in note for note in report["notes"])


def test_ties_go_to_the_first_track(tmp_path: Path) -> None:
    twins = [walk_right(4, top=4), walk_right(4, top=66)]
    folder = tmp_path / "sigset"
    write_video(folder / "G1.mp4", (draw_frame(twins, i) for i in range(20)))
    write_predictions(folder, predict("G1.mp4", twins, num_frames=20))
    for name in ("Probe", "Gallery_1"):
        _write_xml(folder / f"{name}.xml", [("a", "G1", [("G1.mp4", "")])])
    _, manifest = _curate(tmp_path, tmp_path)
    assert len(manifest) == 1
    assert manifest[0].boxes[0][1] == 4
