"""The plan: every stage that a set of parameters names, and how far it is. Works on an empty clone.

A node is one stage of one data set with its parameters. It has two names:

- its KEY is made from parameters, code and the keys of what it reads: known before anything is
  computed, and the same for whoever asks. Jobs are filed under it.
- its FINGERPRINT is made from the content that it reads: known once that exists. Runs are filed
  under it, and whoever computed one (`dvc repro`, another sweep, a colleague) computed it for all.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vills.config.canonical import compute_canonical, find_differences
from vills.config.checks import ConfigError
from vills.config.params import Params
from vills.digests import DigestCache, compute_digest, find_changed
from vills.io import find_json
from vills.pipeline import STAGES, Stage
from vills.runner.store.code_digest import compute_code_state
from vills.runner.store.receipt import compute_fingerprint
from vills.runner.work.job import NODES
from vills.runner.work.stage import load_stage

MISSING = "missing: "
"""Stands before the path of an outside input that is not there, in place of its digest."""
MAX_REASONS = 4


@dataclass(frozen=True)
class NodeInput:
    """What a node reads under one name: a part of another node's output, or something outside."""

    maker: str = ""
    """`stage@item` of the node that makes it; empty for what lies outside."""
    part: str = ""
    """Which of the maker's outputs."""
    path: str = ""
    """Where it lies, if nobody makes it."""


@dataclass(frozen=True)
class Step:
    """A node without its key: what parameters alone say, plain enough for a JSON file."""

    stage: str
    item: str
    sections: dict[str, Any]
    """Canonical parameters."""
    inputs: dict[str, NodeInput]

    @property
    def name(self) -> str:
        """As DVC writes it."""
        return f"{self.stage}@{self.item}" if self.item else self.stage


@dataclass(frozen=True)
class Node:
    """One stage of one data set with its parameters."""

    step: Step
    key: str
    """Its planned name, 64 hex digits."""
    makers: dict[str, str]
    """Key of the node behind each input that a node makes."""
    outside: dict[str, str]
    """Digest of each input that lies outside; `missing: PATH` if it is not there."""
    code: str
    """Digest of the stage's code."""

    @property
    def name(self) -> str:
        """As DVC writes it."""
        return self.step.name


Plan = dict[str, Node]
"""Nodes by `stage@item`, in the order of the DAG."""


def build_steps(params: Params) -> list[Step]:
    """Every stage and data set that the parameters name, in the order of the DAG."""
    makers: dict[Path, tuple[str, str]] = {}
    steps = []
    for stage in map(load_stage, STAGES):
        for item in stage.items(params):
            sections = stage.resolve_sections(params, item)
            canonical = compute_canonical(sections)
            inputs = {
                name: NodeInput(*makers[path]) if path in makers else NodeInput(path=str(path))
                for name, path in _find_inputs(stage, params, item).items()
            }
            step = Step(stage.name, item, canonical, inputs)
            makers |= {path: (step.name, part) for part, path in stage.outs(item).items()}
            steps.append(step)
    return steps


def select_steps(steps: Sequence[Step], wanted: Collection[str]) -> list[Step]:
    """Return the steps of these names, and all that they need."""
    needed = set(wanted)
    for step in reversed(steps):
        if step.name in needed:
            needed |= {entry.maker for entry in step.inputs.values() if entry.maker}
    return [step for step in steps if step.name in needed]


class Planner:
    """Gives steps their keys; code and files are looked at once, for any number of plans."""

    def __init__(self, project: Path, cache: DigestCache) -> None:
        self._project = project
        self._cache = cache
        self._codes: dict[str, str] = {}
        self._outside: dict[str, str] = {}

    def build_plan(self, steps: Sequence[Step]) -> Plan:
        """Name the steps, whose makers stand before them."""
        plan: Plan = {}
        for step in steps:
            entries = step.inputs.items()
            makers = {name: plan[entry.maker] for name, entry in entries if entry.maker}
            outside = {n: self._describe(entry.path) for n, entry in entries if not entry.maker}
            planned = {
                name: {"stage": m.step.stage, "item": m.step.item, "fingerprint": m.key}
                for name, m in makers.items()
            }
            code = self.compute_code(step.stage)
            key = compute_fingerprint(
                step.stage,
                item=step.item,
                params=step.sections,
                inputs={**planned, **outside},
                code=code,
            )
            keys = {name: maker.key for name, maker in makers.items()}
            plan[step.name] = Node(step, key, keys, outside, code)
        return plan

    def compute_code(self, stage: str) -> str:
        """Digest of a stage's code."""
        if stage not in self._codes:
            self._codes[stage] = compute_code_state(f"vills.pipeline.{stage}").digest
        return self._codes[stage]

    def _describe(self, path: str) -> str:
        if path not in self._outside:
            there = self._project / path
            known = compute_digest(there, self._cache) if there.exists() else f"{MISSING}{path}"
            self._outside[path] = known
        return self._outside[path]


def _find_inputs(stage: Stage, params: Params, item: str) -> Mapping[str, Path]:
    try:
        return stage.inputs(params, item)
    except ConfigError as error:
        # Weights or data that are not on this machine: the plan says so and goes on.
        return {"outside": Path(str(error).split(". ", maxsplit=1)[0])}


def find_stale_reasons(
    node: Node, name: str, *, runs: Path, earlier: Mapping[str, Any], point: str
) -> list[str]:
    """Return what differs between a node and the one that the same point had at the last launch.

    `earlier` is a sweep's record (`points` and `nodes`), `name` the node's `stage@item`. Nothing
    differs if the point had no such node, or this very one.
    """
    old_key = earlier.get("points", {}).get(point, {}).get("nodes", {}).get(name, node.key)
    noted = find_json(runs / NODES / old_key / "run.json")
    if old_key == node.key or not noted:
        return []
    old = earlier["nodes"][old_key]
    reasons = [
        line.replace(" -> ", " became ")
        for line in find_differences(old["step"]["sections"], node.step.sections)
    ]
    if old["code"] != node.code:
        receipt = find_json(runs / node.step.stage / noted["fingerprint"] / "receipt.json", "code")
        reasons += ["code changed"]
        if receipt:
            now = compute_code_state(f"vills.pipeline.{node.step.stage}").files
            then = receipt["code"]["files"]
            reasons[-1:] = [f"{file} changed" for file in find_changed(then, now)]
    reasons += [f"data {key} changed" for key in find_changed(old["outside"], node.outside)]
    return reasons + [
        f"{node.step.inputs[key].maker} is different"
        for key, maker in node.makers.items()
        if old["makers"].get(key) != maker
    ]


def render_first(reasons: list[str]) -> str:
    """Return the first reasons, and how many more there are."""
    more = f", and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
    return "; ".join(reasons[:MAX_REASONS]) + more
