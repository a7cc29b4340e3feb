"""Curation of real videos: six people one after another, and a street of ten."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.real.score_tracklets import load_mot_truth
from vills.config.curate import CurateConfig, SourceConfig
from vills.curation.scoring import TrackingScore, compute_track_scores, load_tracks
from vills.curation.source import run_source
from vills.data.records import Manifest, load_manifest

pytestmark = [pytest.mark.real, pytest.mark.slow]


def _curate(
    real_data: Path, path: str, out: Path, **changes: Any
) -> tuple[dict[str, Any], Manifest]:
    settings = {"detector": "yolox", "detector_weights": "yolox_nano_416x416.onnx"}
    report = run_source(
        "video",
        SourceConfig("kinetics", path, "pretrain_videos"),
        CurateConfig(**(settings | changes)),
        root=real_data,
        out=out,
        work=out / "work",
        weights_root=real_data / "weights",
    )
    return report, load_manifest(out / "manifest.parquet")


def test_six_people_are_six_tracklets(real_data: Path, tmp_path: Path) -> None:
    report, manifest = _curate(real_data, "video", tmp_path, confidence=0.4, tracker="ocsort")
    segments = json.loads((real_data / "video/intel_one-by-one.segments.json").read_text())
    assert len(manifest) == len(segments["persons"]) == 6
    found = sorted((manifest[i].frames[0], manifest[i].frames[-1]) for i in range(6))
    for (first, last), person in zip(found, segments["persons"], strict=True):
        # a person is half outside the picture at first, and at last: such boxes are too wide, or
        # show other colours than the rest
        assert abs(first - person["start"]) <= 15
        assert abs(last - person["end"]) <= 10
    assert report["video"]["videos"] == {"whole": 1, "damaged": 0, "unreadable": 0}


def _score_street(
    real_data: Path, out: Path, **changes: Any
) -> tuple[TrackingScore, TrackingScore]:
    """Scores of all tracks and of the tracklets that were kept."""
    _curate(real_data, "mot/TUD-Stadtmitte", out, **changes)
    name = "TUD-Stadtmitte.mp4"
    truth = {name: load_mot_truth(real_data / "mot/TUD-Stadtmitte/gt/gt.txt")}
    scores = [
        compute_track_scores(
            truth,
            tracks=load_tracks(out / "tracks.parquet", kept_only=kept_only),
        )
        for kept_only in (False, True)
    ]
    return scores[0], scores[1]


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
def test_a_street_is_tracked_no_worse_than_by_plain_overlap(
    tracker: str, real_data: Path, tmp_path: Path
) -> None:
    """The figures to hold: a plain IoU tracker on the same detector, at its own best threshold."""
    tracked, kept = _score_street(real_data, tmp_path, confidence=0.4, tracker=tracker)
    assert tracked.mota >= 0.760
    for score in (tracked, kept):
        assert score.idf1 >= 0.669
        assert score.switches <= 19
        assert score.precision >= 0.933
    assert kept.purity > 0.97
    assert kept.recall > 0.9 * tracked.recall


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
def test_a_street_gives_the_same_tracklets_at_any_frame_rate(
    tracker: str, real_data: Path, tmp_path: Path
) -> None:
    """At 7 frames a second half of the tracklets were of several people, and a third shorter."""
    shown = []
    for rate in (7.0, 12.5, 0.0):
        settings = {"confidence": 0.4, "tracker": tracker, "frames_per_second": rate}
        _, score = _score_street(real_data, tmp_path / str(rate), **settings)
        assert 10 <= score.num_tracks <= 14
        assert score.purity > 0.97
        shown.append(load_manifest(tmp_path / str(rate) / "manifest.parquet"))
    seconds = [m.column("num_frames").sum() / r for m, r in zip(shown, (7, 12.5, 25), strict=True)]
    assert max(seconds) < 1.05 * min(seconds)


def test_the_papers_threshold_keeps_little_of_a_small_detector(
    real_data: Path, tmp_path: Path
) -> None:
    strict, _ = _score_street(real_data, tmp_path / "strict", confidence=0.8)
    assert strict.recall < 0.7
    assert strict.purity > 0.98
