from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vills.areas import AREAS
from vills.config.checks import ConfigError
from vills.config.lse import LseConfig
from vills.data.images import encode_rle
from vills.data.predictions import PARSING_SCHEMA
from vills.lse.crop import Crop
from vills.lse.parts import build_segmenter


def test_maps_are_cut_to_the_crop(tmp_path: Path) -> None:
    whole = np.zeros((50, 80), bool)
    whole[10:20, 40:60] = True
    rows = [
        {
            "path": "a.mp4",
            "frame": 2,
            "area": area,
            "height": 50,
            "width": 80,
            "counts": encode_rle(whole if area == "head" else np.zeros_like(whole)),
        }
        for area in ("head", "upper_body")
    ]
    (tmp_path / "predictions").mkdir()
    table = pa.Table.from_pylist(rows, schema=PARSING_SCHEMA)
    pq.write_table(table, tmp_path / "predictions" / "parsing.parquet")
    segmenter = build_segmenter(LseConfig(segmenter="parsing"), root=tmp_path, weights=None)
    image = np.zeros((20, 20, 3), np.uint8)
    crops = [Crop(image, "r", 0, "a.mp4", frame, (30.0, 5.0, 70.0, 45.0)) for frame in (2, 3)]
    nowhere = {area: np.full(17, -1, np.int8) for area in AREAS}
    found = segmenter.segment(
        crops, points=[np.zeros((17, 2), np.float32)] * 2, labels=[nowhere] * 2
    )
    expected = np.zeros((20, 20), bool)
    expected[3:7, 5:15] = True  # half size: rows 10-20 from 5, columns 40-60 from 30
    assert set(found[0]) == {"head"}
    assert np.count_nonzero(found[0]["head"].mask ^ expected) <= 20  # half a pixel at the edges
    assert found[1] == {}


def test_missing_maps_name_field_and_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="segmenter = 'parsing'.*parsing.parquet.*What to do"):
        build_segmenter(LseConfig(segmenter="parsing"), root=tmp_path, weights=None)
