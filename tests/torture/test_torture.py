"""A part of `make torture`: the first cases of each kind, and that its judges can say no."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT
from tests.torture.__main__ import list_names, load_results
from tests.torture.case import WRONG, Verdict, find_fault
from tests.torture.inputs import Input, judge, run_words

COUNT = "kill=9,damage=5,input=20"
CLEAR = "vills: x.yaml, line 3: seed = -1 is not allowed. Allowed: 0. What to do: change it."


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """How the cases ended, in a process that has computed nothing before: they are forks of it."""
    folder = tmp_path_factory.mktemp("torture")
    env = {**os.environ, "COUNT": COUNT, "JOBS": "1", "SEED": "0", "FOLDER": str(folder)}
    env.pop("CASE", None)
    command = [sys.executable, "-m", "tests.torture"]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    found = load_results(folder / "seed-0.jsonl")
    assert found, ended.stderr
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", list_names(COUNT))
def test_it_ends_at_the_same_bits_or_in_one_sentence(
    verdicts: dict[str, Verdict], name: str
) -> None:
    assert name in verdicts, f"CASE={name} make torture"
    assert verdicts[name].outcome != WRONG, verdicts[name].words


@pytest.mark.parametrize(
    ("status", "output", "fault"),
    [
        (2, CLEAR, ""),
        (0, CLEAR, "status 0"),
        (70, CLEAR, "status 70"),
        (None, CLEAR, "it hangs"),
        (2, "vills: x.yaml is wrong", "no remedy"),
        (2, f"Traceback (most recent call last):\n{CLEAR}", "a traceback"),
    ],
)
def test_the_judge_of_words(status: int | None, output: str, fault: str) -> None:
    assert find_fault(status, output) == fault


def test_the_judge_of_inputs() -> None:
    case = Input([["vills", "check"]], ["seed"])

    def ask(status: int | None, output: str, valid: bool = False) -> str:
        return judge(case, status, output, place="/seed", valid=valid)

    assert ask(2, CLEAR) == ""
    assert ask(0, CLEAR) == "silent"
    assert "none of" in ask(2, CLEAR.replace("seed", "/seed/it"))
    assert ask(2, CLEAR, valid=True) == "it is refused"
    assert ask(0, "", valid=True) == ""


def test_a_command_in_a_fork_is_seen_as_it_ends(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    status, output = run_words(["vills", "check"], tmp_path / "project", {})
    assert (status, "params.yaml" in output, "What to do" in output) == (2, True, True)
    (tmp_path / "project" / "features.json").write_text(json.dumps({}))
    status, output = run_words(["vills", "--version"], tmp_path / "project", {})
    assert (status, output[:6]) == (0, "vills ")
