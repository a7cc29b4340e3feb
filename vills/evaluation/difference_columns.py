"""A fine-tuned model's difference to the one that starts from scratch, in rows and in words.

In a row of results.json:

    minus_scratch_mAP, minus_scratch_mAP_low, minus_scratch_mAP_high   and so for R-1
    minus_scratch_people                                               paired people
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from vills.evaluation.averages import Cell

REFERENCE = "scratch"
"""Row that is subtracted: the same architecture and labels, without pre-training."""
PREFIX = f"minus_{REFERENCE}_"
"""Beginning of the columns' names."""
METRICS = ("mAP", "R-1")


def add_differences(
    rows: "Sequence[dict[str, Cell]]",
    table: "pa.Table",
    *,
    num_resamples: int,
    seed: int,
) -> "list[dict[str, Cell]]":
    """Rows whose models are in `table` with their difference to scratch, if it is there too.

    The row of a mean over splits or galleries has the mean difference: people are drawn once for
    all of them.

    Args:
        rows: as in results.json.
        table: what each query found (`per_query.py`).
        num_resamples: of people; 0 leaves the rows as they are.
        seed: of the resamples.
    """
    from vills.evaluation.per_query import RunPair, pool_differences, select_queries

    kept = set(table["row"].to_pylist()) - {REFERENCE}
    if not num_resamples or REFERENCE not in table["row"].to_pylist():
        return list(rows)
    added = []
    for row in rows:
        columns: dict[str, Cell] = {}
        if row["row"] in kept:
            split, group = row.get("split"), row.get("gallery_group")
            ours, other = (
                select_queries(
                    table,
                    protocol=str(row["protocol"]),
                    row=name,
                    rerank=str(row["rerank"]),
                    split=split if isinstance(split, int) else None,
                    gallery_group=None if group is None else str(group),
                )
                for name in (str(row["row"]), REFERENCE)
            )
            for metric in METRICS:
                found = pool_differences(
                    [RunPair(ours, other)], metric=metric, num_resamples=num_resamples, seed=seed
                )
                columns[f"{PREFIX}{metric}"] = found.value
                if found.num_people > 1:
                    columns[f"{PREFIX}{metric}_low"] = found.low
                    columns[f"{PREFIX}{metric}_high"] = found.high
            columns[f"{PREFIX}people"] = found.num_people
        added.append({**row, **columns})
    return added


def describe_differences(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """A line per row of one table that has a difference, whichever way it points.

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


def format_difference(value: float, low: float | None, high: float | None) -> str:
    """Percentage points: +5.1 [3.2, 7.0]; says so if scratch is better, or may be."""
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
    return f"{metric} {format_difference(value, *ends)}"


def _round(share: float) -> float:
    return round(100 * share, 1) + 0.0  # no -0.0
