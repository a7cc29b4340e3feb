"""The world as a whole: same bytes, resumable, only what is asked for."""

from pathlib import Path

import pytest

from vills.config.miniature import MiniatureConfig
from vills.miniature.world import LAYOUTS, render_world

SMALL = MiniatureConfig(
    num_pretrain_ids=4,
    num_train_ids=3,
    num_test_ids=3,
    num_distractors=2,
    num_cameras=2,
    images_per_camera=2,
    num_luperson_images=6,
    num_scenes=2,
    scene_frames=6,
    tracklet_frames=3,
    image_height=64,
)


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def read_all(root: Path) -> dict[str, bytes]:
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world")
    render_world(SMALL, out=out)
    return out


def test_same_config_same_bytes(world: Path, tmp_path: Path) -> None:
    render_world(SMALL, out=tmp_path)
    assert read_all(tmp_path) == read_all(world)


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_goes_on_after_a_kill_with_the_same_bytes(world: Path, tmp_path: Path, stop: int) -> None:
    seen: list[tuple[str, int, int]] = []

    def kill(label: str, done: int, total: int) -> None:
        seen.append((label, done, total))
        if done == stop:
            raise Killed

    with pytest.raises(Killed):
        render_world(SMALL, out=tmp_path, progress=kill)
    assert (tmp_path / ".work").is_dir()
    render_world(SMALL, out=tmp_path)
    assert seen[-1][1] == stop
    assert read_all(tmp_path) == read_all(world)


def test_renders_only_what_is_asked_for(tmp_path: Path) -> None:
    render_world(MiniatureConfig(datasets=[]), out=tmp_path)
    assert read_all(tmp_path) == {}


def test_layouts_are_those_of_the_config() -> None:
    assert list(LAYOUTS) == MiniatureConfig().datasets
