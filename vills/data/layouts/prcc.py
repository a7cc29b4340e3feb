"""PRCC: `rgb/{train,val}/<person>/{A,B,C}_*.jpg` and `rgb/test/{A,B,C}/<person>/*.jpg`.

Cameras A and B saw a person in one outfit, C in another, so the letter says both. The gallery is
A, the queries are B (same clothes) and C (other clothes). `val` holds people of `train` and is not
read, as in CAL (guxinqian/Simple-CCReID, data/datasets/prcc.py), nor is the sketch tree.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from vills.data.layouts.base import Layout, LayoutError, RawImage
from vills.data.layouts.listing import (
    is_image,
    list_folder,
    list_images,
    list_subfolders,
    note_stray,
    parse_person,
    shorten,
)
from vills.data.layouts.people import note_people
from vills.data.layouts.roots import find_base, get_prefix, hint_nested

CAMERAS = "ABC"
_TRAIN_NAME = re.compile(r"([ABC])_.+")
_SPLITS = {"A": "gallery", "B": "query", "C": "query"}


@dataclass(frozen=True)
class _Folder:
    """Images of people in one folder of the release."""

    path: Path
    prefix: str
    split: str
    letter: str = ""
    """Camera of all of it; empty where the names say it."""


def read(root: Path) -> Layout:
    """Images of train, query (B, C) and gallery (A); the two outfits of a person differ.

    Raises:
        LayoutError: if a folder is missing, a person has no image, or a name does not fit.
    """
    base = _find_base(root)
    prefix = get_prefix(base, root)
    folders = [_Folder(base / "train", f"{prefix}train/", "train")]
    for letter in CAMERAS:
        path = base / "test" / letter
        if not path.is_dir():
            raise LayoutError(
                f"prcc: no folder {path}, the test images of camera {letter}. What to do: "
                f"{hint_nested(base / 'test')}."
            )
        folders.append(_Folder(path, f"{prefix}test/{letter}/", _SPLITS[letter], letter))
    images: list[RawImage] = []
    notes: list[str] = []
    for folder in folders:
        found, stray = _read_people(folder)
        images += found
        notes += note_stray(folder.prefix.rstrip("/"), stray)
    notes += note_people((image.split, image.pid, image.camid) for image in images)
    notes += _note_val(root)
    return Layout("prcc", root, images=_number_clothes(images), notes=tuple(notes))


def count_val(root: Path) -> int:
    """Images of `val`, which are not read."""
    folder = _find_base(root) / "val"
    return len(list_folder(folder).images) if folder.is_dir() else 0


def _find_base(root: Path) -> Path:
    nested = ("rgb", "prcc/rgb", "PRCC/rgb", "prcc")
    return find_base(root, nested=nested, needed=("train", "test"), name="prcc")


def _note_val(root: Path) -> Iterator[str]:
    if num_images := count_val(root):
        yield f"val: {num_images:,} images not read; its people are in train"


def _read_people(folder: _Folder) -> tuple[list[RawImage], list[str]]:
    people = list_subfolders(folder.path)
    if not people or folder.path.name in people:
        raise LayoutError(
            f"prcc: {folder.path} holds no folders of people. What to do: "
            f"{hint_nested(folder.path)}."
        )
    stray = sorted(entry.name for entry in folder.path.iterdir() if not entry.is_dir())
    if lost := [name for name in stray if is_image(name)]:
        raise LayoutError(
            f"prcc: {len(lost):,} images lie in {folder.path}, outside the folders of people: "
            f"{shorten(lost)}. What to do: move them to their people, or take them away."
        )
    images: list[RawImage] = []
    pids: dict[int, str] = {}
    for person in people:
        pid = parse_person(person, path=f"{folder.prefix}{person}", name="prcc")
        if pids.setdefault(pid, person) != person:
            raise LayoutError(
                f"prcc: {folder.path} has {pids[pid]} and {person}, the same person twice. What to "
                "do: keep one."
            )
        found = list_images(folder.path / person, name="prcc")
        stray += [f"{person}/{path}" for path in found.stray]
        images += [_parse(f"{folder.prefix}{person}/{path}", pid, folder) for path in found.images]
    return images, sorted(stray)


def _parse(path: str, pid: int, folder: _Folder) -> RawImage:
    letter = folder.letter
    if not letter:
        found = _TRAIN_NAME.match(path.rsplit("/", maxsplit=1)[-1])
        if found is None:
            raise LayoutError(
                f"prcc: {path} is not named like A_cropped_rgb001.jpg (camera A, B or C). What to "
                "do: remove it or rename it."
            )
        letter = found[1]
    return RawImage(path=path, split=folder.split, pid=pid, camid=CAMERAS.index(letter))


def _number_clothes(images: list[RawImage]) -> list[RawImage]:
    """Give each person two outfits, an even number for A and B and the odd one after it for C."""
    labels = {pid: label for label, pid in enumerate(sorted({image.pid for image in images}))}
    other = CAMERAS.index("C")
    return [
        replace(image, clothes_id=2 * labels[image.pid] + (image.camid == other))
        for image in images
    ]
