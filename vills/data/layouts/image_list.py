"""Lists of image paths: what of a data set is to be taken, best first."""

import json
from pathlib import Path
from typing import Any

from vills.data.layouts.base import LayoutError
from vills.data.safe_pickle import PlainPickleError, load_plain_pickle

SUFFIXES = (".txt", ".json", ".pkl")


def load_image_list(path: Path) -> list[str]:
    """Paths of a list file, in its order: .txt with one per line, .json or .pkl with a list.

    Raises:
        LayoutError: if there is none, it is of another kind, or holds something else.
        PlainPickleError: if a .pkl holds more than plain values.
    """
    if not path.is_file():
        raise LayoutError(f"no list of images at {path}. What to do: put it there.")
    try:
        names = to_names(_load(path))
    except (LayoutError, PlainPickleError):
        raise
    except (ValueError, RecursionError) as error:
        raise LayoutError(
            f"{path} cannot be read as {path.suffix[1:]} in UTF-8 ({error}). What to do: write it "
            "again."
        ) from error
    if not names:
        raise LayoutError(
            f"{path} is no list of image paths. What to do: give one path per line (.txt), or a "
            "list of strings (.json, .pkl)."
        )
    return names


def to_names(content: Any) -> list[str] | None:
    """A list or tuple of strings, or of bytes in UTF-8, as strings; None if it is none."""
    if not isinstance(content, list | tuple):
        return None
    if all(type(name) is str for name in content):
        return list(content)
    if all(type(name) in (str, bytes) for name in content):
        return [name.decode() if isinstance(name, bytes) else name for name in content]
    return None


def _load(path: Path) -> Any:
    if path.suffix == ".pkl":
        return load_plain_pickle(path)
    # utf-8-sig: editors of Windows put a mark in front
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8-sig"))
    if path.suffix == ".txt":
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return [line.strip() for line in lines if line.strip()]
    raise LayoutError(
        f"{path} is a list of an unknown kind. Allowed: {', '.join(SUFFIXES)}. What to do: write "
        "one path per line into a .txt."
    )
