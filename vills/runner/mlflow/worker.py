"""MLflow in a process of its own, which can neither stop nor distort what it is told about.

    python -m vills.runner.mlflow.worker FOLDER EVERY
    python -m vills.runner.mlflow.worker < RUNS.json

Where to is in the environment: `ps` shows everybody a command's words, maybe a password among them.
Importing MLflow costs two seconds and 150 MB that neither a training process nor a launcher should
pay, and a server that is slow or hangs is waited for by the child alone. The first replays a run's
folder until its standard input ends: it sees that also when the stage is killed, replays what is
committed a last time, notes what the tracker holds of a finished run, and ends. The second brings a
sweep up to date. The last line of either says how it went.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, astuple
from functools import partial
from pathlib import Path
from typing import Any

from vills.config.tracking import TrackingSettings, has_run, is_at_hand
from vills.io import find_json, save_own_json
from vills.refusals import DiskFullError
from vills.runner.mlflow.replay import SyncResult, run_safely, sync_run, sync_tracked_runs
from vills.runner.mlflow.settings import LIMITS
from vills.runner.mlflow.tracked_run import TrackedRun
from vills.runner.store.result import find_result

print_line = partial(print, file=sys.stderr, flush=True)
EVERY_SECONDS = 30.0
PATIENCE_SECONDS, MOMENT_SECONDS = 10.0, 0.5
FIRST_SECONDS = 2.0
LAST_SECONDS = 600
NICENESS = 10
DONE, FAILED = b"+", b"-"
"""What the child says of every replay but the last."""
TRACKED_NAME = "tracked.json"
NAMES = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME")
OUTPUT = 1
"""Descriptor of stdout."""


@contextmanager
def open_syncer(
    folder: Path,
    settings: TrackingSettings | None,
    *,
    every: float = EVERY_SECONDS,
    patience: float = PATIENCE_SECONDS,
    progress: Callable[[str], None] = print_line,
) -> Iterator[None]:
    """Replay a run's folder beside the stage that works on it, every so many seconds.

    Enter it before the run and leave it after, so that the last replay sees how the run ended. That
    one is waited for by `patience` seconds where the store is at hand, or has taken the last replay
    before; else for a moment, and it goes on by itself. Nothing is started with tracking off, or
    when the store holds the finished run already.
    """
    path = folder / TRACKED_NAME
    noted = find_json(path)
    state = _describe_finished(folder, settings) if settings is not None else {}
    is_tracked = bool(state) and state.items() <= noted.items()
    if settings is None or (is_tracked and has_run(settings.uri, noted.get("run_id", ""))):
        yield
        return
    child, result = None, SyncResult(ok=False, reason="cannot start its process")
    is_quick = is_at_hand(settings.uri)
    with suppress(OSError):
        child = _start(settings, str(folder.resolve()), str(every))
    try:
        yield
    finally:
        if child is not None:
            seconds = patience if is_quick or _has_answered(child) else MOMENT_SECONDS
            # It is left to itself: a slow store still gets everything, a deaf one ends it.
            late = f"no answer for {seconds:g} s, still trying in the background"
            result = _ask(child, patience=seconds, late=late)
        if not result.ok:
            progress(
                f"tracking: {settings.public['uri']} is not up to date ({result.reason}); the run "
                "is not affected; its journal has every point, and `vills track` sends it later"
            )


def _has_answered(child: "subprocess.Popen[bytes]") -> bool:
    """Whether the last replay that has ended went well."""
    assert child.stdout is not None
    ready, _, _ = select.select([child.stdout], [], [], 0.0)
    return bool(ready) and os.read(child.stdout.fileno(), 1 << 20).endswith(DONE)


def _describe_finished(folder: Path, settings: TrackingSettings) -> dict[str, Any]:
    """Return what a finished run's last replay went into; nothing while it is not finished."""
    result = find_result(folder)
    return {**settings.public, "finished_ms": result["finished_ms"]} if result else {}


@run_safely
def sync_in_process(
    tracked_runs: Sequence[TrackedRun], settings: TrackingSettings, *, patience: float | None
) -> SyncResult:
    """Run `sync_tracked_runs` beside this process, for no longer than `patience` seconds.

    None: as long as it takes.
    """
    late = f"not done within {patience} s; the next sync continues from there"
    text = json.dumps([asdict(run) for run in tracked_runs])
    with _start(settings) as child:
        try:
            return _ask(child, text.encode(), patience=patience, late=late)
        finally:
            child.kill()


def _start(settings: TrackingSettings, *words: str) -> "subprocess.Popen[bytes]":
    module = "vills.runner.mlflow.worker"
    return subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**LIMITS, **os.environ, "OMP_NUM_THREADS": "1"}
        | dict(zip(NAMES, astuple(settings), strict=True)),
        start_new_session=True,  # Ctrl-C ends whoever started it; the child sees that by its pipe
    )


def _ask(
    child: "subprocess.Popen[bytes]", text: bytes = b"", *, patience: float | None, late: str
) -> SyncResult:
    try:
        answer, _ = child.communicate(text, timeout=patience)
        return SyncResult(**json.loads(answer.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return SyncResult(ok=False, reason=late)
    except (IndexError, ValueError, TypeError):
        reason = f"its process ended early, with status {child.returncode}"
        return SyncResult(ok=False, reason=reason)


def main(arguments: Sequence[str]) -> int:
    """Be the child process."""
    settings, answers = TrackingSettings(*(os.environ[name] for name in NAMES)), sys.stdout
    with redirect_stdout(sys.stderr):  # MLflow says there where a run can be seen
        if arguments:
            result = _follow_run(Path(arguments[0]), settings, every=float(arguments[1]))
        else:
            result = sync_tracked_runs(
                [TrackedRun(**entry) for entry in json.load(sys.stdin)], settings
            )
    with suppress(BrokenPipeError):  # the parent did not wait
        print(f"\n{json.dumps(asdict(result))}", file=answers, flush=True)
    return 0


def _follow_run(folder: Path, settings: TrackingSettings, *, every: float) -> SyncResult:
    """Replay now and then, and a last time when the parent closes the pipe or dies."""
    os.nice(NICENESS)
    has_ended = threading.Event()

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        # The kernel ends this process if a store takes longer than any store should.
        signal.alarm(LAST_SECONDS)
        has_ended.set()

    threading.Thread(target=watch, daemon=True).start()
    wait = min(FIRST_SECONDS, every)
    while not has_ended.wait(wait):
        answer = DONE if sync_run(folder, settings).ok else FAILED
        with suppress(BrokenPipeError):
            os.write(OUTPUT, answer)
        wait = every
    state = _describe_finished(folder, settings)
    result = sync_run(folder, settings)
    if result.ok and state:
        # What cannot be noted on a full disk is only looked up again next time.
        with suppress(DiskFullError):
            save_own_json(folder / TRACKED_NAME, {**state, "run_id": result.run_id})
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
