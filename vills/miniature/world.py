"""Render the miniature world, unit by unit; stopped anywhere, it goes on there."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq

from vills import areas
from vills.config.miniature import MiniatureConfig
from vills.miniature.files import replace_atomically, write_bytes
from vills.miniature.layouts import LAYOUTS
from vills.miniature.rendering import RenderedUnit, Unit, render_units
from vills.miniature.strays import write_strays
from vills.miniature.tables import SCHEMAS, write_table

Progress = Callable[[str, int, int], None]


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
    units = [
        Unit(name, number)
        for name in config.datasets
        for number in range(LAYOUTS[name].count_units(config))
    ]
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
    write_bytes(record, now.encode())


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
    for folder in {(root / file).parent for file in rendered.files}:
        folder.mkdir(parents=True, exist_ok=True)
    for file, data in rendered.files.items():
        # Not atomically: a unit without its marker is written again.
        (root / file).write_bytes(data)
    for kind, table in rendered.tables.items():
        with replace_atomically(marker.with_suffix(f".{kind}.parquet")) as temporary:
            pq.write_table(table, temporary)
    write_bytes(marker, json.dumps(list(rendered.files)).encode())


def _finish(config: MiniatureConfig, name: str, *, out: Path, state: Path) -> None:
    LAYOUTS[name].finish(config, out / name)
    write_strays(out / name)
    for kind in SCHEMAS:
        parts = [pq.read_table(part) for part in sorted((state / name).glob(f"*.{kind}.parquet"))]
        target = out / "truth" / f"{name}.parquet"
        if kind != "truth":
            target = out / name / "predictions" / f"{kind}.parquet"
        write_table(target, kind, parts)
