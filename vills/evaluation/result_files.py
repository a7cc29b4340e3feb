"""Files of the evaluate stage: what one model leaves per protocol and split, and the out.

What was found is sealed (`vills.parts`) with its ranking, its queries and the features behind it.
"""

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vills.data.files import save_table
from vills.distributed import broadcast_object, is_main
from vills.evaluation.per_query import FILE, SCHEMA, build_per_query
from vills.evaluation.protocols import ProtocolResult, Row
from vills.evaluation.ranking import VERDICTS
from vills.io import open_atomic
from vills.parts import SUFFIX, load_intact, load_seal, save_seal

ROWS = f"rows{SUFFIX}"


def build_slug(name: str) -> str:
    """Keep lower case letters and digits with - between them: TransReID_SSL -> transreid-ssl."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()


def get_ranking_name(row: str, protocol: str) -> str:
    """Name the file of the ranked lists of a model under a protocol."""
    return f"{build_slug(row)}_{protocol}.parquet"


def save_part(
    part: Path,
    rows: Sequence[Row],
    result: ProtocolResult,
    *,
    name: str,
    with_ranking: bool,
    with_queries: bool,
    features: Iterable[Path],
) -> None:
    """Save what model `name` found under one protocol on one split, by which `features`."""
    files = list(features)
    if with_ranking:
        files.append(part / "ranking" / get_ranking_name(name, result.protocol))
        _save_ranking(files[-1], result)
    if with_queries:
        files.append(part / FILE)
        save_table(files[-1], build_per_query(result, name=name))
    building = part.parent
    names = sorted(path.relative_to(building).as_posix() for path in files)
    save_seal(part / ROWS, names, locate=building.joinpath, value=rows)


def load_rows(part: Path) -> list[Row] | None:
    """Load the rows of a part that an earlier attempt finished, and that is whole; all ranks."""
    seal = load_intact(part / ROWS, locate=part.parent.joinpath) if is_main() else None
    rows: list[Row] | None = broadcast_object(seal.value if seal else None)
    return rows


def list_files(parts: Sequence[Path]) -> list[Path]:
    """List the files that finished parts are sealed with, in the order of their names."""
    seals = [(part.parent, load_seal(part / ROWS)) for part in parts]
    return sorted({folder / name for folder, seal in seals if seal for name in seal.files})


def load_queries(files: Sequence[Path]) -> pa.Table:
    """Load what each query found, of all parts that kept it."""
    paths = [path for path in files if path.name == FILE]
    tables = [pq.read_table(path, schema=SCHEMA) for path in paths]
    return pa.concat_tables([SCHEMA.empty_table(), *tables])


def save_parts(out: Path, results: object, queries: pa.Table, *, files: Sequence[Path]) -> None:
    """Put the finished parts' files under their names in `out`."""
    for source in files:
        if source.name != FILE:
            with open_atomic(out / source.parent.name / source.name) as temporary:
                shutil.copyfile(source, temporary)
    if queries.num_rows:
        save_table(out / FILE, queries.combine_chunks())
    save_json(out / "results.json", results)


def save_json(path: Path, content: object) -> None:
    """Write JSON atomically; NaN is refused."""
    with open_atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _save_ranking(path: Path, result: ProtocolResult) -> None:
    """Save a row per shown entry: query, frame (-1: whole record), position, entry, verdict."""
    lists = result.lists
    sizes = [len(top.gallery) for top in lists]
    queries = np.repeat(np.arange(len(lists)), sizes)
    positions = np.concatenate([np.arange(size) for size in sizes])
    entries = np.concatenate([top.gallery for top in lists])
    verdicts = np.concatenate([top.verdicts for top in lists])
    keys, gallery_ids = result.query.keys, np.array(result.gallery.ids)
    columns = {
        "query_id": pa.array([keys[row][0] for row in queries], pa.string()),
        "query_frame": pa.array([keys[row][1] for row in queries], pa.int32()),
        "position": pa.array(positions, pa.int32()),
        "gallery_id": pa.array(gallery_ids[entries].tolist(), pa.string()),
        "verdict": pa.array([VERDICTS[verdict] for verdict in verdicts], pa.string()),
        "distance": pa.array(np.concatenate([top.distances for top in lists]), pa.float32()),
    }
    save_table(path, pa.table(columns))
