"""Plans without a training: run folders as real runs leave them, clusters that compute nothing."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vills.config.load import load_params, load_profile, render_params
from vills.config.params import Params
from vills.digests import DigestCache, compute_digest, compute_listing
from vills.io import save_json
from vills.runner.clusters.jobs import UNKNOWN, Batch, Cluster, JobState
from vills.runner.plan.context import LaunchContext, Submitter
from vills.runner.plan.nodes import Node, Plan, Planner, Step, build_steps, select_steps
from vills.runner.plan.registry import Registry, Submission
from vills.runner.plan.states import NodeState, compute_states
from vills.runner.store.code_digest import CodeState
from vills.runner.store.lock import get_attempt_path, get_end_path
from vills.runner.store.machine import load_process_identity
from vills.runner.store.receipt import build_receipt
from vills.runner.work.job import NODES
from vills.runner.work.stage import load_stage

CODES: dict[str, str] = {}
"""Reading the code of seven stages takes a second; all planners of a test run share it."""
STEPS: dict[str, Any] = {}
"""So does composing parameters, of which the launcher keeps a cache in each runs' folder."""
GIT = {"commit": "c" * 40, "dirty": False, "diff_digest": None}
SCORES = {
    "market1501": [{"protocol": "market1501", "row": "finetuned", "mAP": 0.5, "R-1": 0.75}],
    "mars": [{"protocol": "mars", "row": "finetuned", "mAP": 0.25, "R-1": 0.5}],
}
DAG = ["miniature", "curate", "lse", "pretrain", "finetune@market1501", "evaluate@market1501"]
"""What the cells of Market-1501 need."""


class FakeCluster:
    """Takes batches, answers questions, and can die at two moments."""

    def __init__(self, name: str = "slurm") -> None:
        self.name = name
        self.batches: list[Batch] = []
        self.asked: list[set[str]] = []
        self.states: dict[str, JobState] = {}
        self.cancelled: list[str] = []
        self.dies_before: BaseException | None = None
        self.dies_after: BaseException | None = None

    def submit(self, batch: Batch) -> list[str]:
        if self.dies_before:
            raise self.dies_before
        number = 100 + len(self.batches)
        self.batches.append(batch)
        ids = [f"{number}_{i}" for i in range(len(batch.keys))]
        self.states |= {job: JobState("pending", "PENDING", "Priority") for job in ids}
        if self.dies_after:
            raise self.dies_after
        return ids

    def load_states(self, jobs: Collection[str]) -> dict[str, JobState]:
        self.asked.append(set(jobs))
        return {job: self.states.get(job, UNKNOWN) for job in jobs}

    def cancel(self, jobs: Collection[str]) -> None:
        self.cancelled += sorted(jobs)

    def cancel_batch(self, name: str) -> None:
        self.cancelled.append(name)


@dataclass
class Bench:
    """A project's folder with runs, and clusters that are asked for more."""

    project: Path
    slurm: FakeCluster = field(default_factory=FakeCluster)
    local: FakeCluster = field(default_factory=lambda: FakeCluster("local"))
    said: list[str] = field(default_factory=list)

    @property
    def runs(self) -> Path:
        return self.project / "runs"

    @property
    def clusters(self) -> dict[str, Cluster]:
        return {"slurm": self.slurm, "local": self.local}

    def plan(self, *overrides: str, wanted: Sequence[str] = DAG[-1:]) -> Plan:
        steps = select_steps(load_steps("tiny", overrides), wanted)
        return build_planner(self.project).build_plan(steps)

    def look(self, *plans: Plan) -> dict[str, NodeState]:
        return compute_states(Registry(self.runs), self.clusters, plans)

    def get_states(self, plan: Plan) -> dict[str, str]:
        states = self.look(plan)
        return {name: states[node.key].state for name, node in plan.items()}

    def submit(
        self,
        *plans: Plan,
        cluster: FakeCluster | None = None,
        retry: bool = False,
        max_parallel: int = 0,
    ) -> dict[str, str]:
        context = LaunchContext(self.project)
        context.__dict__["clusters"] = self.clusters
        asked = (cluster or self.slurm).name
        submitter = Submitter(context, asked, max_parallel, self.said.append)
        wanted = [(plan, lambda: build_params("tiny"), "a test") for plan in plans]
        return submitter.submit(wanted, self.look(*plans), retry=retry)

    def note_job(self, node: Node, job: str, *, cluster: str = "slurm", age: float = 0.0) -> None:
        registry = Registry(self.runs)
        entry = Submission(cluster, job, "batch", time.time() - age, "_logs/batch")
        registry.save_submissions(node.key, [*registry.load_submissions(node.key), entry])

    def finish(self, plan: Plan, *names: str, content: str = "", rows: Any = None) -> Path:
        """Leave what finished runs leave; the folder of the last one."""
        folder = Path()
        for name in names or tuple(plan):
            folder = self._finish(plan, name, content=content, rows=rows)
        return folder

    def begin(self, plan: Plan, name: str, **note: Any) -> Path:
        """Leave what a run leaves that has just begun; with `status` it has ended."""
        node = plan[name]
        fingerprint = Registry(self.runs).find_fingerprint(node, plan)
        assert fingerprint, f"{name} cannot be named yet"
        folder = self.runs / node.step.stage / fingerprint
        save_receipt_of(folder, node, {}, fingerprint=fingerprint)
        write_attempt(folder, **note)
        return folder

    def _finish(self, plan: Plan, name: str, *, content: str, rows: Any) -> Path:
        node = plan[name]
        registry = Registry(self.runs)
        inputs: dict[str, tuple[Path, str]] = {}
        for key, entry in node.step.inputs.items():
            path = self.project / entry.path
            if entry.maker:
                maker = registry.find_run(plan[entry.maker], plan)
                assert maker is not None
                path = maker / "out" / entry.part
            inputs[key] = (path, compute_digest(path))
        fingerprint = registry.find_fingerprint(node, plan)
        folder = self.runs / node.step.stage / fingerprint
        save_receipt_of(folder, node, inputs, fingerprint=fingerprint)
        write_outs(folder / "out", node.step, content=content or node.key, rows=rows)
        write_attempt(folder, status="finished")
        outputs = compute_listing(folder / "out")
        result = {"outputs": outputs, "metrics": {}, "finished_ms": 1_700_000_000_000}
        save_json(folder / "result.json", {"fingerprint": fingerprint, **result})
        return folder


def save_receipt_of(
    folder: Path, node: Node, inputs: dict[str, tuple[Path, str]], *, fingerprint: str
) -> None:
    receipt = build_receipt(
        node.step.stage,
        item=node.step.item,
        params=node.step.sections,
        inputs=inputs,
        module=f"vills.pipeline.{node.step.stage}",
        code=CodeState(node.code, {"vills/areas.py": "0" * 64}),
        operation={},
    )
    assert not inputs or receipt["fingerprint"] == fingerprint
    here = {"git": GIT, "packages": {}, "machine": {}, "created": "", "execution": "e"}
    save_json(folder / "receipt.json", {**receipt, "fingerprint": fingerprint, **here})


def write_outs(out: Path, step: Step, *, content: str, rows: Any) -> None:
    for part in load_stage(step.stage).outs(step.item):
        if part in ("metrics", "plots"):
            out.mkdir(parents=True, exist_ok=True)
            (out / part).write_text(content + part)
            continue
        (out / part / "deep").mkdir(parents=True)
        (out / part / "deep" / "file").write_text(content)
        (out / part / "a-file").write_text(content)
        if part == "evaluate":
            results = {"rows": SCORES.get(step.item, []) if rows is None else rows}
            (out / part / "results.json").write_text(json.dumps(results))


def write_attempt(
    folder: Path, *, status: str = "", reason: str = "", alive: bool = False, **note: Any
) -> int:
    """One attempt more; of this process if it is to be alive, else of one that is gone."""
    attempts = folder / "attempts"
    number = len(list(attempts.glob("?????[0-9].json"))) + 1
    identity = load_process_identity()
    begun = 1_700_000_000.0
    gone = {} if alive else {"started": identity["started"] + 1}
    save_json(get_attempt_path(attempts, number), {**identity, "time": begun, **gone, **note})
    if status:
        end = {"status": status, "reason": reason, "time": begun + 360.0}
        save_json(get_end_path(attempts, number), end)
    return number


def build_params(profile: str, overrides: Sequence[str] = ()) -> Params:
    return deepcopy(_load_params(profile, tuple(overrides)))


def load_steps(profile: str, overrides: Sequence[str] = ()) -> list[Step]:
    return _load_steps(profile, tuple(overrides))


def build_planner(project: Path) -> Planner:
    planner = Planner(project, DigestCache())
    planner._codes = CODES
    return planner


def save_error(runs: Path, key: str, text: str) -> None:
    save_json(runs / NODES / key / "error.json", {"error": text})


def get_names(plan: Mapping[str, Node], keys: Collection[str]) -> list[str]:
    return [name for name, node in plan.items() if node.key in keys]


def load_known_params(folder: Path, overrides: Sequence[str] = ()) -> Params:
    """`load_params`, once for the same text and overrides."""
    path = folder / "params.yaml"
    return deepcopy(_load_text(path.read_text() if path.exists() else "", tuple(overrides)))


@cache
def _render_tiny() -> str:
    return render_params(build_params("tiny"), profile="tiny")


@cache
def _load_text(text: str, overrides: tuple[str, ...]) -> Params:
    with TemporaryDirectory() as folder:
        if text:
            Path(folder, "params.yaml").write_text(text)
        return load_params(Path(folder), overrides)


@cache
def _load_params(profile: str, overrides: tuple[str, ...]) -> Params:
    return load_profile(profile, overrides)


@cache
def _load_steps(profile: str, overrides: tuple[str, ...]) -> list[Step]:
    return build_steps(_load_params(profile, overrides))


SWEEP = """\
defaults: [sweep_schema, _self_]
title: Weight of KoLeo
command: python sweeps/launch.py small
cost: none
overrides: [pretrain.masking_weight=1.0]
tables:
  one:
    title: Table 1. One
    columns:
      market_map: {head: Market, evaluate: market1501, protocol: market1501, metric: mAP}
      market_r1: {head: Market, evaluate: market1501, protocol: market1501, metric: R-1}
      prid_map: {head: PRID, evaluate: prid2011, protocol: prid2011, metric: mAP}
points:
  zeta: {label: "λ3 = 1", overrides: [pretrain.koleo_weight=1.0], published: {market_map: 92.0}}
  alpha: {label: "λ3 = 2", overrides: [pretrain.koleo_weight=2.0]}
"""
"""Two points, not in the order of their names; tiny has no evaluate.prid2011."""


def build_context(bench: Bench, *, sweep: str = SWEEP) -> LaunchContext:
    """A context of the bench's project, with params.yaml, one sweep and the bench's clusters."""
    (bench.project / "sweeps").mkdir(exist_ok=True)
    (bench.project / "sweeps" / "small.yaml").write_text(sweep)
    params = bench.project / "params.yaml"
    if not params.exists():
        params.write_text(_render_tiny())
    steps = bench.runs / "_sweeps" / ".small-steps.json"
    if steps.exists():
        STEPS.update(json.loads(steps.read_text()))
    else:
        save_json(steps, STEPS)
    context = LaunchContext(bench.project)
    context.planner._codes = CODES
    context.__dict__["clusters"] = bench.clusters
    return context
