"""The child process of `syncer.py`: replays a run's folder until its standard input ends.

    python -m vills.runner.mlflow.sync_worker FOLDER --uri URI --experiment NAME --every SECONDS

It ends with the last line of its output saying how the last replay went.
"""

import argparse
import json
import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from vills.runner.mlflow.mlflow_sync import sync_run
from vills.runner.mlflow.settings import TrackingSettings

FIRST_SECONDS = 2.0
NICENESS = 10
LAST_SECONDS = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay now and then, and a last time when the parent closes the pipe or dies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--every", type=float, required=True)
    options = parser.parse_args(arguments)
    os.nice(NICENESS)
    settings = TrackingSettings(options.uri, options.experiment)
    wait = min(FIRST_SECONDS, options.every)
    while not _has_ended(wait):
        sync_run(options.folder, settings)
        wait = options.every
    # The kernel ends this process if a store takes longer than any store should.
    signal.alarm(LAST_SECONDS)
    result = sync_run(options.folder, settings)
    with suppress(BrokenPipeError):  # the parent did not wait
        print(json.dumps(asdict(result)), flush=True)
    return 0


def _has_ended(seconds: float) -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


if __name__ == "__main__":
    sys.exit(main())
