"""The families of bad inputs leave out no command, and a fork of them has no rights of root's."""

import argparse
from pathlib import Path

import numpy as np

from tests.torture.bad_raw import PICTURES, spoil_text
from tests.torture.bad_values import COMMANDS, ENVIRONMENT
from tests.torture.bad_words import SETTINGS_OF_RUNS, WORDS
from tests.torture.inputs import run_words
from tests.torture.spoil import BREAK
from vills.cli import build_parser
from vills.cli.sweep import ACTIONS

OWN = {"check", "status", "track", "doctor"}
"""Commands that take no name, no file and no number."""


def test_every_command_is_given_bad_words() -> None:
    parser = build_parser()
    commands = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    given = {words[1] for words, _ in WORDS if words[0] == "vills"}
    assert {*given, *COMMANDS, *OWN} - {"{}"} == set(commands.choices)
    launched = {words[1] for words, _ in WORDS if words[0] == "launch.py"}
    assert set(ACTIONS) - launched == {"reconcile"}
    assert len({*ENVIRONMENT, *SETTINGS_OF_RUNS}) >= 16


def test_every_way_to_break_a_file_breaks_it(tmp_path: Path) -> None:
    whole = b"0123456789" * 100
    for name, make in BREAK.items():
        path, kept = tmp_path / f"{name}.txt", tmp_path / f"{name}.kept"
        kept.write_bytes(whole)
        kept.chmod(0o644)
        path.hardlink_to(kept)  # as in a case, whose folder shares its files with others
        make(path)
        assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (whole, 0o644), name
        is_small = path.is_file() and path.stat().st_size < 10**6
        assert not (is_small and path.stat().st_mode & 0o777 and path.read_bytes() == whole), name
    for seed in range(30):
        text = "a 1\nb 22\n"
        assert spoil_text(text, np.random.default_rng(seed))[1] != text.encode()
    assert all(make() for make in PICTURES.values())


def test_the_rights_of_a_file_count_in_a_fork_of_root(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    path = tmp_path / "project" / "params.yaml"
    path.touch()
    path.chmod(0)
    status, output = run_words(["vills", "check"], tmp_path / "project", {})
    assert (status, "params.yaml cannot be read: Permission denied" in output) == (2, True), output
