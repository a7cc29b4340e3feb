"""Entries of query and gallery: junk, query frames, queries in the gallery."""

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.curated import NUM_PEOPLE, write_curated
from vills.data.frames import FrameReader
from vills.evaluation.entries import Entries
from vills.evaluation.protocols import select_entries


def load(folder: Path, modality: str = "video") -> tuple[Entries, Entries]:
    data = write_curated(folder / "set", modality=modality)
    return Entries(data.query, data.reader), Entries(data.gallery, data.reader)


def test_select_drops_junk_keeps_distractors_and_adds_queries(tmp_path: Path) -> None:
    query, gallery = load(tmp_path)
    chosen, without = select_entries(query, gallery, gallery_with_queries=False)
    assert len(chosen) == NUM_PEOPLE
    assert len(without) == 2 * NUM_PEOPLE + 2
    assert sorted(set(without.labels.pids.tolist())) == [0, 1, 2, 3, 4, 5, 99]
    _, joined = select_entries(query, gallery, gallery_with_queries=True)
    assert len(joined) == 3 * NUM_PEOPLE + 2
    assert joined.ids == sorted(joined.ids)


@pytest.mark.parametrize("mode", ["first", "middle", "random"])
def test_query_frames_are_the_tracklet_s_own(tmp_path: Path, mode: str) -> None:
    query, _ = load(tmp_path)
    frames = query.take_frames(mode=mode, seed=3)
    nums = query.manifest.column("num_frames")
    assert frames.kind == "image"
    assert frames.ids == query.ids
    assert (frames.manifest.column("num_frames") == 1).all()
    assert frames.positions is not None
    expected = {"first": 0 * nums, "middle": nums // 2}
    if mode in expected:
        assert frames.positions.tolist() == expected[mode].tolist()
    assert ((frames.positions >= 0) & (frames.positions < nums)).all()
    tracklets = FrameReader(query.manifest, query.reader)
    single = FrameReader(frames.manifest, frames.reader)
    for row, position in enumerate(frames.positions.tolist()):
        assert np.array_equal(single.read(row), tracklets.read(row, position))
        assert frames.manifest[row].frames == (position,)


def test_random_frames_depend_on_seed_and_record_alone(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video", frames=(40,))
    query = Entries(data.query, data.reader)
    drawn = [query.take_frames(mode="random", seed=seed).positions for seed in (0, 0, 1)]
    assert drawn[0].tolist() == drawn[1].tolist()
    assert drawn[0].tolist() != drawn[2].tolist()
    some = query.take(np.array([3, 1])).take_frames(mode="random", seed=0)
    assert some.positions.tolist() == drawn[0][[3, 1]].tolist()
    assert some.take(np.array([1])).keys == [(query.ids[1], int(drawn[0][1]))]
