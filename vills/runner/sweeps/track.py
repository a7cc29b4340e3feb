"""MLflow for people: replay all journals, serve the UI on loopback."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from vills.runner.mlflow.mlflow_sync import sync_run
from vills.runner.mlflow.settings import LIMITS, load_tracking_settings
from vills.runner.plan.context import Desk
from vills.runner.sweeps.sweep import list_records
from vills.runner.sweeps.sweeping import look_at_sweep
from vills.runner.sweeps.tracking import EVERY_SECONDS, sync_sweep
from vills.runner.work.stage import get_runs_root


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
    desk = Desk(project)
    failures = 0
    for name in list_records(desk.runs):
        record, state = look_at_sweep(desk, name)
        result = sync_sweep(desk, record, state, every=0.0, say=lambda text: None)
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
