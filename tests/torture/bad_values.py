"""Bad values: every field of params.yaml, sweeps and slurm/*.yaml, options, and the environment."""

import argparse
import os
import shutil
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import yaml

from tests.config.test_limits import is_allowed, list_traps
from tests.torture.inputs import Input
from vills.cli import build_parser
from vills.config.kinds import find_hint, is_of_kind, load_hints, parse_hint
from vills.config.params import Params
from vills.config.resources import Resources
from vills.config.sweep import SweepConfig

MARK = "TORTURE"
NUMBERS = (int, float)
KEPT = (dict, list, int, float, str)
SECTIONS = ("x", "[1]", "5", "{nosuch_field: 1}")
PLAN = ("launch.py", "own.yaml", "--plan")
Parts = tuple[str, ...]


def list_keys(kind: Any, value: Any, parts: Parts = ()) -> Iterator[Parts]:
    """Every field of `kind`, and every key of `value` below it: sections, entries and leaves."""
    inner = parse_hint(kind)[0]
    names = load_hints(inner) if is_dataclass(inner) else {}
    if get_origin(inner) is dict and isinstance(value, dict):
        names = dict.fromkeys(value, get_args(inner)[1])
    for name, hint in names.items():
        yield (*parts, name)
        own = value.get(name, {}) if isinstance(value, dict) else {}
        yield from list_keys(hint, own, (*parts, name))


def draw_bad(draw: np.random.Generator, hint: Any, *, is_word: bool) -> str:
    """A text in YAML that a field may not be."""
    if is_dataclass(parse_hint(hint)[0]):
        return str(draw.choice(SECTIONS))
    return str(
        draw.choice([trap for trap in list_traps(hint) if is_bad(trap, hint, is_word=is_word)])
    )


def is_text(hint: Any) -> bool:
    """Whether a field is a text, or texts."""
    kind = parse_hint(hint)[0]
    return kind is str or any(is_text(part) for part in get_args(kind)[-1:])


def is_bad(trap: str, hint: Any, *, is_word: bool = False) -> bool:
    """Whether what a text means is not what a field may be; of a word, all is the text."""
    loader = yaml.BaseLoader if is_text(hint) else yaml.SafeLoader
    try:
        whole = is_word and parse_hint(hint)[0] is str
        value = trap if whole else yaml.load(trap, loader)  # noqa: S506 - both are safe
        return not (is_of_kind(value, hint) and is_allowed(value, hint))
    except (TypeError, ValueError, yaml.YAMLError):
        return True


def set_value(path: Path, value: Any, parts: Parts, text: str) -> None:
    """Write a file of nested values with one of them in a text of its own."""
    place = value
    for part in parts[:-1]:
        place = place[part] if place.get(part) else place.setdefault(part, {})
    place[parts[-1]] = MARK
    path.unlink(missing_ok=True)
    plain = yaml.safe_dump(value, sort_keys=False, width=10**6)
    path.write_text(plain.replace(MARK, text), encoding="utf-8")


def draw_field(
    draw: np.random.Generator,
    kind: Any,
    value: Any,
    valid: bool,
    only: Any = (dict, list, int, float, str),
    is_word: bool = False,
) -> tuple[Parts, str]:
    """A field with a bad text; a valid one: the text that it has, where that is `only` a kind."""
    keys = list(list_keys(kind, value))
    if valid:
        keys = [parts for parts in keys if isinstance(find_value(value, parts), only)]
    parts = keys[int(draw.integers(len(keys)))]
    if not valid:
        return parts, draw_bad(draw, find_hint(kind, parts), is_word=is_word)
    text = yaml.safe_dump(find_value(value, parts), default_flow_style=True, width=10**6)
    return parts, text.removesuffix("...\n").strip()


def find_value(value: Any, parts: Parts) -> Any:
    """What a file has for a field; None: nothing."""
    for part in parts:
        value = value.get(part) if isinstance(value, dict) else None
    return value


FILES: tuple[tuple[str, Any, tuple[str, ...], tuple[str, ...]], ...] = (
    ("params.yaml", Params, ("vills", "check"), ("vills", "configure", "--force", "profile=tiny")),
    ("params.yaml", Params, ("vills", "status"), PLAN),
    ("own.yaml", SweepConfig, PLAN, PLAN),
    ("slurm/pretrain.yaml", Resources, PLAN, PLAN),
)
"""A file of fields, what it is, who reads it, and who takes `field=value`."""


def build_field(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """A field of a file."""
    name, kind, command, _ = FILES[int(draw.integers(len(FILES)))]
    value = yaml.safe_load((base / name).read_text())
    parts, text = draw_field(draw, kind, value, valid)
    spoil = partial(set_value, value=value, parts=parts, text=text)
    what = f"{name}: {'.'.join(parts)}: {text[:60]}"
    return Input([command], [parts[-1], "nosuch_field"], lambda folder: spoil(folder / name), what)


def build_override(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """A field on the command line."""
    name, kind, _, command = FILES[int(draw.integers(len(FILES)))]
    value = yaml.safe_load((base / name).read_text())
    parts, text = draw_field(draw, kind, value, valid, only=NUMBERS, is_word=True)
    prefix = "slurm.pretrain." if kind is Resources else ""
    word = f"{prefix}{'.'.join(parts)}={text}"
    return Input([[*command, word]], [parts[-1], "nosuch_field", "override"], what=word[:80])


COUNTS = ("x", "", "-5", "nan", "99999999999999999999", "1e30")
WORDS = ("x; touch Y", "../..", "nosuch", "a\nb", "$(id)")
PATHS = ("nosuch/file", "fifo", "zero", "loop", "params.yaml/x", "a\nb")
EVALUATE = ("features.npz", "--layout", "market1501", "--root", "raw/market1501")
COMMANDS: dict[str, tuple[str, ...]] = {
    "evaluate": (*EVALUATE, "--protocol", "market1501", "--bootstrap", "10"),
    "extract": ("media/a.jpg", "--weights", "artifacts/finetune/market1501/scratch"),
    "export": ("--weights", "artifacts/pretrain/teacher", "--out", "x.safetensors"),
    "scores": (),
    "run": ("report",),
    "sheet": ("masks",),
    "explain": ("market1501/market1501/scratch/mAP",),
    "weights": ("inspect", "plain.safetensors"),
}
"""A command that ends well; one of its options is then given something else."""
FREE = {"--name", "--column", "-h", "--help"}
"""Texts that may be anything."""


def build_option(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    command = str(draw.choice(list(COMMANDS)))
    words = list(COMMANDS[command])
    parser = build_parser()
    subparsers = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    options = [
        a
        for a in subparsers.choices[command]._actions
        if a.nargs != 0 and not FREE & set(a.option_strings) and a.option_strings != ["--json"]
    ]
    option = options[int(draw.integers(len(options)))]
    traps: tuple[str, ...] = (
        COUNTS if option.type in (int, float) else PATHS if option.type is Path else WORDS
    )
    if option.dest == "out":  # what is at its place is replaced, whatever it was
        traps = ("params.yaml/x.png",)
    trap = str(draw.choice(traps))
    dest = option.option_strings[0] if option.option_strings else option.dest
    if not valid and not option.option_strings:
        place = [a for a in options if not a.option_strings].index(option)
        words[place : place + 1] = [trap]
    elif not valid:
        for known in option.option_strings:
            if known in words:
                at = words.index(known)
                del words[at : at + 2]
        words += [f"{dest}={trap}"]
    return Input(
        [["vills", command, *words]],
        [dest.strip("-"), trap.partition("\n")[0] or dest, Path(trap).name, "params.yaml:"],
        prepare=add_traps,
        env={"VILLS_WEIGHTS": "weights"},
        what=f"{command} {dest}: {trap!r}",
    )


def add_traps(folder: Path) -> None:
    """Put what is no file beside the files."""
    os.mkfifo(folder / "fifo")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "loop").symlink_to("loop")


RUN = ("vills", "run", "report")
ENVIRONMENT: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "VILLS_WORKERS": (("x", "0", "-1", "1.5", "1000000000", "²"), ("vills", "run", "miniature")),
    "RANK": (("x", "-1", "5", "1e3"), RUN),
    "WORLD_SIZE": (("x", "0", "-1", "2.0", "99999999999"), RUN),
    "LOCAL_RANK": (("x", "-1"), RUN),
    "VILLS_TRACKING": (("maybe", "2", "[on]"), RUN),
    "VILLS_DATA": (("/nosuch", "params.yaml", "fifo"), ("vills", "data", "check")),
    "VILLS_WEIGHTS": (("/nosuch", "params.yaml"), ("vills", "weights", "inspect", "reid.onnx")),
    "VILLS_RUNS": (("params.yaml", "fifo", "params.yaml/x"), RUN),
    "VILLS_SLURM": (("/nosuch", "params.yaml"), PLAN),
    "MLFLOW_TRACKING_URI": (("nosuch://x", "http://", "sqlite:///"), ("vills", "track")),
}


def build_environment(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    variable = str(draw.choice(list(ENVIRONMENT)))
    values, command = ENVIRONMENT[variable]
    value = str(draw.choice(values))
    env = {"VILLS_TRACKING": "on"} if variable == "MLFLOW_TRACKING_URI" else {}
    if valid:
        variable, command, value = "VILLS_DATA", ("vills", "data", "check"), "raw"

    def forget(folder: Path) -> None:
        add_traps(folder)
        shutil.rmtree(folder / "runs" / "miniature")

    return Input(
        [command],
        [variable],
        prepare=forget,
        env={**env, variable: value},
        what=f"{variable}={value}",
    )


VALUES = (
    *(build_field, build_field, build_field, build_override, build_override),
    *(build_option, build_option, build_environment),
)
"""Families of cases; who is named twice gets twice as many."""
