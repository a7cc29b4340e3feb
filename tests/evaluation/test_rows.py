"""Means of rows whose columns are not all alike; a difference in columns and in words."""

import json
from typing import Any

import pyarrow as pa
import pytest

from tests.evaluation.test_per_query import make_lines, make_table
from vills.evaluation.per_query import SCHEMA, compute_differences
from vills.evaluation.rows import (
    build_rows,
    compute_mean_row,
    describe_differences,
    render_difference,
)
from vills.evaluation.tables import build_markdown, build_score_tables, build_text


def test_shares_are_averaged_and_counts_stay_where_they_agree() -> None:
    rows = [
        {"mAP": 0.2, "mAP_low": 0.1, "ap": "step", "queries": 5, "valid_queries": 4},
        {"mAP": 0.6, "mAP_low": 0.5, "ap": "step", "queries": 5, "valid_queries": 3},
    ]
    mean = compute_mean_row(rows, deviations=("mAP",))
    assert mean == pytest.approx({"mAP": 0.4, "mAP_std": 0.2, "ap": "step", "queries": 5})


def test_a_count_that_one_row_lacks_is_left_out_and_a_score_is_none() -> None:
    rows = [
        {"R-1": 0.5, "TAR@0.01": 0.25, "TAR@0.0001": None, "failed_templates": 2},
        {"R-1": 0.7, "TAR@0.01": None, "TAR@0.0001": None},
    ]
    for order in (rows, rows[::-1]):
        mean = compute_mean_row(order)
        assert mean == {"R-1": pytest.approx(0.6), "TAR@0.01": None, "TAR@0.0001": None}
    head = {"row": "m", "protocol": "p", "title": "P", "rerank": "off"}
    splits = [{**head, "split": number, **row} for number, row in enumerate(rows)]
    json.dumps(build_rows(splits, names=["m"]), allow_nan=False)


HEAD = {"protocol": "image", "title": "Images", "rerank": "off"}
LINES = make_table(
    make_lines("finetuned", [0.9, 0.8, 0.7, 0.6]),
    make_lines("scratch", [0.5, 0.4, 0.6, 0.6]),
    make_lines("dino", [0.4, 0.4, 0.3, 0.1]),
)


def make_rows() -> list[dict[str, Any]]:
    means = {"histogram": 0.1, "scratch": 0.525, "dino": 0.3, "finetuned": 0.75}
    return [{"row": name, **HEAD, "mAP": mean, "R-1": mean} for name, mean in means.items()]


def add(rows: list[dict[str, Any]], table: pa.Table, number: int = 200) -> list[dict[str, Any]]:
    return compute_differences(rows, table, num_resamples=number, seed=0)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.032, 0.07, "+5.1 [3.2, 7.0]"),
        (-0.01, 0.11, "+5.1 [-1.0, 11.0] (holds 0)"),
        (0.0, 0.11, "+5.1 [0.0, 11.0] (holds 0)"),
        (None, None, "+5.1 (no interval)"),
    ],
)
def test_a_gain_says_whether_it_is_one(low: float, high: float, text: str) -> None:
    assert render_difference(0.051, low, high) == text


def test_a_loss_and_nothing() -> None:
    assert render_difference(-0.02, -0.03, -0.01) == "-2.0 [-3.0, -1.0] (worse)"
    assert render_difference(-0.0001, -0.0002, 0.0) == "+0.0 [0.0, 0.0] (holds 0)"


def test_fine_tuned_rows_alone_have_a_difference_and_tables_tell_it_below() -> None:
    rows = add(make_rows(), LINES)
    columns = [
        "minus_scratch_mAP minus_scratch_mAP_low minus_scratch_mAP_high minus_scratch_R-1 "
        "minus_scratch_R-1_low minus_scratch_R-1_high minus_scratch_people"
    ]
    assert [" ".join(list(row)[6:]) for row in rows] == ["", "", *columns, *columns]
    tables = build_score_tables(rows)
    (table,) = tables
    assert table.head == ["model", "mAP", "R-1"]
    worse, better = table.differences
    assert worse.startswith("dino minus scratch, paired over 3 people: mAP -22.5 [")
    assert "(worse), R-1 -50.0 [" in worse
    assert better.startswith("finetuned minus scratch, paired over 3 people: mAP +22.5 [0.0, ")
    for text in (build_text(tables, width=400), build_markdown(tables)):
        assert worse in text
        assert text.index("finetuned") < text.index(better)
        assert "minus: mean difference over the same queries, in percentage points" in text
    assert "minus:" not in build_text(build_score_tables(make_rows()))


def test_rows_that_share_a_name_are_told_apart() -> None:
    rows = [
        {"row": "finetuned", "rerank": rerank, "split": split, "minus_scratch_people": 1}
        | {f"minus_scratch_{metric}": 0.1 for metric in ("mAP", "R-1")}
        for rerank, split in (("off", 0), ("on", 0), ("off", 1))
    ]
    assert [line.split(" minus")[0] for line in describe_differences(rows)] == [
        "finetuned (split 0, re-ranking off)",
        "finetuned (split 0, re-ranking on)",
        "finetuned (split 1, re-ranking off)",
    ]
    (line,) = describe_differences(rows[:1])
    assert line == (
        "finetuned minus scratch, paired over 1 person: mAP +10.0 (no interval), "
        "R-1 +10.0 (no interval)."
    )


def test_without_scratch_or_resamples_there_is_none() -> None:
    assert add(make_rows(), LINES.slice(0, 4)) == make_rows()
    assert add(make_rows(), SCHEMA.empty_table()) == make_rows()
    assert add(make_rows(), LINES, number=0) == make_rows()
