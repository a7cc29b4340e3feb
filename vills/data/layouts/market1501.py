"""Market-1501: three folders of images named like 0001_c1s1_001051_00.jpg.

Loaders of the field expect the folder at three depths (torchreid, fast-reid, TransReID); all
three are accepted. The 500k distractors, a folder `images` beside the three, are gallery where
they are there.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from vills.data.layouts.base import Layout, LayoutError, RawImage
from vills.data.layouts.listing import MAX_NUMBER, list_folder, list_images, note_stray
from vills.data.layouts.people import note_people
from vills.data.layouts.roots import find_base, get_prefix

NAME = re.compile(r"(-?\d+)_c(\d+)(s\d+)?")
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
DISTRACTORS = "images"
_RELEASE = "Market-1501-v15.09.15"


def read(root: Path) -> Layout:
    """Images of the three splits; pid -1 is junk, pid 0 a distractor, cameras count from 0.

    Raises:
        LayoutError: if a split is missing or empty, a name does not fit, or an image is there
            twice.
    """
    base = find_base(
        root,
        nested=(_RELEASE, "market1501", f"market1501/{_RELEASE}"),
        needed=tuple(FOLDERS.values()),
        name="market1501",
    )
    prefix = get_prefix(base, root)
    images: list[RawImage] = []
    notes: list[str] = []
    for split, folder in FOLDERS.items():
        found = list_images(base / folder, name="market1501")
        images += [_parse(f"{prefix}{folder}/{path}", split) for path in found.images]
        notes += note_stray(folder, found.stray)
    notes += note_people((image.split, image.pid, image.camid) for image in images)
    notes += _note_names(images)
    if (base / DISTRACTORS).is_dir():
        extra = list_folder(base / DISTRACTORS)
        images += [
            RawImage(f"{prefix}{DISTRACTORS}/{path}", "gallery", pid=0) for path in extra.images
        ]
        notes.append(
            f"{DISTRACTORS}: {len(extra.images):,} images read as distractors of the gallery"
        )
        notes += note_stray(DISTRACTORS, extra.stray)
    return Layout("market1501", root, images=images, notes=tuple(notes))


def _parse(path: str, split: str) -> RawImage:
    found = NAME.match(path.rsplit("/", maxsplit=1)[-1])
    pid, camera = (int(found[1]), int(found[2])) if found else (-2, 0)
    if not -1 <= pid <= MAX_NUMBER or camera < 1:
        raise LayoutError(
            f"market1501: {path} is not named like 0001_c1s1_000151_01.jpg. What to do: remove it "
            "or rename it."
        )
    return RawImage(path=path, split=split, pid=pid, camid=camera - 1)


def _note_names(images: list[RawImage]) -> Iterator[str]:
    """Other data sets have the same three folders, and names that almost fit."""
    names = (image.path.rsplit("/", maxsplit=1)[-1] for image in images)
    odd = sum((found := NAME.match(name)) is not None and found[3] is None for name in names)
    if odd:
        yield (
            f"{odd:,} of {len(images):,} names have no sequence number (the s1 of 0001_c1s1): "
            "another data set with Market-1501's folders?"
        )
