"""The embedded world, rendered unit by unit in one or several processes.

Stopped anywhere, `render_world` goes on there and leaves the same bytes.
"""

import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from vills.config.miniature import MiniatureConfig
from vills.interrupt import open_pool
from vills.miniature import cloth_changing, market1501, prid2011, sigset, unlabelled
from vills.miniature.sink import SCHEMAS, Sink, encode_table
from vills.parts import SUFFIX, Locate, load_intact, save_seal
from vills.progress import Progress

_AHEAD = 2  # units per process that are handed out; what is done waits for the writer in memory

# Files that do not belong to a data set and are found in many a copy: readers pass over them.
_README, _FINDER, _EXPLORER, _APPLE = "readme.txt", ".DS_Store", "Thumbs.db", "__MACOSX"
_NOTE = b"A made-up copy of a data set: drawn people, no photographs.\n"
_FINDER_DATA = b"\x00\x00\x00\x01Bud1" + bytes(56)
_EXPLORER_DATA = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(56)
_APPLE_DATA = bytes.fromhex("0005160700020000") + bytes(56)


@dataclass(frozen=True, slots=True)
class Layout:
    """A data set's writer.

    An item is what it likes it to be (a person, a picture, a tracklet): items are rendered in any
    order, and rows of one picture come from one item.
    """

    unit: int
    """Items that are rendered at once."""
    list_items: Callable[[MiniatureConfig], Sequence[Any]]
    """What there is to render."""
    render_item: Callable[[MiniatureConfig, Any, Sink], None]
    """Makes the pictures of one item, and their rows."""
    describe: Callable[[MiniatureConfig, Path], Mapping[str, bytes]] = lambda config, root: {}
    """Files that describe the pictures below a root, by path below it."""


LAYOUTS: Mapping[str, Layout] = {
    "luperson": Layout(50, lambda c: range(c.num_luperson_images), unlabelled.render_crop_file),
    "kinetics": Layout(1, lambda c: range(c.num_scenes), unlabelled.render_scene),
    "market1501": Layout(10, market1501.list_people, market1501.render_person),
    "prcc": Layout(10, cloth_changing.list_prcc, cloth_changing.render_prcc),
    "ltcc": Layout(
        5, cloth_changing.list_ltcc, cloth_changing.render_ltcc, cloth_changing.describe_ltcc
    ),
    "mars": Layout(20, market1501.list_tracks, market1501.render_track, market1501.describe_mars),
    "prid2011": Layout(16, prid2011.list_tracks, prid2011.render_track, prid2011.describe),
    "sigset": Layout(16, sigset.list_media, sigset.render_medium, sigset.describe),
}


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a data set that is rendered at once."""

    dataset: str
    number: int


Rendered = tuple[Unit, Mapping[str, bytes], Mapping[str, pa.Table]]
"""A unit, its files by path below the data set's folder, and its tables by kind."""


def render_world(
    config: MiniatureConfig,
    *,
    out: Path,
    work: Path | None = None,
    progress: Progress | None = None,
    workers: int = 1,
) -> None:
    """Write the data sets of `config`, their predictions and their truth below `out`.

    That is `<dataset>/...` in official layouts, `<dataset>/predictions/` and `truth/`: the same
    bytes for the same config, whatever the number of processes. `work` remembers finished units,
    of this config and code alone; None: `out`/.work, removed at the end. `progress` is called with
    a data set, units done and units in all.
    """
    state = work or out / ".work"
    units = [
        Unit(name, number)
        for name in config.datasets
        for number in range(-(-len(LAYOUTS[name].list_items(config)) // LAYOUTS[name].unit))
    ]
    left = [
        unit
        for unit in units
        if not load_intact(_get_marker(unit, state), locate=_build_locate(unit, out, state))
    ]
    with closing(render_units(config, left, workers=workers)) as finished:
        for number, (unit, files, tables) in enumerate(finished, start=1):
            _write_unit(unit, files, tables, out=out, state=state)
            if progress is not None:
                progress(unit.dataset, len(units) - len(left) + number, len(units))
    for name in config.datasets:
        _finish(config, name, out=out, state=state)
    if work is None:
        shutil.rmtree(state, ignore_errors=True)


def render_unit(config: MiniatureConfig, unit: Unit) -> Rendered:
    """Render one unit; depends on nothing but the arguments."""
    sink, layout = Sink(), LAYOUTS[unit.dataset]
    start = unit.number * layout.unit
    for item in layout.list_items(config)[start : start + layout.unit]:
        layout.render_item(config, item, sink)
    tables = {k: pa.Table.from_pylist(rows, schema=SCHEMAS[k]) for k, rows in sink.rows.items()}
    return unit, sink.files, tables


def render_units(
    config: MiniatureConfig, units: Sequence[Unit], *, workers: int
) -> Generator[Rendered, None, None]:
    """Yield each unit once it is rendered, with several workers in any order; to be closed."""
    workers = min(workers, len(units))
    if workers <= 1:
        yield from (render_unit(config, unit) for unit in units)
        return
    # One thread each: processes share the cores already.
    with open_pool(workers, start=cv2.setNumThreads, arguments=(1,)) as pool:
        left = iter(units)
        running: set[Future[Rendered]] = set()
        while True:
            free = _AHEAD * workers - len(running)
            running |= {pool.submit(render_unit, config, unit) for unit in islice(left, free)}
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def save_strays(root: Path) -> None:
    """Leave what file managers and archivers leave below `root`, and a note on top.

    In the first of each folder's folders, down to the pictures, lie .DS_Store and at last
    Thumbs.db. __MACOSX has a resource fork for one picture of each, `._<name>`: no picture,
    whatever its suffix.
    """
    _write(root / _README, _NOTE)
    _write(root / _FINDER, _FINDER_DATA)
    for top in _list_folders(root):
        leaf = top
        while inner := _list_folders(leaf):
            _write(leaf / _FINDER, _FINDER_DATA)
            leaf = inner[0]
        for name in sorted({file.name for file in leaf.glob("[!.]*")} - {_EXPLORER})[:1]:
            _write(root / _APPLE / leaf.relative_to(root) / f"._{name}", _APPLE_DATA)
        _write(leaf / _EXPLORER, _EXPLORER_DATA)


def _list_folders(folder: Path) -> list[Path]:
    ours = (_APPLE, "predictions")
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in ours)


def _get_marker(unit: Unit, state: Path) -> Path:
    return state / unit.dataset / f"{unit.number:05d}{SUFFIX}"


def _build_locate(unit: Unit, out: Path, state: Path) -> Locate:
    """Tables of a unit lie beside its marker, its files in the data set."""
    marker = _get_marker(unit, state)
    tables = {marker.with_suffix(f".{kind}.parquet").name for kind in SCHEMAS}
    return lambda name: (marker.parent if name in tables else out / unit.dataset) / name


def _write_unit(
    unit: Unit,
    files: Mapping[str, bytes],
    tables: Mapping[str, pa.Table],
    *,
    out: Path,
    state: Path,
) -> None:
    """Write files, then tables, then the marker, which seals all else of its unit."""
    marker = _get_marker(unit, state)
    for file, data in files.items():
        _write(out / unit.dataset / file, data)
    marker.parent.mkdir(parents=True, exist_ok=True)
    names = list(files)
    for kind, table in tables.items():
        names.append(marker.with_suffix(f".{kind}.parquet").name)
        pq.write_table(table, marker.with_name(names[-1]))
    save_seal(marker, names, locate=_build_locate(unit, out, state))


def _finish(config: MiniatureConfig, name: str, *, out: Path, state: Path) -> None:
    root = out / name
    for path, data in LAYOUTS[name].describe(config, root).items():
        _write(root / path, data)
    save_strays(root)
    for kind in SCHEMAS:
        parts = [pq.read_table(part) for part in sorted((state / name).glob(f"*.{kind}.parquet"))]
        file = f"truth/{name}.parquet" if kind == "truth" else f"{name}/predictions/{kind}.parquet"
        _write(out / file, encode_table(kind, parts))


def _write(path: Path, data: bytes) -> None:
    """Write a file; not atomically, since all but a unit with its marker is written again.

    What is there is not written into: it may be another name of a published file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
