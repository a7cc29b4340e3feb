"""How far every node is: its run first, then the job that was asked for, then what it waits for.

Whether a run is complete, its own folder says; a cluster only says how a job is that has left no
result yet. A job that nobody knows is looked for in the run's lock, and is never called failed.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vills.io import load_json
from vills.runner.clusters.jobs import UNKNOWN, Cluster, JobState
from vills.runner.plan.nodes import MISSING, Node, Plan
from vills.runner.plan.registry import Registry, Submission
from vills.runner.store.lock import RunLock, get_attempt_path, get_end_path, get_last_attempt
from vills.runner.store.result import RESULT_NAME

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

    @property
    def is_active(self) -> bool:
        """Whether somebody is at it, or will be."""
        return self.state in ("running", "queued")


def compute_states(
    registry: Registry, clusters: Mapping[str, Cluster], plans: Sequence[Plan]
) -> dict[str, NodeState]:
    """Return the state of every node of these plans by key, with one question to each cluster."""
    nodes = {node.key: (node, plan) for plan in plans for node in plan.values()}
    open_nodes = {key: entry for key, entry in nodes.items() if not registry.is_done(*entry)}
    submissions = {key: registry.load_submissions(key) for key in open_nodes}
    jobs = _load_job_states(clusters, submissions)
    states: dict[str, NodeState] = {}
    for key, (node, plan) in nodes.items():
        last = submissions[key][-1] if submissions.get(key) else None
        job = jobs.get((last.cluster, last.job), UNKNOWN) if last else UNKNOWN
        # The job may have ended well between the look at its run and the cluster's answer.
        has_ended = last is not None and job.phase in ("ended", "unknown")
        is_done = key not in open_nodes or (has_ended and registry.is_done(node, plan))
        run = registry.find_run(node, plan)
        if is_done:
            attempts = get_last_attempt(run / "attempts") if run else 0
            states[key] = NodeState("done", run=run, attempts=attempts)
        else:
            states[key] = _judge(registry, node, plan, run=run, last=last, job=job, known=states)
    return states


def _load_job_states(
    clusters: Mapping[str, Cluster], submissions: Mapping[str, Sequence[Submission]]
) -> dict[tuple[str, str], JobState]:
    wanted: dict[str, set[str]] = {}
    for entries in submissions.values():
        if entries and entries[-1].job:
            wanted.setdefault(entries[-1].cluster, set()).add(entries[-1].job)
    return {
        (name, job): state
        for name, jobs in wanted.items()
        if name in clusters
        for job, state in clusters[name].load_states(jobs).items()
    }


def _judge(
    registry: Registry,
    node: Node,
    plan: Plan,
    *,
    run: Path | None,
    last: Submission | None,
    job: JobState,
    known: Mapping[str, NodeState],
) -> NodeState:
    attempts = run / "attempts" if run is not None else None
    num_attempts = get_last_attempt(attempts) if attempts else 0

    def say(state: State, detail: str) -> NodeState:
        return NodeState(
            state,
            detail,
            cluster=last.cluster if last else "",
            job=last.job if last else "",
            log=last.log if last else "",
            run=run,
            attempts=num_attempts,
        )

    holder = RunLock(attempts).find_holder() if attempts is not None else 0
    if last is not None and job.phase == "running":
        return say("running", describe_attempt(attempts, num_attempts))
    if last is not None and job.phase == "pending":
        return say("queued", _describe_pending(job, num_attempts))
    if holder:
        # Somebody else may be at it (`dvc repro`, a colleague): then it is not that job.
        last = last if last and _get_job(attempts, holder) == last.job else None
        return say("running", describe_attempt(attempts, holder))
    if last is not None:
        return say(*_judge_ended(registry, node, run=run, last=last, job=job))
    for name, entry in node.step.inputs.items():
        maker = known[plan[entry.maker].key] if entry.maker else None
        if maker is not None and maker.state != "done":
            return say("waits", f"for {entry.maker} {plan[entry.maker].key[:12]}")
        if node.outside.get(name, "").startswith(MISSING):
            return say("waits", f"for {entry.path}")
    if num_attempts:
        return say("stopped", f"{describe_attempt(attempts, num_attempts)}, goes on from there")
    return say("to do", "")


def _judge_ended(
    registry: Registry, node: Node, *, run: Path | None, last: Submission, job: JobState
) -> tuple[State, str]:
    reason = registry.load_error(node.key) or _load_end(run)
    if job.phase == "unknown":
        if not last.job:
            known = f"; {reason}" if reason else ""
            return "lost", f"the launcher was killed while it asked for this job{known}"
        if time.time() - last.submitted < UNSEEN_SECONDS and not reason:
            return "queued", f"job {last.job} is not listed yet"
        known = f"; the run says: {reason}" if reason else ""
        return "lost", f"job {last.job} is known to neither squeue nor sacct{known}"
    if job.state.startswith("CANCELLED"):
        return "cancelled", job.reason or "scancel, or a job before it failed"
    ended = " ".join(word for word in (job.state, job.reason) if word)
    return "failed", f"{ended}: {reason}" if reason else ended


def describe_attempt(attempts: Path | None, number: int) -> str:
    """Who is (or was last) at a run."""
    if attempts is None or not number:
        return "starting"
    note = load_json(get_attempt_path(attempts, number))
    return f"attempt {number} on {note.get('nodes') or note.get('host', 'an unknown host')}"


def _get_job(attempts: Path | None, number: int) -> str:
    """Return the job that an attempt belongs to."""
    note = load_json(get_attempt_path(attempts, number)) if attempts is not None else {}
    return str(note.get("job", ""))


def _describe_pending(job: JobState, attempts: int) -> str:
    again = f", after {attempts} attempt(s)" if attempts else ""
    return f"{job.reason or job.state.lower()}{again}"


def _load_end(run: Path | None) -> str:
    """Return what the last attempt said when it ended."""
    if run is None or (run / RESULT_NAME).exists():
        return ""
    number = get_last_attempt(run / "attempts")
    path = get_end_path(run / "attempts", number)
    return str(load_json(path).get("reason", "")) if number and path.exists() else ""
