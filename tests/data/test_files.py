"""One walker and one order for all readers of people's folders."""

import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from vills.data.files import FolderEntries, compute_order, list_files, list_folders, list_names
from vills.data.inventory import build_inventory, check_inventory

Touch = Callable[..., Path]


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "10.jpg", "11.jpg", "100.jpg"],
        ["001.jpg", "2.jpg", "03.jpg", "10.jpg"],
        ["Frame2.jpg", "frame9.jpg", "FRAME10.JPG"],
        ["cam1_f2", "cam1_f10", "cam2_f1", "cam10_f1"],
        ["a-1.jpg", "a-2.jpg", "a-10.jpg"],
        ["a", "a1", "a1b", "a2", "ab"],
        ["７.jpg", "8.jpg", "١٠.jpg"],  # full-width 7, Arabic-Indic 10
        ["-1_c1s1_2.jpg", "0000_c1s1_1.jpg", "0001_c1s1_1.jpg"],
        ["9.jpg", "99999999999999999999.jpg", "100000000000000000000.jpg"],
        ["01.jpg", "1.jpg"],  # equal numbers: as plain text
        ["T5/2.jpg", "T5/10.jpg", "T10/1.jpg"],
    ],
)
def test_natural_order(names: list[str]) -> None:
    for seed in range(5):
        mixed = random.Random(seed).sample(names, len(names))
        assert sorted(mixed, key=compute_order) == names


def test_zero_padded_names_have_the_order_of_plain_text() -> None:
    """So that Market-1501, MARS, PRID2011 and the world keep the order they always had."""
    rng = random.Random(0)
    market = [
        f"{rng.choice(['-1', '0000', f'{rng.randint(1, 1501):04d}'])}_c{rng.randint(1, 6)}s"
        f"{rng.randint(1, 3)}_{rng.randint(0, 99999):06d}_{rng.randint(0, 9):02d}.jpg"
        for _ in range(300)
    ]
    mars = [
        f"{rng.randint(1, 1500):04d}C{rng.randint(1, 6)}T{rng.randint(1, 99):04d}F"
        f"{rng.randint(1, 999):03d}.jpg"
        for _ in range(300)
    ]
    luperson = [f"{rng.randint(0, 10**8):08d}_{rng.randint(0, 9999):04d}.jpg" for _ in range(300)]
    for names in (market, mars, luperson):
        assert sorted(names, key=compute_order) == sorted(names)


def test_clutter_is_passed_over_wherever_it_lies(touch: Touch) -> None:
    clutter = [
        ".DS_Store",
        "._1.jpg",
        "Thumbs.db",
        "desktop.ini",
        "__MACOSX/a/._1.jpg",
        "@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg",
        ".hidden/1.jpg",
        "a/.1.jpg",
        "a/thumbs.DB",
    ]
    root = touch("1.jpg", "a/10.JPG", "a/9.jpg", "b/notes.txt", *clutter)
    assert list(list_files(root)) == ["1.jpg", "a/9.jpg", "a/10.JPG", "b/notes.txt"]
    assert list_names(root) == ["1.jpg", "a", "b"]
    assert list(list_folders(root))[0] == FolderEntries(
        "",
        ["1.jpg"],
        ["._1.jpg", ".DS_Store", ".hidden/", "@eaDir/", "__MACOSX/", "desktop.ini", "Thumbs.db"],
    )


def test_links_are_followed_and_no_folder_is_read_twice(touch: Touch, tmp_path: Path) -> None:
    root = touch("a/1.jpg")
    (tmp_path / "far").mkdir()
    (tmp_path / "far/2.jpg").touch()
    (root / "b").symlink_to(tmp_path / "far")
    (root / "c").symlink_to(tmp_path / "far")
    (tmp_path / "far/back").symlink_to(root)
    (root / "a/up").symlink_to("..")
    (root / "3.jpg").symlink_to(tmp_path / "far/2.jpg")
    (root / "lost.jpg").symlink_to("nowhere")
    assert list(list_files(root)) == ["3.jpg", "lost.jpg", "a/1.jpg", "b/2.jpg"]
    passed = [prefix + name for prefix, _, names in list_folders(root) for name in names]
    assert passed == ["a/up/", "b/back/", "c/"], "what is read already is named"


def test_an_inventory_does_not_know_clutter(touch: Touch) -> None:
    root = touch("a/1.jpg")
    table = build_inventory(root)
    (root / "a/Thumbs.db").touch()
    check_inventory(root, table)
    row = {"path": ["a/Thumbs.db"], "size": [9], "digest": ["x"]}
    check_inventory(root, pa.concat_tables([table, pa.table(row, schema=table.schema)]))
