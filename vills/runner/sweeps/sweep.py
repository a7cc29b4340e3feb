"""A sweep as launched: its points, each with the plan of everything that its cells need.

_sweeps/NAME.json   the points and nodes of the last launch, and what it was called with
"""

import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vills.config.checks import check_name
from vills.config.load import PARAMS_FILE, has_hand_edits, load_params, load_profile
from vills.config.params import Params
from vills.config.sweep import SweepConfig, load_sweep, parse_overrides
from vills.digests import compute_joint_digest
from vills.io import compute_sha256, find_json, load_json, save_own_json
from vills.refusals import list_paths
from vills.runner.plan.estimate import Estimate
from vills.runner.plan.nodes import Node, NodeInput, Plan, Planner, Step, build_steps, select_steps
from vills.runner.plan.states import NodeState
from vills.runner.store.code_digest import DEFAULT_ROOT

FOLDER = "_sweeps"
PROFILE = "profile="
REMEDY = "remove the file and launch the sweep again; runs stay, but what changed is not said"
RECORD_KEYS = ("fingerprint", "config", "order", "nodes", "points", "before")


@dataclass(frozen=True)
class Point:
    """A point with one seed."""

    name: str
    """Key among the sweep's points."""
    seed: int | None
    """None: that of params.yaml."""
    overrides: tuple[str, ...]
    """Of the parameters, in order."""
    plan: Plan
    """All that its cells need."""
    lacking: tuple[str, ...] = ()
    """Entries of params.evaluate that its cells need and params.yaml lacks."""

    @property
    def label(self) -> str:
        """`name`, with the seed where there are several."""
        return self.name if self.seed is None else f"{self.name}, seed {self.seed}"

    @property
    def fingerprint(self) -> str:
        """Identity: over the keys of all its nodes."""
        return compute_text_digest("\n".join(sorted(node.key for node in self.plan.values())))


@dataclass(frozen=True)
class Sweep:
    """A sweep with all its points planned."""

    name: str
    file: str
    """Name or path that it was called by."""
    config: SweepConfig
    points: tuple[Point, ...]
    overrides: tuple[str, ...]
    """What the command line said, the sweep's and the parameters'."""
    params: str
    """Where the parameters come from, in words."""
    cluster: str = ""
    """Whom its jobs were asked of."""

    @cached_property
    def nodes(self) -> dict[str, Node]:
        """All nodes by key."""
        return {node.key: node for point in self.points for node in point.plan.values()}

    @cached_property
    def fingerprint(self) -> str:
        """Identity of this edition: another parameter, code or data makes another."""
        lines = sorted(f"{point.label} {point.fingerprint}" for point in self.points)
        return compute_text_digest("\n".join([self.name, *lines]))

    @cached_property
    def lacking(self) -> list[str]:
        """Evaluations that cells need and params.yaml has no entry for."""
        return sorted({entry for point in self.points for entry in point.lacking})


@dataclass(frozen=True)
class SweepState:
    """A sweep and how far all its nodes are."""

    sweep: Sweep
    states: Mapping[str, NodeState]
    """By key of the node."""
    stale: Mapping[str, str] = field(default_factory=dict)
    """Key of a node -> why it is computed again."""
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    """Key of a node that is not done -> what it takes."""

    @property
    def plans(self) -> dict[str, Plan]:
        """By label of the point."""
        return {point.label: point.plan for point in self.sweep.points}

    def is_done(self, label: str) -> bool:
        """Whether all nodes of a point are done."""
        return all(self.states[node.key].state == "done" for node in self.plans[label].values())

    def is_over(self) -> bool:
        """Whether nothing is going on and nothing will."""
        return not any(state.is_active for state in self.states.values())


def build_sweep(
    project: Path, file: str, overrides: Sequence[str], *, planner: Planner, runs: Path
) -> Sweep:
    """Read a sweep's file and plan every point with every seed.

    Raises:
        ConfigError: if the sweep, an override or a point's parameters are refused.
    """
    own, of_params = parse_overrides(overrides)
    config = load_sweep(file, folder=project / "sweeps", overrides=own)
    # Steps by what made them: composing parameters takes a fifth of a second a point.
    cache = runs / FOLDER / f".{Path(file).stem}-steps.json"
    saved = find_json(cache)
    used: dict[str, Any] = {}
    source = _describe_source(project)
    points = []
    for name, seed in itertools.product(config.points, (*config.seeds,) or (None,)):
        changes = (*config.overrides, *of_params, *config.points[name].overrides)
        made_from = compute_text_digest(json.dumps([source, changes, seed]))
        if made_from not in used:
            used[made_from] = saved.get(made_from) or [
                asdict(step) for step in build_steps(load_point_params(project, changes, seed=seed))
            ]
        steps = [load_step(entry) for entry in used[made_from]]
        wanted = [f"evaluate@{item}" for item in config.list_evaluations(name)]
        lacking = tuple(entry for entry in wanted if entry not in {step.name for step in steps})
        chosen = select_steps(steps, [entry for entry in wanted if entry not in lacking])
        points.append(Point(name, seed, changes, planner.build_plan(chosen), lacking))
    if used != saved:
        with suppress(OSError):  # a cache: where it cannot be written, it costs time alone
            save_own_json(cache, used)
    params = describe_params(project, [*config.overrides, *of_params])
    return Sweep(Path(file).stem, file, config, tuple(points), tuple(overrides), params)


def describe_params(project: Path, overrides: Sequence[str]) -> str:
    """Which profile the parameters are, and whether they were changed."""
    profile = _find_profile(overrides)
    if profile:
        return f"profile {profile}"
    text = (project / PARAMS_FILE).read_text(encoding="utf-8")
    written = re.search(r"`vills configure profile=(\S+)( [^`]*)?`", text)
    if written is None:
        return PARAMS_FILE
    changed = " with changes" if written[2] or has_hand_edits(text) else ""
    return f"profile {written[1]}{changed}"


def load_point_params(project: Path, overrides: Sequence[str], *, seed: int | None) -> Params:
    """Return the parameters of a point: params.yaml, or a profile, with its changes."""
    profile = _find_profile(overrides)
    changes = [text for text in overrides if not text.startswith(PROFILE)]
    params = load_profile(profile, changes) if profile else load_params(project, changes)
    if seed is not None:
        params.pretrain.seed = seed
        for entry in params.finetune.values():
            entry.seed = seed
    return params


def _find_profile(overrides: Sequence[str]) -> str:
    """Return the last profile that is named; empty without one."""
    found = [text.removeprefix(PROFILE) for text in overrides if text.startswith(PROFILE)]
    return found[-1] if found else ""


def load_step(entry: Mapping[str, Any]) -> Step:
    """Return a step from its JSON."""
    inputs = {name: NodeInput(**value) for name, value in entry["inputs"].items()}
    return Step(entry["stage"], entry["item"], entry["sections"], inputs)


def save_record(runs: Path, sweep: Sweep) -> None:
    """Write down what is launched."""
    points = {
        point.label: {
            "name": point.name,
            "seed": point.seed,
            "overrides": list(point.overrides),
            "lacking": list(point.lacking),
            "fingerprint": point.fingerprint,
            "nodes": {name: node.key for name, node in point.plan.items()},
        }
        for point in sweep.points
    }
    save_own_json(
        runs / FOLDER / f"{sweep.name}.json",
        {
            "name": sweep.name,
            "file": sweep.file,
            "fingerprint": sweep.fingerprint,
            "overrides": list(sweep.overrides),
            "params": sweep.params,
            "cluster": sweep.cluster,
            # text and order: files of earlier launches have sorted keys
            "config": json.dumps(asdict(sweep.config)),
            "order": list(points),
            "nodes": {key: asdict(node) for key, node in sweep.nodes.items()},
            "points": points,
            "before": load_earlier(runs, sweep),
        },
        sort=False,  # points are rows of tables, nodes stand behind what they need
    )


def load_earlier(runs: Path, sweep: Sweep) -> dict[str, Any]:
    """Return `points` and `nodes` of the last launch that was another edition, if there was one."""
    path = runs / FOLDER / f"{sweep.name}.json"
    record = load_json(path, *RECORD_KEYS, remedy=REMEDY) if path.exists() else {}
    if record.get("fingerprint") == sweep.fingerprint:
        record = record["before"]
    return {key: record[key] for key in ("points", "nodes") if record}


def load_record(runs: Path, name: str) -> Sweep | None:
    """Return what was launched last under a sweep's name; None if nothing was."""
    check_name("name of the sweep", name, "name one that was launched")
    path = runs / FOLDER / f"{name}.json"
    if not path.exists():
        return None
    record = load_json(path, *RECORD_KEYS, remedy=REMEDY)
    nodes = {
        key: Node(load_step(entry["step"]), key, entry["makers"], entry["outside"], entry["code"])
        for key, entry in record["nodes"].items()
    }
    points = tuple(
        Point(
            point["name"],
            point["seed"],
            tuple(point["overrides"]),
            {name: nodes[key] for name, key in point["nodes"].items()},
            tuple(point["lacking"]),
        )
        for point in (record["points"][label] for label in record["order"])
    )
    schema = OmegaConf.structured(SweepConfig)
    config = OmegaConf.to_object(OmegaConf.merge(schema, json.loads(record["config"])))
    assert isinstance(config, SweepConfig)
    told = (tuple(record["overrides"]), record["params"], record["cluster"])
    return Sweep(record["name"], record["file"], config, points, *told)


def list_records(runs: Path) -> list[str]:
    """Names of the sweeps that were launched."""
    return [p.stem for p in list_paths(runs / FOLDER, "*.json") if not p.name.startswith(".")]


def _describe_source(project: Path) -> list[str]:
    """Return everything beside the overrides that steps are made from."""
    paths = [p for floor in ("config", "pipeline") for p in (DEFAULT_ROOT / floor).rglob("*")]
    digests = {str(p): compute_sha256(p) for p in paths if p.suffix in (".py", ".yaml")}
    own = project / PARAMS_FILE
    text = compute_sha256(own) if own.is_file() else ""
    folders = [os.environ.get(name, "") for name in ("VILLS_DATA", "VILLS_WEIGHTS")]
    return [compute_joint_digest(digests), text, *folders]


def compute_text_digest(text: str) -> str:
    """Return SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()
