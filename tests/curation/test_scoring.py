from itertools import permutations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.real.score_tracklets import load_mot_truth
from vills.curation.scoring import (
    PersonBoxes,
    TrackingScore,
    compute_track_scores,
    load_tracks,
    load_truth,
)
from vills.curation.units import TRACKS_SCHEMA

Rows = list[tuple[int, int, float]]


def _boxes(rows: Rows) -> PersonBoxes:
    """Boxes 10 x 20 px from (frame, id, x)."""
    frames, ids, xs = (np.array(column) for column in zip(*rows, strict=True))
    boxes = np.stack([xs, 0 * xs, xs + 10, 0 * xs + 20], axis=1).astype(np.float64)
    return PersonBoxes(frames.astype(np.int64), ids.astype(np.int64), boxes)


def _score(truth: Rows, tracks: Rows) -> TrackingScore:
    tracked = {"v": _boxes(tracks)} if tracks else {}
    return compute_track_scores({"v": _boxes(truth)}, tracks=tracked)


TRUTH: Rows = [(f, 1, 0.0) for f in range(10)] + [(f, 2, 50.0) for f in range(10)]


def test_perfect_tracks() -> None:
    score = _score(TRUTH, [(f, 7 + i, x) for f, i, x in TRUTH])
    assert score == TrackingScore(1, 1, 1, 1, 1, 0, 2, 2)


def test_misses_false_boxes_and_a_switch_by_hand() -> None:
    # Person 1: track 5 in frames 0-5, track 6 in frames 6-9. Person 2: track 8 in frames 0-6.
    # Track 9 shows nobody in frames 0 and 1.
    tracks = [(f, 5 if f < 6 else 6, 1.0) for f in range(10)]
    tracks += [(f, 8, 50.0) for f in range(7)] + [(0, 9, 90.0), (1, 9, 90.0)]
    score = _score(TRUTH, tracks)
    assert score.switches == 1
    assert score.mota == pytest.approx(1 - (3 + 2 + 1) / 20)
    assert score.recall == pytest.approx(17 / 20)
    assert score.precision == pytest.approx(17 / 19)
    # best assignment: 5 -> 1 (6 boxes), 8 -> 2 (7 boxes)
    assert score.idf1 == pytest.approx(2 * 13 / (20 + 19))
    assert score.purity == pytest.approx(17 / 19)
    assert score.num_tracks == 4


def test_purity_counts_the_boxes_of_another_person() -> None:
    tracks = [(f, 5, 0.0 if f < 7 else 50.0) for f in range(10)]
    score = _score(TRUTH, tracks)
    assert score.purity == pytest.approx(0.7)
    assert score.precision == 1


def test_a_box_needs_half_an_overlap() -> None:
    # boxes of 10 px, shifted by 3 and by 4: overlap 7 / 13 and 6 / 14
    assert _score(TRUTH, [(f, i, x + 3) for f, i, x in TRUTH]).recall == 1
    shifted = _score(TRUTH, [(f, i, x + 4) for f, i, x in TRUTH])
    assert (shifted.recall, shifted.purity) == (0, 0)


def test_idf1_equals_the_best_of_all_assignments() -> None:
    rng = np.random.default_rng(0)
    truth = [(f, i, 30.0 * i) for f in range(12) for i in range(3)]
    tracks = [(f, int(rng.integers(0, 4)) + 4 * i, x) for f, i, x in truth if rng.random() < 0.8]
    tracks = [(f, t % 5, x) for f, t, x in tracks]
    tracks = list({(f, t): (f, t, x) for f, t, x in tracks}.values())
    together = np.zeros((3, 5))
    for _, track, x in tracks:
        together[round(x / 30), track] += 1
    best = max(sum(together[i, p[i]] for i in range(3)) for p in permutations(range(5), 3))
    score = _score(truth, tracks)
    assert score.idf1 == pytest.approx(2 * best / (len(truth) + len(tracks)))


def test_no_tracks_and_unknown_videos() -> None:
    score = _score(TRUTH, [])
    assert (score.mota, score.idf1, score.purity, score.recall) == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="No truth for w"):
        compute_track_scores({"v": _boxes(TRUTH)}, tracks={"w": _boxes(TRUTH)})


def test_several_videos_are_scored_together() -> None:
    truth = {"v": _boxes(TRUTH), "w": _boxes(TRUTH)}
    score = compute_track_scores(truth, tracks={"v": truth["v"]})
    assert score.mota == score.recall == 0.5
    assert score.purity == 1


def test_mot_files(tmp_path: Path) -> None:
    path = tmp_path / "gt.txt"
    path.write_text("1,3,10,20,30,40,1,1,1\n2,3,12,20,30,40,1,1,1\n2,4,1,2,3,4,0,1,1\n")
    truth = load_mot_truth(path)
    assert truth.frames.tolist() == [0, 1]
    assert truth.ids.tolist() == [3, 3]
    assert truth.boxes.tolist() == [[10, 20, 40, 60], [12, 20, 42, 60]]


def test_tables(tmp_path: Path) -> None:
    row = {"path": "a.mp4", "frame": 2, "x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0}
    truth = [row | {"person": 5, "visible": 1.0}, row | {"person": 6, "visible": 0.0}]
    pq.write_table(pa.Table.from_pylist(truth), tmp_path / "truth.parquet")
    assert load_truth(tmp_path / "truth.parquet")["a.mp4"].ids.tolist() == [5]
    tracked = row | {"track_id": 1, "score": 0.5, "record_id": "a_1", "reason": ""}
    rejected = tracked | {"path": "b.mp4", "record_id": "", "reason": "too_low"}
    table = pa.Table.from_pylist([tracked, rejected], schema=TRACKS_SCHEMA)
    pq.write_table(table, tmp_path / "tracks.parquet")
    kept = load_tracks(tmp_path / "tracks.parquet")
    assert list(kept) == ["a.mp4"]
    assert kept["a.mp4"].boxes.tolist() == [[1, 2, 3, 4]]
    assert len(load_tracks(tmp_path / "tracks.parquet", kept_only=False)) == 2
