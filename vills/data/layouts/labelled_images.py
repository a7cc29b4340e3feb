"""Labelled images: Market-1501, LTCC and PRCC.

Market-1501: three folders of images named like 0001_c1s1_001051_00.jpg. Loaders of the field
expect them at three depths (torchreid, fast-reid, TransReID); all three are accepted. The 500k
distractors, a folder `images` beside the three, are gallery where they are there.

LTCC: `train`, `query` and `test` (the gallery), names like 144_1_c11_011239.png. A name says
person, outfit of that person, and camera, of which there are twelve. Outfits get one numbering over
all splits, since who wears what is compared between query and gallery (CAL: Simple-CCReID,
data/datasets/ltcc.py). `info` is not read: the lists there serve another protocol, which leaves out
people of the gallery.

PRCC: `rgb/{train,val}/<person>/{A,B,C}_*.jpg` and `rgb/test/{A,B,C}/<person>/*.jpg`. Cameras A and
B saw a person in one outfit, C in another, so the letter says both. The gallery is A, the queries
are B (same clothes) and C (other clothes). `val` holds people of `train` and is not read, as in CAL
(guxinqian/Simple-CCReID, data/datasets/prcc.py), nor is the sketch tree.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from vills.data.files import is_clutter
from vills.data.layouts.base import Layout, LayoutError, RawImage
from vills.data.layouts.listing import (
    MAX_NUMBER,
    describe_nested,
    describe_stray,
    find_base,
    is_medium,
    list_beside,
    list_folder,
    list_images,
    list_people,
    list_rows,
    list_subfolders,
    parse_person,
    render_first,
)
from vills.data.layouts.people import convert_zero, describe_people
from vills.data.records import DISTRACTOR_PID, JUNK_PID

MARKET1501_NAME = re.compile(r"(-?\d+)_c(\d+)(s\d+)?")
MARKET1501_FOLDERS = {
    "train": "bounding_box_train",
    "query": "query",
    "gallery": "bounding_box_test",
}
DISTRACTORS = "images"
_RELEASE = "Market-1501-v15.09.15"


def read_market1501(root: Path) -> Layout:
    """Images of the three splits; pid -1 is junk, pid 0 a distractor, cameras count from 0.

    Raises:
        LayoutError: if a split is missing or empty, a name does not fit, or an image is there
            twice.
    """
    base, prefix, images, notes = _read_splits(
        root,
        nested=(_RELEASE, "market1501", f"market1501/{_RELEASE}"),
        folders=MARKET1501_FOLDERS,
        name="market1501",
        parse=_parse_market1501,
    )
    if any(image.pid == DISTRACTOR_PID and image.split != "gallery" for image in images):
        images, about_zero = convert_zero(images, name="market1501")
        notes += about_zero
    notes += [*describe_people(images), *_note_names(images)]
    if (base / DISTRACTORS).is_dir():
        extra = list_folder(base / DISTRACTORS)
        images += [
            RawImage(f"{prefix}{DISTRACTORS}/{path}", "gallery", DISTRACTOR_PID)
            for path in list_rows(extra.media)
        ]
        notes.append(f"{DISTRACTORS}: {len(extra.media):,} images read as gallery distractors")
        notes += describe_stray(DISTRACTORS, extra.stray)
    return Layout("market1501", root, images=images, notes=tuple(notes))


def _read_splits(
    root: Path,
    *,
    nested: tuple[str, ...],
    folders: Mapping[str, str],
    name: str,
    parse: Callable[[str, str], RawImage],
) -> tuple[Path, str, list[RawImage], list[str]]:
    """Read a folder of images per split: where they start, its prefix, images and notes."""
    base, prefix = find_base(root, nested=nested, needed=tuple(folders.values()), name=name)
    images: list[RawImage] = []
    notes: list[str] = []
    for split, folder in folders.items():
        found = list_images(base / folder, name=name)
        images += [parse(f"{prefix}{folder}/{path}", split) for path in list_rows(found.media)]
        notes += describe_stray(folder, found.stray)
    return base, prefix, images, notes


def _parse_market1501(path: str, split: str) -> RawImage:
    found = MARKET1501_NAME.match(path.rsplit("/", maxsplit=1)[-1])
    pid, camera = (int(found[1]), int(found[2])) if found else (-2, 0)
    if not JUNK_PID <= pid <= MAX_NUMBER or camera < 1:
        raise LayoutError(
            f"market1501: {path} is not named like 0001_c1s1_000151_01.jpg. What to do: remove it "
            "or rename it."
        )
    return RawImage(path=path, split=split, pid=pid, camid=camera - 1)


def _note_names(images: list[RawImage]) -> Iterator[str]:
    """Other data sets have the same three folders, and names that almost fit."""
    names = (image.path.rsplit("/", maxsplit=1)[-1] for image in images)
    odd = sum(
        (found := MARKET1501_NAME.match(name)) is not None and found[3] is None for name in names
    )
    if odd:
        yield (
            f"{odd:,} of {len(images):,} names have no sequence number (the s1 of 0001_c1s1): "
            "another data set with Market-1501's folders?"
        )


LTCC_NAME = re.compile(r"(\d+)_(\d+)_c(\d+)_")
LTCC_FOLDERS = {"train": "train", "query": "query", "gallery": "test"}


def read_ltcc(root: Path) -> Layout:
    """Images of the three splits; cameras count from 0, an outfit's number is its own alone.

    Raises:
        LayoutError: if a split is missing or empty, a name does not fit, or an image is there
            twice.
    """
    _, _, images, notes = _read_splits(
        root,
        nested=("LTCC_ReID", "ltcc", "ltcc/LTCC_ReID", "LTCC"),
        folders=LTCC_FOLDERS,
        name="ltcc",
        parse=_parse_ltcc,
    )
    outfits = sorted({(image.pid, image.clothes_id) for image in images})
    numbers = {outfit: number for number, outfit in enumerate(outfits)}
    images = [replace(row, clothes_id=numbers[row.pid, row.clothes_id]) for row in images]
    notes += describe_people(images)
    return Layout("ltcc", root, images=images, notes=tuple(notes))


def _parse_ltcc(path: str, split: str) -> RawImage:
    """Return an image whose outfit is numbered within its person."""
    found = LTCC_NAME.match(path.rsplit("/", maxsplit=1)[-1])
    if found is None or int(found[3]) < 1:
        raise LayoutError(
            f"ltcc: {path} is not named like 144_1_c11_011239.png (person, outfit, camera). What "
            "to do: remove it or rename it."
        )
    pid = parse_person(found[1], path=path, name="ltcc")
    return RawImage(path, split, pid, camid=int(found[3]) - 1, clothes_id=int(found[2]))


CAMERAS = "ABC"
_TRAIN_NAME = re.compile(r"([ABC])_.+")
_SPLITS = {"A": "gallery", "B": "query", "C": "query"}


def read_prcc(root: Path) -> Layout:
    """Images of train, query (B, C) and gallery (A); the two outfits of a person differ.

    Raises:
        LayoutError: if a folder is missing, a person has no image, or a name does not fit.
    """
    base, prefix = _find_prcc(root)
    folders = {"train": ("train", "")} | {f"test/{c}": (_SPLITS[c], c) for c in CAMERAS}
    images: list[RawImage] = []
    notes: list[str] = []
    for letter in CAMERAS:
        if not (base / "test" / letter).is_dir():
            raise LayoutError(
                f"prcc: no folder {base / 'test' / letter}, the test images of camera {letter}. "
                f"What to do: {describe_nested(base / 'test')}."
            )
    for folder, (split, camera) in folders.items():
        people, stray = _list_prcc_people(base / folder)
        for pid, person in people.items():
            found = list_images(base / folder / person, name="prcc")
            stray += [f"{person}/{path}" for path in found.stray]
            for path in (f"{prefix}{folder}/{person}/{path}" for path in list_rows(found.media)):
                camid = CAMERAS.index(camera or _parse_prcc_camera(path))
                images.append(RawImage(path, split, pid, camid))
        notes += describe_stray(f"{prefix}{folder}", stray)
    notes += describe_people(images)
    if num_val := count_val(root):
        notes.append(f"val: {num_val:,} images not read; its people are in train")
    return Layout("prcc", root, images=_number_clothes(images), notes=tuple(notes))


def count_val(root: Path) -> int:
    """Images of `val`, which are not read."""
    folder = _find_prcc(root)[0] / "val"
    return len(list_folder(folder).media) if folder.is_dir() else 0


def _find_prcc(root: Path) -> tuple[Path, str]:
    nested = ("rgb", "prcc/rgb", "PRCC/rgb", "prcc")
    return find_base(root, nested=nested, needed=("train", "test"), name="prcc")


def _list_prcc_people(folder: Path) -> tuple[dict[int, str], list[str]]:
    """Folders of people, and the files that lie beside them."""
    names = list_subfolders(folder)
    if not names or folder.name in names:
        raise LayoutError(
            f"prcc: {folder} holds no folders of people. What to do: {describe_nested(folder)}."
        )
    stray = list_beside(folder)
    if lost := [name for name in stray if is_medium(name) and not is_clutter(name)]:
        raise LayoutError(
            f"prcc: {len(lost):,} images are in {folder}, outside the folders of people: "
            f"{render_first(lost)}. What to do: move them into their people's folders, or remove "
            "them."
        )
    people = list_people(
        folder, name="prcc", parse=lambda text, path: parse_person(text, path=path, name="prcc")
    )
    return people, stray


def _parse_prcc_camera(path: str) -> str:
    """Return the camera that the name of a training image begins with."""
    found = _TRAIN_NAME.match(path.rsplit("/", maxsplit=1)[-1])
    if found is None:
        raise LayoutError(
            f"prcc: {path} is not named like A_cropped_rgb001.jpg (camera A, B or C). What to do: "
            "remove it or rename it."
        )
    return found[1]


def _number_clothes(images: list[RawImage]) -> list[RawImage]:
    """Give each person two outfits, an even number for A and B and the odd one after it for C."""
    labels = {pid: label for label, pid in enumerate(sorted({image.pid for image in images}))}
    other = CAMERAS.index("C")
    return [
        replace(image, clothes_id=2 * labels[image.pid] + (image.camid == other))
        for image in images
    ]
