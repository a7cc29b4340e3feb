"""What lies below a data root: every data set counted, compared with the official one, judged."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vills.data.discovery import FoundFolder, find_datasets
from vills.data.layouts import Layout, LayoutError, RawVideo, mars, prcc, read_layout
from vills.data.layouts.listing import shorten
from vills.data.layouts.official import diagnose, list_differences
from vills.data.readable import Damage, VideoCheck, find_unreadable
from vills.data.split_counts import SplitCount, count_splits, flatten_counts
from vills.errors import UserError

OK, DIFFERS, BROKEN, UNKNOWN = "ok", "differs", "broken", "unknown"

_WHERE = "What to do: give a folder of data sets, or set VILLS_DATA to the one that holds yours."
Progress = Callable[[str, int, int], None]
"""(label, done, total)."""


@dataclass(frozen=True)
class Survey:
    """One data set, or a folder of nothing known."""

    path: str
    """Below the root of the survey, posix; `.` is the root itself."""
    layout: str
    """Name of the layout; empty if unknown."""
    verdict: str
    """ok, differs (from the official counts), broken (would not be curated whole), unknown."""
    splits: dict[str, SplitCount] = field(default_factory=dict)
    """Counts by split."""
    counts: dict[str, int] = field(default_factory=dict)
    """The same under the names of the official counts."""
    unreadable: tuple[Damage, ...] = ()
    """Files that rows name and that cannot be read."""
    problems: tuple[str, ...] = ()
    """What is wrong, with what to do."""
    notes: tuple[str, ...] = ()
    """What was passed over or is worth knowing."""


def survey_datasets(
    root: Path,
    *,
    full: bool = False,
    check_video: VideoCheck | None = None,
    progress: Progress | None = None,
) -> Iterator[Survey]:
    """Survey every data set below `root`, one after the other.

    Args:
        root: Folder of data sets, or of one.
        full: Decode every pixel instead of reading headers.
        check_video: Says what is wrong with a video; without it, only its size is looked at.
        progress: Told how many files of a data set are read.

    Raises:
        LayoutError: if there is no such folder, or nothing in it.
    """
    if not root.is_dir():
        what = f"{root} is no folder" if root.exists() else f"no folder {root}"
        raise LayoutError(f"{what}. {_WHERE}")
    datasets = find_datasets(root)
    if not datasets:
        raise LayoutError(f"no data set in {root}, and no folder that could be one. {_WHERE}")
    for found in datasets:
        path = found.path.relative_to(root).as_posix()

        def say(label: str, done: int, total: int, path: str = path) -> None:
            if progress is not None:
                progress(f"{path}: {label}", done, total)

        yield _survey(found, path, full=full, check_video=check_video or _check_size, progress=say)


def _survey(
    found: FoundFolder, path: str, *, full: bool, check_video: VideoCheck, progress: Progress
) -> Survey:
    if found.problem:
        return Survey(path, found.layout, BROKEN, problems=(found.problem,))
    if not found.layout:
        return Survey(path, "", UNKNOWN, notes=(found.hint,) if found.hint else ())
    try:
        layout = read_layout(found.layout, found.path)
        splits = count_splits(layout)
        counts = flatten_counts(splits, num_splits=len(layout.splits))
        if layout.name == "prcc":
            counts["val"] = prcc.count_val(layout.root)
        notes = (*layout.notes, *_note_entries(layout), *_note_unnamed(layout, counts))
        total = counts["images"]
        unreadable = find_unreadable(
            layout,
            full=full,
            check_video=check_video,
            progress=lambda done: progress("files read", done, total),
        )
    except (UserError, OSError) as error:
        return Survey(path, found.layout, BROKEN, problems=(str(error),))
    differences = [difference.format() for difference in list_differences(found.layout, counts)]
    problems = [*_describe_unreadable(unreadable, total), *_describe_empty(layout), *differences]
    problems += [f"-> {line}" for line in diagnose(found.layout, counts)]
    verdict = BROKEN if unreadable else DIFFERS if problems else OK
    return Survey(
        path, found.layout, verdict, splits, counts, tuple(unreadable), tuple(problems), notes
    )


def _note_unnamed(layout: Layout, counts: dict[str, int]) -> Iterator[str]:
    """Files of MARS that no track names; its reader looks at names alone."""
    if layout.name == "mars":
        for part, (num_images, num_stray) in mars.count_files(layout.root).items():
            if num_images > counts[f"{part} images"] or num_stray:
                extra = max(0, num_images - counts[f"{part} images"])
                yield (
                    f"{mars.FOLDERS[part]}: passed over {extra:,} images that no track names, and "
                    f"{num_stray:,} other files"
                )


def _note_entries(layout: Layout) -> Iterator[str]:
    groups = dict.fromkeys(entry.group for entry in layout.entries)
    for group in groups:
        entries = [entry for entry in layout.entries if entry.group == group]
        people = len({entry.pid for entry in entries})
        yield f"{group}: {len(entries):,} entries of {people:,} people"


def _describe_empty(layout: Layout) -> Iterator[str]:
    empty = [f"{entry.group}/{entry.name}" for entry in layout.entries if not entry.members]
    if empty:
        yield (
            f"{len(empty):,} of {len(layout.entries):,} entries have no media: {shorten(empty)}. "
            "What to do: restore their files; an empty probe counts as a miss."
        )


def _describe_unreadable(unreadable: list[Damage], total: int) -> Iterator[str]:
    if unreadable:
        named = shorten([f"{path} ({reason})" for path, reason in unreadable])
        yield (
            f"{len(unreadable):,} of {total:,} files cannot be read: {named}. What to do: unpack "
            "or copy them again; curate skips them up to operation.max_corrupt_share."
        )


def _check_size(layout: Layout, video: RawVideo, full: bool) -> str:
    try:
        size = (layout.root / video.path).stat().st_size
    except OSError as error:
        return error.strerror or type(error).__name__
    return "" if size else "the file is empty"
