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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from vills.errors import UserError
from vills.io import load_json, save_json
from vills.runner.clusters.jobs import UNKNOWN, JobState
from vills.runner.mlflow.client import OPEN, OpenRun, end_open_run, list_open_runs
from vills.runner.mlflow.entry import (
    EXECUTION,
    FINGERPRINT,
    RECONCILED_NAME,
    SWEEP,
    load_run_record,
)
from vills.runner.mlflow.replay import PARENT, SyncResult, describe_error, sync_run
from vills.runner.mlflow.settings import LIMITS, TrackingSettings, load_tracking_settings
from vills.runner.plan.context import LaunchContext
from vills.runner.plan.states import NodeState
from vills.runner.store.lock import RunLock, get_attempt_path, get_last_attempt
from vills.runner.sweeps.notes import load_execution
from vills.runner.sweeps.sweep import FOLDER, list_records, load_record
from vills.runner.sweeps.sweeping import look_at_sweep
from vills.runner.sweeps.tracking import EVERY_SECONDS, SweepSnapshot, sync_snapshot, sync_sweep
from vills.runner.work.stage import get_runs_root

STAGE = "vills.stage"


def sync_all(project: Path) -> int:
    """Replay every run's journal, and bring every sweep up to date; 1 if a tracker refused one."""
    settings = load_tracking_settings(project)
    if settings is None:
        print("VILLS_TRACKING is off; unset it first")
        return 1
    failures = 0
    for receipt in sorted(get_runs_root(project).glob("*/*/receipt.json")):
        result = sync_run(receipt.parent, settings)
        label = f"{receipt.parent.parent.name} {receipt.parent.name[:12]}"
        print(f"{label}: {f'{result.num_points} points' if result.ok else result.reason}")
        failures += not result.ok
    return int(failures + _sync_sweeps(project, show=True) > 0)


def _sync_sweeps(project: Path, *, show: bool = False) -> int:
    """Parents and children; the number of sweeps that a tracker refused."""
    context = LaunchContext(project)
    failures = 0
    for name in list_records(context.runs):
        try:
            record, state = look_at_sweep(context, name)
            result = sync_sweep(context, record, state, every=0.0, say=lambda text: None)
        except (UserError, OSError, ValueError) as error:  # one bad record stops no other, no UI
            result = SyncResult(ok=False, reason=str(error))
        if not result.ok or show:
            print(f"sweep {name}: {'up to date' if result.ok else result.reason}")
        failures += not result.ok
    return failures


def serve_ui(project: Path, *, port: int) -> int:
    """Run MLflow's server on 127.0.0.1 until this process is stopped, and end it with this one.

    Meanwhile the points of all sweeps are brought up to date again and again.
    """
    settings = load_tracking_settings(project)
    assert settings is not None, "the UI has nothing to show with VILLS_TRACKING=off"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", settings.uri]
    command += ["--default-artifact-root", (project / "mlartifacts").resolve().as_uri()]
    print(f"http://127.0.0.1:{port}")
    # Ended like Ctrl-C; and in a group of its own, since MLflow leaves its workers behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _sync_sweeps(project)
    server = subprocess.Popen(command, env={**LIMITS, **os.environ}, start_new_session=True)
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                return server.wait(timeout=EVERY_SECONDS)
            _sync_sweeps(project)  # jobs send their own runs; points are for somebody here to send
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)


def reconcile_runs(context: LaunchContext, *, say: Callable[[str], None]) -> int:
    """Bring every open run of the tracker up to date, and end those that are over.

    Returns:
        Exit status: 1 if the tracker could not be asked, or refused something.
    """
    settings = load_tracking_settings(context.project)
    if settings is None:
        say("VILLS_TRACKING is off; unset it first")
        return 1
    reconciler = Reconciler(context, settings, say=say)
    try:
        reconciler.run()
    except Exception as error:  # noqa: BLE001 - whatever a tracker does, it is told and no more
        say(f"the tracker refused: {describe_error(error)}")
        return 1
    return int(reconciler.num_failed > 0)


class Reconciler:
    """One pass over the tracker's open runs."""

    def __init__(
        self, context: LaunchContext, settings: TrackingSettings, *, say: Callable[[str], None]
    ) -> None:
        self.num_failed = 0
        self._context = context
        self._settings = settings
        self._say = say
        self._changed = 0
        self._alive = 0
        self._foreign = 0
        self._active: dict[Path, NodeState] = {}

    def run(self) -> None:
        """Stages first: what sweeps say follows from them.

        Raises:
            Exception: whatever the tracker raises.
        """
        names = list_records(self._context.runs)
        for name in names:
            _, state = look_at_sweep(self._context, name)
            self._active |= {
                s.run.resolve(): s for s in state.states.values() if s.is_active and s.run
            }
        found = list_open_runs(self._settings)
        stages = [run for run in found if STAGE in run.tags]
        jobs = self._ask([run for run in stages if self._find_folder(run) is not None])
        for run in stages:
            self._reconcile_stage(run, jobs)
        self._reconcile_sweeps([run for run in found if STAGE not in run.tags])
        self._say(
            f"{self._changed} run(s) changed; left alone: {self._alive} that go on, "
            f"{self._foreign} of which there is no folder here"
        )

    def _find_folder(self, run: OpenRun) -> Path | None:
        """Folder of a stage's run, if it is the very execution that the tracker shows."""
        folder = self._context.runs / run.tags[STAGE] / run.tags[FINGERPRINT]
        receipt = folder / "receipt.json"
        if not receipt.exists() or load_json(receipt)["execution"] != run.tags.get(EXECUTION):
            return None
        return folder

    def _ask(self, runs: list[OpenRun]) -> dict[str, JobState]:
        folders = [self._find_folder(run) for run in runs]
        ids = {job for folder in folders if folder is not None and (job := load_job(folder))}
        return self._context.clusters["slurm"].load_states(ids) if ids else {}

    def _reconcile_stage(self, run: OpenRun, jobs: dict[str, JobState]) -> None:
        folder = self._find_folder(run)
        if folder is None:
            self._foreign += 1
            return
        reason = "as its folder says"
        record = load_run_record(folder)
        assert record is not None
        if record.status in OPEN:
            if RunLock(folder / "attempts").find_holder() or folder.resolve() in self._active:
                verdict = ""
            else:
                job = load_job(folder)
                verdict, reason = judge_job(job, jobs.get(job, UNKNOWN))
            attempt = get_last_attempt(folder / "attempts")
            if verdict and attempt:
                note = {"attempt": attempt, "status": verdict, "reason": reason}
                save_json(folder / RECONCILED_NAME, note)
        result = sync_run(folder, self._settings)
        if not result.ok:
            self.num_failed += 1
            self._say(f"{run.name}: {result.reason}")
            return
        now = load_run_record(folder)
        assert now is not None
        self._tell(run, now.status, reason)

    def _reconcile_sweeps(self, runs: list[OpenRun]) -> None:
        execution = load_execution(self._context.runs / FOLDER)
        own = [run for run in runs if run.tags.get(EXECUTION) == execution]
        self._foreign += len(runs) - len(own)
        names = sorted({run.tags[SWEEP] for run in own})
        parents = {name: self._sync(name) for name in names}
        open_now = {run.run_id: run.status for run in list_open_runs(self._settings)}
        for run in own:
            parent = parents[run.tags[SWEEP]]
            if run.run_id not in open_now:
                self._tell(run, "ended", "as its runs say")
            elif parent is None or parent in (run.run_id, run.tags.get(PARENT)):
                self._tell(run, open_now[run.run_id], "as its runs say")
            else:
                end_open_run(self._settings, run.run_id, status="KILLED")
                self._tell(run, "KILLED", "its sweep was launched anew with something changed")

    def _sync(self, name: str) -> str | None:
        """Return the present parent of a sweep; empty without one, None if nobody knows."""
        if load_record(self._context.runs, name) is None:
            return ""
        record, state = look_at_sweep(self._context, name)
        snapshot = SweepSnapshot(
            runs=self._context.runs,
            project=self._context.project,
            record=record,
            plans=state.plans,
            states=state.states,
            idle="KILLED",
        )
        result = sync_snapshot(snapshot, self._settings, force=True)
        if not result.ok:
            self.num_failed += 1
            self._say(f"sweep {name}: {result.reason}")
            return None
        return result.run_id

    def _tell(self, run: OpenRun, status: str, reason: str) -> None:
        if status == run.status:
            self._alive += 1
            return
        self._changed += 1
        self._say(f"{run.name}: {run.status} -> {status}, {reason}")


def judge_job(job: str, state: JobState) -> tuple[str, str]:
    """MLflow's word for a run that nobody writes, and why; empty if its job goes on with it."""
    if not job:
        return "KILLED", "nobody holds its lock"
    if state.phase in ("pending", "running"):
        return "", f"job {job} is {state.state}"
    if state.phase == "unknown":
        return "KILLED", f"nobody holds its lock and nobody knows job {job}"
    ended = " ".join(word for word in (state.state, state.reason) if word)
    word = "KILLED" if state.state.startswith(("CANCELLED", "PREEMPTED", "REVOKED")) else "FAILED"
    return word, f"job {job} is {ended}"


def load_job(folder: Path) -> str:
    """Return the SLURM job that last worked on a run; empty outside SLURM."""
    attempt = get_last_attempt(folder / "attempts")
    note = load_json(get_attempt_path(folder / "attempts", attempt)) if attempt else {}
    return str(note.get("job") or note.get("slurm_job") or "")
