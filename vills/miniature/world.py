"""The embedded world, rendered unit by unit in one or several processes.

Stopped anywhere, `render_world` goes on there and leaves the same bytes.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from vills import areas
from vills.config.miniature import MiniatureConfig
from vills.miniature import kinetics, ltcc, luperson, market1501, mars, prcc, prid2011, sigset
from vills.miniature.sink import SCHEMAS, Sink, encode_table
from vills.runner.store.interrupt import open_pool

Progress = Callable[[str, int, int], None]
_AHEAD = 2  # units per process that are handed out; what is done waits for the writer in memory

# Files that do not belong to a data set and are found in many a copy: readers pass over them.
_README, _FINDER, _EXPLORER, _APPLE = "readme.txt", ".DS_Store", "Thumbs.db", "__MACOSX"
_NOTE = b"A made-up copy of a data set: drawn people, no photographs.\n"
_FINDER_DATA = b"\x00\x00\x00\x01Bud1" + bytes(56)
_EXPLORER_DATA = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(56)
_APPLE_DATA = bytes.fromhex("0005160700020000") + bytes(56)


class Layout(Protocol):
    """A data set's writer: a module with these names.

    An item is what its module likes it to be (a person, a picture, a tracklet): items are rendered
    in any order, and rows of one picture come from one item.
    """

    UNIT: int
    """Items that are rendered at once."""

    def list_items(self, config: MiniatureConfig) -> Sequence[Any]:
        """Return what there is to render."""
        ...

    def render_item(self, config: MiniatureConfig, item: Any, sink: Sink) -> None:
        """Make the pictures of one item, and their rows."""
        ...

    def describe(self, config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
        """Return the files that describe the pictures below `root`, by path below it."""
        ...


LAYOUTS: Mapping[str, Layout] = {
    "luperson": luperson,
    "kinetics": kinetics,
    "market1501": market1501,
    "prcc": prcc,
    "ltcc": ltcc,
    "mars": mars,
    "prid2011": prid2011,
    "sigset": sigset,
}


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


def render_world(
    config: MiniatureConfig,
    *,
    out: Path,
    work: Path | None = None,
    progress: Progress | None = None,
    workers: int = 1,
) -> None:
    """Write the data sets of `config`, their predictions and their truth below `out`.

    Args:
        config: what to render; the same config gives the same bytes.
        out: `<dataset>/...` in official layouts, `<dataset>/predictions/`, `truth/`.
        work: where finished units are remembered; `out`/.work, removed at the end, when None.
        progress: called with a data set, units done and units in all.
        workers: processes that render; no byte depends on it.
    """
    state = work or out / ".work"
    _open_state(config, state=state, out=out)
    units = list_units(config)
    left = [unit for unit in units if not _is_done(unit, out=out, state=state)]
    done = len(units) - len(left)
    with closing(render_units(config, left, workers=workers)) as finished:
        for rendered in finished:
            _write_unit(rendered, out=out, state=state)
            done += 1
            if progress is not None:
                progress(rendered.unit.dataset, done, len(units))
    for name in config.datasets:
        _finish(config, name, out=out, state=state)
    if work is None:
        shutil.rmtree(state)


def list_units(config: MiniatureConfig) -> list[Unit]:
    """Return the units of all data sets of `config`."""
    return [
        Unit(name, number)
        for name in config.datasets
        for number in range(-(-len(LAYOUTS[name].list_items(config)) // LAYOUTS[name].UNIT))
    ]


def render_unit(config: MiniatureConfig, unit: Unit) -> RenderedUnit:
    """Render one unit; depends on nothing but the arguments."""
    sink, layout = Sink(), LAYOUTS[unit.dataset]
    start = unit.number * layout.UNIT
    for item in layout.list_items(config)[start : start + layout.UNIT]:
        layout.render_item(config, item, sink)
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


def write_strays(root: Path) -> None:
    """Leave what file managers and archivers leave below `root`, and a note on top.

    In the first of each folder's folders, down to the pictures, lie .DS_Store and at last
    Thumbs.db. __MACOSX has a resource fork for one picture of each, `._<name>`: no picture,
    whatever its suffix.
    """
    _write_bytes(root / _README, _NOTE)
    _write_bytes(root / _FINDER, _FINDER_DATA)
    for top in _list_folders(root):
        leaf = top
        while inner := _list_folders(leaf):
            _write_bytes(leaf / _FINDER, _FINDER_DATA)
            leaf = inner[0]
        for name in sorted({file.name for file in leaf.glob("[!.]*")} - {_EXPLORER})[:1]:
            _write_bytes(root / _APPLE / leaf.relative_to(root) / f"._{name}", _APPLE_DATA)
        _write_bytes(leaf / _EXPLORER, _EXPLORER_DATA)


def _list_folders(folder: Path) -> list[Path]:
    ours = (_APPLE, "predictions")
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in ours)


def _open_state(config: MiniatureConfig, *, state: Path, out: Path) -> None:
    """Start afresh unless `state` was left by the same parameters and the same code."""
    code = hashlib.sha256()
    for file in (*sorted(Path(__file__).parent.glob("*.py")), Path(areas.__file__)):
        code.update(file.read_bytes())
    now = json.dumps({"config": dataclasses.asdict(config), "code": code.hexdigest()}, indent=1)
    record = state / "state.json"
    if record.exists() and record.read_text() == now:
        return
    shutil.rmtree(state, ignore_errors=True)
    for name in (*LAYOUTS, "truth"):
        shutil.rmtree(out / name, ignore_errors=True)
    _write_bytes(record, now.encode())


def _get_marker(unit: Unit, state: Path) -> Path:
    return state / unit.dataset / f"{unit.number:05d}.json"


def _is_done(unit: Unit, *, out: Path, state: Path) -> bool:
    marker = _get_marker(unit, state)
    if not marker.exists():
        return False
    return all((out / unit.dataset / file).exists() for file in json.loads(marker.read_text()))


def _write_unit(rendered: RenderedUnit, *, out: Path, state: Path) -> None:
    """Write files, then tables, then the marker: it says that all else of its unit is there."""
    marker = _get_marker(rendered.unit, state)
    root = out / rendered.unit.dataset
    for folder in {marker.parent, *((root / file).parent for file in rendered.files)}:
        folder.mkdir(parents=True, exist_ok=True)
    # Not atomically: a unit without its marker is written again.
    for file, data in rendered.files.items():
        (root / file).write_bytes(data)
    for kind, table in rendered.tables.items():
        pq.write_table(table, marker.with_suffix(f".{kind}.parquet"))
    _write_bytes(marker, json.dumps(list(rendered.files)).encode())


def _finish(config: MiniatureConfig, name: str, *, out: Path, state: Path) -> None:
    root = out / name
    for path, data in LAYOUTS[name].describe(config, root).items():
        _write_bytes(root / path, data)
    write_strays(root)
    for kind in SCHEMAS:
        parts = [pq.read_table(part) for part in sorted((state / name).glob(f"*.{kind}.parquet"))]
        target = root / "predictions" / f"{kind}.parquet"
        if kind == "truth":
            target = out / "truth" / f"{name}.parquet"
        _write_bytes(target, encode_table(kind, parts))


def _write_bytes(path: Path, data: bytes) -> None:
    """Leave a whole file or none, whenever this is stopped, and nothing else once it is repeated.

    That is why the temporary file always has the same name, unlike that of `io.save_bytes`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
