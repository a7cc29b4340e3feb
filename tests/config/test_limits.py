"""Every field of every configuration against the traps of its type and its range.

A trap is refused in one sentence that names the field, or it is a value that the field's own
annotation allows: that no annotation allows too much is what `test_every_field_has_an_end` holds.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin

import pytest

from vills.config.checks import ConfigError, Length, Limits, Words
from vills.config.compose import Schema
from vills.config.curate import SourceConfig
from vills.config.kinds import load_hints, parse_hint
from vills.config.model import PublishedConfig
from vills.config.params import Params
from vills.config.resources import Resources
from vills.config.sweep import ColumnConfig, PointConfig, ReferenceConfig, SweepConfig, TableConfig
from vills.config.yaml_reader import Reader
from vills.config.yaml_text import Source

FREE = {"Resources.extra[]"}
"""Fields whose values may be of any type; Resources checks each by itself."""

COLUMN = ColumnConfig("M", "market1501", "market1501", "mAP")
NEEDED: dict[type, dict[str, Any]] = {
    ColumnConfig: vars(COLUMN),
    ReferenceConfig: {"label": "x"},
    PointConfig: {"label": "x"},
    TableConfig: {"title": "x", "columns": {"map": COLUMN}},
    SweepConfig: {
        **dict.fromkeys(("title", "command", "cost"), "x"),
        "tables": {"one": TableConfig("x", {"map": COLUMN})},
        "points": {"a": PointConfig("x")},
    },
    PublishedConfig: {"file": "x.pth"},
    SourceConfig: {"filter": "x", "layout": "luperson"},
}
"""Fields without which a dataclass cannot be."""


def list_kinds(*roots: Any) -> Iterator[type]:
    """Every dataclass of the configuration, each once."""
    seen: list[type] = []
    left = list(roots)
    while left:
        kind = parse_hint(left.pop())[0]
        if is_dataclass(kind) and kind not in seen:
            assert isinstance(kind, type)
            seen.append(kind)
            left += load_hints(kind).values()
        else:
            left += [part for part in get_args(kind) if part is not type(None)]
    yield from seen


KINDS = list(list_kinds(Params, SweepConfig, Resources))
FIELDS = [
    pytest.param(kind, name, hint, id=f"{kind.__name__}.{name}")
    for kind in KINDS
    for name, hint in load_hints(kind).items()
]


def has_ends(rules: list[Any]) -> bool:
    """Whether a number is kept between finite ends."""
    limits = [rule for rule in rules if isinstance(rule, Limits)]
    ends = [end for rule in limits for end in (rule.low, rule.high)]
    return bool(ends) and all(end is not None and math.isfinite(end) for end in ends)


def list_faults(where: str, hint: Any, inherited: tuple[Any, ...] = ()) -> Iterator[str]:
    """What a hint leaves open."""
    rules = [*inherited, *getattr(hint, "__metadata__", ())]
    kind = parse_hint(hint)[0]
    kinds = {type(rule) for rule in rules}
    if kind is bool or is_dataclass(kind) or where in FREE:
        pass
    elif kind in (int, float):
        if tuple not in kinds and not has_ends(rules):
            yield f"{where}: a number without Limits on both sides"
    elif kind is str:
        if not kinds & {tuple, Words}:
            yield f"{where}: text without choices, and no Words such as NAME, PATH or LINE"
    elif get_origin(kind) in (list, dict):
        if not kinds & {tuple, Length}:
            yield f"{where}: a list or a mapping without Length"
    else:
        yield f"{where}: of a kind that nobody checks"
    for part in get_args(kind) if get_origin(kind) in (list, dict) else ():
        yield from list_faults(f"{where}[]", part, tuple(rules))


@pytest.mark.parametrize(("kind", "name", "hint"), FIELDS)
def test_every_field_has_an_end(kind: type, name: str, hint: Any) -> None:
    assert not list(list_faults(f"{kind.__name__}.{name}", hint))


def test_a_field_that_says_nothing_is_found() -> None:
    hints: tuple[Any, ...] = (int, float, str, list[str], dict[str, int], Any, bytes)
    ends: tuple[Any, ...] = (Annotated[int, Limits(1)], Annotated[float, Limits(0, math.inf)])
    for hint in (*hints, *ends):
        assert list(list_faults("X.y", hint))


NUMBERS: tuple[str, ...] = (
    "-1",
    "1000000000000000000000000000000",
    "2147483648",
    "9223372036854775808",
    ".nan",
)
NUMBERS += (".inf", "-.inf", "true", "''", "null", "0x10", "1_000", "x", "[1]", "{a: 1}", "-1e-300")
TEXTS: tuple[str, ...] = (
    "' '",
    "../x",
    "/x",
    "-x",
    "x; touch Y; #",
    '"a\\0b"',
    '"a\\nb"',
    '"a\\x1bb"',
    "x" * 10_001,
)
TEXTS += (
    "null",
    "[a]",
    "{a: b}",
    "a/../../b",
    "$(id)",
    "'`id`'",
    "..",
    ".",
    "été",
    "a b",
    '"\\u2028"',
)
PARTS: tuple[str, ...] = (
    "[]",
    "[null]",
    "[[[]]]",
    "[{a: b}]",
    "x",
    "{}",
    "{../x: 1}",
    "{'': 1}",
    "null",
    "[-1, -1]",
)
PARTS += (f"[{', '.join(['1'] * 2001)}]", f"{{{', '.join(f'a{n}: 1' for n in range(1_001))}}}")
PARTS += ("[1, 1]", "[.nan, .nan]", "[1.0e+300]", "['']", '["a\\nb"]', "{a: .nan}", "{a: -1}")
SWITCHES = ("1", "0", "yes", "''", "null", "[true]")


def list_traps(hint: Any) -> tuple[str, ...]:
    kind = parse_hint(hint)[0]
    if kind in (int, float):
        return NUMBERS
    if kind is str:
        return TEXTS
    return SWITCHES if kind is bool else PARTS


@cache
def build_schema(kind: type) -> Schema[Any]:
    return Schema(name="any", kind=kind, noun="field")


def is_allowed(value: Any, hint: Any, inherited: tuple[Any, ...] = ()) -> bool:
    """What an annotation allows, written from its meaning and not from the code that checks it."""
    rules = [*inherited, *getattr(hint, "__metadata__", ())]
    kind, may_be_null, _ = parse_hint(hint)
    if value is None:
        return may_be_null
    if is_dataclass(kind):
        return is_dataclass(value)
    if get_origin(kind) in (list, dict):
        lengths = [rule for rule in rules if isinstance(rule, Length)]
        given = tuple(rule for rule in rules if not isinstance(rule, Length))
        parts = get_args(kind)
        entries = value if isinstance(value, list) else list(value.values())
        keys = [] if isinstance(value, list) else list(value)
        inner = given if isinstance(value, list) else ()
        return (
            all(rule.low <= len(value) <= rule.high for rule in lengths)
            and all(is_allowed(entry, parts[-1], inner) for entry in entries)
            and all(is_allowed(key, parts[0]) for key in keys)
        )
    for rule in rules:
        if isinstance(rule, tuple) and value not in rule:
            return False
        if isinstance(rule, Limits) and not (
            not math.isnan(value) and float(rule.low or 0) <= value <= float(rule.high or 0)
        ):
            return False
        if isinstance(rule, Words):
            is_text = len(value) <= rule.longest and re.fullmatch(rule.pattern, value)
            if not (is_text or (not value and rule.may_be_empty)):
                return False
    return kind is not bool or value in (True, False)


@pytest.mark.parametrize(("kind", "name", "hint"), FIELDS)
def test_every_trap_is_refused_or_within_the_limits(kind: type, name: str, hint: Any) -> None:
    schema = build_schema(kind)
    for trap in list_traps(hint):
        own: Any = NEEDED.get(kind, {})
        try:
            value = Reader(Source("f.yaml"), schema.explain_unknown).parse(trap, hint, name)
            built = schema._build(hint, value, name, "f.yaml")
            made = kind(**{**own, name: built})
        except ConfigError as error:
            said = str(error)
            assert name in said, f"{trap}: {said}"
            assert "Allowed" in said, said
            assert "What to do: " in said, said
            assert "inf" not in said.partition("Allowed: ")[2], said
            assert len(said) < 3_000, f"{trap[:20]}: {len(said)} characters"
        else:
            assert is_allowed(getattr(made, name), hint), f"{trap[:40]} passed: {built!r}"


def test_what_no_field_alone_forbids_is_refused_together() -> None:
    from vills.config.model import ModelConfig
    from vills.config.pretrain import MaskConfig, PretrainConfig, ViewConfig

    for build, said in (
        (lambda: ModelConfig(image_size=[250, 128]), "image_size = .*multiples of"),
        (lambda: ModelConfig(image_size=[2048, 2048], patch_size=8), "at most 16384 patches"),
        (lambda: ViewConfig(jitter_strength=[0.1, 0.1, 0.1]), "jitter_strength .* 3 entries"),
        (lambda: ViewConfig(global_scale=[0.9, 0.1]), "global_scale end = 0.1"),
        (lambda: MaskConfig(min_ratio=0.5, max_ratio=0.1), "min_ratio = 0.5"),
        (lambda: PretrainConfig(max_steps=-5), "max_steps = -5 .* Allowed: 0 to"),
        (lambda: PretrainConfig(seed=10**30), "pretrain.seed = 10{30} "),
    ):
        with pytest.raises(ConfigError, match=said):
            build()
