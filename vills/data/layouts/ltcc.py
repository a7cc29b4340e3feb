"""LTCC: `train`, `query` and `test` (the gallery), names like 144_1_c11_011239.png.

A name says person, outfit of that person, and camera, of which there are twelve. Outfits get one
numbering over all splits, since who wears what is compared between query and gallery (CAL:
guxinqian/Simple-CCReID, data/datasets/ltcc.py). `info` is not read: the lists there serve another
protocol, which leaves out people of the gallery.
"""

import re
from dataclasses import replace
from pathlib import Path

from vills.data.layouts.base import Layout, LayoutError, RawImage
from vills.data.layouts.listing import list_images, note_stray, parse_person
from vills.data.layouts.people import note_people
from vills.data.layouts.roots import find_base, get_prefix

NAME = re.compile(r"(\d+)_(\d+)_c(\d+)_")
FOLDERS = {"train": "train", "query": "query", "gallery": "test"}


def read(root: Path) -> Layout:
    """Images of the three splits; cameras count from 0, an outfit's number is its own alone.

    Raises:
        LayoutError: if a split is missing or empty, a name does not fit, or an image is there
            twice.
    """
    base = find_base(
        root,
        nested=("LTCC_ReID", "ltcc", "ltcc/LTCC_ReID", "LTCC"),
        needed=tuple(FOLDERS.values()),
        name="ltcc",
    )
    prefix = get_prefix(base, root)
    images: list[RawImage] = []
    clothes: list[tuple[int, int]] = []
    notes: list[str] = []
    for split, folder in FOLDERS.items():
        found = list_images(base / folder, name="ltcc")
        notes += note_stray(folder, found.stray)
        for path in found.images:
            image, outfit = _parse(f"{prefix}{folder}/{path}", split)
            images.append(image)
            clothes.append((image.pid, outfit))
    numbers = {key: number for number, key in enumerate(sorted(set(clothes)))}
    numbered = [
        replace(image, clothes_id=numbers[key]) for image, key in zip(images, clothes, strict=True)
    ]
    notes += note_people((image.split, image.pid, image.camid) for image in numbered)
    return Layout("ltcc", root, images=numbered, notes=tuple(notes))


def _parse(path: str, split: str) -> tuple[RawImage, int]:
    found = NAME.match(path.rsplit("/", maxsplit=1)[-1])
    if found is None or int(found[3]) < 1:
        raise LayoutError(
            f"ltcc: {path} is not named like 144_1_c11_011239.png (person, outfit, camera). What "
            "to do: remove it or rename it."
        )
    pid = parse_person(found[1], path=path, name="ltcc")
    return RawImage(path=path, split=split, pid=pid, camid=int(found[3]) - 1), int(found[2])
