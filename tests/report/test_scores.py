"""The overview and the page of scores."""

from typing import Any

import pytest

from vills.config.checks import ConfigError
from vills.report.scores import build_overview, build_scores_page, render_scores


def make_row(name: str, value: float, **more: Any) -> dict[str, Any]:
    head = {"data set": "prid", "row": name, "protocol": "prid2011", "title": "PRID2011"}
    return {**head, "rerank": "off", "mAP": value, "R-1": value / 2, **more}


def test_the_overview_takes_the_mean_and_leaves_re_ranking_out() -> None:
    rows = [
        make_row("histogram", 0.1),
        make_row("finetuned", 0.2, split=0),
        make_row("finetuned", 0.4, split=1),
        make_row("finetuned", 0.3, split="mean of 2"),
        make_row("finetuned", 0.9, split="mean of 2", rerank="on"),
        make_row("finetuned", 0.5, title="Sigset", gallery_group="gallery_1"),
        make_row("finetuned", 0.6, title="Sigset", gallery_group="mean of gallery_1, gallery_2"),
    ]
    assert build_overview(rows) == [
        {
            "data set": "prid",
            "protocol": "PRID2011",
            "histogram": "10.0 / 5.0",
            "finetuned": "30.0 / 15.0",
        },
        {"data set": "prid", "protocol": "Sigset", "histogram": "-", "finetuned": "60.0 / 30.0"},
    ]


def test_the_page_has_means_first_and_splits_after_them() -> None:
    rows = [make_row("finetuned", k / 10, split=k) for k in (1, 2)]
    rows.append(make_row("finetuned", 0.15, split="mean of 2", mAP_std=0.05))
    first, second = build_scores_page(rows).split("# Scores of each split")
    assert "15.0 ± 5.0" in first
    assert "| 1 |" not in first
    assert "10.0" in second
    assert "20.0" in second
    assert "Scores of each split" not in build_scores_page([make_row("finetuned", 0.1)])


def test_what_pre_training_is_worth_stands_below_the_table() -> None:
    gap: dict[str, Any] = {"minus_scratch_people": 60}
    for name in ("mAP", "R-1"):
        values = {"": -0.02, "_low": -0.05, "_high": 0.01}
        gap |= {f"minus_scratch_{name}{end}": value for end, value in values.items()}
    rows = [make_row("scratch", 0.3), make_row("finetuned", 0.28, **gap)]
    line = (
        "finetuned minus scratch, paired over 60 people: mAP -2.0 [-5.0, 1.0] (holds 0), "
        "R-1 -2.0 [-5.0, 1.0] (holds 0)."
    )
    assert line in render_scores(rows)
    assert line in build_scores_page(rows)


def test_asking_for_splits_where_there_are_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="--splits: no row here is a mean"):
        render_scores([make_row("finetuned", 0.1)], splits=True)
    assert render_scores([]) == "(no rows)"
