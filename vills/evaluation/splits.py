"""Query and gallery of a curated folder, split by split."""

from collections.abc import Sequence
from pathlib import Path

from vills.data.reid import SPLITS_FILE, ReidData, load_test_data
from vills.evaluation.entries import Entries
from vills.evaluation.protocols.base import TestData


def build_test_data(data: ReidData, *, split: int | None = None) -> TestData:
    """What protocols see of a loaded data set."""
    query, gallery = (Entries(manifest, data.reader) for manifest in (data.query, data.gallery))
    return TestData(query, gallery, data.entries, split, data.left_out)


def load_test_sets(folder: Path, *, split_ids: Sequence[int]) -> dict[int, TestData]:
    """Split id -> query and gallery of all kinds of records; a data set of one split has 0 alone.

    Raises:
        ConfigError: a split does not exist.
    """
    several = (folder / SPLITS_FILE).is_file()
    return {
        split_id: build_test_data(
            load_test_data(folder, split_id=split_id), split=split_id if several else None
        )
        for split_id in split_ids
    }
