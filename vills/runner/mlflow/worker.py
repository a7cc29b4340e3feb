"""MLflow in a process of its own, which can neither stop nor distort what it is told about.

    python -m vills.runner.mlflow.worker run FOLDER EVERY --uri URI --experiment NAME
    python -m vills.runner.mlflow.worker sweep --uri URI --experiment NAME < VIEW.json

Importing MLflow costs two seconds and 150 MB that neither a training process nor a launcher should
pay, and a server that hangs is waited for by the child alone. The first replays a run's folder
until its standard input ends: it sees that also when the stage is killed, replays what is committed
a last time, and ends. The second prints a line of JSON per run that is up to date. The last line of
either says how it went.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vills.io import DiskFullError, load_json, save_json
from vills.runner.mlflow.replay import SweepView, SyncResult, load_sweep_view, sync_run, sync_view
from vills.runner.mlflow.settings import LIMITS, TrackingSettings, holds_run

EVERY_SECONDS = 30.0
PATIENCE_SECONDS = 10.0
FIRST_SECONDS = 2.0
LAST_SECONDS = 120
NICENESS = 10
TRACKED_NAME = "tracked.json"


class Syncer:
    """Replays a run's folder beside a stage.

    Enter it before the run and leave it after, so that the last replay sees how the run ended.
    """

    def __init__(
        self,
        folder: Path,
        settings: TrackingSettings | None,
        *,
        every: float = EVERY_SECONDS,
        patience: float = PATIENCE_SECONDS,
        progress: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ) -> None:
        self.result: SyncResult | None = None
        self._folder = folder
        self._settings = settings
        self._every = every
        self._patience = patience
        self._progress = progress
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the child, unless tracking is off or the store holds the finished run already."""
        if self._settings is None or self._is_tracked():
            return self
        words = ("run", str(self._folder.resolve()), str(self._every))
        try:
            self._child = _start(self._settings, *words)
        except OSError as error:
            self._warn(f"no process for it ({error})")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the child replay a last time, for no longer than the patience."""
        if self._child is None:
            return
        try:
            answer, _ = self._child.communicate(timeout=self._patience)
        except subprocess.TimeoutExpired:
            # It is left to itself: a slow store still gets everything, a deaf one ends it soon.
            self._warn(f"no answer for {self._patience:.0f} s, still trying in the background")
            return
        finally:
            self._child = None
        self._read_answer(answer)

    def _read_answer(self, answer: bytes) -> None:
        try:
            self.result = SyncResult(**json.loads(answer.splitlines()[-1]))
        except (IndexError, ValueError, TypeError):
            self._warn("its process ended early")
            return
        if not self.result.ok:
            self._warn(self.result.reason)
            return
        state = self._describe_store()
        if state is not None:
            # What cannot be noted on a full disk is only looked up again next time.
            with suppress(DiskFullError):
                save_json(self._folder / TRACKED_NAME, {**state, "run_id": self.result.run_id})

    def _warn(self, reason: str) -> None:
        assert self._settings is not None
        self._progress(
            f"tracking: {self._settings.uri} is not up to date ({reason}); the run is not touched, "
            "its journal holds every point, and `vills track` sends it later"
        )

    def _is_tracked(self) -> bool:
        path = self._folder / TRACKED_NAME
        state = self._describe_store()
        if state is None or not path.exists():
            return False
        noted = load_json(path)
        run_id = noted.pop("run_id", "")
        return noted == state and holds_run(state["uri"], run_id)

    def _describe_store(self) -> dict[str, Any] | None:
        """Return what a finished run's last replay went into; None while it is not finished."""
        result = self._folder / "result.json"
        if not result.exists():
            return None
        assert self._settings is not None
        return {
            "uri": self._settings.uri,
            "experiment": self._settings.experiment,
            "finished_ms": load_json(result)["finished_ms"],
        }


def sync_in_process(
    view: SweepView, settings: TrackingSettings, *, patience: float
) -> tuple[SyncResult, Mapping[str, str]]:
    """Run the sync of a view beside this process, for no longer than `patience` seconds.

    Returns:
        How it went, and MLflow's ids of the runs that are up to date, by label (empty: the parent).
    """
    try:
        child = _start(settings, "sweep")
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


def _start(settings: TrackingSettings, *words: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "vills.runner.mlflow.worker", *words]
    return subprocess.Popen(
        [*command, "--uri", settings.uri, "--experiment", settings.experiment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**LIMITS, **os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C ends whoever started it; the child sees that by its pipe
    )


def _read_output(output: bytes, otherwise: str) -> tuple[SyncResult, dict[str, str]]:
    synced: dict[str, str] = {}
    for row in output.split(b"\n")[:-1]:
        line = json.loads(row)
        if "label" not in line:
            return SyncResult(**line), synced
        synced[line["label"]] = line["run_id"]
    return SyncResult(ok=False, reason=otherwise, run_id=synced.get("", "")), synced


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the child process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "sweep"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("every", type=float, nargs="?")
    parser.add_argument("--uri", required=True)
    parser.add_argument("--experiment", required=True)
    options = parser.parse_args(arguments)
    settings = TrackingSettings(options.uri, options.experiment)
    if options.what == "run":
        result = _follow_run(options.folder, settings, every=options.every)
    else:
        result = _sync_sweep(settings)
    with suppress(BrokenPipeError):  # the parent did not wait
        print(json.dumps(asdict(result)), flush=True)
    return 0


def _follow_run(folder: Path, settings: TrackingSettings, *, every: float) -> SyncResult:
    """Replay now and then, and a last time when the parent closes the pipe or dies."""
    os.nice(NICENESS)
    wait = min(FIRST_SECONDS, every)
    while not _has_ended(wait):
        sync_run(folder, settings)
        wait = every
    # The kernel ends this process if a store takes longer than any store should.
    signal.alarm(LAST_SECONDS)
    return sync_run(folder, settings)


def _has_ended(seconds: float) -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


def _sync_sweep(settings: TrackingSettings) -> SyncResult:
    answers = sys.stdout

    def note(label: str, run_id: str) -> None:
        print(json.dumps({"label": label, "run_id": run_id}), file=answers, flush=True)

    view = load_sweep_view(json.load(sys.stdin))
    with redirect_stdout(sys.stderr):  # MLflow says there where a run can be seen
        return sync_view(view, settings, note=note)


if __name__ == "__main__":
    sys.exit(main())
