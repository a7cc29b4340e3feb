"""Score tables as a reader sees them."""

from vills.evaluation.tables import build_markdown_table, build_text_table

ROWS = [
    {"row": "histogram", "protocol": "image", "mAP": 0.1234, "R-1": 1.0, "queries": 304},
    {"row": "a|b", "protocol": "video", "mAP": 0.5, "R-20": 0.25, "queries": 7},
]


def test_text_table_is_aligned_and_in_percent() -> None:
    assert build_text_table(ROWS).splitlines() == [
        "model      protocol   mAP    R-1  queries  R-20",
        "---------  --------  ----  -----  -------  ----",
        "histogram  image     12.3  100.0      304     -",
        "a|b        video     50.0      -        7  25.0",
    ]
    assert build_text_table([]) == "(no rows)"


def test_markdown_table_escapes_bars() -> None:
    lines = build_markdown_table(ROWS).splitlines()
    assert lines[0] == "| model | protocol | mAP | R-1 | queries | R-20 |"
    assert lines[1] == "| :-- | :-- | --: | --: | --: | --: |"
    assert lines[3] == "| a\\|b | video | 50.0 | - | 7 | 25.0 |"
    assert build_markdown_table([]) == "(no rows)"
