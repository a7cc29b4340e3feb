"""A sync of a sweep in a process of its own, which ends when its time is up.

    python -m vills.runner.mlflow.sweep_worker --uri URI --experiment NAME < VIEW.json

It prints a line of JSON per run that is up to date, and a last one saying how it went. The launcher
does not import MLflow, and a server that hangs costs it no more than its patience.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict

from vills.runner.mlflow.mlflow_sync import SyncResult
from vills.runner.mlflow.settings import LIMITS, TrackingSettings
from vills.runner.mlflow.sweep_sync import SweepView, load_sweep_view, sync_view


def sync_in_process(
    view: SweepView, settings: TrackingSettings, *, patience: float
) -> tuple[SyncResult, Mapping[str, str]]:
    """Run the sync of a view beside this process, for no longer than `patience` seconds.

    Returns:
        How it went, and MLflow's ids of the runs that are up to date, by label (empty: the parent).
    """
    command = [sys.executable, "-m", "vills.runner.mlflow.sweep_worker"]
    command += ["--uri", settings.uri, "--experiment", settings.experiment]
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**LIMITS, **os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
    except OSError as error:
        return SyncResult(ok=False, reason=f"no process for it ({error})"), {}
    try:
        output, _ = child.communicate(json.dumps(asdict(view)).encode(), timeout=patience)
        late = ""
    except subprocess.TimeoutExpired:
        child.kill()
        output, _ = child.communicate()
        late = f"not done within {patience:.0f} s; the next sync goes on from there"
    except BaseException:
        child.kill()
        child.wait()
        raise
    return _read_output(output, late or f"its process ended with status {child.returncode}")


def _read_output(output: bytes, otherwise: str) -> tuple[SyncResult, dict[str, str]]:
    synced: dict[str, str] = {}
    for row in output.split(b"\n")[:-1]:
        line = json.loads(row)
        if "label" not in line:
            return SyncResult(**line), synced
        synced[line["label"]] = line["run_id"]
    return SyncResult(ok=False, reason=otherwise, run_id=synced.get("", "")), synced


def main(arguments: Sequence[str] | None = None) -> int:
    """Sync the view on standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--experiment", required=True)
    options = parser.parse_args(arguments)

    answers = sys.stdout

    def note(label: str, run_id: str) -> None:
        print(json.dumps({"label": label, "run_id": run_id}), file=answers, flush=True)

    view = load_sweep_view(json.load(sys.stdin))
    with redirect_stdout(sys.stderr):  # MLflow says there where a run can be seen
        result = sync_view(view, TrackingSettings(options.uri, options.experiment), note=note)
    print(json.dumps(asdict(result)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
