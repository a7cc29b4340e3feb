"""Entries of query and gallery: junk, query frames, queries in the gallery."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluation.curated import write_curated
from vills.data.frames import FrameReader
from vills.evaluation.entries import Entries, EntriesError, build_entries


def load(folder: Path, modality: str = "video") -> tuple[Entries, Entries]:
    data = write_curated(folder / "set", modality=modality)
    return Entries(data.query, data.reader), Entries(data.gallery, data.reader)


@pytest.mark.parametrize("mode", ["first", "middle", "random"])
def test_query_frames_are_the_tracklet_s_own(tmp_path: Path, mode: str) -> None:
    query, _ = load(tmp_path)
    frames = query.take_frames(mode=mode, seed=3)
    nums = query.manifest.column("num_frames")
    assert frames.modalities == ("image",)
    assert frames.ids == query.ids
    assert (frames.manifest.column("num_frames") == 1).all()
    assert frames.positions is not None
    expected = {"first": 0 * nums, "middle": nums // 2}
    if mode in expected:
        assert frames.positions.tolist() == expected[mode].tolist()
    assert ((frames.positions >= 0) & (frames.positions < nums)).all()
    tracklets = FrameReader(query.manifest, query.reader)
    single = FrameReader(frames.manifest, frames.reader)
    for row, position in enumerate(frames.positions.tolist()):
        assert np.array_equal(single.read(row), tracklets.read(row, position))
        assert frames.manifest[row].frames == (position,)


def test_random_frames_depend_on_seed_and_record_alone(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video", frames=(40,))
    query = Entries(data.query, data.reader)
    drawn = [query.take_frames(mode="random", seed=seed).positions for seed in (0, 0, 1)]
    assert drawn[0].tolist() == drawn[1].tolist()
    assert drawn[0].tolist() != drawn[2].tolist()
    some = query.take(np.array([3, 1])).take_frames(mode="random", seed=0)
    assert some.positions.tolist() == drawn[0][[3, 1]].tolist()
    assert some.take(np.array([1])).keys == [(query.ids[1], int(drawn[0][1]))]


def test_joined_entries_are_in_record_order(tmp_path: Path) -> None:
    query, gallery = load(tmp_path)
    joined = gallery.join(query)
    assert joined.ids == sorted([*query.ids, *gallery.ids])
    assert set(joined.manifest.column("split").tolist()) == {"query", "gallery"}
    assert joined.modalities == ("video",)


def make_table(**columns: Any) -> pa.Table:
    rows = {
        "record_id": ["b/1.jpg", "a/2.jpg"],
        "kind": ["image", "tracklet"],
        "pid": [3, 0],
        "camid": [1, -1],
    }
    return pa.table({**rows, **columns})


def test_a_table_is_enough(tmp_path: Path) -> None:
    entries = build_entries(make_table())
    assert entries.ids == ["b/1.jpg", "a/2.jpg"]
    assert entries.keys == [("b/1.jpg", -1), ("a/2.jpg", -1)]
    assert entries.modalities == ("image", "video")
    assert entries.labels.pids.tolist() == [3, 0]
    assert entries.labels.camids.tolist() == [1, -1]
    assert entries.labels.clothes_ids.tolist() == [-1, -1]
    assert entries.reader is None
    more = build_entries(make_table(clothes_id=[7, 8], num_frames=[1, 5]))
    assert more.labels.clothes_ids.tolist() == [7, 8]
    frames = more.take_frames(mode="middle", seed=0)
    assert frames.keys == [("b/1.jpg", -1), ("a/2.jpg", 2)]  # an image stays as it is
    assert frames.kinds.tolist() == ["image", "image"]
    assert more.join(build_entries(make_table(record_id=["c", "d"]))).ids == [
        "a/2.jpg",
        "b/1.jpg",
        "c",
        "d",
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"record_id": ["a", "a"]}, "1 entries repeat an id, first 'a'"),
        ({"kind": ["image", "video"]}, "kind = 'video' is not allowed. Allowed: image, tracklet"),
        ({"num_frames": [1, 0]}, "'a/2.jpg' has 0 frames"),
        ({"pid": [3, None]}, "column pid holds int64 with 1 empty cells"),
        ({"camid": ["1", "2"]}, "column camid holds string"),
    ],
)
def test_bad_tables_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(EntriesError, match=message):
        build_entries(make_table(**columns))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(EntriesError, match="has no column camid; it has record_id, kind, pid"):
        build_entries(make_table().drop_columns("camid"))
