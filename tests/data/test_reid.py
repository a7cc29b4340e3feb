import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.curation.scenes import build_config, write_image
from tests.data.sources import WriteSource
from vills.config.checks import ConfigError
from vills.config.curate import SourceConfig
from vills.curation.source import run_source
from vills.data.reid import ReidData, load_reid_data

Item = tuple[str, int, str, int, int, str]
TRAIN: list[Item] = [
    ("image", 1, "train", pid, cam, "") for pid in (3, 7, 8, 20) for cam in (0, 1, 1)
]
TEST: list[Item] = [
    ("image", 1, "query", 30, 0, ""),
    ("image", 1, "query", -1, 0, ""),
    ("image", 1, "gallery", 30, 1, ""),
    ("image", 1, "gallery", 0, 1, ""),
    ("image", 1, "gallery", -1, 1, ""),
]


def get_pids(data: ReidData, part: str) -> list[int]:
    return sorted(getattr(data, part).column("pid").tolist())


def test_splits_labels_and_statistics(write_source: WriteSource) -> None:
    data = load_reid_data(write_source("m", TRAIN + TEST), modality="image")
    assert (len(data.train), len(data.query), len(data.gallery)) == (12, 1, 3)
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert data.num_ids == 4
    assert (data.split_id, data.templates) == (0, None)
    assert data.describe() == (
        "m: train 12 of 4 people in 2 cameras, query 1 of 1 people in 1 cameras, "
        "gallery 3 of 1 people in 1 cameras (1 distractors, 1 junk); "
        "1 rows of query without a person left out"
    )


def test_everything_unusual_is_counted(write_source: WriteSource) -> None:
    odd: list[Item] = [
        ("image", 1, "train", 9, 0, ""),
        ("image", 1, "train", 0, 0, ""),
        ("image", 1, "train", -1, 0, ""),
        ("image", 1, "query", 31, 0, ""),
        ("image", 1, "query", 32, 0, ""),
    ]
    data = load_reid_data(write_source("m", TRAIN + TEST + odd), modality="image")
    assert get_pids(data, "train").count(9) == 1
    assert min(get_pids(data, "train")) == 3  # strangers are not one person
    assert data.describe().split("; ")[1:] == [
        "2 rows of train without a person left out",
        "1 rows of query without a person left out",
        "1 training people with a single sample",
        "2 queries whose person is not in the gallery",
    ]
    assert len(data.query) == 3  # counted, not dropped


def test_people_of_one_kind_are_counted_in_a_mixed_set(write_source: WriteSource) -> None:
    clips: list[Item] = [("tracklet", 3, "train", pid, 0, "") for pid in (3, 20, 21)]
    data = load_reid_data(write_source("b", TRAIN + TEST + clips), modality="mixed")
    assert data.num_lacking == {"image": 1, "tracklet": 2}
    assert "; 1 training people without image, the other kind is used" in data.describe()
    assert "; 2 training people without tracklet, the other kind is used" in data.describe()


def test_the_wrong_modality_is_said(write_source: WriteSource) -> None:
    folder = write_source("m", TRAIN + TEST)
    for modality in ("video", "mixed"):
        with pytest.raises(ConfigError, match="no tracklet in split train; it holds image"):
            load_reid_data(folder, modality=modality)
    strangers = [item for item in TEST if item[2] == "gallery" or item[3] == -1]
    with pytest.raises(ConfigError, match="s has no record in split query"):
        load_reid_data(write_source("s", TRAIN + strangers), modality="image")
    with pytest.raises(ConfigError, match="n has no record in split query"):
        load_reid_data(write_source("n", TRAIN))


def test_evaluation_loses_no_row_to_the_modality(write_source: WriteSource) -> None:
    clips = [("tracklet", 3, *item[2:]) for item in TRAIN[:6] + TEST]
    folder = write_source("both", [*TRAIN, *TEST, *clips])
    sizes = {
        modality: [len(part) for part in (data.train, data.query, data.gallery)]
        for modality in ("image", "video", "mixed")
        if (data := load_reid_data(folder, modality=modality))
    }
    assert sizes == {"image": [12, 2, 6], "video": [6, 2, 6], "mixed": [18, 2, 6]}
    test = load_reid_data(folder)
    assert [len(part) for part in (test.train, test.query, test.gallery)] == [18, 2, 6]


def write_people(write_source: WriteSource, splits: Any) -> Path:
    """Six people, each in cameras 0 and 1, curated as split 0 of `splits` has them."""
    rows: list[Item] = []
    for pid in range(1, 7):
        names: Sequence[str] = ("train", "train") if pid <= 3 else ("query", "gallery")
        rows += [("tracklet", 2, name, pid, cam, "") for cam, name in enumerate(names)]
    rows.append(("tracklet", 2, "gallery", 0, 1, ""))
    folder = write_source("p", rows)
    if splits is not None:
        text = splits if isinstance(splits, str) else json.dumps(splits)
        (folder / "splits.json").write_text(text)
    return folder


SPLITS = [{"train": [1, 2, 3], "test": [4, 5, 6]}, {"train": [6, 2], "test": [1, 3, 4]}]


def test_people_decide_the_parts_of_a_split(write_source: WriteSource) -> None:
    folder = write_people(write_source, SPLITS)
    first = load_reid_data(folder, modality="video")
    assert get_pids(first, "train") == [1, 1, 2, 2, 3, 3]
    assert get_pids(first, "query") == [4, 5, 6]
    assert get_pids(first, "gallery") == [0, 4, 5, 6]
    second = load_reid_data(folder, modality="video", split_id=1)
    assert second.split_id == 1
    assert get_pids(second, "train") == [2, 2, 6, 6]
    assert second.labels.tolist() == [0, 0, 1, 1]
    assert get_pids(second, "query") == [1, 3, 4]
    assert set(second.query.column("camid").tolist()) == {0}
    assert get_pids(second, "gallery") == [0, 1, 3, 4]
    assert set(second.gallery.column("camid").tolist()) == {1}
    assert second.left_out == ("2 rows of people who are not in split 1 left out",)
    assert get_pids(load_reid_data(folder, split_id=1), "query") == [1, 3, 4]


@pytest.mark.parametrize(
    ("splits", "split_id", "message"),
    [
        (SPLITS, 2, "split 2 of p does not exist. Allowed: 0 to 1"),
        (SPLITS, -1, "split -1 of p does not exist. Allowed: 0 to 1"),
        (None, 1, r"split 1 of p does not exist. Allowed: 0 \(it has one split\)"),
        ("[{", 0, "is not a list of splits"),
        ([{"train": [1]}], 0, "is not a list of splits .*KeyError"),
        ([{"train": [1, 2], "test": [2, 3]}], 0, "person 2 in train and in test"),
    ],
)
def test_splits_that_are_not_there_are_refused(
    write_source: WriteSource, splits: Any, split_id: int, message: str
) -> None:
    folder = write_people(write_source, splits)
    with pytest.raises(ConfigError, match=message):
        load_reid_data(folder, modality="video", split_id=split_id)


def test_templates_come_along(write_source: WriteSource) -> None:
    folder = write_source("s", TRAIN + TEST)
    table = pa.table(
        {
            "group": ["probe", "gallery_1"],
            "name": ["a", "b"],
            "pid": pa.array([30, 30], pa.int32()),
            "record_ids": [["s-0012"], []],
        }
    )
    pq.write_table(table, folder / "entries.parquet")
    for data in (load_reid_data(folder, modality="image"), load_reid_data(folder)):
        assert data.templates is not None
        assert data.templates.to_pylist() == table.to_pylist()


def test_queries_that_curation_could_not_read_are_named(tmp_path: Path) -> None:
    names = [
        *(f"bounding_box_train/0001_c{cam}s1_000001_00.jpg" for cam in (1, 2)),
        *(f"query/{pid:04d}_c1s1_000001_00.jpg" for pid in range(2, 9)),
        *(f"bounding_box_test/{pid:04d}_c2s1_000001_00.jpg" for pid in range(2, 9)),
    ]
    for seed, name in enumerate(names):
        write_image(tmp_path / "market" / name, seed=seed)
    for name in names[2:]:
        if name.startswith("query") and "0008" not in name:
            (tmp_path / "market" / name).write_bytes(b"")
    run_source(
        "market",
        SourceConfig("market1501", "market"),
        build_config(),
        root=tmp_path,
        out=tmp_path / "out",
        work=tmp_path / "work",
        max_corrupt_share=0.5,
    )
    data = load_reid_data(tmp_path / "out")
    assert get_pids(data, "query") == [8]
    (note,) = data.left_out
    assert note.startswith(
        "6 of 16 raw files that could not be read: query/0002_c1s1_000001_00.jpg"
    )
    assert note.endswith("query/0006_c1s1_000001_00.jpg (the file is empty), ...")
