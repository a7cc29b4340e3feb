"""Files of the evaluate stage: what one model leaves per protocol and split, and the out."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vills.data.files import save_table
from vills.distributed import broadcast_object, is_main
from vills.evaluation.per_query import FILE, SCHEMA, build_per_query
from vills.evaluation.protocols import ProtocolResult, Row
from vills.evaluation.ranking import VERDICTS
from vills.io import list_paths, open_atomic


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
) -> None:
    """Save what model `name` found under one protocol on one split."""
    if with_ranking:
        _save_ranking(part / "ranking" / get_ranking_name(name, result.protocol), result)
    if with_queries:
        save_table(part / FILE, build_per_query(result, name=name))
    # scores last: what has scores is complete
    save_json(part / "rows.json", rows)


def load_rows(part: Path) -> list[Row] | None:
    """Load the rows that an earlier attempt finished; one answer for all ranks."""
    path = part / "rows.json"
    own = json.loads(path.read_text()) if is_main() and path.is_file() else None
    rows: list[Row] | None = broadcast_object(own)
    return rows


def load_queries(building: Path) -> pa.Table:
    """Load what each query found, of all parts that kept it."""
    paths = list_paths(building, f"*/{FILE}")
    tables = [pq.read_table(path, schema=SCHEMA) for path in paths]
    return pa.concat_tables([SCHEMA.empty_table(), *tables])


def save_parts(
    out: Path, results: object, queries: pa.Table, *, building: Path, remove: bool
) -> None:
    """Put the finished parts' files under their names in `out`."""
    for source in list_paths(building, "*/*/*.parquet"):
        with open_atomic(out / source.parent.name / source.name) as temporary:
            shutil.copyfile(source, temporary)
    if queries.num_rows:
        save_table(out / FILE, queries.combine_chunks())
    save_json(out / "results.json", results)
    if remove:
        shutil.rmtree(building)


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
