"""Docs are tested: a command that is written down parses, a target exists, a path is there."""

import re
import shlex
from pathlib import Path

import pytest

from vills.cli import COMMANDS, build_parser
from vills.cli.sweep import parse_words
from vills.config.load import list_profiles, load_profile
from vills.config.resources import PREFIX
from vills.config.sweep import load_sweep, parse_overrides

ROOT = Path(__file__).parent.parent
DOCS = ["README.md", "CONTRIBUTING.md", "sweeps/README.md"]
DOCS += sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))
TEXT = "\n".join((ROOT / name).read_text() for name in DOCS)
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
WORDS = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
CODE = BLOCKS + re.findall(r"`([^`\n]+)`", WORDS)
LINES = sorted(
    {
        line.split("  #")[0].strip().removeprefix("$ ")
        for block in CODE
        for line in block.splitlines()
    }
)

ELSEWHERE = {"tables.md", "res50_cels_cal_tri_16x4.yaml"}
"""What a run writes, and a peer's file."""


@pytest.mark.slow
@pytest.mark.parametrize("line", [x for x in LINES if re.match(r"vills [a-z]", x)])
def test_vills_commands_parse(line: str) -> None:
    if line.startswith("vills configure"):
        words = shlex.split(line)[2:]
        profile = next(w for w in words if w.startswith("profile=")).removeprefix("profile=")
        load_profile(profile, [w for w in words if "=" in w and not w.startswith("profile=")])
    words = shlex.split(line)
    if len(words) == 2 and words[1] in COMMANDS:
        return  # the command itself is spoken of
    build_parser().parse_args(words[1:])


@pytest.mark.parametrize("line", [x for x in LINES if re.match(r"make [a-z]", x)])
def test_make_targets_exist(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("line", [x for x in LINES if x.startswith("python sweeps/launch.py ")])
def test_sweep_commands_parse(line: str) -> None:
    _, parsed = parse_words(shlex.split(line)[2:])
    name = getattr(parsed, "name", None) or "lambda_grid"
    if name == "NAME" or name.startswith("path/to/"):
        return  # the reader's own
    words = [w for w in getattr(parsed, "overrides", ()) if not w.startswith(PREFIX)]
    own, of_params = parse_overrides(words)
    sweep = load_sweep(name, folder=ROOT / "sweeps", overrides=own)
    load_profile("miniature", [w for w in of_params if not w.startswith("profile=")])
    for point in (getattr(parsed, "point", None), *getattr(parsed, "points", ())):
        assert point is None or point in sweep.points


def test_files_that_are_named_exist() -> None:
    names = re.findall(
        r"`((?:vills|tests|slurm|sweeps|docs)/[\w/.-]+|[\w.-]+\.(?:md|yaml|toml))`", WORDS
    )
    missing = [name for name in names if not (ROOT / name).exists()]
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT)
    missing += [name for name in pictures if not (ROOT / name).is_file()]
    assert set(missing) <= ELSEWHERE


@pytest.mark.slow
def test_overrides_and_profiles_that_the_readme_names_are_accepted() -> None:
    for profile in re.findall(
        r"`(tiny|tiny_sets|miniature|evidence|datasets|real|paper_vits|paper_vitb)`", TEXT
    ):
        assert profile in list_profiles()
    load_profile("miniature", ["pretrain.areas=[]"])
    load_profile("miniature", ["pretrain.modalities=image", "pretrain.alignment_weight=0"])
    load_profile("miniature", ["pretrain.model.resampler=false"])
    load_profile("miniature", ["pretrain.reading=literal"])


def test_each_promise_of_security_has_a_test_that_exists() -> None:
    text = (ROOT / "docs/security.md").read_text()
    promises = text.partition("## What is promised")[2].partition("## What is not")[0]
    rows = [line for line in promises.splitlines() if line.startswith("| ")][1:]
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_packages_are_known_by_their_digests() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = [n for n, line in enumerate(lines) if re.match(r"[\w.-]+==\S+ \\$", line)]
    assert len(pinned) > 200
    for line in (line for line in lines if line[:1] not in ("#", "")):
        assert re.fullmatch(r"[\w.-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert all(lines[n + 1].startswith("    --hash=sha256:") for n in pinned)
    makefile = (ROOT / "Makefile").read_text()
    assert makefile.count("--requirement requirements.lock") == 2
    assert makefile.count("--require-hashes --requirement requirements.lock") == 2
