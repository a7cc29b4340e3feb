"""per_query.parquet: what each query found, so that models are compared later without features.

One line per valid query of each fine-tuned model under each protocol. docs/protocols.md shows how
a difference is pooled over runs (seeds), each with its own evaluate out.

Legend: V valid queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vills.data.files import read_table
from vills.errors import UserError
from vills.evaluation.bootstrap import Difference, PairedRun, compute_difference
from vills.evaluation.protocols.base import ProtocolResult
from vills.evaluation.rows import METRICS, PREFIX, REFERENCE, Row, list_families

FILE = "per_query.parquet"
WHOLE = -1
"""Split of a data set that has one alone."""
SCHEMA = pa.schema(
    {
        "protocol": pa.string(),
        "row": pa.string(),
        "split": pa.int32(),
        "rerank": pa.string(),
        "gallery_group": pa.string(),
        "query": pa.int32(),
        "pid": pa.int64(),
        "ap": pa.float64(),
        "r1": pa.float64(),
    }
)
"""row: model. rerank: on or off. gallery_group: of a sigset, else empty. query: its place among the
protocol's queries; those without a true match have no line."""
_KEY = ("split", "gallery_group", "query", "pid")


class PairingError(UserError, ValueError):
    """Two models cannot be compared query by query; the message says why."""


@dataclass(frozen=True, slots=True)
class RunPair:
    """Two models of one run (seed)."""

    ours: pa.Table
    """Lines of one model under one protocol (`select_queries`)."""
    other: pa.Table
    """Lines of the model that is subtracted."""
    world: str = ""
    """Whose test people they are; runs on the same people must say the same."""


def build_per_query(result: ProtocolResult, *, name: str) -> pa.Table:
    """Build the lines of one model under one protocol, on one split."""
    tables = [SCHEMA.empty_table()]
    for row, queries in zip(result.rows, result.queries, strict=True):
        if queries is not None:
            same = {
                "protocol": result.protocol,
                "row": name,
                "split": WHOLE if result.split is None else result.split,
                "rerank": str(row["rerank"]),
                "gallery_group": str(row.get("gallery_group", "")),
            }
            columns = {
                **{key: [value] * len(queries.rows) for key, value in same.items()},
                "query": queries.rows,
                **{"pid": queries.pids, "ap": queries.ap, "r1": queries.r1},
            }
            tables.append(pa.table(columns, schema=SCHEMA))
    return pa.concat_tables(tables)


def load_per_query(folder: Path) -> pa.Table:
    """Load the table of an evaluate out.

    Raises:
        PairingError: the out has none.
    """
    path = folder / FILE
    if not path.is_file():
        raise PairingError(
            f"{path} does not exist: results per query are unknown. What to do: run the "
            "evaluate stage again; it writes the file if a fine-tuned model is scored."
        )
    return read_table(path, remedy="run the evaluate stage again", schema=SCHEMA)


def select_queries(
    table: pa.Table,
    *,
    protocol: str,
    row: str,
    rerank: str = "off",
    split: int | None = None,
    gallery_group: str | None = None,
) -> pa.Table:
    """Lines of one model under one protocol.

    Args:
        table: of one evaluate out.
        protocol: key.
        row: model.
        rerank: on or off.
        split: of a data set of several; none: all, whose mean is the score.
        gallery_group: of a sigset; `mean of ...` and none: all that are averaged.

    Raises:
        PairingError: there is no such line.
    """
    wanted: dict[str, list[Any]] = {"protocol": [protocol], "row": [row], "rerank": [rerank]}
    if split is not None:
        wanted["split"] = [split]
    if gallery_group is not None:
        groups = pc.unique(table["gallery_group"]).to_pylist()
        wanted["gallery_group"] = list_families(groups).get(gallery_group, [gallery_group])
    chosen = table
    for column, values in wanted.items():
        chosen = chosen.filter(
            pc.is_in(chosen[column], pa.array(values, SCHEMA.field(column).type))
        )
    if not chosen.num_rows:
        found = sorted(set(zip(*(table[key].to_pylist() for key in wanted), strict=True)))
        names = "; ".join(", ".join(map(str, values)) for values in found) or "nothing"
        raise PairingError(
            f"per_query.parquet has no {', '.join(str(v) for vs in wanted.values() for v in vs)} "
            f"({', '.join(wanted)}). It has: {names}. What to do: name one of these."
        )
    return chosen


def load_pair(
    folder: Path,
    *,
    protocol: str,
    world: str = "",
    row: str = "finetuned",
    other: str = "scratch",
    other_folder: Path | None = None,
) -> RunPair:
    """Load two models of one run, without re-ranking, over all splits and galleries.

    Args:
        folder: evaluate out, artifacts/evaluate/<data set>.
        protocol: key.
        world: whose test people they are.
        row: model.
        other: model that is subtracted.
        other_folder: where it was scored; none: in the same out.

    Raises:
        PairingError: an out lacks the file, or the model.
    """
    table = load_per_query(folder)
    beside = table if other_folder is None else load_per_query(other_folder)
    return RunPair(
        select_queries(table, protocol=protocol, row=row),
        select_queries(beside, protocol=protocol, row=other),
        world,
    )


def compute_query_differences(pair: RunPair, *, metric: str = "mAP") -> PairedRun:
    """Subtract query by query; splits and galleries are parts of the run.

    Raises:
        PairingError: an unknown metric, or other queries.
    """
    if metric not in METRICS:
        raise PairingError(
            f"metric = {metric!r} is not kept per query. Allowed: {', '.join(METRICS)}. What to "
            "do: name one of these."
        )
    order = [(key, "ascending") for key in _KEY]
    ours, other = pair.ours.sort_by(order), pair.other.sort_by(order)
    keys = [(ours[key].to_numpy(), other[key].to_numpy()) for key in _KEY]
    if not all(np.array_equal(own, others) for own, others in keys):
        raise PairingError(
            f"the two models are not scored on the same queries ({ours.num_rows} and "
            f"{other.num_rows}, or of other people). What to do: evaluate both on one curated "
            "data set, under one protocol."
        )
    split, group = (np.unique(own, return_inverse=True)[1] for own, _ in keys[:2])
    column = METRICS[metric]
    return PairedRun(
        pids=ours["pid"].to_numpy(),
        differences=ours[column].to_numpy() - other[column].to_numpy(),
        parts=split * (group.max() + 1) + group,
        world=pair.world,
    )


def compute_pooled_difference(
    pairs: Sequence[RunPair], *, metric: str = "mAP", num_resamples: int = 2000, seed: int = 0
) -> Difference:
    """Compute the difference over several runs, with its 95 % interval over people and runs.

    Args:
        pairs: one per seed and world.
        metric: mAP or R-1.
        num_resamples: of people and runs.
        seed: of the resamples.

    Raises:
        PairingError: models on other queries, or runs of one world on other queries.
    """
    runs = [compute_query_differences(pair, metric=metric) for pair in pairs]
    try:
        return compute_difference(runs, num_resamples=num_resamples, seed=seed)
    except ValueError as error:
        raise PairingError(
            f"{error}. What to do: give runs on other test people another world."
        ) from error


def compute_differences(
    rows: Sequence[Row],
    table: pa.Table,
    *,
    num_resamples: int,
    seed: int,
) -> list[Row]:
    """Add to rows whose models are in `table` their difference to scratch, if it is there too.

    The row of a mean over splits or galleries has the mean difference: people are drawn once for
    all of them.

    Args:
        rows: as in results.json.
        table: what each query found (`load_per_query`).
        num_resamples: of people; 0 leaves the rows as they are.
        seed: of the resamples.
    """
    kept = set(table["row"].to_pylist()) - {REFERENCE}
    if not num_resamples or REFERENCE not in table["row"].to_pylist():
        return list(rows)
    added = []
    for row in rows:
        columns: Row = {}
        if row["row"] in kept:
            split, group = row.get("split"), row.get("gallery_group")
            ours, other = (
                select_queries(
                    table,
                    protocol=str(row["protocol"]),
                    row=name,
                    rerank=str(row["rerank"]),
                    split=split if isinstance(split, int) else None,
                    gallery_group=None if group is None else str(group),
                )
                for name in (str(row["row"]), REFERENCE)
            )
            for metric in METRICS:
                found = compute_pooled_difference(
                    [RunPair(ours, other)], metric=metric, num_resamples=num_resamples, seed=seed
                )
                columns[f"{PREFIX}{metric}"] = found.value
                if found.num_people > 1:
                    columns[f"{PREFIX}{metric}_low"] = found.low
                    columns[f"{PREFIX}{metric}_high"] = found.high
            columns[f"{PREFIX}people"] = found.num_people
        added.append({**row, **columns})
    return added
