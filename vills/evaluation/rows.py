"""Rows of results.json: their order, their means, and what pre-training is worth in words.

Means are over single-shot draws, splits and galleries. A row of a fine-tuned model also has its
difference to the model that starts from scratch (`per_query.add_differences`):

    minus_scratch_mAP, minus_scratch_mAP_low, minus_scratch_mAP_high   and so for R-1
    minus_scratch_people                                               paired people
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]
"""A row of results.json, or a part of it: text, numbers and None."""
REFERENCE = "scratch"
"""Row that is subtracted: the same architecture and labels, without pre-training."""
PREFIX = f"minus_{REFERENCE}_"
"""Beginning of the columns' names."""
METRICS = {"mAP": "ap", "R-1": "r1"}
"""Scores with a difference, and shown with their interval (results.json has those of all R-k) ->
column of per_query.parquet."""


def compute_mean_row(rows: Sequence[Mapping[str, Any]], *, deviations: Sequence[str] = ()) -> Row:
    """Average several rows of the same columns to one.

    A share becomes the mean of the rows' (NaN if one is, None if one has none); what is no share
    stays where all rows agree and is left out where they do not; so are intervals, which are of
    one row: the same people may stand in several splits, and what varies here is not they. After a
    column of `deviations` follows <column>_std, the standard deviation over the rows (of a
    population: they are all there are).
    """
    mean: Row = {}
    for column in rows[0]:
        if column.endswith(("_low", "_high", "_std")):
            continue
        values = [row.get(column) for row in rows]
        if None not in values and any(isinstance(value, float) for value in values):
            numbers = np.array(values, float)
            mean[column] = float(numbers.mean())
            if column in deviations:
                mean[f"{column}_std"] = float(numbers.std())
        elif any(isinstance(value, float) for value in values):
            mean[column] = None
        elif len(set(values)) == 1:
            mean[column] = values[0]
    return mean


def build_rows(rows: Sequence[Row], *, names: Sequence[str]) -> list[Row]:
    """Order by model, then protocol; after the splits follow their mean and deviation."""
    order = {name: number for number, name in reversed(list(enumerate(names)))}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((str(row["row"]), str(row["protocol"])), []).append(row)
    arranged = []
    asked = list(dict.fromkeys(str(row["protocol"]) for row in rows))
    for key in sorted(groups, key=lambda key: (order[key[0]], asked.index(key[1]))):
        group = groups[key]
        arranged += [*group, *_average_splits(group)]
    return arranged


def _average_splits(rows: Sequence[Row]) -> list[Row]:
    """Average over all splits: a row per kind of score (re-ranked or not, each gallery)."""
    kinds: dict[tuple[object, object], list[Row]] = {}
    for row in rows:
        kinds.setdefault((row.get("rerank"), row.get("gallery_group")), []).append(row)
    means = []
    for group in kinds.values():
        if len({row.get("split") for row in group}) > 1:
            mean = compute_mean_row(group, deviations=tuple(METRICS))
            head = {key: mean.pop(key) for key in ("row", "protocol", "title")}
            means.append({**head, "split": f"mean of {len(group)}", **mean})
    return means


def list_families(groups: Sequence[str]) -> dict[str, list[str]]:
    """Group galleries that are averaged, by the name of their mean.

    gallery_1 and gallery_2 are one family, blended_gallery_1 and ... another; one alone has none.
    """
    families: dict[str, list[str]] = {}
    for group in groups:
        families.setdefault(group.rstrip("0123456789").rstrip("_"), []).append(group)
    return {
        f"mean of {', '.join(members)}": members
        for members in families.values()
        if len(members) > 1
    }


def describe_differences(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Write a line per row of one table that has a difference, whichever way it points.

    finetuned minus scratch, paired over 60 people: mAP +5.1 [3.2, 7.0], R-1 +0.4 [-1.0, 1.9] (holds
    0).
    """
    lines = []
    for row in rows:
        num_people = row.get(f"{PREFIX}people")
        if not isinstance(num_people, int):
            continue
        twins = [other for other in rows if other["row"] == row["row"]]
        choices = [
            f"{words} {row.get(key)}"
            for key, words in (("split", "split"), ("rerank", "re-ranking"))
            if len({str(other.get(key)) for other in twins}) > 1
        ]
        name = f"{row['row']} ({', '.join(choices)})" if choices else str(row["row"])
        people = "1 person" if num_people == 1 else f"{num_people:,} people"
        scores = ", ".join(_describe(row, metric) for metric in METRICS)
        lines.append(f"{name} minus {REFERENCE}, paired over {people}: {scores}.")
    return lines


def render_difference(value: float, low: float | None, high: float | None) -> str:
    """Format percentage points: +5.1 [3.2, 7.0]; say so if scratch is better, or may be."""
    text = f"{_round(value):+.1f}"
    if low is None or high is None:
        return f"{text} (no interval)"
    text += f" [{_round(low):.1f}, {_round(high):.1f}]"
    if low <= 0 <= high:
        return f"{text} (holds 0)"
    return text if low > 0 else f"{text} (worse)"


def _describe(row: Mapping[str, object], metric: str) -> str:
    value, low, high = (row.get(f"{PREFIX}{metric}{end}") for end in ("", "_low", "_high"))
    assert isinstance(value, float)
    ends = (end if isinstance(end, float) else None for end in (low, high))
    return f"{metric} {render_difference(value, *ends)}"


def _round(share: float) -> float:
    return round(100 * share, 1) + 0.0  # no -0.0
