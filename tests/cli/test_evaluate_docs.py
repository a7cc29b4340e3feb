"""The examples of docs/evaluate.md are run as they stand there."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluation.networks import make_backbone
from vills.cli import main
from vills.config.miniature import MiniatureConfig
from vills.miniature.world import render_world
from vills.models.weights import save_backbone

TEXT = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
PYTHON = [block for kind, block in BLOCKS if kind == "python"]
LINES = [line for kind, block in BLOCKS if not kind for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("vills ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the docs are read: a small world, weights, and the files of the Python example."""
    folder = tmp_path_factory.mktemp("docs")
    config = MiniatureConfig(
        datasets=["market1501", "prid2011"],
        num_train_ids=2,
        num_test_ids=3,
        num_prid_ids=4,
        num_distractors=1,
        num_cameras=2,
        images_per_camera=2,
        tracklet_frames=3,
        image_height=64,
    )
    render_world(config, out=folder / "artifacts" / "miniature")
    save_backbone(make_backbone(), folder / "artifacts" / "pretrain" / "teacher")
    [program] = PYTHON
    subprocess.run([sys.executable, "-c", program], cwd=folder, check=True)
    return folder


def test_there_are_examples() -> None:
    assert len(COMMANDS) >= 6


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_docs_runs(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(shlex.split(line)[1:]) == 0
    text = capsys.readouterr().out
    if line.startswith("vills evaluate"):
        assert "mAP" in text
        assert " features" in text
    if "--json" in line:
        rows = json.loads((folder / "prid2011.json").read_text())["rows"]
        assert [row["split"] for row in rows] == [0, 1, "mean of 2"]
