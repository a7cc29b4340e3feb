"""MARS and PRID2011: what is read, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from vills.data.layouts import LayoutError, RawTracklet, read_layout
from vills.data.layouts.prid2011 import load_official_splits

Touch = Callable[..., Path]

TRAIN = [f"0001C1T0001F{i:03d}.jpg" for i in (1, 2)] + ["0001C12T0002F001.jpg"]
TEST = [
    "00-1C1T0001F001.jpg",
    "0000C1T0001F001.jpg",
    "0000C1T0001F002.jpg",
    "0002C3T0001F001.jpg",
    "0002C1T0002F001.jpg",
]
TRAIN_ROWS = [[1, 2, 1, 1], [3, 3, 1, 12]]
TEST_ROWS = [[1, 1, -1, 1], [2, 3, 0, 1], [4, 4, 2, 3], [5, 5, 2, 1]]


def write_mars(root: Path) -> Path:
    (root / "info").mkdir(parents=True)
    (root / "info/train_name.txt").write_bytes("\r\n".join(TRAIN).encode())
    (root / "info/test_name.txt").write_bytes("\r\n".join(TEST).encode() + b"\r\n")
    save_rows(root / "info/tracks_train_info.mat", "track_train_info", TRAIN_ROWS)
    save_rows(root / "info/tracks_test_info.mat", "track_test_info", TEST_ROWS)
    save_queries(root, [3])
    for folder, names in (("bbox_train", TRAIN), ("bbox_test", TEST)):
        for name in names:
            (root / folder / name[:4]).mkdir(parents=True, exist_ok=True)
            (root / folder / name[:4] / name).touch()
    return root


def save_rows(path: Path, key: str, rows: list[list[int]]) -> None:
    savemat(path, {key: np.array(rows, dtype=np.int32)})


def save_queries(root: Path, queries: list[int]) -> None:
    wanted = np.array([queries], dtype=np.uint16)
    savemat(root / "info/query_IDX.mat", {"query_IDX": wanted})


@pytest.mark.parametrize("prefix", ["", "mars", "MARS"])
def test_mars_reads_its_index_files(prefix: str, tmp_path: Path) -> None:
    write_mars(tmp_path / prefix)
    tracklets = list(read_layout("mars", tmp_path).tracklets)
    base = f"{prefix}/" if prefix else ""
    assert tracklets[0] == RawTracklet(
        tuple(f"{base}bbox_train/0001/0001C1T0001F{i:03d}.jpg" for i in (1, 2)), "train", 1, 0
    )
    assert [(t.split, t.pid, t.camid, len(t.paths)) for t in tracklets] == [
        ("train", 1, 0, 2),
        ("train", 1, 11, 1),
        ("gallery", -1, 0, 1),
        ("gallery", 0, 0, 2),
        ("query", 2, 2, 1),
        ("gallery", 2, 0, 1),
    ]
    assert tracklets[2].paths == (f"{base}bbox_test/00-1/00-1C1T0001F001.jpg",)


def test_mars_stray_files_are_not_read_and_lone_queries_are_named(tmp_path: Path) -> None:
    root = write_mars(tmp_path)
    (root / "bbox_test/0002/Thumbs.db").touch()
    (root / "bbox_test/0099").mkdir()
    stray = "bbox_test: 1 other file ignored (1 .db): 0002/Thumbs.db"
    assert read_layout("mars", root).notes == (stray,)
    save_queries(root, [3, 4])
    assert read_layout("mars", root).notes == (
        stray,
        "2 of 2 queries are of 1 person who is not in the gallery: 2",
    )


def test_mars_index_files_of_another_release(tmp_path: Path) -> None:
    root = write_mars(tmp_path)
    save_queries(root, [0])
    with pytest.raises(LayoutError, match="has an index outside the 4 test tracks"):
        read_layout("mars", root)
    save_queries(root, [4, 4])
    with pytest.raises(LayoutError, match="names 1 queries twice"):
        read_layout("mars", root)
    save_queries(root, [4])
    (root / "info/test_name.txt").write_text("\n".join(TEST[:4]))
    with pytest.raises(LayoutError, match="reach name 5, but .* has 4"):
        list(read_layout("mars", root).tracklets)
    (root / "info/test_name.txt").write_text("\n".join(reversed(TEST)))
    with pytest.raises(LayoutError, match="is in a track of person -1, camera 1"):
        list(read_layout("mars", root).tracklets)
    (root / "info/test_name.txt").write_text("\n".join([*TEST[:4], TEST[3]]))
    with pytest.raises(LayoutError, match=r"has 0002C3T0001F001\.jpg twice"):
        list(read_layout("mars", root).tracklets)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_mars_names_in_a_wrong_encoding(encoding: str, tmp_path: Path) -> None:
    root = write_mars(tmp_path)
    (root / "info/test_name.txt").write_bytes("\r\n".join(TEST).encode(encoding))
    with pytest.raises(LayoutError, match=r"test_name\.txt is not plain text"):
        list(read_layout("mars", root).tracklets)
    (root / "info/test_name.txt").write_bytes("\r\n".join(TEST).encode("utf-8-sig"))
    assert len(list(read_layout("mars", root).tracklets)) == 6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1, 2, 1, 1], [4, 3, 1, 2]], r"track 2 .* = \(4, 3, 1, 2\): a track without frames"),
        ([[0, 2, 1, 1]], "track 1"),
        ([[1, 2, 1, 0]], "track 1"),
        ([[1, 2, -7, 1]], "track 1"),
        ([[2, 3, 1, 1], [1, 2, 1, 2]], "tracks 1 and 2 .* share frames"),
        ([[1, 2, 1]], r"a table of \(1, 3\)"),
    ],
)
def test_mars_tracks_without_meaning(rows: list[list[int]], message: str, tmp_path: Path) -> None:
    root = write_mars(tmp_path)
    save_rows(root / "info/tracks_train_info.mat", "track_train_info", rows)
    with pytest.raises(LayoutError, match=message):
        read_layout("mars", root)


def test_mars_mat_files_that_are_damaged(tmp_path: Path) -> None:
    root = write_mars(tmp_path)
    path = root / "info/tracks_test_info.mat"
    whole = path.read_bytes()
    for size in range(0, len(whole), 3):
        path.write_bytes(whole[:size])
        with pytest.raises(LayoutError, match="is not a MATLAB 5 file, or is cut off|no variable"):
            read_layout("mars", root)
    path.write_text("hello")
    with pytest.raises(LayoutError, match="is not a MATLAB 5 file"):
        read_layout("mars", root)
    savemat(path, {"track_train_info": np.array(TEST_ROWS)})
    with pytest.raises(LayoutError, match="no variable track_test_info"):
        read_layout("mars", root)
    for values in (np.array(TEST_ROWS) + 0.5, np.full((4, 4), np.nan), np.array(["abcd"])):
        savemat(path, {"track_test_info": values})
        with pytest.raises(LayoutError, match="does not hold whole numbers"):
            read_layout("mars", root)
    path.unlink()
    with pytest.raises(LayoutError, match=r"has no info/tracks_test_info\.mat"):
        read_layout("mars", root)


def test_mars_half_unpacked(tmp_path: Path) -> None:
    root = write_mars(tmp_path)
    (root / "bbox_test/0002/0002C3T0001F001.jpg").unlink()
    (root / "bbox_test/0002/0002C1T0002F001.jpg").unlink()
    with pytest.raises(LayoutError, match="1 folders of people in .*bbox_test are empty: 0002"):
        read_layout("mars", root)
    (root / "bbox_test/0002").rmdir()
    with pytest.raises(LayoutError, match="lacks 1 of the 3 folders of people.*: 0002.*unpacked"):
        read_layout("mars", root)
    (root / "bbox_test/bbox_test").mkdir()
    with pytest.raises(LayoutError, match="bbox_test/bbox_test is one level too deep"):
        read_layout("mars", root)


SPLITS = [
    {"train": ["person_0001", "person_0003"], "test": ["person_0002"]},
    {"train": ["person_0002", "person_0001"], "test": ["person_0003"]},
]


@pytest.fixture
def prid(touch: Touch) -> Path:
    frames = ("0010.png", "0009.png", "0100.png")
    root = touch(
        *(
            f"prid_2011/multi_shot/{camera}/person_{pid:04d}/{frame}"
            for camera in ("cam_a", "cam_b")
            for pid in (1, 2, 3, 200)
            for frame in frames
        ),
        "prid_2011/multi_shot/cam_a/person_0001/Thumbs.db",
    )
    (root / "splits_prid2011.json").write_text(json.dumps(SPLITS))
    return root


def test_prid2011_reads_the_people_of_its_splits(prid: Path) -> None:
    layout = read_layout("prid2011", prid)
    rows = [(t.split, t.pid, t.camid) for t in layout.tracklets]
    assert rows == [
        ("train", 1, 0),
        ("query", 2, 0),
        ("train", 3, 0),
        ("train", 1, 1),
        ("gallery", 2, 1),
        ("train", 3, 1),
    ]
    first = next(iter(layout.tracklets))
    base = "prid_2011/multi_shot/cam_a/person_0001/"
    assert first.paths == tuple(base + name for name in ("0009.png", "0010.png", "0100.png"))
    assert [(s.train, s.test) for s in layout.splits] == [((1, 3), (2,)), ((1, 2), (3,))]
    assert layout.notes == (
        "splits: 2 of 3 people, of splits_prid2011.json, not the official ones",
        "prid_2011/multi_shot/cam_a/person_0001: 1 other file ignored (1 .db): Thumbs.db",
        "cam_a: 1 people of no split are not read",
        "cam_b: 1 people of no split are not read",
    )


def test_prid2011_without_the_file_takes_the_official_splits(prid: Path, touch: Touch) -> None:
    (prid / "splits_prid2011.json").unlink()
    with pytest.raises(LayoutError, match="cam_a lacks 175 of the 178 people.*person_0007"):
        read_layout("prid2011", prid)
    official = load_official_splits()
    people = sorted({*official[0].train, *official[0].test})
    touch(
        *(
            f"prid_2011/multi_shot/{camera}/person_{pid:04d}/0001.png"
            for camera in ("cam_a", "cam_b")
            for pid in people
            if pid > 3
        )
    )
    layout = read_layout("prid2011", prid / "prid_2011")
    assert len(list(layout.tracklets)) == 2 * 178
    assert layout.splits == official
    assert layout.notes[0] == "splits: 10 of 178 people, the official ones"
    named = [
        {part: [f"person_{pid:04d}" for pid in getattr(s, part)] for part in ("train", "test")}
        for s in official
    ]
    (prid / "splits_prid2011.json").write_text(json.dumps(named))
    assert read_layout("prid2011", prid).notes[0] == layout.notes[0]
    (prid / "splits_prid2011.json").write_text(json.dumps(named[::-1]))
    assert read_layout("prid2011", prid).notes[0].endswith("json, not the official ones")


def test_prid2011_official_splits_are_halves_of_the_same_people() -> None:
    splits = load_official_splits()
    assert len(splits) == 10
    for split in splits:
        assert len(split.train) == len(split.test) == 89
        assert not set(split.train) & set(split.test)
        assert {*split.train, *split.test} == {*splits[0].train, *splits[0].test}
    missing = set(range(1, 201)) - {*splits[0].train, *splits[0].test}
    assert missing == {
        6, 19, 31, 52, 57, 62, 71, 94, 106, 120, 136, 138, 139, 142, 145, 158, 159, 166, 183, 190,
        199, 200,
    }  # fmt: skip


@pytest.mark.real
def test_prid2011_own_splits_are_those_of_the_field(real_data: Path) -> None:
    content = json.loads((real_data / "splits/prid2011_splits.json").read_text())

    def number(names: list[str]) -> tuple[int, ...]:
        return tuple(sorted(int(name.removeprefix("person_")) for name in names))

    assert [(s.train, s.test) for s in load_official_splits()] == [
        (number(entry["train"]), number(entry["test"])) for entry in content
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[{", "is not a list of splits"),
        (b"{}", "not of the same people"),
        (b"[]", "not of the same people"),
        (b"[1]", "is not a list of splits"),
        (b'[{"train": ["person_0001"]}]', "KeyError: 'test'"),
        (b'[{"train": ["anna"], "test": ["person_0001"]}]', "'anna' is not a person's number"),
        (b'[{"train": ["person_0001"], "test": ["person_1"]}]', "has a person twice"),
        (b'[{"train": [], "test": ["person_1"]}]', "an empty half"),
        (
            json.dumps([SPLITS[0], {"train": ["person_0001"], "test": ["person_0002"]}]).encode(),
            "the 2 splits of .* are not of the same people",
        ),
        (json.dumps(SPLITS).encode("utf-16"), "is not a list of splits"),
    ],
)
def test_prid2011_with_a_damaged_split_file(content: bytes, message: str, prid: Path) -> None:
    (prid / "splits_prid2011.json").write_bytes(content)
    with pytest.raises(LayoutError, match=message):
        read_layout("prid2011", prid)


def test_prid2011_split_file_in_windows_writing(prid: Path) -> None:
    text = json.dumps(SPLITS, indent=1).replace("\n", "\r\n")
    (prid / "splits_prid2011.json").write_bytes(text.encode("utf-8-sig"))
    assert len(read_layout("prid2011", prid).splits) == 2


def test_prid2011_half_unpacked_or_ambiguous(prid: Path, touch: Touch) -> None:
    camera = prid / "prid_2011/multi_shot/cam_b"
    touch("prid_2011/multi_shot/cam_b/person_0003/009.png")
    with pytest.raises(LayoutError, match=r"has the frame number of 0*9\.png"):
        read_layout("prid2011", prid)
    for frame in (camera / "person_0003").iterdir():
        frame.unlink()
    with pytest.raises(LayoutError, match="person_0003 holds no image"):
        read_layout("prid2011", prid)
    touch("prid_2011/multi_shot/cam_b/person_0003/x.png")
    with pytest.raises(LayoutError, match=r"x\.png has no frame number"):
        read_layout("prid2011", prid)
    (camera / "person_0003").rename(camera / "person_2")
    with pytest.raises(LayoutError, match="person_0002 and person_2, which are the same person"):
        read_layout("prid2011", prid)
    (camera / "person_2").rename(camera / "old")
    with pytest.raises(LayoutError, match="'old' is not a person's number"):
        read_layout("prid2011", prid)
    (camera / "old").rename(prid / "old")
    with pytest.raises(LayoutError, match="cam_b lacks 1 of the 3 people.*incompletely unpacked"):
        read_layout("prid2011", prid)
    camera.rename(prid / "cam_b")
    with pytest.raises(LayoutError, match="has no multi_shot/cam_b"):
        read_layout("prid2011", prid)
