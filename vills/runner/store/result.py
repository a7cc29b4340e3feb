"""The result: digests of a complete run's outputs, and what to do when they do not match."""

import shutil
from pathlib import Path
from typing import Any

from vills.io import load_json
from vills.runner.store.digest import DigestCache, compute_listing
from vills.runner.store.interrupt import InterruptedRunError

RESULT_NAME = "result.json"
CHECKPOINTS_NAME = "checkpoints"


def load_result(folder: Path) -> dict[str, Any]:
    """Read a run's result: `outputs`, `metrics`, `artifacts`, `attempt`, `seconds`.

    Raises:
        FileNotFoundError: when the run is not complete.
    """
    return load_json(folder / RESULT_NAME)


def find_damage(folder: Path, cache: DigestCache) -> list[str]:
    """List outputs of a complete run that are missing, changed or not recorded."""
    try:
        recorded: dict[str, str] = load_result(folder)["outputs"]
    except (ValueError, KeyError):
        return [RESULT_NAME]
    found = compute_listing(folder / "out", cache)
    names = sorted({*recorded, *found})
    return [name for name in names if recorded.get(name) != found.get(name)]


def discard_outputs(folder: Path) -> None:
    """Make a complete run incomplete, so that it is built again.

    Of `work/` only the checkpoints are kept: they carry their own checksums, while a list of
    finished shards would speak of shards that are gone.
    """
    # First the result: killed half-way, the run is then simply not complete.
    (folder / RESULT_NAME).unlink()
    shutil.rmtree(folder / "out", ignore_errors=True)
    work = folder / "work"
    for path in work.iterdir() if work.is_dir() else ():
        if path.name == CHECKPOINTS_NAME:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def describe_end(error: BaseException | None, *, complete: bool) -> tuple[str, str]:
    """Status and reason of an attempt that ended with `error`, or without one."""
    if error is None:
        return ("finished" if complete else "failed"), ""
    if isinstance(error, InterruptedRunError):
        return "interrupted", str(error)[:2000]
    status = "failed" if isinstance(error, Exception) else "killed"
    return status, f"{type(error).__name__}: {error}"[:2000]
