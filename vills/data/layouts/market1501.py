"""Market-1501: three folders of images named like 0001_c1s1_001051_00.jpg.

Loaders of the field expect the folder at three depths (torchreid, fast-reid, TransReID); all
three are accepted.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from vills.data.layouts.base import Layout, LayoutError, RawImage, Stream, find_root, walk

NAME = re.compile(r"(-?\d+)_c(\d+)")
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
_RELEASE = "Market-1501-v15.09.15"


def read(root: Path) -> Layout:
    """Images of the three splits; pid -1 is junk, pid 0 a distractor, cameras count from 0."""
    base = find_root(
        root,
        nested=(_RELEASE, "market1501", f"market1501/{_RELEASE}"),
        needed=tuple(FOLDERS.values()),
        name="market1501",
    )
    prefix = "" if base == root else base.relative_to(root).as_posix() + "/"
    for folder in FOLDERS.values():
        if next(walk(base / folder, (".jpg",)), None) is None:
            raise LayoutError(
                f"market1501: {base / folder} holds no .jpg. What to do: unpack the archive again."
            )

    def images() -> Iterator[RawImage]:
        for split, folder in FOLDERS.items():
            for path in walk(base / folder, (".jpg",)):
                yield _parse(f"{prefix}{folder}/{path}", split)

    return Layout("market1501", root, images=Stream(images))


def _parse(path: str, split: str) -> RawImage:
    found = NAME.match(path.rsplit("/", maxsplit=1)[-1])
    if found is None:
        raise LayoutError(
            f"market1501: {path} is not named like 0001_c1s1_000151_01.jpg. What to do: remove it "
            "or rename it."
        )
    return RawImage(path=path, split=split, pid=int(found[1]), camid=int(found[2]) - 1)
