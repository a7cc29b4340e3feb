"""Market-1501, PRCC and LTCC: what is read, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vills.data.files import UnreadableFolderError
from vills.data.layouts import LayoutError, RawImage, read_layout
from vills.errors import UserError

Touch = Callable[..., Path]

MARKET = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/Thumbs.db",
    "query/0001_c6s1_001051_00.jpg",
    "bounding_box_test/-1_c2s1_000401_03.jpg",
    "bounding_box_test/0000_c1s1_000151_01.jpg",
    "bounding_box_test/0001_c11s1_000151_01.jpg",
)


@pytest.mark.parametrize(
    "prefix",
    ["", "Market-1501-v15.09.15/", "market1501/", "market1501/Market-1501-v15.09.15/"],
)
def test_market1501_at_every_root_of_the_field(prefix: str, touch: Touch) -> None:
    layout = read_layout("market1501", touch(*(prefix + name for name in MARKET)))
    assert list(layout.images) == [
        RawImage(prefix + MARKET[0], "train", pid=2, camid=0),
        RawImage(prefix + MARKET[2], "query", pid=1, camid=5),
        RawImage(prefix + MARKET[3], "gallery", pid=-1, camid=1),
        RawImage(prefix + MARKET[4], "gallery", pid=0, camid=0),
        RawImage(prefix + MARKET[5], "gallery", pid=1, camid=10),
    ]
    assert layout.notes == ("bounding_box_train: 1 other file ignored (1 .db): Thumbs.db",)


def test_market1501_with_the_500k_distractors(touch: Touch) -> None:
    layout = read_layout("market1501", touch(*MARKET, "images/a.jpg", "images/b.txt"))
    assert list(layout.images)[-1] == RawImage("images/a.jpg", "gallery", pid=0, camid=-1)
    assert layout.notes[-2:] == (
        "images: 1 images read as gallery distractors",
        "images: 1 other file ignored (1 .txt): b.txt",
    )


@pytest.mark.parametrize(
    "name", ["hello.jpg", "hello.png", "-2_c1s1.jpg", "0001_c0s1_1.jpg", "9999999999_c1s1_1.jpg"]
)
def test_market1501_refuses_names_without_meaning(name: str, touch: Touch) -> None:
    with pytest.raises(LayoutError, match=rf"query/{name} is not named like"):
        read_layout("market1501", touch(*MARKET, f"query/{name}"))


def test_market1501_refuses_an_image_twice(touch: Touch) -> None:
    root = touch(*MARKET, f"query/query/{Path(MARKET[2]).name}")
    with pytest.raises(LayoutError, match=r"query/0001_c6s1_001051_00\.jpg are the same image"):
        read_layout("market1501", root)


def test_market1501_with_a_link_to_itself(touch: Touch) -> None:
    root = touch(*MARKET)
    expected = list(read_layout("market1501", root).images)
    (root / "query/up").symlink_to(root)
    assert list(read_layout("market1501", root).images) == expected


def test_market1501_half_unpacked(touch: Touch) -> None:
    root = touch(*MARKET)
    (root / "query/0001_c6s1_001051_00.jpg").unlink()
    with pytest.raises(LayoutError, match="query holds no image"):
        read_layout("market1501", root)
    (root / "query").rmdir()
    with pytest.raises(LayoutError, match="has no query; found .*incompletely unpacked"):
        read_layout("market1501", root)


def test_market1501_at_a_wrong_level_says_which_path_to_give(touch: Touch) -> None:
    root = touch(*("a/b/" + name for name in MARKET))
    with pytest.raises(LayoutError, match=r"wrong folder level.*give .*root/a/b\.$"):
        read_layout("market1501", root)
    with pytest.raises(LayoutError, match=r"wrong folder level.*give .*root/a/b\.$"):
        read_layout("market1501", root / "a/b/query")


def test_queries_without_a_match_and_people_on_both_sides_are_named(touch: Touch) -> None:
    root = touch(
        *MARKET[2:],
        "bounding_box_train/0007_c1s1_1.jpg",
        *(f"query/{pid:04d}_c1s1_1.jpg" for pid in (3, 4, 5, 6, 7, 8)),
        "query/0009_c2s1_1.jpg",
        "bounding_box_test/0009_c2s1_2.jpg",
        "query/-1_c1s1_9.jpg",
        "bounding_box_test/0010_c2_3.jpg",
    )
    assert read_layout("market1501", root).notes == (
        "6 of 9 queries are of 6 people who are not in the gallery: 3, 4, 5, 6, 7 and 1 more",
        "7 of 9 queries have no match in another camera of the gallery",
        "1 of 9 queries are junk or distractors",
        "1 person who is both in train and in query or gallery: 7",
        "1 of 15 names have no sequence number (the s1 of 0001_c1s1): another data set with "
        "Market-1501's folders?",
    )


def test_market1501_whose_people_are_counted_from_0(touch: Touch) -> None:
    """As people number their own: nobody of them may be taken for a distractor."""
    root = touch(*MARKET, "bounding_box_train/0000_c1s1_9.jpg")
    pids = {image.path: image.pid for image in read_layout("market1501", root).images}
    assert pids["bounding_box_train/0000_c1s1_9.jpg"] == pids[MARKET[4]] == 100_000
    assert "id 0 is read as a person, 100000 in records: 2 files" in (
        read_layout("market1501", root).notes
    )


PRCC = (
    "train/003/A_cropped_rgb001.jpg",
    "train/003/C_cropped_rgb010.jpg",
    "train/010/B_cropped_rgb001.jpg",
    "val/003/A_cropped_rgb002.jpg",
    "test/A/001/cropped_rgb001.jpg",
    "test/A/001/Thumbs.db",
    "test/A/readme.txt",
    "test/B/001/cropped_rgb002.jpg",
    "test/C/001/cropped_rgb003.jpg",
)


@pytest.mark.parametrize("prefix", ["", "rgb/", "prcc/rgb/"])
def test_prcc_at_every_root(prefix: str, touch: Touch) -> None:
    layout = read_layout("prcc", touch(*(prefix + name for name in PRCC)))
    assert list(layout.images) == [
        RawImage(prefix + PRCC[0], "train", pid=3, camid=0, clothes_id=2),
        RawImage(prefix + PRCC[1], "train", pid=3, camid=2, clothes_id=3),
        RawImage(prefix + PRCC[2], "train", pid=10, camid=1, clothes_id=4),
        RawImage(prefix + PRCC[4], "gallery", pid=1, camid=0, clothes_id=0),
        RawImage(prefix + PRCC[7], "query", pid=1, camid=1, clothes_id=0),
        RawImage(prefix + PRCC[8], "query", pid=1, camid=2, clothes_id=1),
    ]
    assert layout.notes == (
        f"{prefix}test/A: 2 other files ignored (1 .db, 1 .txt): readme.txt, 001/Thumbs.db",
        "val: 1 images not read; its people are in train",
    )


def test_prcc_a_query_whose_person_is_not_in_the_gallery(touch: Touch) -> None:
    layout = read_layout("prcc", touch(*PRCC, "test/C/090/cropped_rgb001.jpg"))
    assert "1 of 3 queries are of 1 person who is not in the gallery: 90" in layout.notes


def test_prcc_refuses_what_has_no_meaning(touch: Touch, tmp_path: Path) -> None:
    root = touch(*PRCC, "train/003/D_cropped_rgb001.jpg")
    with pytest.raises(LayoutError, match=r"train/003/D_cropped_rgb001\.jpg is not named like A_"):
        read_layout("prcc", root)
    (root / "train/003/D_cropped_rgb001.jpg").unlink()
    (root / "train/044").mkdir()
    with pytest.raises(LayoutError, match="train/044 holds no image"):
        read_layout("prcc", root)
    (root / "train/044").rename(root / "train/copy")
    with pytest.raises(LayoutError, match="'copy' is not a person's number"):
        read_layout("prcc", root)
    (root / "train/copy").rmdir()
    touch("train/003/A_cropped_rgb001.png")
    with pytest.raises(LayoutError, match="are the same image"):
        read_layout("prcc", root)
    (root / "train/003/A_cropped_rgb001.png").unlink()
    touch("test/A/cropped_rgb002.jpg")
    with pytest.raises(LayoutError, match=r"1 images are in .*test/A, .*: cropped_rgb002\.jpg"):
        read_layout("prcc", root)
    (root / "test/A/cropped_rgb002.jpg").unlink()
    touch("train/3/B_cropped_rgb001.jpg")
    with pytest.raises(LayoutError, match="has 003 and 3, which are the same person"):
        read_layout("prcc", root)


def test_prcc_half_unpacked_and_one_level_too_deep(touch: Touch) -> None:
    root = touch(*(name for name in PRCC if not name.startswith("test/B")))
    with pytest.raises(
        LayoutError, match="test/B, the test images of camera B.*incompletely unpacked"
    ):
        read_layout("prcc", root)
    touch("test/B/note.txt")
    with pytest.raises(LayoutError, match="test/B holds no folders of people"):
        read_layout("prcc", root)
    touch("test/B/B/001/cropped_rgb002.jpg")
    with pytest.raises(LayoutError, match="test/B/B is one level too deep"):
        read_layout("prcc", root)
    with pytest.raises(LayoutError, match=r"wrong folder level.*give .*root\.$"):
        read_layout("prcc", root / "test")


LTCC = (
    "train/000_1_c1_000001.png",
    "train/000_2_c12_000002.png",
    "train/Thumbs.db",
    "query/144_1_c11_011239.png",
    "test/144_1_c2_011240.png",
    "test/144_3_c2_011241.png",
    "info/cloth-change_id_test.txt",
)


@pytest.mark.parametrize("prefix", ["", "LTCC_ReID/", "ltcc/LTCC_ReID/"])
def test_ltcc_numbers_outfits_over_all_splits(prefix: str, touch: Touch) -> None:
    layout = read_layout("ltcc", touch(*(prefix + name for name in LTCC)))
    zero = 100_000  # 0 is a distractor in records, so person 0 gets a number of its own
    assert list(layout.images) == [
        RawImage(prefix + LTCC[0], "train", pid=zero, camid=0, clothes_id=2),
        RawImage(prefix + LTCC[1], "train", pid=zero, camid=11, clothes_id=3),
        RawImage(prefix + LTCC[3], "query", pid=144, camid=10, clothes_id=0),
        RawImage(prefix + LTCC[4], "gallery", pid=144, camid=1, clothes_id=0),
        RawImage(prefix + LTCC[5], "gallery", pid=144, camid=1, clothes_id=1),
    ]
    assert layout.notes == ("train: 1 other file ignored (1 .db): Thumbs.db",)


def test_ltcc_refuses_what_has_no_meaning(touch: Touch) -> None:
    root = touch(*LTCC, "test/144_c2_011240.png")
    with pytest.raises(LayoutError, match=r"test/144_c2_011240\.png is not named like"):
        read_layout("ltcc", root)
    (root / "test/144_c2_011240.png").unlink()
    touch("test/old/144_1_c2_011240.png")
    with pytest.raises(LayoutError, match="are the same image"):
        read_layout("ltcc", root)


def test_ltcc_half_unpacked(touch: Touch) -> None:
    root = touch(*LTCC[:4], "test/Thumbs.db")
    with pytest.raises(LayoutError, match="test holds no image"):
        read_layout("ltcc", root)
    (root / "test/Thumbs.db").unlink()
    (root / "test").rmdir()
    with pytest.raises(LayoutError, match="has no test; found query, train"):
        read_layout("ltcc", root)


@pytest.mark.parametrize("name", ["market1501", "prcc", "ltcc"])
def test_a_folder_that_cannot_be_listed_is_refused(
    name: str, touch: Touch, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = touch(*{"market1501": MARKET, "prcc": PRCC, "ltcc": LTCC}[name])
    real = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith(("query", "test/B/001")):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(
        UnreadableFolderError, match=r"cannot list .*(query|001) \(Permission denied\)"
    ):
        read_layout(name, root)


@pytest.mark.parametrize("name", ["market1501", "prcc", "ltcc"])
def test_a_file_where_a_folder_belongs_is_an_error_that_names_it(name: str, touch: Touch) -> None:
    files = {"market1501": MARKET, "prcc": PRCC, "ltcc": LTCC}[name]
    parts = {"market1501": "query", "prcc": "train", "ltcc": "test"}
    root = touch(*(file for file in files if not file.startswith(parts[name])), parts[name])
    with pytest.raises(UserError, match=rf"cannot .*{parts[name]} \(Not a directory\)"):
        read_layout(name, root)


def test_names_that_are_not_utf8_are_refused_by_name(touch: Touch) -> None:
    root = touch(*MARKET)
    stray = os.fsencode(root / "query") + b"/Se\xe9an.txt"
    Path(os.fsdecode(stray)).touch()
    with pytest.raises(UnreadableFolderError, match=r"query holds b'Se\\xe9an\.txt', .*UTF-8"):
        read_layout("market1501", root)
