"""What the leader tells the other ranks of a stage: which run it is, and that it may be worked on.

The leader names the run (that may hash terabytes) and waits for its lock; meanwhile the others read
one small file again and again. A collective would time out there.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vills.io import load_json, save_json
from vills.runner.work.ranks import Ranks

FOLDER = "_groups"
POLL_SECONDS = 0.2
OLD_SECONDS = 86_400.0


def announce(runs: Path, ranks: Ranks, content: dict[str, Any]) -> None:
    """Tell the other ranks; the word stays for those that come late."""
    if ranks.world_size == 1:
        return
    path = _get_path(runs, ranks)
    save_json(path, content)
    newest = path.stat().st_mtime
    for other in path.parent.glob("*.json"):
        if newest - other.stat().st_mtime > OLD_SECONDS:
            other.unlink(missing_ok=True)


@contextmanager
def hand_off(runs: Path, ranks: Ranks, content: dict[str, Any]) -> Iterator[None]:
    """Let the other ranks begin; nobody reads the word after the work that all have shared."""
    announce(runs, ranks, content)
    try:
        yield
    finally:
        if ranks.world_size > 1:
            _get_path(runs, ranks).unlink(missing_ok=True)


def await_handoff(runs: Path, ranks: Ranks) -> dict[str, Any]:
    """Wait for the leader's word.

    There is no time-out: whoever started the ranks ends them all when one fails (srun's
    --kill-on-bad-exit, torchrun, our queue).
    """
    path = _get_path(runs, ranks)
    while not path.exists():
        time.sleep(POLL_SECONDS)
    return load_json(path)


def _get_path(runs: Path, ranks: Ranks) -> Path:
    return runs / FOLDER / f"{ranks.token}.json"
