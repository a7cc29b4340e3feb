"""One case of the torture: its name, what is drawn for it, and how it ended."""

import re
from dataclasses import dataclass

import numpy as np

OUTCOMES = SAME, TOLD, WRONG = "same bits", "one sentence", "wrong"
KINDS = ("kill", "damage", "input")
BUG = re.compile(r"Traceback|our fault|^\s+File \"", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """How a case ended."""

    name: str
    outcome: str
    """SAME, TOLD or WRONG."""
    words: str
    """What was done, and what came of it."""
    seconds: float = 0.0


Ended = tuple[str, str]
"""Outcome and words."""


def build_name(kind: str, number: int) -> str:
    """Name a case, as CASE= takes it."""
    return f"{kind}-{number:04d}"


def build_generator(kind: str, number: int, seed: int) -> np.random.Generator:
    """The random numbers of one case: the same however many cases there are."""
    return np.random.default_rng([seed, KINDS.index(kind), number])


def find_fault(status: int | None, output: str) -> str:
    """Why what a command said is no clear sentence with status 2; empty: it is one."""
    if status is None:
        return "it hangs"
    if status != 2:
        return f"status {status}"
    if BUG.search(output):
        return "a traceback"
    return "" if "What to do" in output else "no remedy"
