from pathlib import Path

import pytest

from tests.data.raw_copies import PixelWriter, write_video
from vills.cli import main


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "data"
    PixelWriter(root).write(f"own/{pid:04d}_c{cam}.jpg" for pid in (1, 2) for cam in (1, 2))
    monkeypatch.setenv("VILLS_DATA", str(root))
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return root


def test_check_needs_no_parameters(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check"]) == 0
    output = capsys.readouterr()
    assert "own   folder  train       2" in output.out
    assert "[check] own: files read 4/4" in output.err
    assert main(["data", "check", str(data / "own"), "--full"]) == 0
    assert ".     folder  train" in capsys.readouterr().out


def test_check_fails_if_anything_is_broken(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(data / "clips/a.mp4")
    assert main(["data", "check", "--full"]) == 0
    whole = (data / "clips/a.mp4").read_bytes()
    (data / "clips/b.mp4").write_bytes(whole[: len(whole) // 2])
    assert main(["data", "check"]) == 1
    output = capsys.readouterr().out
    assert "1 of 2 files cannot be read: b.mp4" in output
    assert "own   folder" in output.replace("own    ", "own   "), "the others are still checked"


def test_check_says_where_to_look(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "nowhere"]) == 2
    assert "no folder nowhere. What to do" in capsys.readouterr().err
    monkeypatch.delenv("VILLS_DATA")
    assert main(["data", "check"]) == 2
    assert "VILLS_DATA" in capsys.readouterr().err


def test_register_then_verify(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ["curate.sources.mars.layout=folder", "curate.sources.mars.path=own"]
    assert main(["configure", "profile=tiny", "curate.root=data", *source]) == 0
    assert main(["data", "verify", "mars"]) == 2
    assert "no inventory at" in capsys.readouterr().err
    assert main(["data", "register", "mars"]) == 0
    assert "mars: 4 files -> data/inventories/mars.parquet" in capsys.readouterr().out
    assert main(["data", "verify", "mars", "--full"]) == 0
    assert "mars: as registered" in capsys.readouterr().out
    (data / "own/0001_c1.jpg").unlink()
    assert main(["data", "verify", "mars"]) == 2
    assert "0001_c1.jpg (missing)" in capsys.readouterr().err
    assert main(["data", "verify", "other"]) == 2
    assert "source = 'other' is not in params.yaml" in capsys.readouterr().err
