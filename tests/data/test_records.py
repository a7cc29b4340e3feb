from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vills.data.records import Manifest, Record, build_record_id, load_manifest, save_manifest

MakeRecord = Callable[..., Record]


def make_record(record_id: str = "a", **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "record_id": record_id,
        "kind": "image",
        "source": "s",
        "split": "train",
        "pid": 3,
        "camid": 1,
        "clothes_id": -1,
        "video_id": "",
        "origins": (f"{record_id}.jpg",),
        "width": 64,
        "height": 128,
        "shard": "shard-000000.tar",
        "offsets": (512,),
        "lengths": (100,),
        "frames": (0,),
        "boxes": ((0.0, 0.0, 64.0, 128.0),),
    }
    return Record(**{**fields, **changes})


def make_tracklet(record_id: str, num_frames: int) -> Record:
    return make_record(
        record_id,
        kind="tracklet",
        origins=tuple(f"{record_id}/{i}.jpg" for i in range(num_frames)),
        offsets=tuple(512 * (1 + 2 * i) for i in range(num_frames)),
        lengths=tuple(range(100, 100 + num_frames)),
        frames=tuple(range(5, 5 + num_frames)),
        boxes=tuple((float(i), 1.0, 2.0, 3.5) for i in range(num_frames)),
    )


def test_manifest_gives_records_back_sorted(tmp_path: Path) -> None:
    records = [make_record("b", pid=-1), make_tracklet("c", 3), make_record("a")]
    save_manifest(tmp_path / "m.parquet", iter(records))
    manifest = load_manifest(tmp_path / "m.parquet")
    assert [manifest[i] for i in range(3)] == sorted(records, key=lambda r: r.record_id)
    assert manifest[2].num_frames == 3
    with pytest.raises(IndexError):
        manifest[3]


def test_frame_of_a_video_is_its_number() -> None:
    record = replace(make_tracklet("a", 3), video_id="v", origins=("scene.mp4",))
    assert [record.get_raw_frame(p) for p in (0, 2)] == [("scene.mp4", 5), ("scene.mp4", 7)]


def test_frame_of_a_tracklet_of_images_is_its_own_file() -> None:
    names = tuple(f"bbox_train/0001/0001C1T0001F{n:03d}.jpg" for n in (1, 2, 4))
    for frames in ((0, 1, 2), (1, 2, 4)):  # counted from 0 or by the files' own numbers
        record = replace(make_tracklet("a", 3), origins=names, frames=frames)
        assert [record.get_raw_frame(p) for p in range(3)] == [(name, 0) for name in names]


def test_image_is_its_file() -> None:
    assert make_record("a", origins=("a/0001F001.jpg",)).get_raw_frame(0) == ("a/0001F001.jpg", 0)


def test_manifest_bytes_ignore_the_order_of_records(tmp_path: Path) -> None:
    records = [make_record(f"r{i}") for i in range(50)]
    save_manifest(tmp_path / "1", records)
    save_manifest(tmp_path / "2", reversed(records))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_manifest_of_nothing(tmp_path: Path) -> None:
    save_manifest(tmp_path / "m", [])
    assert len(load_manifest(tmp_path / "m")) == 0


def test_where_and_columns(tmp_path: Path) -> None:
    records = [
        make_record(f"r{i}", pid=i % 3, split=("train", "query", "gallery")[i % 3])
        for i in range(9)
    ]
    save_manifest(tmp_path / "m", records)
    manifest = load_manifest(tmp_path / "m")
    assert manifest.where(split="train", pid=0).column("record_id").tolist() == ["r0", "r3", "r6"]
    assert len(manifest.where(split=("query", "gallery"))) == 6
    assert len(manifest.where(split="pretrain")) == 0
    assert manifest.take([4, 1]).column("pid").tolist() == [1, 1]
    assert manifest.take([8, 0])[0].record_id == "r8"
    assert manifest.column("num_frames").tolist() == [1] * 9
    names, codes = manifest.where(pid=1).encode("split")
    assert [names[code] for code in codes] == ["query"] * 3
    names, codes = manifest.encode("record_id")
    assert [names[code] for code in codes] == manifest.column("record_id").tolist()
    with pytest.raises(ValueError, match="holds lists"):
        manifest.column("boxes")


def test_frame_spans_follow_a_filter(tmp_path: Path) -> None:
    save_manifest(tmp_path / "m", [make_tracklet("a", 3), make_record("b"), make_tracklet("c", 2)])
    manifest = load_manifest(tmp_path / "m").where(kind="tracklet")
    starts, offsets, lengths = manifest.frame_spans()
    assert starts.tolist() == [0, 3, 5]
    for row in range(2):
        record = manifest[row]
        assert tuple(offsets[starts[row] : starts[row + 1]]) == record.offsets
        assert tuple(lengths[starts[row] : starts[row + 1]]) == record.lengths


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"record_id = 'a\.b'"):
        make_record("a.b")
    with pytest.raises(ValueError, match="differ"):
        make_record("a", offsets=(1, 2))
    with pytest.raises(ValueError, match="record a of 1 frames has 2 origins. Allowed: one"):
        make_record("a", origins=("a.jpg", "b.jpg"))
    with pytest.raises(ValueError, match="split 'test'"):
        make_record("a", split="test")
    with pytest.raises(ValueError, match="occur twice, e.g. a"):
        save_manifest(tmp_path / "m", [make_record("a"), make_record("a")])
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="run the curate stage"):
        load_manifest(tmp_path / "m")


def test_record_ids_are_unique() -> None:
    paths = [
        "a/b.jpg",
        "a-b.jpg",
        "a/b.png",
        "a b.jpg",
        "a_b.jpg",
        "-1_c1.jpg",
        "1_c1.jpg",
        "ä.jpg",
    ]
    ids = [build_record_id(path) for path in paths]
    assert len(set(ids)) == len(paths)
    assert ids[0] == "a-b"
    assert [make_record(i).record_id for i in ids] == ids


@pytest.mark.slow
def test_a_large_manifest_is_columns(tmp_path: Path) -> None:
    save_manifest(tmp_path / "m", (make_record(f"r{i:06d}") for i in range(70_000)))
    manifest: Manifest = load_manifest(tmp_path / "m")
    assert len(manifest) == 70_000
    assert manifest.table.nbytes < 200 * 70_000
    assert np.all(manifest.column("source") == "s")
