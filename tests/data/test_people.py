"""Copies of images: by name and by content, and where they make scores or labels wrong."""

import pickle
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from tests.data.raw_copies import PixelWriter
from vills.data.layouts import read_layout
from vills.data.layouts.people import describe_copies, is_copy_name

Touch = Callable[..., Path]


@pytest.mark.parametrize(
    "stem",
    [
        "0001_c1 (1)",
        "0001_c1(2)",
        "0001_c1 - Copy",
        "0001_c1 - Copy (3)",
        "0001_c1 – Kopie",
        "0001_c1 copy 2",
        "0001_c1_copy",
        "0001_c1-copy2",
        "0001_c1.copy",
        "Kopie von 0001_c1",
        "Copy of 0001_c1",
        "Copy (2) of 0001_c1",
        "Copie de 0001_c1",
        "0001_c1 - Copie",
        "0001_c1 - 副本",
        "0001_c1 (Anna's conflicted copy 2026-01-02)",
        "0001_c1.sync-conflict-20260102-030405-ABCDEFG",
    ],
)
def test_names_of_copies(stem: str) -> None:
    assert is_copy_name(f"a/{stem}.jpg")


@pytest.mark.parametrize(
    "stem", ["0001_c1s1_001051_00", "A_cropped_rgb001", "0001C1T0001F001", "photocopy", "copyright"]
)
def test_other_names(stem: str) -> None:
    assert not is_copy_name(f"a (1)/{stem}.jpg")


def make_copies(root: Path) -> Path:
    names = ["train/0001_c1.jpg", "query/0002_c1.jpg", "gallery/0002_c2.jpg", "gallery/0003_c2.jpg"]
    PixelWriter(root).write(names)
    train, query, mine, other = (root / name for name in names)
    for source, name in (
        (mine, "gallery/0002_c2 (1).jpg"),
        (mine, "gallery/0002_c2 - Copy.jpg"),
        (query, "gallery/0002_c1_b.jpg"),
        (train, "gallery/0001_c3.jpg"),
        (other, "gallery/0004_c2.jpg"),
    ):
        (root / name).write_bytes(source.read_bytes())
    (root / "gallery/0005_c1.jpg").write_bytes(mine.read_bytes()[:-1] + b"?")  # of one size only
    (root / "gallery/0006_c1.jpg").symlink_to("nowhere")
    return root


def test_copies_are_counted_and_named(tmp_path: Path) -> None:
    layout = read_layout("folder", make_copies(tmp_path))
    assert layout.notes[-1] == (
        "2 of 11 names look like copies: gallery/0002_c2 (1).jpg, gallery/0002_c2 - Copy.jpg"
    )
    assert describe_copies(layout) == (
        "images with the bytes of another one: 5 of 11: "
        "gallery/0001_c3.jpg = train/0001_c1.jpg, gallery/0002_c1_b.jpg = query/0002_c1.jpg, "
        "gallery/0002_c2 (1).jpg = gallery/0002_c2 - Copy.jpg, "
        "gallery/0003_c2.jpg = gallery/0004_c2.jpg",
        "of these, in query and in gallery, where a query finds itself: 1: "
        "gallery/0002_c1_b.jpg = query/0002_c1.jpg",
        "of these, in train and in query or gallery: 1: gallery/0001_c3.jpg = train/0001_c1.jpg",
        "of these, of several people, so that a label is wrong: 1: "
        "gallery/0003_c2.jpg = gallery/0004_c2.jpg",
    )


def test_frames_of_tracklets_are_compared_too(tmp_path: Path) -> None:
    PixelWriter(tmp_path).write(f"{p:04d}C{c}T0001F001.jpg" for p in (1, 2) for c in (1, 2))
    (tmp_path / "0002C2T0001F002.jpg").write_bytes((tmp_path / "0002C2T0001F001.jpg").read_bytes())
    assert describe_copies(read_layout("folder", tmp_path)) == (
        "images with the bytes of another one: 1 of 5: 0002C2T0001F001.jpg = 0002C2T0001F002.jpg",
    )


def test_images_without_labels_are_compared_if_asked_for(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "lup")) as database, database.begin(write=True) as transaction:
        for key, value in (("a", b"one"), ("b", b"two"), ("c", b"one")):
            transaction.put(key.encode(), value)
    (tmp_path / "keys.pkl").write_bytes(pickle.dumps(["a", "b", "c"]))
    layout = read_layout("luperson", tmp_path)
    assert describe_copies(layout) == ()
    assert describe_copies(layout, unlabelled=True) == (
        "images with the bytes of another one: 1 of 3: a.jpg = c.jpg",
    )
