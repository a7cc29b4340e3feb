from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vills.data.images import encode_rle
from vills.data.predictions import (
    DETECTIONS_SCHEMA,
    PARSING_SCHEMA,
    PredictionsError,
    load_parsing,
    load_predictions,
)


def test_detections_by_path_and_frame(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    rng = np.random.default_rng(0)
    rows: list[Any] = []
    for path, frame in [("v.mp4", 2), ("a.jpg", 0), ("v.mp4", 0), ("v.mp4", 2), ("v.mp4", 10)]:
        box = rng.uniform(0, 99, 4).astype(np.float32)
        keypoints = None if frame == 10 else rng.uniform(0, 9, 51).astype(np.float32).tolist()
        cells = (path, frame, *box.tolist(), float(len(rows)), keypoints)
        rows.append(dict(zip(DETECTIONS_SCHEMA.names, cells, strict=True)))
    table = pa.Table.from_pylist(rows, schema=DETECTIONS_SCHEMA)
    pq.write_table(table, tmp_path / "predictions/detections.parquet")
    predictions = load_predictions(tmp_path)
    assert predictions is not None
    found = predictions.lookup("v.mp4", 2)
    assert found.scores.tolist() == [0.0, 3.0]
    assert np.allclose(found.boxes[1], [rows[3][c] for c in ("x1", "y1", "x2", "y2")])
    assert np.allclose(found.keypoints[0].ravel(), rows[0]["keypoints"])
    assert predictions.lookup("a.jpg").scores.tolist() == [1.0]
    assert predictions.lookup("v.mp4", 10).keypoints.tolist() == np.zeros((1, 17, 3)).tolist()
    for path, frame in [("v.mp4", 1), ("v.mp4", 11), ("b.jpg", 0)]:
        nothing = predictions.lookup(path, frame)
        assert nothing.boxes.shape == (0, 4)
        assert nothing.keypoints.shape == (0, 17, 3)


def test_parsing_maps(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    masks = {area: np.random.default_rng(i).random((9, 7)) < 0.5 for i, area in enumerate("xy")}
    rows = [
        {"path": "a", "frame": 0, "area": n, "height": 9, "width": 7, "counts": encode_rle(m)}
        for n, m in masks.items()
    ]
    table = pa.Table.from_pylist(rows, schema=PARSING_SCHEMA)
    pq.write_table(table, tmp_path / "predictions/parsing.parquet")
    parsing = load_parsing(tmp_path)
    assert parsing is not None
    found = parsing.lookup("a")
    assert {area: (found[area] == masks[area]).all() for area in found} == {"x": True, "y": True}
    assert not parsing.lookup("a", 1)


@pytest.mark.parametrize(
    ("spell", "said"),
    [
        (lambda name: name.replace("/", "\\"), "with slashes for backslashes"),
        (lambda name: f"/data/{name}", "with the folders in front removed"),
        (lambda name: name.replace(".mp4", ".avi"), "with another suffix"),
    ],
)
def test_paths_that_are_spelt_otherwise_are_refused(tmp_path: Path, spell: Any, said: str) -> None:
    names = [f"train/{number}.mp4" for number in range(3)]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "predictions").mkdir()
    cells: dict[str, Any] = dict.fromkeys(DETECTIONS_SCHEMA.names, [1, 1, 1])
    for path in (spell, str):
        columns = {**cells, "path": [path(name) for name in names], "keypoints": [None] * 3}
        table = pa.table(columns, schema=DETECTIONS_SCHEMA)
        pq.write_table(table, tmp_path / "predictions/detections.parquet")
        if path is str:
            assert load_predictions(tmp_path) is not None
            continue
        with pytest.raises(PredictionsError, match=f"would match 'train/0.mp4' {said}"):
            load_predictions(tmp_path)


def test_absent_and_foreign_files(tmp_path: Path) -> None:
    assert load_predictions(tmp_path) is None
    assert load_parsing(tmp_path) is None
    (tmp_path / "predictions").mkdir()
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "predictions/detections.parquet")
    with pytest.raises(ValueError, match=r"has no column \['frame'"):
        load_predictions(tmp_path)
