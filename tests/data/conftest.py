from pathlib import Path

import pytest

from tests.data.sources import WriteSource, build_source_writer


@pytest.fixture
def write_source(tmp_path: Path) -> WriteSource:
    return build_source_writer(tmp_path)
