"""LUPerson: unlabelled person crops.

The official extraction writes `<country>/<city>/*.jpg`; PASS, TransReID-SSL and SOLIDER read
`images/*.jpg`. Nothing in the names is used, so every image below the root is taken.
"""

from collections.abc import Iterator
from pathlib import Path

from vills.data.images import SUFFIXES
from vills.data.layouts.base import Layout, RawImage, Stream, check_folder, require_any, walk


def read(root: Path) -> Layout:
    """Every image file below `root`, at any depth."""
    check_folder(root, "luperson")

    def images() -> Iterator[RawImage]:
        return (RawImage(path=path, split="pretrain") for path in walk(root, SUFFIXES))

    require_any(images(), root=root, name="luperson", expected=f"image ({', '.join(SUFFIXES)})")
    return Layout("luperson", root, images=Stream(images))
