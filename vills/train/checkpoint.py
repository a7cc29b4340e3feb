"""Training state in one file that any world size and any ZeRO stage can read.

Own format, because DeepSpeed's fails us here: its checkpoints need the same number of processes,
and its universal ones drop every buffer. All tensors are whole, fp32, by parameter name.

A checkpoint is `step-00001200.pt`, sealed (`vills.parts`) by `step-00001200.pt.seal`. One that is
torn or damaged is set aside as `step-00001200.pt.damaged`, and the one before it is used; without
any the training begins anew. Nothing is deleted then: people may know better what to do with it.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vills.distributed import barrier, broadcast_object, is_main
from vills.io import open_atomic
from vills.parts import SUFFIX, load_intact, save_seal
from vills.refusals import list_paths

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
            guard()
            # sealed before it takes its name: killed in between, there is no file yet
            save_seal(_get_seal(path), [path.name], locate=lambda _: temporary)
        _prune(folder)
    barrier()


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the newest intact checkpoint, the same on all ranks; None if there is none."""
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
        if load_intact(_get_seal(path), locate=folder.joinpath):
            return path
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        _get_seal(path).unlink(missing_ok=True)
        _log.warning("checkpoint %s is damaged: it is not used, but kept as %s", path, aside.name)
    if paths:
        _log.warning("no checkpoint in %s is whole: this training begins anew", folder)
    return None


def _prune(folder: Path) -> None:
    for path in list_checkpoints(folder)[KEEP:]:
        # The seal goes first: a file without one is never taken for intact.
        _get_seal(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _get_seal(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)
