import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vills.config.checks import ConfigError
from vills.config.curate import LAYOUTS as CONFIG_LAYOUTS
from vills.config.load import load_profile
from vills.data import discovery
from vills.data.files import VIDEO_SUFFIXES, UnreadableFolderError
from vills.data.layouts import (
    LAYOUTS,
    LayoutError,
    RawImage,
    RawVideo,
    read_layout,
)
from vills.data.layouts.counts import OFFICIAL_COUNTS, count_splits
from vills.data.layouts.listing import ZERO_PERSON
from vills.miniature import world

Touch = Callable[..., Path]


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


def test_a_data_set_stands_in_every_list() -> None:
    assert set(CONFIG_LAYOUTS) == set(LAYOUTS)
    written = set(LAYOUTS) - {"folder"}
    assert set(world.LAYOUTS) == written, "rendered, so that CI reads it"
    for profile in ("miniature", "datasets"):
        sources = load_profile(profile).curate.sources.values()
        assert {source.layout for source in sources} == written, profile
    told_by_kind_of_files = {"kinetics"}
    assert set(discovery._CHECKS) == set(LAYOUTS) - told_by_kind_of_files
    without_official_counts = {"sigset", "kinetics"}
    assert set(OFFICIAL_COUNTS) == written - without_official_counts


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


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_kinetics_knows_every_kind_of_video_file(suffix: str, touch: Touch) -> None:
    names = [f"a{suffix}", f"b{suffix.upper()}"]
    assert [v.path for v in read_layout("kinetics", touch(*names, "._a.mp4")).videos] == names


def test_other_files_beside_videos_and_crops_are_counted_by_suffix(touch: Touch) -> None:
    other = ("a.txt", "b.TXT", "x/c.heic", "x/README", "x/._1.jpg", ".git/config")
    root = touch("2.mp4", "10.mp4", "1 (1).mp4", *other, "predictions/detections.parquet")
    layout = read_layout("kinetics", root)
    assert [video.path for video in layout.videos] == ["1 (1).mp4", "10.mp4", "2.mp4"]
    assert layout.notes == (
        ".: 6 other files ignored (2 .txt, 1 .heic, 1 folder, 1 hidden, 1 without suffix): "
        "a.txt, b.TXT, .git/, x/c.heic, x/README and 1 more",
        "1 of 3 names look like copies: 1 (1).mp4",
    )
    (root / "x/c.heic").rename(root / "x/c.jpg")
    assert (
        read_layout("luperson", root)
        .notes[0]
        .startswith(".: 8 other files ignored (3 .mp4, 2 .txt, 1 folder")
    )


def test_an_error_names_no_clutter(touch: Touch) -> None:
    root = touch("a/x.txt", ".DS_Store", "__MACOSX/a/._x.txt")
    with pytest.raises(LayoutError, match=r"found a\. What"):
        read_layout("market1501", root)
    with pytest.raises(LayoutError, match=r"no video .*; \.: 3 other files ignored \(1 \.txt"):
        read_layout("kinetics", root)
    with pytest.raises(LayoutError, match="is empty"):
        read_layout("folder", touch("b/.DS_Store", "b/__MACOSX/._1.jpg") / "b")


def test_kinetics_tells_two_files_of_one_name_apart(touch: Touch) -> None:
    root = touch("a.mp4", "a.b.mp4", "a.avi", "c/a.mp4")
    ids = [video.video_id for video in read_layout("kinetics", root).videos]
    assert ids == ["a.avi", "a.b", "a.mp4", "c/a"]


@pytest.mark.parametrize("name", ["luperson", "kinetics", "sigset", "folder"])
def test_a_folder_that_cannot_be_listed_is_an_error_that_names_it(
    name: str, touch: Touch, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = touch("a/0001_c1.jpg", "a/b.mp4", "locked/0002_c1.jpg")
    real = os.scandir

    def scandir(path: str | Path) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UnreadableFolderError, match=r"cannot list .*locked \(Permission denied\)"):
        count_splits(read_layout(name, root))


def test_a_folder_that_cannot_be_looked_into_is_an_error_that_names_it(
    touch: Touch, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = touch(*(f"multi_shot/{camera}/x" for camera in ("cam_a", "cam_b")))

    def iterdir(path: Path) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(LayoutError, match=r"prid2011: cannot read .*\(Permission denied\)\. What"):
        read_layout("prid2011", root)


def splits_of(root: Path) -> dict[str, str]:
    layout = read_layout("folder", root)
    return {image.path: image.split for image in layout.images}


def test_folder_halves_the_people_by_default(touch: Touch) -> None:
    root = touch(
        *(f"{pid:04d}_c{cam}_v1.jpg" for pid in (1, 2, 3, 4) for cam in (2, 3)),
        "0009_c5_v1.jpg",  # seen by one camera: cannot be a query
        "0003_c11_v2.jpg",
        "-1_c1.jpg",
    )
    splits = splits_of(root)
    assert {name[:4] for name, split in splits.items() if split == "train"} == {"0001", "0002"}
    assert [n for n, split in splits.items() if split == "query"] == [
        "0003_c2_v1.jpg",
        "0004_c2_v1.jpg",
    ]
    assert splits["0009_c5_v1.jpg"] == splits["-1_c1.jpg"] == "gallery"
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
    with pytest.raises(LayoutError, match=r"0007_c1\.jpg is in none of"):
        splits_of(root)
    (root / "0007_c1.jpg").unlink()
    (root / "train/0001_c1.jpg").unlink()
    with pytest.raises(LayoutError, match=r"\['train'\] of .* hold no image"):
        splits_of(root)
    (root / "train").rmdir()
    with pytest.raises(LayoutError, match="but not all of"):
        splits_of(root)


@pytest.mark.parametrize("name", ["train/0001_c1.jpg", "splits.csv"])
def test_folder_at_a_wrong_level_is_not_split_by_default(name: str, touch: Touch) -> None:
    root = touch("own/0002_c1.jpg", f"own/{name}", "0003_c1.jpg")
    with pytest.raises(LayoutError, match=r"wrong folder level.* give .*root/own, or write"):
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
    with pytest.raises(LayoutError, match=r"does not list 1 images, e\.g\. -1_c2\.jpg"):
        splits_of(root)
    (root / "splits.csv").write_text("\n".join(["path,split", *(f".\\{x}" for x in lines)]))
    with pytest.raises(LayoutError, match=r"would match '-1_c2.jpg' with slashes for backslashes"):
        splits_of(root)
    (root / "splits.csv").write_text(f"pid,split\n{'1' * 5_000},train\n")
    with pytest.raises(LayoutError, match="row 1+,train is not allowed"):
        splits_of(root)
    (root / "splits.csv").write_text("pid,split\nx,train\n")
    with pytest.raises(LayoutError, match="row x,train is not allowed"):
        splits_of(root)
    (root / "splits.csv").write_text("1,train\n")
    with pytest.raises(LayoutError, match="must start with the line"):
        splits_of(root)


def test_folder_never_asks_for_junk_or_distractors(touch: Touch) -> None:
    names = [f"{pid}_c{cam}.jpg" for pid in ("-1", "0000", "0002") for cam in (1, 2)]
    root = touch("0001_c1.jpg", *names)
    (root / "splits.csv").write_text("pid,split\n-1,test\n0,gallery\n1,train\n2,test\n")
    assert [name for name, split in splits_of(root).items() if split == "query"] == ["0002_c1.jpg"]
    layout = read_layout("folder", root)
    assert [image.pid for image in layout.images] == [-1, -1, 0, 0, 1, 2, 2]
    assert layout.notes == (
        "2 images of id -1 are junk, which no search counts",
        "2 files of id 0, which the gallery alone has, are distractors",
    )


def test_folder_that_counts_people_from_0(touch: Touch) -> None:
    root = touch(*(f"{pid:03d}_c{cam}.jpg" for pid in range(5) for cam in (1, 2)))
    layout = read_layout("folder", root)
    counts = count_splits(layout)
    assert {split: len(count.pids) for split, count in counts.items()} == {
        "train": 2,
        "query": 3,
        "gallery": 3,
    }
    assert {i.pid for i in layout.images if i.split == "train"} == {ZERO_PERSON, 1}
    assert layout.notes[-1] == "id 0 is read as a person, 100000 in records: 2 files"
    (root / "splits.csv").write_text("pid,split\n0,test\n1,train\n2,test\n3,test\n4,test\n")
    asked = [i.pid for i in read_layout("folder", root).images if i.split == "query"]
    assert asked == [ZERO_PERSON, 2, 3, 4]
    touch("100000_c1.jpg")
    (root / "splits.csv").unlink()
    with pytest.raises(LayoutError, match=r"100000_c1.jpg is of person 100000, .* another number"):
        read_layout("folder", root)


def test_folder_that_counts_cameras_from_0_and_writes_one_person_in_two_ways(touch: Touch) -> None:
    root = touch("7_c0.jpg", "007_c1.jpg", "8_c0.jpg", "8_c1.jpg")
    layout = read_layout("folder", root)
    assert [(image.pid, image.camid) for image in layout.images] == [(7, 1), (7, 0), (8, 0), (8, 1)]
    assert layout.notes == (
        "1 people are written in several ways: 7 (007, 7)",
        "cameras count from 0, since there is a camera 0",
    )


def test_folder_with_the_folders_of_market1501(touch: Touch) -> None:
    """DukeMTMC-reID and others have them."""
    names = ("bounding_box_train/0001_c2_f0046182.jpg", "bounding_box_test/0002_c1_f0044158.jpg")
    root = touch(*names, "query/0002_c2_f0044158.jpg")
    assert list(splits_of(root).values()) == ["gallery", "train", "query"]
    (root / "query/0002_c2_f0044158.jpg").rename(root / "0002_c2_f0044158.jpg")
    (root / "query").rmdir()
    with pytest.raises(LayoutError, match="not all of .'bounding_box_train', 'query'"):
        read_layout("folder", root)


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
    with pytest.raises(LayoutError, match=r"IMG_1\.jpg does not say which person it shows"):
        read_layout("folder", touch("0001_c1.jpg", "IMG_1.jpg"))


def test_folder_passes_stray_files_over_and_names_queries_without_a_match(touch: Touch) -> None:
    root = touch("0001_c1.jpg", "0002_c1.jpg", "0003_c2.jpg", "Thumbs.db", "a/.DS_Store")
    (root / "splits.csv").write_text("pid,split\n1,train\n2,query\n3,gallery\n")
    layout = read_layout("folder", root)
    assert layout.notes == (
        ".: 2 other files ignored (1 .db, 1 hidden): Thumbs.db, a/.DS_Store",
        "1 of 1 queries are of 1 person who is not in the gallery: 2",
    )
    (root / "splits.csv").write_text("pid,split\n1,train\n2,train\n3,gallery\n")
    with pytest.raises(LayoutError, match=r"a/0003_c2\.png"):
        read_layout("folder", touch("a/0003_c2.png", "a/0003_c2.jpg"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pid,split\r\n1,train\r\n1,query\r\n2,gallery\r\n", "lists pid 1 twice"),
        (
            b"pid,split\n1,train\n2,gallery\n7,query\n9,query\n",
            "lists 2 without an image.* 7, 9",
        ),
        ("pid,split\n1,train\n2,gallery\n".encode("utf-16"), "is not plain text in UTF-8"),
        (b"pid,split\n1,train\n2,gallery\nS\xe9an,query\n", "is not plain text in UTF-8"),
        (b"", "must start with the line"),
        (b"path,split\n0001_c1.jpg,test\n", "row 0001_c1.jpg,test is not allowed"),
        (b"pid,split\n1\n", "row 1 is not allowed"),
    ],
)
def test_folder_with_a_damaged_split_file(content: bytes, message: str, touch: Touch) -> None:
    root = touch("0001_c1.jpg", "0002_c1.jpg")
    (root / "splits.csv").write_bytes(content)
    with pytest.raises(LayoutError, match=message):
        read_layout("folder", root)


def test_folder_split_file_in_windows_writing(touch: Touch) -> None:
    root = touch("0001_c1.jpg", "0002_c1.jpg")
    (root / "splits.csv").write_bytes(b"\xef\xbb\xbfpid,split\r\n1,train\r\n\r\n2,gallery\r\n")
    assert splits_of(root) == {"0001_c1.jpg": "train", "0002_c1.jpg": "gallery"}


@pytest.mark.parametrize("name", ["-2_c1.jpg", "0001_c-1.jpg", "99999999999_c1.jpg"])
def test_folder_numbers_that_no_record_can_hold(name: str, touch: Touch) -> None:
    with pytest.raises(LayoutError, match=f"{name} does not say which person it shows"):
        read_layout("folder", touch("0001_c1.jpg", name))


def test_folder_refuses_a_frame_twice(touch: Touch) -> None:
    root = touch("0001C1T0001F001.jpg", "0001C1T0001F0001.jpg")
    with pytest.raises(LayoutError, match="the same image or frame"):
        read_layout("folder", root)
