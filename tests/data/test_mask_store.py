from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vills.areas import AREAS
from vills.data.mask_store import (
    MaskStore,
    build_mask_row,
    build_mask_table,
    get_mask_path,
    save_mask_table,
)
from vills.errors import InputError


def make_mask(seed: int, height: int = 20, width: int = 11) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), dtype=bool)
    mask[3:9, 2:7] = rng.random((6, 5)) < 0.7
    return mask


def write_store(folder: Path) -> dict[tuple[str, int, str], np.ndarray]:
    masks = {}
    for a, area in enumerate(AREAS):
        for name, frames in (("rec-b", (8, 0)), ("rec-a", (4, 0)), ("rec", (0,))):
            for frame in frames:
                if (frame, area) != (8, "head"):
                    masks[name, frame, area] = make_mask(10 * a + frame)
        rows = [
            build_mask_row(mask, record_id=name, frame=frame, score=0.25)
            for (name, frame, other), mask in masks.items()
            if other == area
        ]
        save_mask_table(get_mask_path(folder, area), build_mask_table(rows))
    return masks


def test_masks_come_back(tmp_path: Path) -> None:
    masks = write_store(tmp_path)
    store = MaskStore(tmp_path)
    boxes = {
        (row["record_id"], row["frame"], area): row
        for area in AREAS
        for row in pq.read_table(get_mask_path(tmp_path, area)).to_pylist()
    }
    for (name, frame, area), mask in masks.items():
        loaded = store.load(name, frame, area)
        assert loaded is not None
        assert (loaded[0] == mask).all()
        assert loaded[1] == 0.25
        x1, y1, x2, y2 = (boxes[name, frame, area][key] for key in ("x1", "y1", "x2", "y2"))
        assert mask[y1:y2, x1:x2].sum() == mask.sum()
        assert mask[y1].any()
        assert mask[y2 - 1].any()
        assert mask[:, x1].any()
        assert mask[:, x2 - 1].any()


def test_what_is_missing(tmp_path: Path) -> None:
    write_store(tmp_path)
    store = MaskStore(tmp_path)
    assert store.load("rec-b", 8, "head") is None
    assert store.load("rec-a", 1, "head") is None
    assert store.load("rec-a", 4, "head") is not None
    for name in ("re", "rec-aa", "rec-" + "a" * 99, "zzz", ""):
        assert store.load(name, 0, "head") is None
        assert store.cached_frames(name).tolist() == []
    assert store.cached_frames("rec-b").tolist() == [0, 8]
    assert MaskStore(tmp_path, areas=["head"]).cached_frames("rec-b").tolist() == [0]


def test_bytes_ignore_the_order_of_rows(tmp_path: Path) -> None:
    rows = [
        build_mask_row(make_mask(i), record_id=f"r{i % 3}", frame=i // 3, score=1.0)
        for i in range(9)
    ]
    save_mask_table(tmp_path / "1", build_mask_table(rows))
    save_mask_table(tmp_path / "2", build_mask_table(rows[::-1]))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    with pytest.raises(ValueError, match="two masks of r0 frame 0"):
        save_mask_table(tmp_path / "3", build_mask_table([rows[0], rows[0]]))


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run the lse stage"):
        MaskStore(tmp_path)
    with pytest.raises(ValueError, match="is empty"):
        build_mask_row(np.zeros((4, 4), dtype=bool), record_id="a", frame=0, score=1.0)


def test_a_table_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = get_mask_path(tmp_path, "head")
    row = build_mask_row(make_mask(0), record_id="a", frame=0, score=1.0)
    table = build_mask_table([row])
    for column in (pa.array([{"odd": 1}]), pa.nulls(1, pa.int32())):
        pq.write_table(table.set_column(table.column_names.index("frame"), "frame", column), path)
        with pytest.raises(
            InputError, match=r"masks_head\.parquet .*What to do: run the lse stage"
        ):
            MaskStore(tmp_path, areas=["head"])


def test_an_area_nobody_has(tmp_path: Path) -> None:
    save_mask_table(get_mask_path(tmp_path, "head"), build_mask_table([]))
    store = MaskStore(tmp_path, areas=["head"])
    assert store.load("a", 0, "head") is None
    assert store.cached_frames("a").tolist() == []
