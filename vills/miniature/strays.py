"""Files that do not belong to a data set and are found in many a copy: readers pass over them."""

from pathlib import Path

from vills.miniature.files import write_bytes

README, FINDER, EXPLORER, APPLE = "readme.txt", ".DS_Store", "Thumbs.db", "__MACOSX"
_NOTE = b"A made-up copy of a data set: drawn people, no photographs.\n"
_FINDER_DATA = b"\x00\x00\x00\x01Bud1" + bytes(56)
_EXPLORER_DATA = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(56)
_APPLE_DATA = bytes.fromhex("0005160700020000") + bytes(56)
_OURS = (APPLE, "predictions")


def write_strays(root: Path) -> None:
    """Leave what file managers and archivers leave below `root`, and a note on top.

    In the first of each folder's folders, down to the pictures, lie .DS_Store and at last
    Thumbs.db. __MACOSX has a resource fork for one picture of each, `._<name>`: no picture,
    whatever its suffix.
    """
    write_bytes(root / README, _NOTE)
    write_bytes(root / FINDER, _FINDER_DATA)
    for top in _list_folders(root):
        leaf = top
        while inner := _list_folders(leaf):
            write_bytes(leaf / FINDER, _FINDER_DATA)
            leaf = inner[0]
        for name in sorted({file.name for file in leaf.glob("[!.]*")} - {EXPLORER})[:1]:
            write_bytes(root / APPLE / leaf.relative_to(root) / f"._{name}", _APPLE_DATA)
        write_bytes(leaf / EXPLORER, _EXPLORER_DATA)


def _list_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in _OURS)
