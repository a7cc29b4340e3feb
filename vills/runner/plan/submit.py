"""Nodes -> jobs: what is not computed and not asked for is asked for, in the order of the DAG.

Killed at any moment and called again, every node is asked for once. Before sbatch is called, each
node notes the batch that it will be part of; afterwards, its job. A note without a job means that
the launcher died in between: whatever the batch has become is cancelled (nobody knows its ids, and
the last array has not found its pickles), and asked for anew. What sbatch refuses leaves no note,
and no job of the same batch that it took. Should two jobs meet at a run after all, its lock lets
one in.
"""

import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from vills.config.checks import ConfigError
from vills.config.params import Params
from vills.io import save_json
from vills.pipeline import STAGES
from vills.runner.clusters.jobs import Batch, Cluster
from vills.runner.clusters.resources import Resources
from vills.runner.clusters.scheduler import ClusterError
from vills.runner.mlflow.settings import load_tracking_settings
from vills.runner.plan.nodes import Node, Plan
from vills.runner.plan.registry import Registry, Submission, build_spec
from vills.runner.plan.snapshot import save_code, save_point
from vills.runner.plan.states import OVER, NodeState

PASSED_ON = ("VILLS_DATA", "VILLS_WEIGHTS", "VILLS_TRACKING", "VILLS_WORKER_START")
"""Variables of the caller that a job needs: sites may give jobs an empty environment."""


@dataclass(frozen=True)
class PlanRequest:
    """A plan that somebody wants computed."""

    plan: Plan
    load_params: Callable[[], Params]
    """Its parameters; asked for only if a job needs them."""
    origin: str
    """Where its parameters come from, for people who look into the params.yaml of its jobs."""


class Submitter:
    """Asks a cluster for what is missing."""

    def __init__(
        self,
        project: Path,
        registry: Registry,
        cluster: Cluster,
        *,
        resources: Callable[[str], Resources],
        clusters: Mapping[str, Cluster],
        max_parallel: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        self._project = project.resolve()
        self._registry = registry
        self._cluster = cluster
        self._clusters = clusters
        self._resources = resources
        self._max_parallel = max_parallel
        self._say = say
        self._code = ""
        self._params: dict[int, str] = {}

    def submit(
        self, wanted: Sequence[PlanRequest], states: Mapping[str, NodeState], *, retry: bool
    ) -> dict[str, str]:
        """Ask for every node that is needed and neither done nor asked for; its job by key.

        Args:
            wanted: Plans; a node that several share is asked for once.
            states: Of all their nodes.
            retry: Whether nodes whose job is over without a result are asked for again.
        """
        self._params = {}  # keyed by objects that live as long as this call
        jobs = {
            key: state.job
            for key, state in states.items()
            if state.is_active and state.job and state.cluster == self._cluster.name
        }
        todo = self._choose(wanted, states, jobs, retry=retry)
        asked: dict[str, str] = {}
        for stage in STAGES:
            group = [(node, entry) for node, entry in todo if node.step.stage == stage]
            if group:
                self._forget_unfinished(group)
                new = self._submit_group(stage, group, jobs)
                asked |= new
                jobs |= new
        return asked

    def _choose(
        self,
        wanted: Sequence[PlanRequest],
        states: Mapping[str, NodeState],
        jobs: Mapping[str, str],
        *,
        retry: bool,
    ) -> list[tuple[Node, PlanRequest]]:
        """Nodes to ask for, each once, makers first; not what waits for something that is over."""
        chosen: dict[str, tuple[Node, PlanRequest]] = {}
        # What somebody computes outside of this cluster is nothing that a job here can wait for.
        blocked = {key for key, state in states.items() if state.is_active and key not in jobs}
        for entry in wanted:
            for node in entry.plan.values():
                state = states[node.key].state
                if node.key in chosen or states[node.key].is_active or state == "done":
                    continue
                if self._is_blocked(node, state, blocked, retry=retry):
                    blocked.add(node.key)
                else:
                    chosen[node.key] = (node, entry)
        return list(chosen.values())

    def _is_blocked(self, node: Node, state: str, blocked: set[str], *, retry: bool) -> bool:
        unfinished = [e for e in self._registry.load_submissions(node.key)[-1:] if not e.job]
        over = state in OVER and not retry and not unfinished
        missing = any(digest.startswith("missing: ") for digest in node.outside.values())
        return over or missing or any(key in blocked for key in node.makers.values())

    def _forget_unfinished(self, group: Sequence[tuple[Node, PlanRequest]]) -> None:
        batches: set[tuple[str, str]] = set()
        for node, _ in group:
            entries = self._registry.load_submissions(node.key)
            kept = [entry for entry in entries if entry.job]
            batches |= {(entry.cluster, entry.batch) for entry in entries if not entry.job}
            if len(kept) != len(entries):
                self._registry.save_submissions(node.key, kept)
        for cluster, batch in sorted(batches):
            self._say(f"batch {batch} was being asked for when the launcher ended: asked for anew")
            self._clusters.get(cluster, self._cluster).cancel_batch(batch)

    def _submit_group(
        self, stage: str, group: Sequence[tuple[Node, PlanRequest]], jobs: Mapping[str, str]
    ) -> dict[str, str]:
        environment = self._build_environment()
        for node, entry in group:
            self._save_spec(node, entry, environment)
        after = {node.key: _find_after(node, entry.plan, jobs) for node, entry in group}
        keys = sorted(after, key=lambda key: _get_place(after[key]))
        batch = Batch(
            name=f"vills-{stage}-{uuid.uuid4().hex[:10]}",
            stage=stage,
            keys=keys,
            after=[after[key] for key in keys],
            resources=self._resources(stage),
            runs=self._registry.runs,
            code=self._registry.runs / self._save_code(),
            environment=environment,
            max_parallel=self._max_parallel,
        )
        note = Submission(self._cluster.name, "", batch.name, time.time(), batch.log)
        self._note(dict.fromkeys(keys, note))
        try:
            ids = self._cluster.submit(batch)
        except ClusterError:
            self._withdraw(batch)
            raise
        self._note({k: replace(note, job=job) for k, job in zip(keys, ids, strict=True)})
        self._say(f"{stage}: {len(keys)} job(s) asked for, {_shorten(ids)}")
        return dict(zip(keys, ids, strict=True))

    def _note(self, notes: Mapping[str, Submission]) -> None:
        for key, note in notes.items():
            earlier = [e for e in self._registry.load_submissions(key) if e.batch != note.batch]
            self._registry.save_submissions(key, [*earlier, note])

    def _withdraw(self, batch: Batch) -> None:
        """Leave nothing of a batch that was refused, or of which only a part was taken."""
        self._cluster.cancel_batch(batch.name)
        for key in batch.keys:
            kept = [e for e in self._registry.load_submissions(key) if e.batch != batch.name]
            self._registry.save_submissions(key, kept)

    def _save_spec(self, node: Node, entry: PlanRequest, environment: Mapping[str, str]) -> None:
        folder = self._registry.get_folder(node.key)
        (folder / "error.json").unlink(missing_ok=True)
        makers = [m for m in entry.plan.values() if m.key in node.makers.values()]
        adopted = {maker.name: self._registry.find_adopted(maker, entry.plan) for maker in makers}
        spec = build_spec(
            node,
            params=self._save_params(entry),
            code=self._save_code(),
            project=self._project,
            environment=environment,
            adopted={name: outs for name, outs in adopted.items() if outs},
        )
        save_json(folder / "spec.json", spec)
        for maker in makers:
            self._note_run(maker, entry.plan)

    def _note_run(self, maker: Node, plan: Plan) -> None:
        """Note a maker's run, also one of DVC's: a job finds its inputs by their makers' keys."""
        folder = self._registry.get_folder(maker.key)
        fingerprint = self._registry.find_fingerprint(maker, plan)
        if fingerprint and not (folder / "run.json").exists():
            save_json(folder / "run.json", {"fingerprint": fingerprint})
        if not (folder / "spec.json").exists():
            save_json(folder / "spec.json", {"stage": maker.step.stage, "item": maker.step.item})

    def _save_params(self, entry: PlanRequest) -> str:
        if id(entry) not in self._params:
            params = entry.load_params()
            self._params[id(entry)] = save_point(self._registry.runs, params, origin=entry.origin)
        return self._params[id(entry)]

    def _save_code(self) -> str:
        self._code = self._code or save_code(self._registry.runs, self._project)
        return self._code

    def _build_environment(self) -> dict[str, str]:
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        for name in ("VILLS_DATA", "VILLS_WEIGHTS"):
            if name in variables:
                variables[name] = str(Path(variables[name]).resolve())
        variables["VILLS_RUNS"] = str(self._registry.runs.resolve())
        settings = load_tracking_settings(self._project)
        if settings is not None:
            _refuse_password(settings.uri)
            variables["MLFLOW_TRACKING_URI"] = settings.uri
            variables["MLFLOW_EXPERIMENT_NAME"] = settings.experiment
        return variables


def _refuse_password(uri: str) -> None:
    """Refuse a password: a job's files and its script can be read by other people.

    Raises:
        ConfigError: if the address carries a password.
    """
    if urlsplit(uri).password:
        raise ConfigError(
            "MLFLOW_TRACKING_URI holds a password, which would be written into every job. Allowed: "
            "an address without one. What to do: export MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or write them into ~/.mlflow/credentials."
        )


def _find_after(node: Node, plan: Plan, jobs: Mapping[str, str]) -> list[str]:
    """Jobs of the makers that are not done; not those that another of them waits for anyway."""
    by_key = {maker.key: maker for maker in plan.values()}
    pending = [key for key in dict.fromkeys(node.makers.values()) if key in jobs]
    covered: set[str] = set()
    for key in pending:
        covered |= _list_upstream(by_key[key], by_key)
    return [jobs[key] for key in pending if key not in covered]


def _list_upstream(node: Node, by_key: Mapping[str, Node]) -> set[str]:
    keys = set(node.makers.values())
    for key in list(keys):
        keys |= _list_upstream(by_key[key], by_key)
    return keys


def _get_place(after: Sequence[str]) -> tuple[str, int]:
    """Elements of one array together, in its order."""
    array, _, index = (after[0] if after else "").partition("_")
    return array, int(index) if index.isdigit() else 0


def _shorten(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"
