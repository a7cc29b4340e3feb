"""Real inputs are found, or skipped with a reason."""

import os
from pathlib import Path

import pytest

LONGEST = (
    "tests/pipeline/test_dag.py",
    "tests/runner/launch/test_ui.py",
    "tests/runner/launch/test_sweep_tracking.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: the last of them would keep one process at work alone."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real inputs, or a skip that says why."""
    value = os.environ.get("VILLS_REAL_DATA", "")
    if not value or not Path(value).is_dir():
        pytest.skip("real inputs are not here: VILLS_REAL_DATA names no folder")
    return Path(value).resolve()
