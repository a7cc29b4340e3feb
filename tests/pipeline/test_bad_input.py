"""Bad input through the command line: a clear error or a counted rejection, and nothing lost."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.project import Project, build_project
from vills.config.curate import CurateConfig
from vills.config.miniature import MiniatureConfig
from vills.miniature.world import render_world

pytestmark = pytest.mark.slow

WORLD = MiniatureConfig(
    datasets=["market1501", "kinetics"],
    num_pretrain_ids=4,
    num_train_ids=3,
    num_test_ids=3,
    num_cameras=2,
    images_per_camera=2,
    num_scenes=2,
    scene_frames=16,
    people_per_scene=2,
    image_height=64,
)
SOURCES = """
  sources:
    crops: {layout: market1501, path: market1501, role: reid}
    films: {layout: kinetics, path: kinetics, role: pretrain_videos}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project on a data folder of its own."""
    render_world(WORLD, out=tmp_path / "data")
    project = build_project(tmp_path / "project", overrides=["miniature.datasets=[]"])
    path = project.folder / "params.yaml"
    text = path.read_text()
    start, end = text.index("  sources:"), text.index("  detector:")
    text = text[:start] + SOURCES.lstrip("\n") + text[end:]
    text = re.sub(r"(?m)^(finetune|evaluate):\n(  .*\n)+", "", text)
    path.write_text(text.replace("root: miniature", "root: data"))
    return project


def run(project: Project, *command: str, data: Path | None = None) -> tuple[int, str]:
    env = {"VILLS_DATA": str(data)} if data else {}
    result = project.run(*command, check=False, env=env)
    assert "Traceback" not in result.stdout, result.stdout
    return result.returncode, result.stdout


def curate(project: Project, data: Path) -> tuple[int, str]:
    for source in ("crops", "films"):
        assert run(project, "vills", "data", "register", source, data=data)[0] == 0
    return run(project, "vills", "run", "curate", data=data)


def test_no_data_folder_and_an_empty_one(project: Project, tmp_path: Path) -> None:
    status, text = run(project, "vills", "data", "register", "crops")
    assert status == 2
    assert "VILLS_DATA" in text
    assert "What to do" in text
    (tmp_path / "empty" / "market1501").mkdir(parents=True)
    status, text = run(project, "vills", "data", "register", "crops", data=tmp_path / "empty")
    assert status == 2
    assert "is empty" in text
    status, text = run(project, "vills", "run", "curate", data=tmp_path / "data")
    assert status == 2
    assert "vills data register crops" in text


def test_damaged_files_are_counted_and_named(project: Project, tmp_path: Path) -> None:
    data = tmp_path / "data"
    crops = sorted((data / "market1501" / "bounding_box_train").glob("*.jpg"))
    crops[0].write_bytes(crops[0].read_bytes()[:200])
    crops[1].write_bytes(b"")
    crops[2].write_text("not a picture")
    film = sorted((data / "kinetics" / "train").glob("*.mp4"))[0]
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    path = project.folder / "params.yaml"
    path.write_text(path.read_text().replace("max_corrupt_share: 0.05", "max_corrupt_share: 0.6"))
    status, text = curate(project, data)
    assert status == 0, text
    report = json.loads((project.folder / "artifacts/curated/crops/report.json").read_text())
    assert report["damaged"]["count"] == 3
    named = json.dumps(report["damaged"]["named"])
    assert all(crop.name in named for crop in crops[:3])
    films = json.loads((project.folder / "artifacts/curated/films/report.json").read_text())
    assert film.name in json.dumps(films["damaged"]["named"])


def test_too_many_damaged_files_stop_the_stage(project: Project, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for crop in (data / "market1501" / "bounding_box_train").glob("*.jpg"):
        crop.write_bytes(b"")
    status, text = curate(project, data)
    assert status == 2
    assert "max_corrupt_share" in text
    assert not (project.folder / "artifacts" / "curated").exists()


def test_data_that_changed_since_it_was_registered_is_refused(
    project: Project, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert curate(project, data)[0] == 0
    shutil.rmtree(project.folder / "runs")
    next((data / "market1501" / "query").glob("*.jpg")).unlink()
    status, text = run(project, "vills", "run", "curate", data=data)
    assert status == 2
    assert "missing" in text


def test_missing_weights_are_named(project: Project, tmp_path: Path) -> None:
    assert CurateConfig().detector == "predictions"
    path = project.folder / "params.yaml"
    text = path.read_text().replace("  detector: predictions", "  detector: yolox", 1)
    path.write_text(text.replace("detector_weights: ''", "detector_weights: net.onnx"))
    status, text = run(project, "vills", "run", "curate", data=tmp_path / "data")
    assert status == 2
    assert "VILLS_WEIGHTS" in text
