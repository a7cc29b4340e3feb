"""Which folder a data set starts at, and what is wrong where none does."""

from collections.abc import Iterator
from pathlib import Path

from vills.data.layouts.base import LayoutError, check_folder
from vills.data.layouts.listing import list_subfolders, shorten

_UP, _DOWN = 2, 3


def find_base(root: Path, *, name: str, needed: tuple[str, ...], nested: tuple[str, ...]) -> Path:
    """The first of root and root/nested... that has all `needed` entries.

    Raises:
        LayoutError: saying whether the archive is half-unpacked, the folder is one level off (and
            which path to give), or another data set lies there.
    """
    check_folder(root, name)
    candidates = [root, *(root / path for path in nested)]
    for candidate in candidates:
        if _count_present(candidate, needed) == len(needed):
            return candidate
    found = shorten(sorted(path.name for path in root.iterdir()))
    if elsewhere := _locate(root, needed):
        raise LayoutError(
            f"{name}: {root} is the wrong folder level: {', '.join(needed)} lie in {elsewhere}; "
            f"found {found}. What to do: give {elsewhere}."
        )
    best = max(candidates, key=lambda candidate: _count_present(candidate, needed))
    if _count_present(best, needed):
        missing = [entry for entry in needed if not (best / entry).exists()]
        raise LayoutError(
            f"{name}: {best} has no {', '.join(missing)}; found {shorten(_list_names(best))}. What "
            "to do: the archive is half-unpacked, or it is another data set: unpack the official "
            "archive again."
        )
    raise LayoutError(
        f"{name}: {root} has another layout. Looked for {', '.join(needed)} in it and in "
        f"{', '.join(nested)}; found {found}. What to do: unpack the official archive there, or "
        "use layout = folder for data of your own."
    )


def get_prefix(base: Path, root: Path) -> str:
    """What leads from `root` to names below `base`."""
    return "" if base == root else base.relative_to(root).as_posix() + "/"


def hint_nested(folder: Path) -> str:
    """Say that a folder lies inside its namesake, as some unpackers leave it."""
    if (folder / folder.name).is_dir():
        return f"{folder / folder.name} lies one level too deep: move what it holds up by one"
    return "the archive is half-unpacked: unpack the official archive again"


def _count_present(folder: Path, needed: tuple[str, ...]) -> int:
    return sum((folder / entry).exists() for entry in needed)


def _list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _locate(root: Path, needed: tuple[str, ...]) -> Path | None:
    """The folder a little above or below `root` that has everything."""
    around = [*_walk_up(root), *_walk_down(root, _DOWN)]
    return next((path for path in around if _count_present(path, needed) == len(needed)), None)


def _walk_up(root: Path) -> Iterator[Path]:
    for _ in range(_UP):
        # a relative root ends at "."; above it, only the real path goes on
        root = root.parent if root.name else root.resolve().parent
        yield root


def _walk_down(folder: Path, depth: int) -> Iterator[Path]:
    for name in list_subfolders(folder):
        yield folder / name
        if depth > 1:
            yield from _walk_down(folder / name, depth - 1)
