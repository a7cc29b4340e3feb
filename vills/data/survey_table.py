"""The survey as text: a table of all data sets, and below it what is wrong with each."""

from collections.abc import Sequence

from vills.data.layouts.official import ALSO_OFFICIAL, OFFICIAL_COUNTS
from vills.data.split_counts import SplitCount
from vills.data.survey import Survey

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


def format_surveys(surveys: Sequence[Survey]) -> str:
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
    rows = []
    for number, (split, count) in enumerate(survey.splits.items()):
        first = number == 0
        rows.append(
            (
                *(head if first else ("", "")),
                *_format_split(survey, split, count),
                unreadable if first else "",
                survey.verdict if first else "",
            )
        )
    return rows


def _format_split(survey: Survey, split: str, count: SplitCount) -> tuple[str, ...]:
    official = OFFICIAL_COUNTS.get(survey.layout, {})
    rows = official.get(split, official.get("images") if split == "pretrain" else None)
    if count.rows in ALSO_OFFICIAL.get(survey.layout, {}).get(split, ()):
        rows = count.rows
    ids = official.get(f"{split} ids")
    lengths = _NONE
    if count.tracklets:
        mean = count.frames / count.tracklets
        lengths = f"{count.shortest}/{mean:.1f}/{count.longest}"
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
