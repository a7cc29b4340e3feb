"""Means of rows whose columns are not all alike."""

import json

import pytest

from vills.evaluation.evaluate import arrange_rows
from vills.evaluation.rows import average_rows


def test_shares_are_averaged_and_counts_stay_where_they_agree() -> None:
    rows = [
        {"mAP": 0.2, "mAP_low": 0.1, "ap": "step", "queries": 5, "valid_queries": 4},
        {"mAP": 0.6, "mAP_low": 0.5, "ap": "step", "queries": 5, "valid_queries": 3},
    ]
    mean = average_rows(rows, deviations=("mAP",))
    assert mean == pytest.approx({"mAP": 0.4, "mAP_std": 0.2, "ap": "step", "queries": 5})


def test_a_count_that_one_row_lacks_is_left_out_and_a_score_is_none() -> None:
    rows = [
        {"R-1": 0.5, "TAR@0.01": 0.25, "TAR@0.0001": None, "failed_templates": 2},
        {"R-1": 0.7, "TAR@0.01": None, "TAR@0.0001": None},
    ]
    for order in (rows, rows[::-1]):
        mean = average_rows(order)
        assert mean == {"R-1": pytest.approx(0.6), "TAR@0.01": None, "TAR@0.0001": None}
    head = {"row": "m", "protocol": "p", "title": "P", "rerank": "off"}
    splits = [{**head, "split": number, **row} for number, row in enumerate(rows)]
    json.dumps(arrange_rows(splits, names=["m"]), allow_nan=False)
