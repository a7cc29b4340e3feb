"""Training state in one file that any world size and any ZeRO stage can read.

Own format, because DeepSpeed's fails us here: its checkpoints need the same number of processes,
and its universal ones drop every buffer. All tensors are whole, fp32, by parameter name.

A checkpoint is `step-00001200.pt` beside `step-00001200.pt.sha256`. Both are written atomically,
the digest first: killed in between, there is no file yet. A file without a matching digest is torn,
and the one before it is used.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vills.distributed import barrier, broadcast_object, is_main
from vills.errors import UserError
from vills.io import compute_sha256, list_paths, open_atomic

FOLDER = "checkpoints"
"""Name of the folder in a run's work folder."""
KEEP = 2
"""Checkpoints kept: the newest, and the one to fall back to if it is torn."""
_NAME = re.compile(r"step-(\d{8,})\.pt$")
_log = logging.getLogger(__name__)


def save_checkpoint(
    folder: Path, state: dict[str, Any], *, step: int, guard: Callable[[], None]
) -> None:
    """Commit `state` as the newest checkpoint; rank 0 writes, all ranks wait.

    Args:
        folder: where checkpoints lie.
        state: tensors, numbers, strings, and dictionaries and lists of them.
        step: steps done.
        guard: called right before the file takes its name; it raises if this process has lost
            the run to another attempt.
    """
    if is_main():
        path = folder / f"step-{step:08d}.pt"
        with open_atomic(path) as temporary:
            torch.save(state, temporary)
            digest = compute_sha256(temporary)
            guard()
            with open_atomic(_sidecar(path)) as sidecar:
                sidecar.write_text(digest + "\n")
        _prune(folder)
    barrier()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the newest intact checkpoint, the same on all ranks; None if there is none at all.

    Raises:
        UserError: if there are checkpoints and every one of them is damaged.
    """
    path = broadcast_object(_find_intact(folder) if is_main() else None)
    if path is None:
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files, newest first, intact or not."""
    found = {int(m[1]): p for p in list_paths(folder, "step-*.pt") if (m := _NAME.search(p.name))}
    return [found[step] for step in sorted(found, reverse=True)]


def _find_intact(folder: Path) -> Path | None:
    paths = list_checkpoints(folder)
    for path in paths:
        sidecar = _sidecar(path)
        if sidecar.is_file() and sidecar.read_text().strip() == compute_sha256(path):
            return path
        _log.warning("checkpoint %s is damaged: using the previous one", path.name)
    if paths:
        raise UserError(
            f"all {len(paths)} checkpoints in {folder} are damaged. What to do: delete that folder "
            "to start this run from the beginning."
        )
    return None


def _prune(folder: Path) -> None:
    for path in list_checkpoints(folder)[KEEP:]:
        # The digest goes first: a file without one is never taken for intact.
        _sidecar(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
