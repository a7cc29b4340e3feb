"""per_query.parquet: chosen, paired and pooled over outs, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluation.searches import Item, search
from vills.evaluation.per_query import (
    FILE,
    SCHEMA,
    PairingError,
    RunPair,
    build_per_query,
    compute_pooled_difference,
    compute_query_differences,
    load_pair,
    load_per_query,
    select_queries,
)
from vills.evaluation.protocols import ProtocolSettings

PIDS = [4, 4, 7, 9]


def make_lines(row: str, aps: list[float], **more: Any) -> list[dict[str, Any]]:
    line = {"protocol": "image", "row": row, "split": -1, "rerank": "off", "gallery_group": ""}
    return [
        {**line, "query": number, "pid": pid, "ap": ap, "r1": float(ap > 0.5), **more}
        for number, (pid, ap) in enumerate(zip(PIDS, aps, strict=True))
    ]


def make_table(*lines: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([line for part in lines for line in part], schema=SCHEMA)


def save_out(folder: Path, ours: list[float], other: list[float]) -> Path:
    folder.mkdir()
    table = make_table(make_lines("finetuned", ours), make_lines("scratch", other))
    pq.write_table(table, folder / FILE)
    return folder


def test_lines_are_the_valid_queries_of_a_result() -> None:
    query: list[Item] = [("a", 1, 0, -1, 0.0), ("b", 2, 0, -1, 5.0), ("c", 3, 0, -1, 9.0)]
    gallery: list[Item] = [("x", 1, 1, -1, 1.0), ("y", 3, 1, -1, 8.0), ("z", 4, 1, -1, 9.0)]
    settings = ProtocolSettings(distance="euclidean", rerank=True)
    table = build_per_query(search("image", query, gallery, settings=settings), name="m")
    assert table.schema == SCHEMA
    off = select_queries(table, protocol="image", row="m").to_pylist()
    assert [(line["query"], line["pid"], line["ap"], line["r1"]) for line in off] == [
        (0, 1, 1.0, 1.0),
        (2, 3, 0.5, 0.0),  # the second has no true match
    ]
    assert {(line["split"], line["gallery_group"]) for line in off} == {(-1, "")}
    assert select_queries(table, protocol="image", row="m", rerank="on").num_rows == 2


def test_draws_of_a_gallery_are_averaged_query_by_query() -> None:
    query: list[Item] = [("q", 1, 2, -1, 0.0), ("r", 2, 2, -1, 4.0)]
    gallery: list[Item] = [
        ("g", 1, 0, -1, 1.0),
        ("h", 1, 0, -1, 9.0),
        ("i", 2, 0, -1, 3.0),
    ]
    result = search("prcc_cloth_changing_single_shot", query, gallery)
    table = build_per_query(result, name="m")
    assert np.mean(table["ap"].to_numpy()) == pytest.approx(result.rows[0]["mAP"])
    assert np.mean(table["r1"].to_numpy()) == pytest.approx(result.rows[0]["R-1"])
    assert 0.5 < table["ap"].to_pylist()[0] < 1  # g in some draws, h in others


def test_a_pair_is_the_difference_per_query_whatever_the_order() -> None:
    ours, other = make_lines("a", [0.1, 0.9, 0.5, 0.7]), make_lines("b", [0.2, 0.3, 0.5, 0.6])
    run = compute_query_differences(RunPair(make_table(ours), make_table(other[::-1]), "w"))
    assert run.differences == pytest.approx([-0.1, 0.6, 0, 0.1])
    assert (run.pids.tolist(), run.parts.tolist(), run.world) == (PIDS, [0] * 4, "w")
    run = compute_query_differences(RunPair(make_table(ours), make_table(other)), metric="R-1")
    assert run.differences.tolist() == [0, 1, 0, 0]


def test_splits_and_galleries_are_parts_with_equal_weight() -> None:
    table = make_table(
        make_lines("a", [1.0] * 4, split=0),
        make_lines("a", [0.5] * 4, split=1)[:1],
        make_lines("b", [0.0] * 4, split=0),
        make_lines("b", [0.0] * 4, split=1)[:1],
    )
    pair = RunPair(*(select_queries(table, protocol="image", row=name) for name in "ab"))
    assert compute_pooled_difference([pair]).value == pytest.approx(0.75)
    pair = RunPair(*(select_queries(table, protocol="image", row=name, split=1) for name in "ab"))
    assert compute_pooled_difference([pair]).value == pytest.approx(0.5)
    groups = ("gallery_1", "gallery_2", "blended_1")
    table = make_table(*(make_lines("a", [1.0] * 4, gallery_group=name) for name in groups))
    for name, num in (("mean of gallery_1, gallery_2", 8), ("gallery_1", 4), (None, 12)):
        found = select_queries(table, protocol="image", row="a", gallery_group=name)
        assert found.num_rows == num


def test_runs_are_pooled_over_seeds_and_worlds(tmp_path: Path) -> None:
    outs = [
        save_out(tmp_path / "s0", [0.5, 0.5, 0.9, 0.4], [0.3, 0.3, 0.6, 0.4]),
        save_out(tmp_path / "s1", [0.6, 0.4, 0.8, 0.4], [0.3, 0.3, 0.6, 0.3]),
        save_out(tmp_path / "t0", [0.5, 0.5, 0.5, 0.5], [0.6, 0.6, 0.6, 0.6]),
    ]
    pairs = [
        load_pair(out, protocol="image", world=name)
        for out, name in zip(outs, ("s", "s", "t"), strict=True)
    ]
    found = compute_pooled_difference(pairs, num_resamples=500)
    seeds = [(0.2 + 0.2 + 0.3 + 0) / 4, (0.3 + 0.1 + 0.2 + 0.1) / 4]
    assert found.value == pytest.approx((sum(seeds) / 2 - 0.1) / 2)
    assert found.low < found.value < found.high
    assert (found.num_people, found.num_runs, found.num_worlds) == (6, 3, 2)
    assert found == compute_pooled_difference(pairs, num_resamples=500)
    # one model in an out of its own
    pair = load_pair(outs[0], protocol="image", other="finetuned", other_folder=outs[2])
    assert compute_pooled_difference([pair]).value == pytest.approx((0 + 0 + 0.4 - 0.1) / 4)


def test_what_cannot_be_paired_says_why(tmp_path: Path) -> None:
    with pytest.raises(PairingError, match=r"per_query.parquet does not exist.*run the evaluate"):
        load_per_query(tmp_path)
    out = save_out(tmp_path / "out", [0.1] * 4, [0.2] * 4)
    with pytest.raises(PairingError, match="has no image, untrained, off .*image, scratch, off"):
        load_pair(out, protocol="image", other="untrained")
    pair = load_pair(out, protocol="image")
    with pytest.raises(PairingError, match=r"metric = 'R-5' is not kept.*Allowed: mAP, R-1"):
        compute_pooled_difference([pair], metric="R-5")
    with pytest.raises(PairingError, match="4 and 3, or of other people"):
        compute_pooled_difference([RunPair(pair.ours, pair.other.slice(1))])
    short = RunPair(pair.ours.slice(1), pair.other.slice(1))
    with pytest.raises(PairingError, match=r"not scored on the same queries.*another world"):
        compute_pooled_difference([pair, short])
    with pytest.raises(PairingError, match="0 runs"):
        compute_pooled_difference([])
