"""Masks of the miniature world against its truth: tau matters, and both ways of missing it hurt."""

from pathlib import Path

import numpy as np
import pytest

from tests.lse.conftest import Source
from vills.areas import AREAS
from vills.config.lse import LseConfig
from vills.lse.extract import extract_source
from vills.lse.scoring import AreaScore, compute_area_scores

Scores = dict[str, AreaScore]


def score(source, folder: Path, config: LseConfig) -> Scores:  # type: ignore[no-untyped-def]
    extract_source(
        source.name,
        config,
        curated=source.curated,
        root=source.root,
        out=folder / "out",
        work=folder / "work",
        weights=None,
    )
    return compute_area_scores(
        folder / "out",
        curated=source.curated,
        truth=source.truth,
        frame_stride=config.frame_stride,
    )


def build_config(tau: float) -> LseConfig:
    return LseConfig(area_threshold=dict.fromkeys(AREAS, tau))


@pytest.fixture(scope="module")
def scores(
    world: dict[str, Source], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, float], Scores]:
    return {
        (name, tau): score(source, tmp_path_factory.mktemp("lse"), build_config(tau))
        for name, source in world.items()
        for tau in (0.0, 0.5, 0.95)
    }


@pytest.mark.slow
def test_grabcut_finds_the_areas(scores: dict[tuple[str, float], Scores]) -> None:
    for name in ("luperson", "kinetics"):
        for area, found in scores[name, 0.5].items():
            assert found.iou > 0.52, (name, area)
            assert found.found > 0.9, (name, area)
            assert found.count >= 20


@pytest.mark.slow
def test_wrong_tau_makes_masks_worse(scores: dict[tuple[str, float], Scores]) -> None:
    mean = {
        tau: np.mean([s.iou for (_, t), by in scores.items() if t == tau for s in by.values()])
        for tau in (0.0, 0.5, 0.95)
    }
    assert mean[0.5] > mean[0.0] + 0.003  # doubtful points pull the mask away
    assert mean[0.5] > mean[0.95] + 0.2  # too few points to say where the area is


def test_parsing_is_degraded_but_close(world: dict[str, Source], tmp_path: Path) -> None:
    found = score(world["luperson"], tmp_path, LseConfig(segmenter="parsing"))
    assert all(0.5 < s.iou < 0.95 for s in found.values())
