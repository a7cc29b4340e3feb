"""Readers of raw layouts: who is on which file, in the official naming of each data set."""

from pathlib import Path

from vills.config.checks import check_choice
from vills.data.layouts import folder, kinetics, luperson, market1501, mars
from vills.data.layouts.base import (
    Layout,
    LayoutError,
    RawImage,
    RawTracklet,
    RawVideo,
    compare_counts,
)

__all__ = [
    "LAYOUTS",
    "Layout",
    "LayoutError",
    "RawImage",
    "RawTracklet",
    "RawVideo",
    "compare_counts",
    "read_layout",
]

LAYOUTS = {
    "luperson": luperson.read,
    "kinetics": kinetics.read,
    "market1501": market1501.read,
    "mars": mars.read,
    "folder": folder.read,
}


def read_layout(name: str, root: Path) -> Layout:
    """The images, tracklets or videos below `root`.

    Raises:
        ConfigError: if `name` is unknown.
        LayoutError: if there is no such folder, it is empty, or holds something else.
    """
    check_choice("layout", name, LAYOUTS)
    return LAYOUTS[name](root)
