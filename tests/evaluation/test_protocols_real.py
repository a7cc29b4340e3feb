"""Protocols on the official index files of MARS and PRID2011, without pixels."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.io import loadmat

from vills.evaluation.entries import Entries, build_entries
from vills.evaluation.protocols import PROTOCOLS, FeatureChoice, ProtocolSettings, TestData


def build(names: list[str], pids: np.ndarray, camids: np.ndarray, frames: np.ndarray) -> Entries:
    kind = ["tracklet"] * len(names)
    columns = {"record_id": names, "kind": kind, "pid": pids, "camid": camids, "num_frames": frames}
    return build_entries(pa.table(columns))


def compute_random(entries: Entries, choice: FeatureChoice) -> np.ndarray:
    return np.random.default_rng(len(entries)).normal(size=(len(entries), 4)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.real
def test_mars_counts(real_data: Path) -> None:
    rows = loadmat(real_data / "splits/mars_tracks_test_info.mat")["track_test_info"]
    rows = rows.astype(np.int64)  # start, end, pid, camera
    queries = loadmat(real_data / "splits/mars_query_IDX.mat")["query_IDX"].astype(np.int64) - 1
    names = np.array([f"track{number:05d}" for number in range(len(rows))])
    is_query = np.isin(np.arange(len(rows)), queries)
    query, gallery = (
        build(
            names[part].tolist(),
            rows[part, 2],
            rows[part, 3] - 1,
            rows[part, 1] - rows[part, 0] + 1,
        )
        for part in (is_query, ~is_query)
    )
    data = TestData(query, gallery)
    counts = {}
    for name in ("mars", "mars_torchreid", "mars_image_to_video"):
        result = PROTOCOLS[name].run(compute_random, data=data, settings=ProtocolSettings())
        (row,) = result.build_rows("random")
        counts[name] = (row["queries"], row["valid_queries"], row["gallery"])
    assert counts == {
        "mars": (1980, 1980, 11310),
        "mars_torchreid": (1980, 1840, 9330),
        "mars_image_to_video": (1980, 1980, 11310),
    }


@pytest.mark.real
def test_prid2011_splits_lie_on_the_grid_of_89(real_data: Path) -> None:
    splits = json.loads((real_data / "splits/prid2011_splits.json").read_text())
    assert len(splits) == 10
    for split in splits:
        pids = np.array([int(name.removeprefix("person_")) for name in split["test"]])
        query, gallery = (
            build(
                [f"cam_{camera}-{pid:04d}" for pid in pids],
                pids,
                np.full(len(pids), number),
                np.full(len(pids), 30),
            )
            for number, camera in enumerate("ab")
        )
        result = PROTOCOLS["prid2011"].run(
            compute_random, data=TestData(query, gallery), settings=ProtocolSettings()
        )
        (row,) = result.build_rows("random")
        assert (row["queries"], row["valid_queries"], row["gallery"]) == (89, 89, 89)
        assert 89 * row["R-1"] == pytest.approx(round(89 * row["R-1"]))
        assert row["mAP"] >= row["R-1"]
