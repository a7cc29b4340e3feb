"""Units of work, rendered here or in several processes."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process

import cv2
import pyarrow as pa

from vills.config.miniature import MiniatureConfig
from vills.miniature.layouts import LAYOUTS
from vills.miniature.sink import Sink

_AHEAD = 2  # units per process that are handed out; what is done waits for the writer in memory


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a data set that is rendered at once."""

    dataset: str
    number: int


@dataclass(frozen=True, slots=True)
class RenderedUnit:
    """A unit with all that it consists of."""

    unit: Unit
    files: Mapping[str, bytes]
    """By path below the data set's folder."""
    tables: Mapping[str, pa.Table]
    """By kind."""


def render_unit(config: MiniatureConfig, unit: Unit) -> RenderedUnit:
    """Render one unit; depends on nothing but the arguments."""
    sink = Sink()
    LAYOUTS[unit.dataset].render_unit(config, unit.number, sink)
    return RenderedUnit(unit, sink.files, sink.build_tables())


def render_units(
    config: MiniatureConfig, units: Sequence[Unit], *, workers: int
) -> Iterator[RenderedUnit]:
    """Yield each unit once it is rendered, with several workers in any order."""
    workers = min(workers, len(units))
    if workers <= 1:
        yield from (render_unit(config, unit) for unit in units)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_process) as pool:
        left = iter(units)
        running: set[Future[RenderedUnit]] = set()
        try:
            while True:
                free = _AHEAD * workers - len(running)
                running |= {pool.submit(render_unit, config, unit) for unit in islice(left, free)}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(cancel_futures=True)


def _start_process() -> None:
    # One thread each: processes share the cores already.
    cv2.setNumThreads(1)
    parent = parent_process()
    assert parent is not None, "only a child process is started this way"

    def follow() -> None:
        parent.join()
        os._exit(1)

    # A pool's processes outlive a killed parent and wait for work for ever.
    threading.Thread(target=follow, daemon=True).start()
