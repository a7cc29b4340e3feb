"""Units of work, rendered here or in several processes."""

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import islice

import cv2
import pyarrow as pa

from vills.config.miniature import MiniatureConfig
from vills.miniature.layouts import LAYOUTS
from vills.miniature.sink import Sink
from vills.runner.store.pool import open_pool

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
) -> Generator[RenderedUnit, None, None]:
    """Yield each unit once it is rendered, with several workers in any order; to be closed."""
    workers = min(workers, len(units))
    if workers <= 1:
        yield from (render_unit(config, unit) for unit in units)
        return
    # One thread each: processes share the cores already.
    with open_pool(workers, start=cv2.setNumThreads, arguments=(1,)) as pool:
        left = iter(units)
        running: set[Future[RenderedUnit]] = set()
        while True:
            free = _AHEAD * workers - len(running)
            running |= {pool.submit(render_unit, config, unit) for unit in islice(left, free)}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
