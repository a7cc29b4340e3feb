"""Entries and official splits of a source, in terms of its records."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from vills.data.files import save_table
from vills.data.layouts import PersonSplit, RawEntry
from vills.data.records import Manifest
from vills.io import atomic_path

ENTRIES_FILE = "entries.parquet"
SPLITS_FILE = "splits.json"
ENTRIES_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("name", pa.string()),
        ("pid", pa.int32()),
        ("record_ids", pa.list_(pa.string())),
    ]
)
"""A probe, or a subject of a gallery, and its records: none, if all its media were lost."""


def save_entries(
    folder: Path, entries: Sequence[RawEntry], *, manifest: Manifest
) -> dict[str, Any]:
    """Write the entries, in their order, and count them.

    Returns:
        By group: entries, their people, and the names of those without a record.
    """
    records = _find_records(manifest)
    ids = [[name for key in e.members for name in records.get(key, ())] for e in entries]
    columns = {
        "group": [entry.group for entry in entries],
        "name": [entry.name for entry in entries],
        "pid": [entry.pid for entry in entries],
        "record_ids": ids,
    }
    save_table(folder / ENTRIES_FILE, pa.table(columns, schema=ENTRIES_SCHEMA))
    report: dict[str, Any] = {}
    for group in sorted({entry.group for entry in entries}):
        rows = [i for i, entry in enumerate(entries) if entry.group == group]
        empty = [entries[i].name for i in rows if not ids[i]]
        report[group] = {
            "entries": len(rows),
            "people": len({entries[i].pid for i in rows}),
            "empty": {"count": len(empty), "named": empty},
        }
    return report


def save_splits(folder: Path, splits: Sequence[PersonSplit]) -> None:
    """Write the official splits: the people of training and test of each."""
    with atomic_path(folder / SPLITS_FILE) as temporary:
        temporary.write_text(json.dumps([asdict(split) for split in splits]) + "\n")


def _find_records(manifest: Manifest) -> dict[str, list[str]]:
    """Record ids, sorted, by what entries name: path, or video id."""
    found: dict[str, list[str]] = defaultdict(list)
    table = manifest.table
    columns = (table.column(name).to_pylist() for name in ("record_id", "origin", "video_id"))
    for record_id, origin, video_id in sorted(zip(*columns, strict=True)):
        found[video_id or origin].append(record_id)
    return found
