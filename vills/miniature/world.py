"""Render the miniature world, one unit after the other; stopped anywhere, it goes on there."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq

from vills import areas
from vills.config.miniature import MiniatureConfig
from vills.miniature import kinetics, luperson, market1501, mars
from vills.miniature.files import replace_atomically, write_bytes
from vills.miniature.sink import Sink
from vills.miniature.tables import SCHEMAS, build_table, write_table

Progress = Callable[[str, int, int], None]


class Layout(Protocol):
    """A data set's writer: a module with these names."""

    NAME: str

    def count_units(self, config: MiniatureConfig) -> int:
        """Return how many units it is rendered in."""
        ...

    def render_unit(self, config: MiniatureConfig, unit: int, sink: Sink) -> None:
        """Write the pictures of one unit, and hand over their rows."""
        ...

    def finish(self, config: MiniatureConfig, root: Path) -> None:
        """Write the files that describe the whole data set."""
        ...


# The cloth-changing sets (PRCC, LTCC), PRID2011 and BRIAR join here, each as a module like these.
LAYOUTS: Mapping[str, Layout] = {
    layout.NAME: layout for layout in (luperson, kinetics, market1501, mars)
}


def render_world(
    config: MiniatureConfig,
    *,
    out: Path,
    work: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Write the data sets of `config`, their predictions and their truth below `out`.

    Args:
        config: what to render; the same config gives the same bytes.
        out: `<dataset>/...` in official layouts, `<dataset>/predictions/`, `truth/`.
        work: where finished units are remembered; `out`/.work, removed at the end, when None.
        progress: called with a label, units done and units in all.
    """
    state = work or out / ".work"
    _open_state(config, state=state, out=out)
    total = sum(LAYOUTS[name].count_units(config) for name in config.datasets)
    done = 0
    for name in config.datasets:
        for unit in range(LAYOUTS[name].count_units(config)):
            _render_unit(config, name, unit, out=out, state=state)
            done += 1
            if progress is not None:
                progress(name, done, total)
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


def _render_unit(config: MiniatureConfig, name: str, unit: int, *, out: Path, state: Path) -> None:
    marker = state / name / f"{unit:05d}.json"
    if marker.exists() and all((out / name / f).exists() for f in json.loads(marker.read_text())):
        return
    sink = Sink(out / name)
    LAYOUTS[name].render_unit(config, unit, sink)
    for kind, rows in sink.rows.items():
        with replace_atomically(marker.with_suffix(f".{kind}.parquet")) as temporary:
            pq.write_table(build_table(kind, rows), temporary)
    # Last: a marker says that all else of its unit is there.
    write_bytes(marker, json.dumps(sink.files).encode())


def _finish(config: MiniatureConfig, name: str, *, out: Path, state: Path) -> None:
    LAYOUTS[name].finish(config, out / name)
    for kind in SCHEMAS:
        parts = [pq.read_table(part) for part in sorted((state / name).glob(f"*.{kind}.parquet"))]
        target = out / "truth" / f"{name}.parquet"
        if kind != "truth":
            target = out / name / "predictions" / f"{kind}.parquet"
        write_table(target, kind, parts)
