"""`vills run`, `vills repro`, `vills status`: stages done here or on a cluster, then published.

    vills run STAGE                  what DVC or a person names, here
    VILLS_CLUSTER=slurm dvc repro    each heavy stage becomes a job, and DVC waits for it
    vills repro --detach             the whole DAG is asked for at once; DVC collects what is done

DVC itself stays on the login node, and a job never holds one of its locks. What a job left is
collected as if it had been computed here: the same run, the same checks against drift.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vills.config.checks import ConfigError, check_choice
from vills.config.load import load_params
from vills.config.params import Params
from vills.config.tracking import load_tracking_settings
from vills.errors import UserError
from vills.io import find_json, get_runs_root
from vills.pipeline import ARTIFACTS, Stage
from vills.progress import ProgressLine
from vills.runner.clusters.jobs import VARIABLE, ClusterError, select_cluster
from vills.runner.plan.context import LaunchContext, Submitter
from vills.runner.plan.nodes import Plan, Step, build_steps, select_steps
from vills.runner.plan.states import OVER
from vills.runner.store.result import find_journal_problem, find_recorded, find_result
from vills.runner.work.ranks import load_ranks
from vills.runner.work.stage import (
    Recorded,
    StageCall,
    check_item,
    load_stage,
    run_call,
)

DETACH = "VILLS_DETACH"
"""Set by `vills repro --detach`: a stage that is not done ends with status 75 at once."""
LIGHT = ("report",)
"""Stages that are done here in any case."""
POLL_SECONDS = 2.0
SUBMITTED = 75
"""EX_TEMPFAIL: nothing failed, not everything is done."""


def launch_stage(project: Path, *, stage: str, item: str = "") -> None:
    """Run `stage` (of data set `item`), or collect it if it is finished.

    With VILLS_CLUSTER=slurm the work is done by a job, and waited for.

    Raises:
        ConfigError: if the stage, its item, its parameters or its inputs are not there.
        RunError: if something changed meanwhile, or the run was taken over.
    """
    params = load_params(project)
    definition = load_stage(stage)
    check_item(definition, params, item)
    name, runs = f"{stage}@{item}" if item else stage, get_runs_root(project)
    inputs = find_inputs(project, definition, params=params, item=item)
    recorded = _find_recorded(project, name, params=params, runs=runs)
    tracking = load_tracking_settings(project)
    call = StageCall(definition, item, project, inputs, runs, project, tracking, recorded)
    progress = ProgressLine(name)
    try:
        if get_cluster_name():
            compute_elsewhere(project, params=params, name=name, progress=progress)
        run = run_call(call, progress=progress)
        if run is not None:
            if problem := find_journal_problem(run.folder):
                progress.say(problem)
            for out, path in definition.outs(item).items():
                run.publish(project / path, part=out)
    finally:
        progress.close()


def find_inputs(project: Path, stage: Stage, *, params: Params, item: str) -> dict[str, Path]:
    """Return the inputs of a stage by name, as they lie in this project.

    Raises:
        ConfigError: if one is missing, saying what makes it.
    """
    inputs = {name: project / path for name, path in stage.inputs(params, item).items()}
    for name, path in inputs.items():
        if not path.exists():
            todo = "dvc repro, which runs the stages before it"
            if name.startswith("inventory_"):
                todo = f"vills data register {name.removeprefix('inventory_')}"
            raise ConfigError(
                f"input {name} of {stage.name} is missing: {path}. What to do: {todo}."
            )
    return inputs


def _find_recorded(project: Path, name: str, *, params: Params, runs: Path) -> Recorded:
    """Find what runs made of the inputs that were published here last."""
    (step,) = (step for step in build_steps(params) if step.name == name)
    found: Recorded = {}
    for key, entry in step.inputs.items():
        noted = project / ARTIFACTS / "metrics" / f"{entry.maker.replace('@', '_')}.json"
        run = runs / entry.maker.partition("@")[0] / str(find_json(noted).get("fingerprint"))
        found[key] = find_recorded(run / "out" / entry.part) if entry.maker else None
    return found


class SubmittedError(UserError, RuntimeError):
    """The work is a job now; the same command collects it when that is done."""

    exit_status = SUBMITTED


def get_cluster_name() -> str:
    """Where stages of `dvc repro` run: VILLS_CLUSTER; empty: here, as one of several ranks."""
    is_alone = load_ranks().world_size == 1
    return select_cluster() if is_alone and os.environ.get(VARIABLE) else ""


def compute_elsewhere(project: Path, *, params: Params, name: str, progress: ProgressLine) -> None:
    """See that a stage is computed by a job, and come back when it is.

    A stage that is done already, or that is light, is left to the caller.

    Raises:
        SubmittedError: with VILLS_DETACH, when it is not done yet.
        ClusterError: when its job is over without a result.
    """
    if _is_light(name.partition("@")[0], params):
        return
    context = LaunchContext(project)
    plan = context.planner.build_plan(select_steps(build_steps(params), [name]))
    key = plan[name].key
    detached = os.environ.get(DETACH) == "1"
    asked = detached  # with all other stages, by whoever set it
    while (state := context.compute_states([plan])[key]).state != "done":
        if not asked:
            # DVC has had its makers computed; it is asked for once more if its last job is over.
            cluster = select_cluster()
            _submit(context, plan, params=params, cluster=cluster, retry=True, say=progress.say)
            asked = True
        elif state.state in OVER:
            raise ClusterError(
                f"{name}: {state.state}, {state.detail} (log: {context.runs / state.log}). What to "
                "do: correct the cause and give the same command again; it continues where the job "
                "ended."
            )
        elif detached:
            raise SubmittedError(
                f"{name} is {state.state} ({state.detail or 'no job yet'}). What to do: give the "
                "same command again later; it collects what is done."
            )
        else:
            progress(f"job {state.job} {state.state}: {state.detail}", 0, 0)
            time.sleep(POLL_SECONDS)


def run_repro(
    project: Path, *, targets: Sequence[str], cluster: str, detach: bool, retry: bool
) -> int:
    """Run `dvc repro`; the exit status.

    With `detach` everything that is not done is asked for first, DVC collects what is done
    (`--keep-going`), and the status is 75 while jobs are left. DVC turns every stage's own status
    into 1, so what that means is read off the jobs.

    Raises:
        ConfigError: with `detach`, if there is no such stage.
    """
    chosen = select_cluster(cluster)
    environment = {**os.environ, VARIABLE: chosen}
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    if not detach:
        return subprocess.run(command, cwd=project, env=environment, check=False).returncode
    context = LaunchContext(project)
    params = load_params(project)
    plan = context.planner.build_plan(_select_heavy(params, targets))
    _submit(context, plan, params=params, cluster=chosen, retry=retry)
    # Looked at before DVC walks: a job that ends meanwhile is done, and still not collected.
    states = context.compute_states([plan])
    left = [name for name, node in plan.items() if states[node.key].state != "done"]
    status = subprocess.run(
        [*command, "--keep-going"], cwd=project, env={**environment, DETACH: "1"}, check=False
    ).returncode
    if status == 0:
        return 0
    states = LaunchContext(project).compute_states([plan])  # with what DVC has changed
    over = {n: states[node.key] for n, node in plan.items() if states[node.key].state in OVER}
    for name, state in over.items():
        print(f"{name}: {state.state}, {state.detail}", file=sys.stderr)
    if over:
        print("correct the cause, then: vills repro --detach --retry failed", file=sys.stderr)
        return 1
    if left:
        print(f"submitted, not collected yet: {', '.join(left)}", file=sys.stderr)
        print("give the same command again later; it collects what is done", file=sys.stderr)
        return SUBMITTED
    return status


def _is_light(stage: str, params: Params) -> bool:
    return stage in LIGHT or not load_stage(stage).is_enabled(params)


def _select_heavy(params: Params, targets: Sequence[str]) -> list[Step]:
    """Select the steps of these stages (of one data set or of all; none: all) that are for jobs."""
    steps = build_steps(params)
    allowed = {name: None for step in steps for name in (step.stage, step.name)}
    for target in targets:
        check_choice("stage", target, allowed, "name stages of params.yaml")
    names = [s.name for s in steps if not targets or {s.stage, s.name} & set(targets)]
    return [step for step in select_steps(steps, names) if not _is_light(step.stage, params)]


def _submit(
    context: LaunchContext,
    plan: Plan,
    *,
    params: Params,
    cluster: str,
    retry: bool,
    say: Callable[[str], None] = print,
) -> None:
    """Ask for every stage of a plan that is not done; what is going on is left alone."""
    with context.hold_lock():
        states, wanted = context.compute_states([plan]), (plan, lambda: params, "params.yaml")
        Submitter(context, cluster, say=say).submit([wanted], states, retry=retry)


def describe_status(project: Path) -> str:
    """Describe every stage in a line, in the order of the DAG. Works on an empty clone.

    A line has the stage, the fingerprint of its run (the planned key while an input is still to be
    made), and how far it is; of one that was computed here, how long its last attempt took.
    """
    context = LaunchContext(project)
    params = load_params(project)
    plan = context.planner.build_plan(build_steps(params))
    states = context.compute_states([plan])
    width = max(map(len, plan))
    lines = []
    for name, node in plan.items():
        state = states[node.key]
        words = f"{state.state} {state.detail}".strip()
        if state.run is not None and state.state == "done":
            seconds = find_result(state.run).get("seconds", 0.0)
            words += f" in {seconds:.0f} s, attempt {state.attempts}"
        words += "" if load_stage(node.step.stage).is_enabled(params) else " (switched off)"
        lines.append(f"{name:{width}}  {state.get_name(node)}  {words}")
    return "\n".join(lines)
