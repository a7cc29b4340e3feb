"""Score tables as a reader sees them."""

import math
from typing import Any

from vills.evaluation.tables import (
    WIDTH,
    build_cells,
    build_markdown,
    build_score_tables,
    build_text,
    render_cell,
    render_score,
)

BASE = {
    "data set": "prcc",
    "protocol": "prcc_cloth_changing",
    "title": "PRCC, cloth-changing, all gallery images (CAL)",
    "ap": "step",
    "distance": "cosine",
    "flip": "on",
    "pooling": "mean",
    "rerank": "off",
    "queries": 3543,
    "valid_queries": 3540,
    "gallery": 3384,
    "run": "0123456789ab",
}


def make_row(name: str, mean_ap: float, **extra: Any) -> dict[str, Any]:
    ranks = {f"R-{k}": min(1.0, mean_ap + k / 100) for k in (1, 5, 10, 20)}
    spread: dict[Any, Any] = {}
    for key, value in {"mAP": mean_ap, **ranks}.items():
        spread |= {key: value, f"{key}_low": value - 0.03, f"{key}_high": value + 0.03}
    neck = {"neck": "-" if name == "histogram" else "after"}
    return {"row": name, **BASE, **neck, **spread, "mINP": mean_ap / 2, **extra}


def test_what_rows_share_is_said_once_and_intervals_stand_in_the_cell() -> None:
    rows = [make_row("histogram", 0.1234), make_row("finetuned", 0.431)]
    text = build_text(build_score_tables(rows))
    assert text.splitlines() == [
        "prcc: PRCC, cloth-changing, all gallery images (CAL)",
        "  AP by step, cosine distance, feature after the neck, flip on, clips pooled by mean, "
        "re-ranking off, 3,543 queries, 3,540 of them valid, gallery of 3,384,",
        "  run 0123456789ab.",
        "    model                    mAP                R-1   R-5  R-10  R-20  mINP",
        "  -----------  -----------------  -----------------  ----  ----  ----  ----",
        "    histogram   12.3 [9.3, 15.3]  13.3 [10.3, 16.3]  17.3  22.3  32.3   6.2",
        "  * finetuned  43.1 [40.1, 46.1]  44.1 [41.1, 47.1]  48.1  53.1  63.1  21.6",
        "",
        "*: ours.",
        "[low, high]: 95 % bootstrap interval over people, each drawn with all of its queries.",
    ]
    assert build_text([]) == "(no rows)"


def test_what_differs_is_a_column() -> None:
    rows = [
        make_row("finetuned", 0.4),
        make_row("finetuned", 0.5, rerank="on", ap="trapezoid", valid_queries=3000),
    ]
    (table,) = build_score_tables(rows)
    assert table.head[:4] == ["model", "ap", "re-ranking", "mAP"]
    assert table.head[-1] == "valid"
    assert [line[-1] for line in table.body] == ["3,540", "3,000"]
    assert "AP by" not in table.facts
    assert "flip on" in table.facts
    assert table.marked == {0, 1}


def test_a_choice_that_no_model_has_is_no_column() -> None:
    (table,) = build_score_tables([make_row("histogram", 0.4), make_row("histogram", 0.5)])
    assert "neck" not in table.head
    assert "neck" not in table.facts


def test_groups_keep_data_sets_and_protocols_apart_in_order() -> None:
    rows = [
        make_row("finetuned", 0.4, title="PRCC, b"),
        make_row("finetuned", 0.5, title="PRCC, a"),
        make_row("scratch", 0.3, title="PRCC, b"),
        make_row("scratch", 0.3, title="PRCC, b", **{"data set": "other"}),
    ]
    tables = build_score_tables(rows)
    assert [(t.heading, len(t.body)) for t in tables] == [
        ("prcc: PRCC, b", 2),
        ("prcc: PRCC, a", 1),
        ("other: PRCC, b", 1),
    ]


def test_means_over_splits_stand_for_the_splits_until_these_are_asked_for() -> None:
    splits = [make_row("finetuned", 0.4 + k / 10, split=k) for k in range(3)]
    mean = make_row("finetuned", 0.5, split="mean of 3", mAP_std=0.1)
    for name in ("mAP_low", "mAP_high"):
        mean[name] = None
    (table,) = build_score_tables([*splits, mean])
    assert table.body[0][table.head.index("mAP")] == "50.0 ± 10.0"
    assert table.facts.startswith("Mean of 3 splits, AP by step")
    (table,) = build_score_tables([*splits, mean], splits=True)
    assert [line[table.head.index("split")] for line in table.body] == ["0", "1", "2"]
    assert build_score_tables([make_row("finetuned", 0.4)], splits=True) == []


def test_galleries_of_a_sigset_stand_apart_and_nan_is_explained() -> None:
    rows = [
        make_row(name, 0.4, gallery_group=group, impostor_pairs=pairs) | tar
        for name in ("scratch", "finetuned")
        for group, pairs, tar in (
            ("gallery_1", 890, {"TAR@0.01": 0.25, "TAR@0.0001": None}),
            ("mean of gallery_1, gallery_2", 1780, {"TAR@0.01": 0.35, "TAR@0.0001": math.nan}),
        )
    ]
    one, mean = build_score_tables(rows)
    assert one.title.endswith(": gallery_1")
    assert mean.title.endswith(": mean of gallery_1, gallery_2")
    assert one.head[-2:] == ["TAR@1%", "TAR@0.01%"]
    assert [line[-2:] for line in (*one.body, *mean.body)] == [["25.0", "-"]] * 2 + [
        ["35.0", "-"]
    ] * 2
    assert "890 impostor pairs" in one.facts
    assert "(too few" in build_text([one])
    assert "(too few" in build_markdown([mean])


def test_counts_without_a_phrase_of_their_own_are_told_too() -> None:
    (table,) = build_score_tables([make_row("finetuned", 0.4, skipped_queries=3)])
    assert table.facts.endswith("run 0123456789ab, skipped queries 3.")


def test_the_widest_table_fits_a_terminal() -> None:
    long = "PRID2011, split by people (Hirzer et al.), query camera A, gallery camera B, " * 3
    rows = [
        make_row(f"{name}_split9", 1.0, title=long, split=k, flip=flip, rerank="off", gallery=k)
        for name in ("finetuned", "transreid_ssl")
        for k, flip in ((9, "on"), (10, "off"))
    ]
    lines = build_text(build_score_tables(rows)).splitlines()
    assert max(map(len, lines)) <= WIDTH


def test_markdown_escapes_bars_and_marks_ours() -> None:
    rows = [make_row("a|b", 0.1), make_row("finetuned", 0.431)]
    lines = build_markdown(build_score_tables(rows)).splitlines()
    assert lines[0] == "## prcc: PRCC, cloth-changing, all gallery images (CAL)"
    assert lines[4].startswith("| model | mAP | R-1 |")
    assert lines[5].startswith("| :-- | --: |")
    assert lines[6].startswith("| a\\|b | 10.0 [7.0, 13.0] |")
    assert lines[7].startswith("| **finetuned** | **43.1 [40.1, 46.1]** |")
    assert build_markdown([]) == "(no rows)"


def test_cells() -> None:
    assert render_cell("mAP", 1.0) == "100.0"
    assert render_cell("queries", 11310) == "11,310"
    assert render_cell("split", 2) == "2"
    assert render_cell("mAP", None) == "-"
    assert render_cell("mAP", float("nan")) == "-"
    assert render_score("R-5", {"R-5": 0.5, "R-5_low": 0.4, "R-5_high": 0.6}) == "50.0"
    assert render_score("mAP", {"mAP": 0.5, "mAP_std": 0.01}) == "50.0 ± 1.0"
    head, body = build_cells([{"count": "a", "value": "1"}, {"count": "b"}])
    assert head == ["count", "value"]
    assert body == [["a", "1"], ["b", "-"]]
