"""Curation of rendered scenes, against their truth."""

from pathlib import Path

import pytest

from vills.config.curate import CurateConfig, SourceConfig
from vills.config.miniature import MiniatureConfig
from vills.curation.scoring import TrackingScore, compute_track_scores, load_tracks, load_truth
from vills.curation.source import run_source
from vills.miniature.world import render_world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    render_world(MiniatureConfig(datasets=["kinetics"], num_scenes=8, scene_frames=36), out=out)
    return out


def _score(world: Path, out: Path, config: CurateConfig) -> TrackingScore:
    source = SourceConfig("kinetics", "kinetics", "pretrain_videos")
    run_source("kinetics", source, config, root=world, out=out, work=out / "work")
    truth = load_truth(world / "truth" / "kinetics.parquet")
    return compute_track_scores(truth, tracks=load_tracks(out / "tracks.parquet"))


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
def test_a_wrong_threshold_makes_worse_tracklets(tracker: str, world: Path, tmp_path: Path) -> None:
    def score(confidence: float) -> TrackingScore:
        config = CurateConfig(confidence=confidence, tracker=tracker)
        return _score(world, tmp_path / str(confidence), config)

    good = score(0.8)
    assert good.mota > 0.6
    assert good.idf1 > 0.7
    assert good.purity > 0.95
    for wrong in (score(0.2), score(0.95)):
        assert wrong.mota < good.mota - 0.1
        assert wrong.idf1 < good.idf1
        assert wrong.purity < good.purity
