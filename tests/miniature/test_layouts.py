"""The official layouts, read by means other than our own readers."""

import re
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.io

from vills.config.miniature import MiniatureConfig
from vills.miniature.market1501 import build_track_table, encode_mat, select_queries


@pytest.mark.slow
def test_market_names_follow_the_published_pattern(world: Path, small: MiniatureConfig) -> None:
    pattern = re.compile(r"^(-1|\d{4})_c[1-6]s\d_\d{6}_\d{2}\.jpg$")
    root = world / "market1501"
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        names = [f.name for f in (root / folder).glob("[!T]*")]
        assert names
        assert all(pattern.match(name) for name in names), names
    queries = [f.name.split("_")[:2] for f in (root / "query").glob("*.jpg")]
    assert len({tuple(q) for q in queries}) == len(queries)  # one per person and camera


def test_every_query_has_an_answer_in_another_camera(world: Path) -> None:
    root = world / "market1501"
    gallery = {tuple(f.name[:7].split("_")) for f in (root / "bounding_box_test").glob("*.jpg")}
    for file in (root / "query").glob("*.jpg"):
        pid, camera = file.name[:7].split("_")
        assert any(p == pid and c != camera for p, c in gallery)


def test_mars_tables_describe_the_files(world: Path) -> None:
    root = world / "mars"
    for part in ("train", "test"):
        text = (root / "info" / f"{part}_name.txt").read_bytes()
        assert text.endswith(b"\r\n")
        names = text.decode().split()
        for name in names:
            assert (root / f"bbox_{part}" / name[:4] / name).is_file()
        table = scipy.io.loadmat(root / "info" / f"tracks_{part}_info.mat")[f"track_{part}_info"]
        assert table.dtype == np.int32
        assert table[0, 0] == 1
        assert table[-1, 1] == len(names)
        assert (table[1:, 0] == table[:-1, 1] + 1).all()
        for start, stop, pid, camera in table.tolist():
            track = names[start - 1 : stop]
            shown = "00-1" if pid == -1 else f"{pid:04d}"
            assert len({name[:11] for name in track}) == 1
            assert track[0].startswith(f"{shown}C{camera}T")
            assert [int(name[12:15]) for name in track] == list(range(1, len(track) + 1))


def test_mars_queries_ask_once_for_each_person_and_camera(world: Path) -> None:
    info = world / "mars" / "info"
    tracks = scipy.io.loadmat(info / "tracks_test_info.mat")["track_test_info"]
    query = scipy.io.loadmat(info / "query_IDX.mat")["query_IDX"]
    assert query.dtype == np.uint16
    asked = [tuple(tracks[i - 1, 2:]) for i in query[0].tolist()]
    assert len(set(asked)) == len(asked)
    assert set(asked) == {(p, c) for p, c in tracks[:, 2:].tolist() if p > 0}
    assert {-1, 0} <= set(tracks[:, 2].tolist())


def test_track_table_by_hand() -> None:
    names = ["00-1C2T0001F001.jpg", "0000C1T0001F001.jpg", "0000C1T0001F002.jpg"]
    names += ["0007C1T0001F001.jpg", "0007C1T0002F001.jpg", "0007C3T0003F001.jpg"]
    table = build_track_table(names)
    expected = [[1, 1, -1, 2], [2, 3, 0, 1], [4, 4, 7, 1], [5, 5, 7, 1], [6, 6, 7, 3]]
    assert table.tolist() == expected
    assert select_queries(table).tolist() == [[3, 5]]


def test_mat_files_carry_no_date() -> None:
    data = encode_mat("query_IDX", np.array([[1, 2]], dtype=np.uint16))
    assert b"Created" not in data
    assert data[:116].strip() == b"MATLAB 5.0 MAT-file"


def test_scenes_are_named_like_kinetics_and_decode(world: Path, small: MiniatureConfig) -> None:
    files = sorted((world / "kinetics" / "train").glob("*.mp4"))
    assert len(files) == small.num_scenes
    truth = pq.read_table(world / "truth" / "kinetics.parquet").to_pylist()
    for file in files:
        assert re.match(r"^[\w-]{11}_\d{6}_\d{6}\.mp4$", file.name)
        with av.open(str(file)) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert len(frames) == small.scene_frames
        path = file.relative_to(world / "kinetics").as_posix()
        rows = [row for row in truth if row["path"] == path]
        assert {row["frame"] for row in rows} <= set(range(small.scene_frames))
        assert {(row["height"], row["width"]) for row in rows} == {frames[0].shape[:2]}
