import json
import math
from dataclasses import dataclass
from typing import Any

import pytest

from vills.config.canonical import compute_canonical, find_differences
from vills.runner.store.receipt import compute_fingerprint


@dataclass
class Section:
    lr: float = 1.0
    areas: tuple[str, ...] = ("head",)


def fingerprint(**changes: Any) -> str:
    identity: dict[str, Any] = {
        "item": "",
        "params": {"lr": 0.1, "steps": 10},
        "inputs": {"curated": "c" * 64},
        "code": "d" * 64,
    }
    return compute_fingerprint("pretrain", **{**identity, **changes})


def write(value: Any) -> str:
    return json.dumps(compute_canonical(value), sort_keys=True, separators=(",", ":"))


def test_equal_settings_have_equal_text() -> None:
    one = write({"b": 1.0, "a": [True, None, "x"], "c": {"d": -0.0}})
    two = write({"c": {"d": 0}, "a": (True, None, "x"), "b": 1})
    assert one == two == '{"a":[true,null,"x"],"b":1,"c":{"d":0}}'
    assert write(Section()) == '{"areas":["head"],"lr":1}'


def test_true_is_not_one() -> None:
    assert write({"a": True}) != write({"a": 1})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is not allowed in parameters"):
        compute_canonical({"lr": value})


@pytest.mark.parametrize("value", [{1: 2}, {"a": object()}, {"a": b"x"}])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        compute_canonical(value)


@pytest.mark.parametrize(
    "change",
    [
        {"item": "mars"},
        {"params": {"lr": 0.2, "steps": 10}},
        {"inputs": {"curated": "e" * 64}},
        {"inputs": {"curated": {"stage": "curate", "item": "", "fingerprint": "c" * 64}}},
        {"code": "f" * 64},
    ],
)
def test_each_part_counts(change: dict[str, Any]) -> None:
    assert fingerprint(**change) != fingerprint()


def test_the_fingerprint_does_not_change_between_versions() -> None:
    # Computed once by hand: sha256 of the canonical text. A change would orphan every run.
    text = (
        '{"code":"' + "d" * 64 + '","inputs":{"curated":{"digest":"' + "c" * 64 + '"}},"item":"",'
        '"params":{"lr":0.1,"steps":10},"stage":"pretrain"}'
    )
    import hashlib

    assert fingerprint() == hashlib.sha256(text.encode()).hexdigest()


def test_differences_are_named() -> None:
    old = {"a": {"b": 1, "c": 2.0}, "d": 4, "same": [1, 2]}
    new = {"a": {"b": 1.0, "c": 3}, "e": 5, "same": (1.0, 2)}
    assert find_differences(old, new) == ["a.c: 2 -> 3", "d: removed, was 4", "e: added, 5"]
