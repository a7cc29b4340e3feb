from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from vills.config.checks import ConfigError
from vills.data.layouts import (
    LAYOUTS,
    LayoutError,
    RawImage,
    RawTracklet,
    RawVideo,
    compare_counts,
    read_layout,
)

Touch = Callable[..., Path]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "root"

    return make


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_folder_empty_folder_and_wrong_layout_are_told_apart(name: str, touch: Touch) -> None:
    root = touch("readme.txt")
    with pytest.raises(LayoutError, match="no folder .*VILLS_DATA"):
        read_layout(name, root / "absent")
    (root / "empty").mkdir()
    with pytest.raises(LayoutError, match="is empty"):
        read_layout(name, root / "empty")
    with pytest.raises(LayoutError, match=r"readme\.txt|no (image|video)"):
        read_layout(name, root)


def test_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="layout = 'duke'"):
        read_layout("duke", tmp_path)


def test_luperson_takes_every_image_at_any_depth(touch: Touch) -> None:
    root = touch("us/boston/00000002_0001.jpg", "images/b.png", "images/a.JPG", "images/notes.txt")
    layout = read_layout("luperson", root)
    expected = ["images/a.JPG", "images/b.png", "us/boston/00000002_0001.jpg"]
    assert list(layout.images) == [RawImage(path, "pretrain") for path in expected]
    assert [image.path for image in layout.images] == expected, "iterable a second time"
    assert not list(layout.videos)


def test_links_are_followed_and_circles_are_not(touch: Touch, tmp_path: Path) -> None:
    root = touch("a/1.jpg")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/2.jpg").touch()
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a/up").symlink_to(root)
    assert [i.path for i in read_layout("luperson", root).images] == ["a/1.jpg", "b/2.jpg"]


def test_kinetics_takes_every_video(touch: Touch) -> None:
    root = touch("val/b.mp4", "train/walking/a_000001_000011.mp4", "annotations/train.csv")
    assert list(read_layout("kinetics", root).videos) == [
        RawVideo("train/walking/a_000001_000011.mp4", "train/walking/a_000001_000011"),
        RawVideo("val/b.mp4", "val/b"),
    ]


MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/Thumbs.db",
    "query/0001_c6s1_001051_00.jpg",
    "bounding_box_test/-1_c2s1_000401_03.jpg",
    "bounding_box_test/0000_c1s1_000151_01.jpg",
)


@pytest.mark.parametrize(
    "prefix",
    ["", "Market-1501-v15.09.15/", "market1501/", "market1501/Market-1501-v15.09.15/"],
)
def test_market1501_at_every_root_of_the_field(prefix: str, touch: Touch) -> None:
    root = touch(*(prefix + name for name in MARKET))
    assert list(read_layout("market1501", root).images) == [
        RawImage(prefix + MARKET[0], "train", pid=2, camid=0),
        RawImage(prefix + MARKET[2], "query", pid=1, camid=5),
        RawImage(prefix + MARKET[3], "gallery", pid=-1, camid=1),
        RawImage(prefix + MARKET[4], "gallery", pid=0, camid=0),
    ]


def test_market1501_refuses_other_names_and_an_empty_split(touch: Touch) -> None:
    root = touch(*MARKET)
    (root / "query/0001_c6s1_001051_00.jpg").unlink()
    with pytest.raises(LayoutError, match=r"query holds no \.jpg"):
        read_layout("market1501", root)
    touch("query/hello.jpg")
    with pytest.raises(LayoutError, match=r"query/hello\.jpg is not named"):
        list(read_layout("market1501", root).images)


def write_mars(root: Path, *, queries: list[int] | None = None) -> Path:
    train = [f"0001C1T0001F{i:03d}.jpg" for i in (1, 2)] + ["0001C2T0002F001.jpg"]
    test = ["00-1C1T0001F001.jpg", "0000C1T0001F001.jpg", "0000C1T0001F002.jpg"]
    test += ["0002C3T0001F001.jpg", "0002C1T0002F001.jpg"]
    (root / "info").mkdir(parents=True)
    (root / "info/train_name.txt").write_bytes("\r\n".join(train).encode())
    (root / "info/test_name.txt").write_bytes("\r\n".join(test).encode() + b"\r\n")
    rows = np.array([[1, 2, 1, 1], [3, 3, 1, 2]], dtype=np.int32)
    savemat(root / "info/tracks_train_info.mat", {"track_train_info": rows})
    rows = np.array([[1, 1, -1, 1], [2, 3, 0, 1], [4, 4, 2, 3], [5, 5, 2, 1]], dtype=np.int32)
    savemat(root / "info/tracks_test_info.mat", {"track_test_info": rows})
    wanted = np.array([queries or [3]], dtype=np.uint16)
    savemat(root / "info/query_IDX.mat", {"query_IDX": wanted})
    for folder in ("bbox_train", "bbox_test"):
        (root / folder).mkdir()
    return root


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
        ("train", 1, 1, 1),
        ("gallery", -1, 0, 1),
        ("gallery", 0, 0, 2),
        ("query", 2, 2, 1),
        ("gallery", 2, 0, 1),
    ]
    assert tracklets[2].paths == (f"{base}bbox_test/00-1/00-1C1T0001F001.jpg",)


def test_mars_index_files_of_another_release(tmp_path: Path) -> None:
    write_mars(tmp_path, queries=[0])
    with pytest.raises(LayoutError, match="points outside the 4 test tracks"):
        read_layout("mars", tmp_path)
    savemat(tmp_path / "info/query_IDX.mat", {"query_IDX": np.array([[4]], dtype=np.uint16)})
    names = (tmp_path / "info/test_name.txt").read_text().split()
    (tmp_path / "info/test_name.txt").write_text("\n".join(names[:4]))
    with pytest.raises(LayoutError, match="reach name 5, but .* has 4"):
        list(read_layout("mars", tmp_path).tracklets)
    (tmp_path / "info/test_name.txt").write_text("\n".join(reversed(names)))
    with pytest.raises(LayoutError, match="lies in a track of person -1"):
        list(read_layout("mars", tmp_path).tracklets)
    (tmp_path / "info/query_IDX.mat").write_text("hello")
    with pytest.raises(LayoutError, match="is no MATLAB 5 file"):
        read_layout("mars", tmp_path)


def splits_of(root: Path) -> dict[str, str]:
    layout = read_layout("folder", root)
    return {image.path: image.split for image in layout.images}


def test_folder_halves_the_people_by_default(touch: Touch) -> None:
    root = touch(
        *(f"{pid:04d}_c{cam}_v1.jpg" for pid in (1, 2, 3, 4) for cam in (2, 3)),
        "0009_c5_v1.jpg",  # seen by one camera: cannot be a query
        "0003_c11_v2.jpg",
        "-1_c1.jpg",
        "0000_c1.png",
    )
    splits = splits_of(root)
    assert {name[:4] for name, split in splits.items() if split == "train"} == {"0001", "0002"}
    assert [n for n, split in splits.items() if split == "query"] == [
        "0003_c2_v1.jpg",
        "0004_c2_v1.jpg",
    ]
    assert splits["0009_c5_v1.jpg"] == splits["-1_c1.jpg"] == splits["0000_c1.png"] == "gallery"
    image = next(i for i in read_layout("folder", root).images if "c11" in i.path)
    assert (image.pid, image.camid, image.split) == (3, 10, "gallery")


def test_folder_with_sub_folders(touch: Touch) -> None:
    root = touch("train/0001_c1.jpg", "query/a/0002_c1.jpg", "gallery/0002_c2.jpg")
    assert splits_of(root) == {
        "gallery/0002_c2.jpg": "gallery",
        "query/a/0002_c1.jpg": "query",
        "train/0001_c1.jpg": "train",
    }
    touch("0007_c1.jpg")
    with pytest.raises(LayoutError, match=r"0007_c1\.jpg lies in none of"):
        splits_of(root)
    (root / "0007_c1.jpg").unlink()
    (root / "train/0001_c1.jpg").unlink()
    with pytest.raises(LayoutError, match=r"\['train'\] of .* hold no image"):
        splits_of(root)
    (root / "train").rmdir()
    with pytest.raises(LayoutError, match="but not all of"):
        splits_of(root)


def test_folder_with_a_split_file(touch: Touch) -> None:
    root = touch("0001_c1.jpg", "0002_c1.jpg", "0002_c2.jpg", "0003_c2.jpg", "-1_c2.jpg")
    (root / "splits.csv").write_text("pid,split\n1,train\n0002,test\n3,gallery\n-1, gallery\n")
    expected = {
        "-1_c2.jpg": "gallery",
        "0001_c1.jpg": "train",
        "0002_c1.jpg": "query",
        "0002_c2.jpg": "gallery",
        "0003_c2.jpg": "gallery",
    }
    assert splits_of(root) == expected
    lines = [f"{path},{split}" for path, split in expected.items()]
    (root / "splits.csv").write_text("\n".join(["path,split", *lines]))
    assert splits_of(root) == expected
    (root / "splits.csv").write_text("\n".join(["path,split", *lines[1:]]))
    with pytest.raises(LayoutError, match=r"says nothing of 1 images, e\.g\. -1_c2\.jpg"):
        splits_of(root)
    (root / "splits.csv").write_text("pid,split\nx,train\n")
    with pytest.raises(LayoutError, match="row x,train is not allowed"):
        splits_of(root)
    (root / "splits.csv").write_text("1,train\n")
    with pytest.raises(LayoutError, match="must start with the line"):
        splits_of(root)


def test_folder_of_tracklets(touch: Touch) -> None:
    names = [f"{p:04d}C{c}T{c:04d}F{f:03d}.jpg" for p in (5, 7) for c in (1, 2) for f in (2, 10)]
    root = touch(*names, "00-1C1T0001F001.jpg")
    tracklets = list(read_layout("folder", root).tracklets)
    assert [(t.split, t.pid, t.camid) for t in tracklets] == [
        ("gallery", -1, 0),
        ("train", 5, 0),
        ("train", 5, 1),
        ("query", 7, 0),
        ("gallery", 7, 1),
    ]
    assert tracklets[1].paths == ("0005C1T0001F002.jpg", "0005C1T0001F010.jpg")
    touch("0001_c1.jpg")
    with pytest.raises(LayoutError, match="mixes images"):
        read_layout("folder", root)


def test_folder_names_must_say_who(touch: Touch) -> None:
    with pytest.raises(LayoutError, match=r"IMG_1\.jpg does not say who it shows"):
        read_layout("folder", touch("0001_c1.jpg", "IMG_1.jpg"))


def test_counts_beside_the_official_ones() -> None:
    lines = compare_counts("mars", {"train": 8298, "train ids": 625, "query": 4})
    assert lines[0] == "mars: 4 query, the official release has 1,980"
    assert len(lines) == 3
    assert not compare_counts("folder", {"train": 1})
