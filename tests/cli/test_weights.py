"""`vills weights inspect`: what a file holds, or why it cannot be a start."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from tests.models.publishers import build_mae, build_vit
from vills.cli import build_parser, main
from vills.config.load import load_profile
from vills.config.model import WEIGHT_LAYOUTS

DOCS = Path(__file__).parents[2] / "docs" / "weights.md"


def test_inspect_prints_what_a_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(build_mae((14, 14))[1], tmp_path / "mae.pth")
    assert main(["weights", "inspect", str(tmp_path / "mae.pth")]) == 0
    assert "fits layout     mae" in capsys.readouterr().out
    monkeypatch.setenv("VILLS_WEIGHTS", str(tmp_path))
    assert main(["weights", "inspect", "mae.pth", "--layout", "mae"]) == 0
    assert "dropped         6: decoder_blocks.0" in capsys.readouterr().out
    assert main(["weights", "inspect", "mae.pth", "--layout", "dino"]) == 2
    assert "left over (6): decoder_blocks.0" in capsys.readouterr().err


def test_inspect_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VILLS_WEIGHTS", str(tmp_path))
    assert main(["weights", "inspect"]) == 2
    assert "needs a name" in capsys.readouterr().err
    for words in (["list", "sam_vit_b"], ["list", "--layout", "dino"]):
        assert main(["weights", *words]) == 2
        assert "is not allowed" in capsys.readouterr().err
    assert main(["weights", "fetch", "sam_vit_b", "--layout", "dino"]) == 2
    assert "--layout dino is not allowed with vills weights fetch" in capsys.readouterr().err
    assert main(["weights", "inspect", "none.pth"]) == 2
    assert "not below VILLS_WEIGHTS" in capsys.readouterr().err
    torch.save({"base.conv": torch.ones(2), **build_vit((4, 4))}, tmp_path / "tuned.pth")
    assert main(["weights", "inspect", "tuned.pth"]) == 2
    assert "fine-tuned with TransReID's" in capsys.readouterr().err


@pytest.mark.slow
def test_the_docs_name_every_layout_and_their_commands_parse() -> None:
    text = DOCS.read_text()
    assert [name for name in WEIGHT_LAYOUTS if f"| `{name}` |" not in text] == []
    code = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in code for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("vills ")]
    assert len(commands) > 4
    for line in commands:
        words = shlex.split(line)[1:]
        build_parser().parse_args(words)
        if words[0] == "configure":
            name = words[1].removeprefix("profile=")
            load_profile(name, [word for word in words[2:] if "=" in word])
