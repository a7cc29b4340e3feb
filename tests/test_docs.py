"""Docs are tested: a command that is written down parses, a target exists, a path is there."""

import re
import shlex
from pathlib import Path

import pytest

from vills.cli import build_parser
from vills.config.load import list_profiles, load_profile

ROOT = Path(__file__).parent.parent
DOCS = ("README.md", "CONTRIBUTING.md")
TEXT = "\n".join((ROOT / name).read_text() for name in DOCS)
CODE = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL) + re.findall(r"`([^`\n]+)`", TEXT)
LINES = sorted({line.split("  #")[0].strip() for block in CODE for line in block.splitlines()})


@pytest.mark.parametrize("line", [x for x in LINES if re.match(r"vills [a-z]", x)])
def test_vills_commands_parse(line: str) -> None:
    if line.startswith("vills configure"):
        words = shlex.split(line)[2:]
        profile = next(w for w in words if w.startswith("profile=")).removeprefix("profile=")
        load_profile(profile, [w for w in words if "=" in w and not w.startswith("profile=")])
    build_parser().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("line", [x for x in LINES if re.match(r"make [a-z]", x)])
def test_make_targets_exist(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_files_that_are_named_exist() -> None:
    names = re.findall(
        r"`((?:vills|tests|slurm|sweeps|docs)/[\w/.-]+|[\w.-]+\.(?:md|yaml|toml))`", TEXT
    )
    missing = [name for name in names if not (ROOT / name).exists()]
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT)
    missing += [name for name in pictures if not (ROOT / name).is_file()]
    assert missing == ["tables.md"] or missing == []


def test_overrides_and_profiles_that_the_readme_names_are_accepted() -> None:
    for profile in re.findall(r"`(tiny|miniature|real|paper_vits|paper_vitb)`", TEXT):
        assert profile in list_profiles()
    load_profile("miniature", ["pretrain.areas=[]"])
    load_profile("miniature", ["pretrain.modalities=image", "pretrain.alignment_weight=0"])
    load_profile("miniature", ["pretrain.model.resampler=false"])
    load_profile("miniature", ["pretrain.reading=literal"])
