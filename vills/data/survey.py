"""What lies below a data root: every data set counted, compared with the official one, judged.

As text it is a table of all data sets, and below it what is wrong with each.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vills.data.discovery import FoundFolder, find_datasets
from vills.data.layouts import Layout, LayoutError, mars, read_layout
from vills.data.layouts.counts import (
    ALSO_OFFICIAL,
    OFFICIAL_COUNTS,
    SplitCount,
    convert_counts,
    count_splits,
    describe_causes,
    list_differences,
)
from vills.data.layouts.labelled_images import count_val
from vills.data.layouts.listing import render_first
from vills.data.readable import Damage, VideoCheck, describe_video_changes, find_unreadable
from vills.errors import UserError
from vills.progress import Progress

OK, DIFFERS, BROKEN, UNKNOWN = "ok", "differs", "broken", "unknown"

_WHERE = "What to do: give a folder of data sets, or set VILLS_DATA to such a folder."


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
    unreadable: tuple[Damage, ...] = ()
    """Files that rows name and that cannot be read."""
    problems: tuple[str, ...] = ()
    """What is wrong, with what to do."""
    notes: tuple[str, ...] = ()
    """What was passed over or is worth knowing."""


def compute_surveys(
    root: Path,
    *,
    full: bool = False,
    check_video: VideoCheck,
    progress: Progress | None = None,
) -> Iterator[Survey]:
    """Survey every data set below `root`, one after the other.

    Args:
        root: Folder of data sets, or of one.
        full: Decode every pixel instead of reading headers.
        check_video: Says what is wrong with a video.
        progress: Told how many files of a data set are read.

    Raises:
        LayoutError: if there is no such folder, or nothing in it.
    """
    if not root.is_dir():
        what = f"{root} is not a folder" if root.exists() else f"no folder {root}"
        raise LayoutError(f"{what}. {_WHERE}")
    datasets = find_datasets(root)
    if not datasets:
        raise LayoutError(f"no data set in {root}, and no folder that could be one. {_WHERE}")
    for found in datasets:
        path = found.path.relative_to(root).as_posix()
        say = progress or (lambda *_: None)
        yield _survey(found, path, full=full, check_video=check_video, progress=say)


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
        counts = convert_counts(splits, num_splits=len(layout.splits))
        if layout.name == "prcc":
            counts["val"] = count_val(layout.root)
        notes = (*layout.notes, *_note_templates(layout), *_note_unnamed(layout, counts))
        total, video_changes = counts["images"], Counter[str]()
        unreadable = find_unreadable(
            layout,
            full=full,
            check_video=check_video,
            progress=lambda done: progress(f"{path}: files read", done, total),
            video_changes=video_changes,
        )
        notes += tuple(describe_video_changes(video_changes))
    except (UserError, OSError) as error:
        return Survey(path, found.layout, BROKEN, problems=(str(error),))
    differences = [difference.format() for difference in list_differences(found.layout, counts)]
    problems = [*_describe_unreadable(unreadable, total), *_describe_empty(layout), *differences]
    problems += [f"-> {line}" for line in describe_causes(found.layout, counts)]
    verdict = BROKEN if unreadable else DIFFERS if problems else OK
    return Survey(path, found.layout, verdict, splits, tuple(unreadable), tuple(problems), notes)


def _note_unnamed(layout: Layout, counts: dict[str, int]) -> Iterator[str]:
    """Files of MARS that no track names; its reader looks at names alone."""
    if layout.name == "mars":
        for part, (num_images, num_stray) in mars.count_files(layout.root).items():
            if num_images > counts[f"{part} images"] or num_stray:
                extra = max(0, num_images - counts[f"{part} images"])
                yield (
                    f"{mars.FOLDERS[part]}: ignored {extra:,} images that no track names, and "
                    f"{num_stray:,} other files"
                )


def _note_templates(layout: Layout) -> Iterator[str]:
    groups = dict.fromkeys(template.group for template in layout.templates)
    for group in groups:
        templates = [template for template in layout.templates if template.group == group]
        people = len({template.pid for template in templates})
        yield f"{group}: {len(templates):,} templates of {people:,} people"


def _describe_empty(layout: Layout) -> Iterator[str]:
    empty = [
        f"{template.group}/{template.name}" for template in layout.templates if not template.members
    ]
    if empty:
        yield (
            f"{len(empty):,} of {len(layout.templates):,} templates have no media: "
            f"{render_first(empty)}. What to do: restore their files; an empty "
            "probe counts as a miss."
        )


def _describe_unreadable(unreadable: list[Damage], total: int) -> Iterator[str]:
    if unreadable:
        named = render_first([f"{path} ({reason})" for path, reason in unreadable])
        yield (
            f"{len(unreadable):,} of {total:,} files cannot be read: {named}. What to do: unpack "
            "or copy them again; curate skips them up to operation.max_corrupt_share."
        )


HEADER = (
    "path",
    "layout",
    "split",
    "rows",
    "official",
    "ids",
    "official",
    "junk",
    "cameras",
    "clothes",
    "frames min/mean/max",
    "unreadable",
    "verdict",
)
_RIGHT = range(3, 12)
_NONE = "-"


def render_surveys(surveys: Sequence[Survey]) -> str:
    """Table and explanations; the same text for the same surveys."""
    rows = [HEADER, *(row for survey in surveys for row in _format_rows(survey))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    lines = [
        "  ".join(
            cell.rjust(width) if i in _RIGHT else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    for survey in surveys:
        lines += _explain(survey)
    # names of folders that are not UTF-8 could not be printed
    return "\n".join(lines).encode(errors="backslashreplace").decode()


def _format_rows(survey: Survey) -> list[tuple[str, ...]]:
    unreadable = f"{len(survey.unreadable):,}" if survey.splits else _NONE
    head = (survey.path, survey.layout or _NONE)
    if not survey.splits:
        return [(*head, *[_NONE] * (len(HEADER) - 3), survey.verdict)]
    rows = [[*head, *_format_split(survey, *part), "", ""] for part in survey.splits.items()]
    rows[0][-2:] = unreadable, survey.verdict
    for row in rows[1:]:
        row[:2] = "", ""
    return [tuple(row) for row in rows]


def _format_split(survey: Survey, split: str, count: SplitCount) -> tuple[str, ...]:
    official = OFFICIAL_COUNTS.get(survey.layout, {})
    rows = official.get(split, official.get("images") if split == "pretrain" else None)
    if count.rows in ALSO_OFFICIAL.get(survey.layout, {}).get(split, ()):
        rows = count.rows
    ids = official.get(f"{split} ids")
    lengths = _NONE
    if count.lengths:
        mean = sum(count.lengths.elements()) / count.lengths.total()
        lengths = f"{min(count.lengths)}/{mean:.1f}/{max(count.lengths)}"
    return (
        split,
        f"{count.rows:,}",
        _NONE if rows is None else f"{rows:,}",
        f"{len(count.pids):,}" if split != "pretrain" else _NONE,
        _NONE if ids is None else f"{ids:,}",
        f"{count.junk:,}" if split != "pretrain" else _NONE,
        str(len(count.camids)) if count.camids else _NONE,
        f"{len(count.clothes):,}" if count.clothes else _NONE,
        lengths,
    )


def _explain(survey: Survey) -> list[str]:
    if not survey.problems and not survey.notes:
        return []
    name = f" ({survey.layout})" if survey.layout else ""
    lines = ["", f"{survey.path}{name}: {survey.verdict}"]
    lines += [f"  {line}" for line in survey.problems]
    lines += [f"  note: {line}" for line in survey.notes]
    return lines
