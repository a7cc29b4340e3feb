"""Which layout a folder has, told from names alone; half-unpacked copies are recognised too."""

import re
from collections.abc import Callable
from pathlib import Path

from vills.data.images import SUFFIXES
from vills.data.layouts import kinetics, ltcc, luperson, prid2011
from vills.data.layouts.folder import parse_name
from vills.data.layouts.folder_splits import SPLIT_FILE
from vills.data.layouts.listing import list_subfolders
from vills.data.layouts.lmdb_store import DATA_FILE

# LUPerson's extract.py, its convert_lmdb.py, and LUPerson-NL's extract.py
_LUPERSON_NAME = re.compile(r"\d{8}_\d{4}|\d{2}_\d{2}_\d{3,4}_\d{8}|\d{6}_\d{7}_\d{2}")
_LUPERSON_FOLDER = re.compile(r"lu-?person.*|lup", re.IGNORECASE)
_PRCC_NAME = re.compile(r"[ABC]_\w+\.(jpg|jpeg|png)", re.IGNORECASE)
_SIGSET_MARK = b"briar/xml/sigset"
_HEAD_BYTES = 4096
_PEEK = 50


def recognise(folder: Path) -> str:
    """Layout that starts at `folder`, or an empty string; a whole or a part of a copy."""
    return next((name for name, check in _CHECKS.items() if check(folder)), "")


def recognise_media(folder: Path) -> str:
    """What the media files that lie directly in `folder` could be read as; empty if nothing.

    `images` says that there are images, but none whose name says a person.
    """
    names = _list_files(folder)
    if any(name.lower().endswith(kinetics.SUFFIXES) for name in names):
        return "kinetics"
    images = [name for name in names if name.lower().endswith(SUFFIXES)]
    if not images:
        return ""
    if all(_LUPERSON_NAME.match(name) for name in images[:_PEEK]):
        return "luperson"
    if any(parse_name(name) for name in images[:_PEEK]):
        return "folder"
    return "images"


def _is_market1501(folder: Path) -> bool:
    return _has_any(folder, ("bounding_box_train", "bounding_box_test"))


def _is_mars(folder: Path) -> bool:
    info = ("info/tracks_test_info.mat", "info/tracks_train_info.mat", "info/query_IDX.mat")
    return _has_any(folder, ("bbox_train", "bbox_test", *info))


def _is_prid2011(folder: Path) -> bool:
    names = (prid2011.SPLIT_FILE, "multi_shot", "single_shot")
    return _has_any(folder, (*names, "prid_2011/multi_shot", "prid_2011/single_shot"))


def _is_prcc(folder: Path) -> bool:
    for base in (folder / "rgb", folder):
        if any((base / "test" / letter).is_dir() for letter in "ABC"):
            return True
        for split in ("train", "val"):
            people = list_subfolders(base / split) if (base / split).is_dir() else ()
            if people and any(map(_PRCC_NAME.fullmatch, _list_files(base / split / people[0]))):
                return True
    return False


def _is_ltcc(folder: Path) -> bool:
    if _has_any(folder, ("info/cloth-change_id_train.txt", "info/cloth-change_id_test.txt")):
        return True
    return any(
        (folder / name).is_dir() and any(map(ltcc.NAME.match, _list_files(folder / name)[:_PEEK]))
        for name in ltcc.FOLDERS.values()
    )


def _is_sigset(folder: Path) -> bool:
    if any(folder.glob("sigsets_*/*.xml")):
        return True
    return any(_is_sigset_file(path) for path in sorted(folder.glob("*.xml")) if path.is_file())


def _is_sigset_file(path: Path) -> bool:
    with path.open("rb") as stream:
        return _SIGSET_MARK in stream.read(_HEAD_BYTES)


def _is_luperson(folder: Path) -> bool:
    is_database = any((folder / name).is_file() for name in (luperson.KEYS_FILE, DATA_FILE))
    return is_database or bool(_LUPERSON_FOLDER.fullmatch(folder.name))


def _is_folder(folder: Path) -> bool:
    names = ("query", "gallery")
    return (folder / SPLIT_FILE).is_file() or all((folder / name).is_dir() for name in names)


_CHECKS: dict[str, Callable[[Path], bool]] = {
    "market1501": _is_market1501,
    "mars": _is_mars,
    "prid2011": _is_prid2011,
    "prcc": _is_prcc,
    "ltcc": _is_ltcc,
    "sigset": _is_sigset,
    "luperson": _is_luperson,
    "folder": _is_folder,
}


def _has_any(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).exists() for name in names)


def _list_files(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()
    )
