"""Loader processes: how they are started, and that the scheduler's signals pass them by."""

import os
import threading
from collections.abc import Generator
from functools import partial
from multiprocessing import active_children, get_context
from multiprocessing.synchronize import Semaphore
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from vills.config.checks import ConfigError
from vills.runner.store.interrupt import shielded

Batch = TypeVar("Batch")
VARIABLE = "VILLS_WORKER_START"
METHODS = ("fork", "spawn")


def get_start_method() -> str:
    """VILLS_WORKER_START: fork (the default) or spawn; no result depends on it.

    Forked workers start in milliseconds and share manifests and masks with their parent. Spawned
    ones import torch again and hold copies; they are for where forking is unsafe, as beside
    libraries whose threads or devices do not survive it.

    Raises:
        ConfigError: if it is neither.
    """
    method = os.environ.get(VARIABLE) or METHODS[0]
    if method not in METHODS:
        raise ConfigError(
            f"{VARIABLE} = {method!r} is not allowed. Allowed: {', '.join(METHODS)}. "
            f"What to do: export {VARIABLE}={METHODS[1]}, or unset it."
        )
    return method


def iterate_shielded(
    batches: Dataset[Batch], *, numbers: range, workers: int
) -> Generator[Batch, None, None]:
    """Items `numbers` of `batches`, in order, made by `workers` processes (0: by this one).

    Close it to end early: when it is closed, its processes are gone.

    Raises:
        ConfigError: if VILLS_WORKER_START is not allowed.
    """
    method = get_start_method()
    if not workers:
        yield from DataLoader(batches, batch_size=None, sampler=numbers)
        return
    others = active_children()
    with shielded(method):
        end = get_context(method).Semaphore(0)
        loader: DataLoader[Batch] = DataLoader(
            batches,
            batch_size=None,
            sampler=numbers,
            num_workers=workers,
            multiprocessing_context=method,
            worker_init_fn=partial(_await_end, end),
        )
        iterator: Any = iter(loader)
    started = [child for child in active_children() if child not in others]
    try:
        yield from iterator
    finally:
        # Torch waits 5 s for each worker that is in the middle of a batch, one after the other, and
        # its last resort, SIGTERM, is blocked in there. So they are told to drop what they do.
        for _ in started:
            end.release()
        # Not left to the garbage collector: an error's traceback keeps the iterator alive.
        iterator._shutdown_workers()
        for child in started:
            child.kill()  # one that is still starting listens to nobody
            child.join()


def _await_end(end: Semaphore, _worker: int) -> None:
    """In a worker: exit as soon as the loader is closed; nothing that it holds outlives it."""

    def wait() -> None:
        end.acquire()
        os._exit(0)  # torch takes any other status for a failure

    threading.Thread(target=wait, daemon=True).start()
