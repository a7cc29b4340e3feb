"""A project's runs and clusters, and nodes -> jobs: what is not computed and not asked for, is.

Killed at any moment and called again, every node is asked for once. Before sbatch is called, each
node notes the batch that it will be part of; afterwards, its job. A note without a job means that
the launcher died in between: whatever the batch has become is cancelled (nobody knows its ids, and
the last array has not found its pickles), and asked for anew. What sbatch refuses leaves no note,
and no job of the same batch that it took. Should two jobs meet at a run after all, its lock lets
one in.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from vills.config.params import OperationConfig, Params
from vills.config.resources import Resources, load_resources
from vills.digests import CACHE_NAME, DigestCache
from vills.io import find_json, get_runs_root, save_own_json
from vills.pipeline import STAGES
from vills.runner.clusters.jobs import (
    Batch,
    Cluster,
    ClusterError,
    check_overrides,
    read_environment,
)
from vills.runner.clusters.queue import ForegroundQueue, LocalQueue
from vills.runner.clusters.slurm import SlurmCluster
from vills.runner.plan.nodes import MISSING, Node, Plan, Planner, select_steps
from vills.runner.plan.registry import (
    Registry,
    Submission,
    load_adopted,
    save_code,
    save_point,
)
from vills.runner.plan.states import OVER, NodeState, compute_states
from vills.runner.work.stage import load_stage

LOCK_NAME, LOCK_SECONDS = ".launch.lock", 120.0


class LaunchContext:
    """A project's runs, and the clusters that make more."""

    def __init__(self, project: Path, *, slurm: Sequence[str] = ()) -> None:
        """Open it; `slurm` are overrides of slurm/*.yaml.

        Raises:
            ConfigError: if one names no stage.
        """
        check_overrides(slurm)
        self.project = project.resolve()
        self.runs = get_runs_root(project)
        self._slurm = slurm

    @cached_property
    def planner(self) -> Planner:
        """Names nodes."""
        return Planner(self.project, DigestCache(self.runs / CACHE_NAME))

    @cached_property
    def clusters(self) -> dict[str, Cluster]:
        """Clusters by name: one of them knows any job that was asked for."""
        queues = {"local": LocalQueue(self.runs), "debug": ForegroundQueue(self.runs)}
        return {"slurm": SlurmCluster(), **queues}

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Keep other launchers of the same runs out while jobs are asked for."""
        self.runs.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.runs / LOCK_NAME, timeout=LOCK_SECONDS):
                yield
        except TimeoutError as error:
            raise ClusterError(
                f"another launcher is submitting jobs ({error}). What to do: wait for it."
            ) from error

    def open_registry(self) -> Registry:
        """Open the registry anew: it sees every file once."""
        return Registry(self.runs, adopted=lambda: load_adopted(self.project, self.planner))

    def compute_states(self, plans: Sequence[Plan]) -> dict[str, NodeState]:
        """Return the state of every node of these plans, by key, as it is now."""
        return compute_states(self.open_registry(), self.clusters, plans)

    def get_resources(self, stage: str) -> Resources:
        """Return what a stage's jobs ask for."""
        return load_resources(self.project, stage, self._slurm)


PlanRequest = tuple[Plan, Callable[[], Params], str]
"""A plan that somebody wants computed; its parameters, asked for only if a job needs them; where
they come from, for people who look into the params.yaml of its jobs."""


@dataclass
class Submitter:
    """Asks a cluster for what is missing."""

    context: LaunchContext
    cluster: str
    max_parallel: int = 0
    say: Callable[[str], None] = print

    def __post_init__(self) -> None:
        self.registry = self.context.open_registry()

    def submit(
        self, wanted: Sequence[PlanRequest], states: Mapping[str, NodeState], *, retry: bool
    ) -> dict[str, str]:
        """Ask for every node that is needed and neither done nor asked for; its job by key.

        Args:
            wanted: Plans; a node that several share is asked for once.
            states: Of all their nodes.
            retry: Whether nodes whose job is over without a result are asked for again.

        Raises:
            UserError: if a finished run is refused by today's parameters of operation.
            ClusterError: if the cluster refuses a batch.
        """
        jobs = {
            key: state.job
            for key, state in states.items()
            if state.is_active and state.job and state.cluster == self.cluster
        }
        # What somebody computes outside of this cluster is nothing that a job here can wait for.
        blocked = {key for key, state in states.items() if state.is_active and key not in jobs}
        todo: dict[str, tuple[Node, Plan, str]] = {}
        for plan, load_params, origin in wanted:
            chosen = self._choose(plan, states, blocked=blocked, retry=retry)
            if chosen := [node for node in chosen if node.key not in todo]:
                # once for all of them: composing and writing parameters takes a third of a second
                params = load_params()
                self._check_done(plan, params.operation)
                folder = save_point(self.registry.runs, params, origin=origin)
                todo |= {node.key: (node, plan, folder) for node in chosen}
        asked: dict[str, str] = {}
        for stage in STAGES:
            group = [found for found in todo.values() if found[0].step.stage == stage]
            if group:
                self._forget_unfinished([node.key for node, _, _ in group])
                asked |= self._submit_group(stage, group, jobs | asked)
        return asked

    def _check_done(self, plan: Plan, operation: OperationConfig) -> None:
        """Refuse to build on finished runs that the parameters of operation do not allow."""
        for node in plan.values():
            if run := self.registry.find_complete(node, plan):
                stage = load_stage(node.step.stage)
                outs = {name: run / "out" / name for name in stage.outs(node.step.item)}
                stage.check(outs, operation)

    def _choose(
        self, plan: Plan, states: Mapping[str, NodeState], *, blocked: set[str], retry: bool
    ) -> list[Node]:
        """Nodes to ask for, makers first; those that wait for what is over join `blocked`."""
        chosen: list[Node] = []
        for node in plan.values():
            state = states[node.key]
            if state.is_active or state.state == "done":
                continue
            unfinished = any(not e.job for e in self.registry.load_submissions(node.key)[-1:])
            over = state.state in OVER and not retry and not unfinished
            missing = any(digest.startswith(MISSING) for digest in node.outside.values())
            if over or missing or blocked.intersection(node.makers.values()):
                blocked.add(node.key)
            else:
                chosen.append(node)
        return chosen

    def _forget_unfinished(self, keys: Sequence[str]) -> None:
        found: dict[tuple[str, str], list[str]] = {}
        for key in keys:
            for entry in self.registry.load_submissions(key):
                if not entry.job:
                    found.setdefault((entry.cluster, entry.batch), []).append(key)
        for (cluster, batch), members in sorted(found.items()):
            self.say(f"batch {batch} was being submitted when the launcher ended: submitted again")
            self._withdraw(cluster, batch, members)

    def _submit_group(
        self, stage: str, group: Sequence[tuple[Node, Plan, str]], jobs: Mapping[str, str]
    ) -> dict[str, str]:
        for node, plan, params in group:
            self._save_spec(node, plan, params)
        after = {node.key: _find_after(node, plan, jobs) for node, plan, _ in group}
        keys = sorted(after, key=lambda key: _get_place(after[key]))
        batch = Batch(
            name=f"vills-{stage}-{uuid.uuid4().hex[:10]}",
            stage=stage,
            keys=keys,
            after=[after[key] for key in keys],
            resources=self.context.get_resources(stage),
            runs=self.registry.runs,
            code=self.registry.runs / self._code,
            environment=read_environment(self.context.project, runs=self.registry.runs),
            max_parallel=self.max_parallel,
        )
        note = Submission(self.cluster, "", batch.name, time.time(), batch.log)
        for key in keys:
            self._note(key, batch.name, note)
        try:
            ids = self.context.clusters[self.cluster].submit(batch)
        except ClusterError:
            self._withdraw(self.cluster, batch.name, keys)
            raise
        for key, job in zip(keys, ids, strict=True):
            self._note(key, batch.name, replace(note, job=job))
        span = ids[0] if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"
        self.say(f"{stage}: {len(keys)} job(s) submitted, {span}")
        return dict(zip(keys, ids, strict=True))

    def _note(self, key: str, batch: str, *notes: Submission) -> None:
        """Replace what a node has noted of a batch."""
        kept = [entry for entry in self.registry.load_submissions(key) if entry.batch != batch]
        self.registry.save_submissions(key, [*kept, *notes])

    def _withdraw(self, cluster: str, batch: str, keys: Sequence[str]) -> None:
        """Leave nothing of a batch that was refused, or of which only a part was taken."""
        self.context.clusters[cluster].cancel_batch(batch)
        for key in keys:
            self._note(key, batch)

    def _save_spec(self, node: Node, plan: Plan, params: str) -> None:
        """Save what a job needs to know; paths below the runs' folder are relative to it."""
        folder = self.registry.get_folder(node.key)
        (folder / "error.json").unlink(missing_ok=True)
        inputs: dict[str, dict[str, str]] = {}
        for name, entry in node.step.inputs.items():
            inputs[name] = {"path": str(self.context.project / entry.path)}
            if entry.maker:
                maker = plan[entry.maker]
                self._note_run(maker, plan)
                inputs[name] = {"node": maker.key, "part": entry.part}
                if adopted := self.registry.find_adopted(maker, plan):
                    inputs[name] = {"path": str(adopted[entry.part].resolve())}
        spec = {
            "stage": node.step.stage,
            "item": node.step.item,
            "inputs": inputs,
            "params": params,
            "code": self._code,
            "planned": {"params": node.step.sections, "code": node.code},
        }
        save_own_json(folder / "spec.json", spec)

    def _note_run(self, maker: Node, plan: Plan) -> None:
        """Note a maker's run, also one of DVC's: a job finds its inputs by their makers' keys."""
        folder = self.registry.get_folder(maker.key)
        fingerprint = self.registry.find_fingerprint(maker, plan)
        if fingerprint and not find_json(folder / "run.json"):
            save_own_json(folder / "run.json", {"fingerprint": fingerprint})
        if not find_json(folder / "spec.json"):
            asked = {"stage": maker.step.stage, "item": maker.step.item}
            save_own_json(folder / "spec.json", asked)

    @cached_property
    def _code(self) -> str:
        return save_code(self.registry.runs, self.context.project)


def _find_after(node: Node, plan: Plan, jobs: Mapping[str, str]) -> list[str]:
    """Jobs of the makers that are not done; not those that another of them waits for anyway."""
    makers = dict.fromkeys(entry.maker for entry in node.step.inputs.values() if entry.maker)
    pending = [name for name in makers if plan[name].key in jobs]
    steps = [other.step for other in plan.values()]
    covered = {s.name for name in pending for s in select_steps(steps, [name]) if s.name != name}
    return [jobs[plan[name].key] for name in pending if name not in covered]


def _get_place(after: Sequence[str]) -> tuple[str, int]:
    """Elements of one array together, in its order."""
    array, _, index = (after[0] if after else "").partition("_")
    return array, int(index) if index.isdigit() else 0
