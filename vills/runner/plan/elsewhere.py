"""Stages of `dvc repro` on a cluster: asked for as jobs, waited for or left, then collected.

    VILLS_CLUSTER=slurm dvc repro    each heavy stage becomes a job, and DVC waits for it
    vills repro --detach             the whole DAG is asked for at once; DVC collects what is done

DVC itself stays on the login node, and a job never holds one of its locks. What a job left is
collected as if it had been computed here: the same run, the same checks against drift.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from vills.config.checks import check_choice
from vills.config.params import Params
from vills.errors import UserError
from vills.runner.plan.board import OVER, NodeState
from vills.runner.plan.context import VARIABLE, Desk, choose_cluster
from vills.runner.plan.nodes import Node, Plan, build_steps, select_steps
from vills.runner.plan.submit import Wanted
from vills.runner.work.progress import ProgressLine
from vills.runner.work.ranks import load_ranks

DETACH = "VILLS_DETACH"
"""Set by `vills repro --detach`: a stage that is not done ends with status 75 at once."""
LIGHT = ("report",)
"""Stages that are done here in any case."""
POLL_SECONDS = 2.0


class SubmittedError(UserError, RuntimeError):
    """The work is a job now; the same command collects it when that is done."""

    exit_status = 75


class JobFailedError(UserError, RuntimeError):
    """The job is over and left no result."""


def get_cluster_name() -> str:
    """Where stages of `dvc repro` run: VILLS_CLUSTER; empty: here, as one of several ranks."""
    if load_ranks().world_size > 1:
        return ""
    return choose_cluster() if os.environ.get(VARIABLE) else ""


def compute_elsewhere(project: Path, *, params: Params, name: str, progress: ProgressLine) -> None:
    """See that a stage is computed by a job, and come back when it is.

    A stage that is done already, or that is light, is left to the caller.

    Raises:
        SubmittedError: with VILLS_DETACH, when it is not done yet.
        JobFailedError: when its job is over without a result.
    """
    if name.partition("@")[0] in LIGHT:
        return
    desk = Desk(project)
    plan = desk.planner.build_plan(select_steps(build_steps(params), [name]))
    node = plan[name]
    state = look_at(desk, plan)[node.key]
    detached = os.environ.get(DETACH) == "1"
    if state.state == "done":
        return
    if not detached:
        state = _submit_one(desk, plan, params=params, node=node, progress=progress)
    while state.state != "done":
        if state.state in OVER:
            raise JobFailedError(
                f"{name}: {state.state}, {state.detail} (log: {desk.runs / state.log}). What to "
                "do: mend it and give the same command again; it goes on where the job was."
            )
        if detached:
            raise SubmittedError(
                f"{name} is {state.state} ({state.detail or 'no job yet'}). What to do: give the "
                "same command again later; it collects what is done."
            )
        progress(f"job {state.job} {state.state}: {state.detail}", 0, 0)
        time.sleep(POLL_SECONDS)
        state = look_at(desk, plan)[node.key]


def submit_dag(
    project: Path, *, params: Params, cluster: str, targets: Sequence[str] = (), retry: bool = False
) -> Plan:
    """Ask for every stage of params.yaml that is not done; what is going on is left alone.

    Args:
        project: The project's folder.
        params: Its parameters.
        cluster: Whom to ask.
        targets: Stages, of one data set or of all; with what they need. None: all.
        retry: Whether what is over without a result is asked for again.

    Raises:
        ConfigError: if there is no such stage.
    """
    desk = Desk(project)
    steps = build_steps(params)
    for target in targets:
        allowed = [name for step in steps for name in (step.stage, step.name)]
        check_choice("stage", target, dict.fromkeys(allowed), "name stages of params.yaml")
    names = [s.name for s in steps if not targets or {s.stage, s.name} & set(targets)]
    steps = [step for step in select_steps(steps, names) if step.stage not in LIGHT]
    plan = desk.planner.build_plan(steps)
    with desk.hold_lock():
        registry, board = desk.open_board()
        submitter = desk.open_submitter(registry, cluster)
        wanted = Wanted(plan, lambda: params, "params.yaml")
        submitter.submit([wanted], board.look([plan]), retry=retry)
    return plan


def look_at(desk: Desk, plan: Plan) -> dict[str, NodeState]:
    """States of a plan's nodes, now."""
    _, board = desk.open_board()
    return board.look([plan])


def _submit_one(
    desk: Desk, plan: Plan, *, params: Params, node: Node, progress: ProgressLine
) -> NodeState:
    """Ask for one node, whose makers DVC has had computed; once more if its last job is over."""
    with desk.hold_lock():
        registry, board = desk.open_board()
        submitter = desk.open_submitter(registry, choose_cluster(), say=progress.say)
        wanted = Wanted(plan, lambda: params, "params.yaml")
        submitter.submit([wanted], board.look([plan]), retry=True)
    return look_at(desk, plan)[node.key]
