"""`vills track`, `vills ui`, `launch.py reconcile`: MLflow for people.

The first replays all journals, the second serves the UI on loopback. The third ends runs that say
RUNNING or SCHEDULED while nobody is at them any more: `kill -9`, a dead node and scancel leave
nobody who could say how a run ended. What its folder says comes first, then its writer's lock, then
what the cluster says of its job; a job that nobody knows, and whose lock nobody holds, was killed.
Runs of which there is no folder here are another machine's, and are left alone.
"""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vills.config.checks import ConfigError
from vills.config.load import PARAMS_FILE
from vills.config.tracking import TrackingSettings, load_tracking_settings
from vills.io import build_file_uri, find_json, get_runs_root
from vills.progress import ProgressLine, open_notice
from vills.runner.clusters.jobs import UNKNOWN, JobState
from vills.runner.mlflow.replay import (
    OPEN,
    SyncResult,
    list_open_runs,
    run_safely,
    sync_run,
)
from vills.runner.mlflow.settings import LIMITS, Store, describe_error, open_store
from vills.runner.mlflow.tracked_run import (
    EXECUTION,
    FINGERPRINT,
    PARENT,
    STAGE,
    SWEEP,
    load_status,
    save_status,
)
from vills.runner.plan.context import LaunchContext
from vills.runner.store.lock import RunLock
from vills.runner.sweeps.explain import load_attempts
from vills.runner.sweeps.sweep import list_records
from vills.runner.sweeps.sweeping import load_sweep_state
from vills.runner.sweeps.tracked_runs import IDLE
from vills.runner.sweeps.tracking import (
    EVERY_SECONDS,
    SYNC_SECONDS,
    load_execution,
    sync_sweep,
)

if TYPE_CHECKING:
    from vills.runner.mlflow.choose import Run

HOST = "127.0.0.1"
WAITS = "[track] waits for the tracker; Ctrl-C ends it, and `vills track` then goes on from there"
Verdict = tuple[str, str]
"""`changed`, `alive`, `foreign` (no folder here) or `refused` (by the tracker); and what to say."""


def sync_all(project: Path) -> int:
    """Replay every run's journal, and bring every sweep up to date; 1 if a tracker refused one.

    It takes as long as the tracker does, and can be ended at any time: what the tracker has taken
    is not sent again.

    Raises:
        ConfigError: if there is nothing to send from, or nowhere to send to.
    """
    settings = load_asked_settings(project)
    runs, failures = get_runs_root(project), 0
    receipts = sorted(runs.glob("*/*/receipt.json"))
    if not receipts:
        print(f"no run in {runs}: nothing to send")
    with open_notice(WAITS), closing(ProgressLine("track")) as progress:
        store = check_store(settings) if receipts else None
        for number, receipt in enumerate(receipts, start=1):
            result = sync_run(receipt.parent, settings, store=store, patience=-1, progress=progress)
            label = f"{receipt.parent.parent.name} {receipt.parent.name[:12]}"
            progress.close()
            _print_result(label, result, done=f"{result.num_points} points")
            progress("runs", number, len(receipts))
            if not result.ok:
                failures += 1
                check_store(settings)  # if the fault is not this run's, no other is tried
        failures += _sync_sweeps(project, show=True, patience=None)
    return int(failures > 0)


def _print_result(label: str, result: SyncResult, *, done: str) -> None:
    print(f"{label}: {done if result.ok else result.reason}", flush=True)
    for note in result.notes:
        print(f"  {note}", flush=True)


def _sync_sweeps(
    project: Path, *, show: bool = False, patience: float | None = SYNC_SECONDS
) -> int:
    """Parents and children; the number of sweeps that a tracker refused."""
    context = LaunchContext(project)
    failures = 0
    for name in list_records(context.runs):
        result = _sync_record(context, name, patience=patience)
        if not result.ok or show:
            _print_result(f"sweep {name}", result, done="up to date")
        failures += not result.ok
    return failures


@run_safely  # one bad record stops no other, no UI
def _sync_record(
    context: LaunchContext, name: str, *, idle: str = IDLE, patience: float | None = SYNC_SECONDS
) -> SyncResult:
    state = load_sweep_state(context, name)
    return sync_sweep(
        context, state, every=0.0, idle=idle, patience=patience, say=lambda text: None
    )


def load_asked_settings(project: Path) -> TrackingSettings:
    """Load where curves go, for a command whose purpose is to send or show them.

    Raises:
        ConfigError: if tracking is off, or no project is here.
    """
    settings, runs = load_tracking_settings(project), get_runs_root(project)
    if settings is None:
        raise ConfigError("VILLS_TRACKING is off. Allowed: on. What to do: unset it.")
    if not runs.is_dir() and not (project / PARAMS_FILE).is_file():
        raise ConfigError(
            f"no project is here: neither {PARAMS_FILE} nor {runs}. What to do: go to the "
            "project's folder."
        )
    return settings


def check_store(settings: TrackingSettings) -> Store:
    """Open a store, or refuse one that takes no runs, once for all of them.

    Raises:
        ConfigError: with what it said, and what to do.
    """
    try:
        return open_store(settings)
    except Exception as error:
        raise ConfigError(f"{settings.public['uri']}: {describe_error(error)}") from error


def run_ui(project: Path, *, port: int) -> int:
    """Run MLflow's server on 127.0.0.1 until this process is stopped, and end it with this one.

    Meanwhile the points of all sweeps are brought up to date again and again.

    Raises:
        ConfigError: if it cannot be served: no project, or no store.
    """
    settings = load_asked_settings(project)
    check_store(settings)
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST]
    command += ["--port", str(port)]
    command += ["--default-artifact-root", build_file_uri(project.resolve() / "mlartifacts")]
    print(f"http://{HOST}:{port}", flush=True)
    # Ended like Ctrl-C; and in a group of its own, since MLflow leaves its workers behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _sync_sweeps(project)
    # not a word of the command, which `ps` shows everybody: an address may hold a password
    environment = {**LIMITS, **os.environ, "MLFLOW_BACKEND_STORE_URI": settings.uri}
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return server.wait(timeout=EVERY_SECONDS)
            _sync_sweeps(project)  # jobs send their own runs; points are for somebody here to send
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)


def sync_open_runs(context: LaunchContext, *, say: Callable[[str], None]) -> int:
    """Bring every open run of the tracker up to date, and end those that are over.

    Returns:
        Exit status: 1 if the tracker could not be asked, or refused something.
    """
    settings = load_asked_settings(context.project)
    counts: Counter[str] = Counter()
    try:
        store = open_store(settings)
        found = list_open_runs(store)
        stages = [run for run in found if STAGE in run.data.tags]
        sweeps = [run for run in found if STAGE not in run.data.tags]
        for kind, line in chain(
            # Stages first: what sweeps say follows from them.
            _reconcile_stages(context, settings, stages),
            _reconcile_sweeps(context, store, sweeps),
        ):
            counts[kind] += 1
            if line:
                say(line)
    except Exception as error:  # noqa: BLE001 - whatever a tracker does, it is told and no more
        say(f"the tracker refused: {describe_error(error)}")
        return 1
    say(
        f"{counts['changed']} run(s) changed; not changed: {counts['alive']} that still run, "
        f"{counts['foreign']} whose folder is not on this machine"
    )
    return int(counts["refused"] > 0)


def _compare(run: "Run", now: str, reason: str) -> Verdict:
    if now == run.info.status:
        return "alive", ""
    return "changed", f"{run.info.run_name}: {run.info.status} -> {now}, {reason}"


def _reconcile_stages(
    context: LaunchContext, settings: TrackingSettings, runs: Sequence["Run"]
) -> Iterator[Verdict]:
    looks = [load_sweep_state(context, name) for name in list_records(context.runs)]
    states = [found for look in looks for found in look.states.values()]
    active = {found.run.resolve() for found in states if found.is_active and found.run}
    folders = [_find_folder(context, run.data.tags) for run in runs]
    jobs = {
        folder: next((attempt["job"] for attempt in reversed([*load_attempts(folder)])), "")
        for folder in folders
        if folder is not None
    }
    asked = {job for job in jobs.values() if job}
    known = context.clusters["slurm"].load_states(asked) if asked else {}
    for run, folder in zip(runs, folders, strict=True):
        if folder is None:
            yield "foreign", ""
            continue
        reason = "according to its folder"
        is_held = RunLock(folder / "attempts").find_holder() or folder.resolve() in active
        if load_status(folder) in OPEN and not is_held:
            verdict, reason = find_job_end(jobs[folder], known.get(jobs[folder], UNKNOWN))
            if verdict:
                save_status(folder, verdict, reason=reason)
        result = sync_run(folder, settings)
        if result.ok:
            yield _compare(run, load_status(folder), reason)
        else:
            yield "refused", f"{run.info.run_name}: {result.reason}"


def _find_folder(context: LaunchContext, tags: Mapping[str, str]) -> Path | None:
    """Folder of a stage's run, if it is the very execution that the tracker shows."""
    folder = context.runs / tags[STAGE] / tags[FINGERPRINT]
    receipt = find_json(folder / "receipt.json", "execution")
    return folder if receipt and receipt["execution"] == tags.get(EXECUTION) else None


def find_job_end(job: str, state: JobState) -> tuple[str, str]:
    """MLflow's word for a run that nobody writes, and why; empty if its job goes on with it."""
    if not job:
        return "KILLED", "no process holds its lock"
    if state.phase in ("pending", "running"):
        return "", f"job {job} is {state.state}"
    if state.phase == "unknown":
        return "KILLED", f"no process holds its lock, and the cluster does not know job {job}"
    ended = " ".join(word for word in (state.state, state.reason) if word)
    word = "KILLED" if state.state.startswith(("CANCELLED", "PREEMPTED", "REVOKED")) else "FAILED"
    return word, f"job {job} is {ended}"


def _reconcile_sweeps(
    context: LaunchContext, store: Store, runs: Sequence["Run"]
) -> Iterator[Verdict]:
    execution = load_execution(context.runs)
    own = [run for run in runs if run.data.tags.get(EXECUTION) == execution]
    yield from [("foreign", "")] * (len(runs) - len(own))
    parents: dict[str, str | None] = {}
    """Id of the present parent by sweep; none without a record of it, None if nobody knows."""
    launched = list_records(context.runs)
    for name in sorted({run.data.tags[SWEEP] for run in own}.intersection(launched)):
        result = _sync_record(context, name, idle="KILLED")
        parents[name] = result.run_id if result.ok else None
        if not result.ok:
            yield "refused", f"sweep {name}: {result.reason}"
    still = list_open_runs(store)
    open_now = {run.info.run_id: run.info.status for run in still}
    for run in own:
        run_id, tags = run.info.run_id, run.data.tags
        now, parent = open_now.get(run_id, "ended"), parents.get(tags[SWEEP], "")
        if now == "ended" or parent is None or parent in (run_id, tags.get(PARENT)):
            yield _compare(run, now, "according to its runs")
        else:
            store[0].set_terminated(run_id, "KILLED")
            yield _compare(run, "KILLED", "its sweep was changed and launched again")
