"""Readers on real files; nothing of them is kept."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.data.raw_copies import write_official_mars
from vills.data.images import decode_image
from vills.data.inventory import build_inventory, check_inventory
from vills.data.layouts import describe_count_differences, read_layout
from vills.data.layouts.mars import load_queries, load_rows

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        "VILLS_REAL_DATA" not in os.environ, reason="VILLS_REAL_DATA names no folder of real data"
    ),
]


@pytest.fixture
def real() -> Path:
    return Path(os.environ["VILLS_REAL_DATA"]).resolve()


@pytest.mark.slow
def test_official_mars_index(real: Path, tmp_path: Path) -> None:
    write_official_mars(tmp_path, real / "splits")
    train = load_rows(tmp_path / "info/tracks_train_info.mat", "track_train_info")
    test = load_rows(tmp_path / "info/tracks_test_info.mat", "track_test_info")
    assert (len(train), len(test)) == (8298, 12180)
    assert (int(train[-1, 1]), int(test[-1, 1])) == (509_914, 681_089)
    queries = load_queries(tmp_path / "info/query_IDX.mat", num_tracks=len(test))
    assert len(queries) == 1980
    assert max(queries) == len(test) - 1
    layout = read_layout("mars", tmp_path)
    # the 140 queries that have nobody to find once the queries leave the gallery
    assert "140 of 1,980 queries have no match in another camera of the gallery" in layout.notes
    counts: Counter[str] = Counter()
    people: dict[str, set[int]] = {"train": set(), "query": set(), "gallery": set()}
    for tracklet in layout.tracklets:
        counts[tracklet.split] += tracklet.pid != -1
        counts[f"pid {min(tracklet.pid, 1)}"] += 1
        counts["frames " + ("train" if tracklet.split == "train" else "test")] += len(
            tracklet.paths
        )
        people[tracklet.split].add(tracklet.pid)
    assert (counts["frames train"], counts["frames test"]) == (509_914, 681_089)
    assert (counts["pid -1"], counts["pid 0"]) == (870, 3248)
    assert (counts["train"], counts["query"], counts["gallery"]) == (8298, 1980, 9330)
    assert (len(people["train"]), len(people["query"])) == (625, 626)
    assert len(people["gallery"] - {0, -1}) == 620
    found = {**counts, "train ids": 625, "query ids": 626, "gallery ids": 620}
    assert not describe_count_differences("mars", found)


def test_pku_crops_through_the_plain_folder(real: Path) -> None:
    images = list(read_layout("folder", real / "reid/pku").images)
    assert len(images) == 608
    by_split = {s: [i for i in images if i.split == s] for s in ("train", "query", "gallery")}
    people = {split: {i.pid for i in rows} for split, rows in by_split.items()}
    assert len(people["train"]) == len(people["query"]) == len(people["gallery"]) == 19
    assert people["query"] == people["gallery"]
    assert not people["train"] & people["query"]
    assert max(people["train"]) < min(people["query"])
    assert {i.camid for i in by_split["query"]} == {0}
    assert {i.camid for i in by_split["gallery"]} == {1}
    assert (len(by_split["train"]), len(by_split["query"])) == (304, 152)
    pixels = decode_image((real / "reid/pku" / images[0].path).read_bytes())
    assert pixels.shape == (128, 48, 3)


def test_derived_tracklets_through_the_plain_folder(real: Path) -> None:
    tracklets = list(read_layout("folder", real / "reid/derived_tud_stadtmitte").tracklets)
    assert sum(len(t.paths) for t in tracklets) == 128
    assert len({t.pid for t in tracklets}) == 8
    assert len({t.pid for t in tracklets if t.split == "train"}) == 4
    assert {t.camid for t in tracklets if t.split == "query"} == {0}
    assert {t.camid for t in tracklets if t.split == "gallery"} == {1}
    assert all(list(t.paths) == sorted(t.paths) for t in tracklets)


def test_videos_and_inventory(real: Path) -> None:
    videos = list(read_layout("kinetics", real / "video").videos)
    assert [v.path for v in videos] == ["intel_one-by-one-person-detection.mp4"]
    table = build_inventory(real / "mot")
    check_inventory(real / "mot", table, digests=True)
