"""Whether attempts get anywhere: what a run's folder holds at the start of each.

A job under a scheduler starts itself again after every time limit. One whose time limit is shorter
than the way to its next checkpoint would do so for ever, and leave nothing but a bill.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vills.io import load_json
from vills.runner.store.errors import StalledRunError
from vills.runner.store.lock import get_attempt_path, get_end_path

MARK = "progress"
"""Key of the mark among an attempt's notes."""
MAX_IDLE = 2
"""Attempts of one job in a row that may leave nothing new."""


def compute_progress_mark(folder: Path) -> str:
    """Digest of the names under work/ and out/: a checkpoint or a shard more is another mark."""
    names = sorted(
        str(Path(root, name).relative_to(folder))
        for part in ("work", "out")
        for root, _, files in os.walk(folder / part)
        for name in files
        if not name.startswith(".") and not name.endswith(".tmp")
    )
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def refuse_stalled(attempts: Path, *, attempt: int) -> None:
    """Stop a job that has been started again `MAX_IDLE` times and has added nothing since.

    A job that a person submits anew has another id, and starts with a clean slate.

    Raises:
        StalledRunError: saying how the last attempts ended.
    """
    own = _load(get_attempt_path(attempts, attempt))
    job = own.get("slurm_job")
    if not job:
        return
    idle = []
    for number in range(attempt - 1, 0, -1):
        earlier = _load(get_attempt_path(attempts, number))
        if earlier.get("slurm_job") != job or earlier.get(MARK) != own.get(MARK):
            break
        idle.append(number)
    if len(idle) < MAX_IDLE:
        return
    ends = "; ".join(f"attempt {number} {_describe_end(attempts, number)}" for number in idle)
    raise StalledRunError(
        f"{attempts.parent} makes no progress: {len(idle)} attempts of job {job} in a row left "
        f"nothing new ({ends}). What to do: see the job's log; give the job more time (timeout_min "
        "in slurm/*.yaml), or let it checkpoint more often "
        "(a shorter operation.checkpoint_minutes in params.yaml; the run keeps what it has); then "
        "submit again."
    )


def _describe_end(attempts: Path, attempt: int) -> str:
    end = _load(get_end_path(attempts, attempt))
    if not end:
        return "ended without a word (killed, or its node failed)"
    reason = str(end.get("reason", "")).splitlines()[0:1]
    return " ".join([str(end.get("status")), *reason])


def _load(path: Path) -> Mapping[str, Any]:
    return load_json(path) if path.exists() and path.stat().st_size else {}
