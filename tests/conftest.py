"""Real inputs are found, or skipped with a reason."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real inputs, or a skip that says why."""
    value = os.environ.get("VILLS_REAL_DATA", "")
    if not value or not Path(value).is_dir():
        pytest.skip("real inputs are not here: VILLS_REAL_DATA names no folder")
    return Path(value).resolve()
