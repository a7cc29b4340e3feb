"""Templates of a sigset: several images and tracklets that are one entry of a query or gallery.

Legend: n templates, m records, D feature width.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import Entries
from vills.evaluation.protocols.base import ProtocolError, TestData
from vills.evaluation.ranking import IntArray

PROBE = "probe"
"""Group of the query."""


@dataclass(frozen=True, slots=True)
class Templates:
    """One group: the probes, or a gallery."""

    group: str
    names: tuple[str, ...]
    pids: IntArray
    """[n]."""
    members: tuple[IntArray, ...]
    """Rows of each template's records, ascending; empty if all its media were lost."""

    @property
    def first_records(self) -> IntArray:
        """Row of each template's first record, [n]; -1 if it has none."""
        return np.array([rows[0] if len(rows) else -1 for rows in self.members], dtype=np.int64)

    def pool(self, features: FloatArray) -> FloatArray:
        """[m, D] features of records -> [n, D]: the mean of the members' L2-normalised features.

        Members without a feature (NaN) are passed over; a template with none left is NaN.
        """
        norms = np.sqrt(np.square(features.astype(np.float64)).sum(axis=1, keepdims=True))
        units = features / np.where(norms > 0, norms, 1.0)  # NaN norms stay NaN
        pooled = np.full((len(self.members), features.shape[1]), np.nan)
        for number, rows in enumerate(self.members):
            found = units[rows][~np.isnan(units[rows]).any(axis=1)]
            if len(found):
                pooled[number] = found.mean(axis=0)
        return pooled.astype(np.float32)


def load_templates(data: TestData) -> tuple[Templates, list[Templates], Entries]:
    """Probes, galleries in the order of their names, and the records that they are made of.

    Raises:
        ProtocolError: no templates, no probe, no gallery, or a member that is not in the data.
    """
    if data.entries is None or data.entries.num_rows == 0:
        raise ProtocolError(
            "protocol 'sigset' needs templates, but this data set has none (entries.parquet). "
            "What to do: use layout = sigset for the source, or other protocols."
        )
    records, where = _find_records(data)
    table = data.entries.select(["group", "name", "pid", "record_ids"])
    groups = sorted(set(table.column("group").to_pylist()))
    by_group = {group: _build_group(table, group, where) for group in groups}
    probes = by_group.pop(PROBE, None)
    if probes is None or not by_group:
        raise ProtocolError(
            f"protocol 'sigset' needs a group {PROBE!r} and a gallery; the templates have "
            f"{', '.join(groups)}. What to do: look at the sigset files' names (probe..., "
            "gallery...)."
        )
    return probes, list(by_group.values()), records


def _find_records(data: TestData) -> tuple[Entries, dict[str, int]]:
    """Records of all templates, each once, and the row of each."""
    assert data.entries is not None
    wanted = {name for names in data.entries.column("record_ids").to_pylist() for name in names}
    joined = data.query.join(data.gallery)
    ids = joined.ids
    rows = np.array([row for row, name in enumerate(ids) if name in wanted], dtype=np.int64)
    records = joined.take(rows)
    where = {name: row for row, name in enumerate(records.ids)}
    missing = sorted(wanted - where.keys())
    if missing:
        raise ProtocolError(
            f"{len(missing)} members of templates are neither in query nor in gallery, first "
            f"{missing[0]!r}. What to do: run the curate stage again."
        )
    return records, where


def _build_group(table: pa.Table, group: str, where: dict[str, int]) -> Templates:
    rows = [row for row in table.to_pylist() if row["group"] == group]
    members = [sorted(where[name] for name in row["record_ids"]) for row in rows]
    return Templates(
        group,
        tuple(str(row["name"]) for row in rows),
        np.array([row["pid"] for row in rows], dtype=np.int64),
        tuple(np.array(rows, dtype=np.int64) for rows in members),
    )
