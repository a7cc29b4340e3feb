"""How far every node is: its run first, then the job that was asked for, then what it waits for.

Whether a run is complete, its own folder says; a cluster only says how a job is that has left no
result yet. A job that nobody knows is looked for in the run's lock, and is never called failed.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vills.io import find_json
from vills.runner.clusters.jobs import UNKNOWN, Cluster, JobState
from vills.runner.plan.nodes import MISSING, Node, Plan
from vills.runner.plan.registry import Registry, Submission
from vills.runner.store.lock import RunLock, get_attempt_path, get_end_path, get_last_attempt

State = Literal[
    "done", "running", "queued", "to do", "waits", "failed", "cancelled", "lost", "stopped"
]
OVER = ("failed", "cancelled", "lost")
"""A job was asked for, is over, and left no result: --retry failed asks again."""
UNSEEN_SECONDS = 120.0
"""A cluster may take so long to list a job that it has just taken."""


@dataclass(frozen=True)
class NodeState:
    """How far a node is."""

    state: State
    detail: str = ""
    """Why, in a few words."""
    cluster: str = ""
    """Whom a job was asked of."""
    job: str = ""
    """Id of that job."""
    log: str = ""
    """Folder of its output, relative to the runs' folder."""
    run: Path | None = None
    """Folder of the run, where it can be named."""
    attempts: int = 0
    """How many processes have worked on the run."""

    def get_name(self, node: Node) -> str:
        """Return what a node is called wherever it is shown: its run, or its key until then."""
        return (self.run.name if self.run else node.key)[:12]

    @property
    def is_active(self) -> bool:
        """Whether somebody is at it, or will be."""
        return self.state in ("running", "queued")


def compute_states(
    registry: Registry, clusters: Mapping[str, Cluster], plans: Sequence[Plan]
) -> dict[str, NodeState]:
    """Return the state of every node of these plans by key, with one question to each cluster."""
    nodes = {node.key: (node, plan) for plan in plans for node in plan.values()}
    todo = {key for key, entry in nodes.items() if not registry.is_done(*entry)}
    last = {key: entries[-1] for key in todo if (entries := registry.load_submissions(key))}
    jobs: dict[tuple[str, str], JobState] = {}
    for name, cluster in clusters.items():
        asked = {entry.job for entry in last.values() if entry.cluster == name and entry.job}
        told = cluster.load_states(asked) if asked else {}
        jobs |= {(name, job): state for job, state in told.items()}
    states: dict[str, NodeState] = {}
    for key, (node, plan) in nodes.items():
        entry = last.get(key)
        job = jobs.get((entry.cluster, entry.job), UNKNOWN) if entry else UNKNOWN
        # The job may have ended well between the look at its run and the cluster's answer.
        has_ended = entry is not None and job.phase in ("ended", "unknown")
        is_done = key not in todo or (has_ended and registry.is_done(node, plan))
        run = registry.find_run(node, plan)
        number = get_last_attempt(run / "attempts") if run else 0
        detail = "by dvc.lock: no run here" if registry.find_adopted(node, plan) else ""
        states[key] = NodeState("done" if is_done else "to do", detail, run=run, attempts=number)
        if not is_done:
            states[key] = _judge(registry, node, plan, last=entry, job=job, known=states)
    return states


def _judge(
    registry: Registry,
    node: Node,
    plan: Plan,
    *,
    last: Submission | None,
    job: JobState,
    known: Mapping[str, NodeState],
) -> NodeState:
    """Return the state of a node that is not done; its run and attempts are known already."""
    plain = known[node.key]
    run, number = plain.run, plain.attempts
    asked = replace(plain, cluster=last.cluster, job=last.job, log=last.log) if last else plain
    if job.phase == "running":
        return replace(asked, state="running", detail=_describe_attempt(run, number))
    if job.phase == "pending":
        again = f", after {number} attempt(s)" if number else ""
        return replace(asked, state="queued", detail=f"{job.reason or job.state.lower()}{again}")
    holder = RunLock(run / "attempts").find_holder() if run else 0
    if holder:
        # Somebody else may be at it (`dvc repro`, a colleague): then it is not that job.
        own = last is not None and last.job == _load_note(run, holder).get("job", "")
        detail = _describe_attempt(run, holder)
        return replace(asked if own else plain, state="running", detail=detail)
    if last is not None:
        reason = registry.load_error(node.key) or _load_end(run, number)
        state, detail = _judge_ended(last, job, reason)
        return replace(asked, state=state, detail=detail)
    for name, entry in node.step.inputs.items():
        maker = plan[entry.maker] if entry.maker else None
        if maker is not None and known[maker.key].state != "done":
            called = known[maker.key].get_name(maker)
            return replace(plain, state="waits", detail=f"for {entry.maker} {called}")
        if node.outside.get(name, "").startswith(MISSING):
            return replace(plain, state="waits", detail=f"for {entry.path}")
    if number:
        detail = f"{_describe_attempt(run, number)}, will continue from there"
        return replace(plain, state="stopped", detail=detail)
    return plain


def _judge_ended(last: Submission, job: JobState, reason: str) -> tuple[State, str]:
    """Return the state of a job that nobody is at; `reason` is what it or its run said."""
    if job.phase == "unknown":
        if not last.job:
            known = f"; {reason}" if reason else ""
            return "lost", f"the launcher was killed while it submitted this job{known}"
        if time.time() - last.submitted < UNSEEN_SECONDS and not reason:
            return "queued", f"job {last.job} is not listed yet"
        known = f"; the run says: {reason}" if reason else ""
        return "lost", f"job {last.job} is known to neither squeue nor sacct{known}"
    if job.state.startswith("CANCELLED"):
        return "cancelled", job.reason or "scancel, or a job before it failed"
    return "failed", ": ".join(filter(None, (f"{job.state} {job.reason}".strip(), reason)))


def _describe_attempt(run: Path | None, number: int) -> str:
    """Who is (or was last) at a run."""
    if not number:
        return "starting"
    note = _load_note(run, number)
    return f"attempt {number} on {note.get('nodes') or note.get('host', 'an unknown host')}"


def _load_note(run: Path | None, number: int) -> dict[str, Any]:
    return find_json(get_attempt_path(run / "attempts", number)) if run else {}


def _load_end(run: Path | None, number: int) -> str:
    """Load what the last attempt said when it ended."""
    ended = find_json(get_end_path(run / "attempts", number)) if run else {}
    return str(ended.get("reason", ""))
