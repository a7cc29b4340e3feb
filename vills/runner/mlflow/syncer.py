"""Curves that can be watched while a stage runs, and that can neither stop nor distort it.

The replay runs in a child process: importing MLflow costs two seconds and 150 MB that a training
process should not pay, a server that hangs is waited for by the child alone, and the child
sees the end of its standard input when the stage is killed, replays what is committed, and ends.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vills.io import DiskFullError, load_json, save_json
from vills.runner.mlflow.database import holds_run
from vills.runner.mlflow.mlflow_sync import SyncResult
from vills.runner.mlflow.settings import LIMITS, TrackingSettings

EVERY_SECONDS = 30.0
PATIENCE_SECONDS = 10.0
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
        command = [
            sys.executable,
            "-m",
            "vills.runner.mlflow.sync_worker",
            str(self._folder.resolve()),
        ]
        command += ["--uri", self._settings.uri, "--experiment", self._settings.experiment]
        try:
            self._child = subprocess.Popen(
                [*command, "--every", str(self._every)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**LIMITS, **os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C ends the stage; the child sees that by its pipe
            )
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
        """What a finished run's last replay went into; None while it is not finished."""
        result = self._folder / "result.json"
        if not result.exists():
            return None
        assert self._settings is not None
        return {
            "uri": self._settings.uri,
            "experiment": self._settings.experiment,
            "finished_ms": load_json(result)["finished_ms"],
        }
