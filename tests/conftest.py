"""In which order tests run, and which are traced; real inputs are found, or skipped."""

import os
from pathlib import Path

import pytest

LONGEST = (
    "tests/torture/test_torture.py",
    "tests/pipeline/test_dag.py",
    "tests/runner/launch/test_ui.py",
    "tests/runner/launch/test_sweep_tracking.py",
)
UNTRACED = (
    *("tests/config", "tests/curation", "tests/data", "tests/evaluation", "tests/lse"),
    *("tests/miniature", "tests/models"),
    *("tests/train/test_meta_arch.py", "tests/train/test_paper_profiles.py"),
)
"""Rooms whose lines other tests reach; to trace their slow ones too would double their time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: the last of them would keep one process at work alone."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    for item in items:
        if item.get_closest_marker("slow") and item.nodeid.startswith(UNTRACED):
            item.add_marker("no_cover")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real inputs, or a skip that says why."""
    value = os.environ.get("VILLS_REAL_DATA", "")
    if not value or not Path(value).is_dir():
        pytest.skip("real inputs are not here: VILLS_REAL_DATA names no folder")
    return Path(value).resolve()
