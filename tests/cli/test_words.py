"""Names and numbers of the command line: every one has an end, none becomes a path by accident."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from vills.cli import build_parser, main
from vills.cli.sweep import ACTIONS, _build_action_parser, _build_launch_parser
from vills.cli.sweep import main as sweep_main

NUMBERS = {
    "vills extract": {"--num-frames"},
    "vills ui": {"--port"},
    "vills evaluate": {"--split-id", "--ranks", "--fars", "--bootstrap", "--seed"},
    "launch.py": {"--max-parallel"},
    "launch.py logs": {"--lines"},
}
"""Options with a number; a new one needs limits, and a line here and below."""
BAD_NUMBERS = ("-5", "0", "99999999999999999999", "1e30", "nan", "x", "")


def list_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from list_parsers(inner)


PARSERS = [
    *list_parsers(build_parser()),
    _build_launch_parser(),
    *map(_build_action_parser, ACTIONS),
]


def test_every_option_with_a_number_is_walked() -> None:
    found: dict[str, set[str]] = {}
    for parser in PARSERS:
        for action in parser._actions:
            assert action.type in (None, int, float, Path) or "count" in str(action.type)
            if action.type not in (None, Path):
                found.setdefault(parser.prog, set()).add(action.option_strings[0])
    assert found == NUMBERS


def refuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a command that must not begin."""
    run = main if words[0] == "vills" else sweep_main
    try:
        status = run(words[1:])
    except SystemExit as ended:
        status = int(ended.code or 0)
    said = "".join(capsys.readouterr())
    assert status == 2, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_a_number_without_sense_is_refused_with_its_option(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").touch()
    folder = str(tmp_path)
    score = ["evaluate", "f.npz", "--layout", "market1501", "--root", folder]
    score += ["--protocol", "market1501"]
    extract = ["extract", folder, "--weights", folder]
    for command, options in NUMBERS.items():
        words = {"vills extract": extract, "vills ui": ["ui"], "vills evaluate": score}
        begin = words.get(command, ["areas"])
        for option in options:
            if value == "0" and option in ("--split-id", "--bootstrap", "--seed", "--fars"):
                continue  # allowed
            if value == "0" and command.startswith("launch.py"):
                continue
            if command == "launch.py logs":
                begin = ["logs", "areas", "point"]
            said = refuse([command.split()[0], *begin, f"{option}={value}"], capsys)
            field = option.strip("-").replace("-", "_").removesuffix("_id")
            assert option in said or field in said, said


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "x; id", "a\nb", "-x", "x" * 300, ""])
def test_a_name_that_is_more_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (
        ["vills", "run", f"finetune@{name or '../x'}"],
        ["vills", "run", f"../dvc.yaml:finetune@{name or '../x'}"],
        ["vills", "sheet", "masks", f"--source={name}"],
        ["vills", "explain", "--", f"{name or '..'}/point/map"],
        ["launch.py", "report", "--", name],
        ["launch.py", "status", "--", name or "."],
        ["launch.py", "cancel", "--", name],
        ["launch.py", "logs", "--", name, "point"],
    ):
        assert "What to do: " in refuse(words, capsys), words
    assert not list(tmp_path.rglob("*.json"))
