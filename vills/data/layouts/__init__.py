"""Readers of raw layouts: who is on which file, in the official naming of each data set."""

from collections.abc import Callable
from pathlib import Path

from vills.config.checks import ConfigError, check_choice
from vills.data.layouts.base import (
    Layout,
    LayoutError,
    PersonSplit,
    RawImage,
    RawRow,
    RawTemplate,
    RawTracklet,
    RawVideo,
)
from vills.data.layouts.counts import describe_count_differences
from vills.data.layouts.folder import read_folder
from vills.data.layouts.labelled_images import read_ltcc, read_market1501, read_prcc
from vills.data.layouts.mars import read_mars
from vills.data.layouts.prid2011 import read_prid2011
from vills.data.layouts.sigset import read_sigset
from vills.data.layouts.unlabelled import read_kinetics, read_luperson

__all__ = [
    "LAYOUTS",
    "Layout",
    "LayoutError",
    "PersonSplit",
    "RawTemplate",
    "RawImage",
    "RawRow",
    "RawTracklet",
    "RawVideo",
    "describe_count_differences",
    "read_layout",
]

LAYOUTS: dict[str, Callable[[Path], Layout]] = {
    "luperson": read_luperson,
    "kinetics": read_kinetics,
    "market1501": read_market1501,
    "prcc": read_prcc,
    "ltcc": read_ltcc,
    "mars": read_mars,
    "prid2011": read_prid2011,
    "sigset": read_sigset,
    "folder": read_folder,
}


def read_layout(name: str, root: Path, *, filter_list: str = "", keep: int = 0) -> Layout:
    """Return the images, tracklets or videos below `root`.

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
            "layout luperson. What to do: remove both."
        )
    try:
        if name == "luperson":
            return read_luperson(root, filter_list=filter_list, keep=keep)
        return LAYOUTS[name](root)
    except OSError as error:
        raise LayoutError(
            f"{name}: cannot read {error.filename} ({error.strerror}). What to do: make it "
            "readable, or unpack the archive again."
        ) from error
