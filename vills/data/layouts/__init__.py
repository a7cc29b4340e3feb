"""Readers of raw layouts: who is on which file, in the official naming of each data set."""

from collections.abc import Callable
from pathlib import Path

from vills.config.checks import ConfigError, check_choice
from vills.data.layouts import (
    folder,
    kinetics,
    ltcc,
    luperson,
    market1501,
    mars,
    prcc,
    prid2011,
    sigset,
)
from vills.data.layouts.base import (
    Layout,
    LayoutError,
    PersonSplit,
    RawEntry,
    RawImage,
    RawTracklet,
    RawVideo,
)
from vills.data.layouts.official import compare_counts

__all__ = [
    "LAYOUTS",
    "Layout",
    "LayoutError",
    "PersonSplit",
    "RawEntry",
    "RawImage",
    "RawTracklet",
    "RawVideo",
    "compare_counts",
    "read_layout",
]

LAYOUTS: dict[str, Callable[[Path], Layout]] = {
    "luperson": luperson.read,
    "kinetics": kinetics.read,
    "market1501": market1501.read,
    "prcc": prcc.read,
    "ltcc": ltcc.read,
    "mars": mars.read,
    "prid2011": prid2011.read,
    "sigset": sigset.read,
    "folder": folder.read,
}


def read_layout(name: str, root: Path, *, filter_list: str = "", keep: int = 0) -> Layout:
    """The images, tracklets or videos below `root`.

    Args:
        name: One of LAYOUTS.
        root: Folder of the data set.
        filter_list: luperson: list of the images to take, a path below `root`; empty takes all.
        keep: luperson: images taken from the top of that list (0: all that it lists).

    Raises:
        ConfigError: if `name` is unknown, or has no list of images.
        LayoutError: if there is no such folder, it is empty, unreadable, or holds something else.
        UnreadableFolderError: if a folder below it cannot be listed, or a name is not UTF-8.
        PlainPickleError: if a pickled list holds more than plain values.
    """
    check_choice("layout", name, LAYOUTS)
    if (filter_list or keep) and name != "luperson":
        raise ConfigError(
            f"filter = {filter_list!r}, keep = {keep} is not allowed with layout {name}. Allowed: "
            "layout luperson. What to do: leave both out."
        )
    try:
        if name == "luperson":
            return luperson.read(root, filter_list=filter_list, keep=keep)
        return LAYOUTS[name](root)
    except OSError as error:
        raise LayoutError(
            f"{name}: cannot read {error.filename} ({error.strerror}). What to do: make it "
            "readable, or unpack the archive again."
        ) from error
