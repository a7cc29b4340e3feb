"""One small world for all tests of this folder."""

from pathlib import Path

import pytest

from vills.config.miniature import MiniatureConfig
from vills.miniature.world import render_world

SMALL = MiniatureConfig(
    num_pretrain_ids=4,
    num_train_ids=3,
    num_test_ids=3,
    num_prcc_ids=4,
    num_ltcc_ids=4,
    num_prid_ids=2,
    num_sigset_ids=4,
    num_distractors=2,
    num_cameras=2,
    images_per_camera=2,
    num_luperson_images=6,
    num_scenes=3,
    num_scene_cameras=2,
    scene_frames=6,
    tracklet_frames=3,
    image_height=64,
)


@pytest.fixture(scope="session")
def small() -> MiniatureConfig:
    return SMALL


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    render_world(SMALL, out=out)
    return out
