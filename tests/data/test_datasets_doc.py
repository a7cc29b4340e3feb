"""docs/datasets.md shows what `vills data check` prints, on the copies of raw_copies.py.

To write the outputs anew after a change: VILLS_UPDATE_DOCS=1 VILLS_REAL_DATA=... pytest this file.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.raw_copies import write_half, write_official_mars, write_right, write_wrong
from vills.cli import main
from vills.data import survey
from vills.data.files import VIDEO_SUFFIXES
from vills.data.images import SUFFIXES
from vills.data.layouts import LAYOUTS

pytestmark = pytest.mark.slow

DOC = Path(__file__).parents[2] / "docs/datasets.md"


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("copies")
    write_right(root / "right")
    write_half(root / "half")
    write_wrong(root / "wrong", right=root / "right")
    yield root
    shutil.rmtree(root)  # tens of thousands of files


def check_block(command: str, status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, and hold what it prints against the block of that name in the docs."""
    assert main(command.split()[1:]) == status
    output = capsys.readouterr().out
    text = DOC.read_text()
    block = re.compile(rf"(```\n\$ {re.escape(command)}\n)(.*?)(```\n)", re.DOTALL)
    if os.environ.get("VILLS_UPDATE_DOCS"):
        DOC.write_text(block.sub(lambda found: found[1] + output + found[3], text))
        text = DOC.read_text()
    found = block.search(text)
    assert found is not None, f"docs/datasets.md has no block `$ {command}`"
    assert found[2] == output
    return output


def find_verdicts(output: str) -> dict[str, str]:
    """Verdict of each layout, in the first table."""
    rows = [line.split() for line in output.split("\n\n")[0].splitlines()[2:]]
    return {row[1]: row[-1] for row in rows if row[-1] in ("ok", "differs", "broken")}


def test_right_copies(
    copies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copies)
    verdicts = find_verdicts(check_block("vills data check right", 0, capsys))
    small = ("luperson", "mars")  # five crops, and a few tracklets
    assert {name for name, verdict in verdicts.items() if verdict == "differs"} == {*small}
    assert {name for name, verdict in verdicts.items() if verdict == "ok"} == {*LAYOUTS} - {*small}


@pytest.mark.parametrize("name", ["half", "wrong"])
def test_half_unpacked_and_wrong_copies(
    name: str, copies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copies)
    verdicts = find_verdicts(check_block(f"vills data check {name}", 1, capsys))
    assert verdicts.keys() == LAYOUTS.keys()
    assert set(verdicts.values()) == {"differs", "broken"}


def test_a_folder_inside_a_data_set(
    copies: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copies)
    output = check_block("vills data check right/prcc/rgb/test", 1, capsys)
    assert "the wrong folder level. What to do: give right/prcc/rgb." in output


@pytest.mark.real
def test_mars_with_its_official_index(
    real_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_official_mars(tmp_path / "official/mars", real_data / "splits")
    # one image per person is there; 1.19 million files would be there
    monkeypatch.setattr(survey, "find_unreadable", lambda layout, **_: [])
    monkeypatch.chdir(tmp_path)
    output = check_block("vills data check official", 0, capsys)
    assert find_verdicts(output) == {"mars": "ok"}


@pytest.mark.parametrize("suffix", [*SUFFIXES, *VIDEO_SUFFIXES])
def test_every_suffix_is_named(suffix: str) -> None:
    assert f"`{suffix}`" in DOC.read_text()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_a_section(layout: str) -> None:
    assert re.search(rf"^## .*`{layout}`", DOC.read_text(), re.MULTILINE)
