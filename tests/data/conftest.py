from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.sources import WriteSource, build_source_writer


@pytest.fixture
def write_source(tmp_path: Path) -> WriteSource:
    return build_source_writer(tmp_path)


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    """Makes empty files below a root; readers look at names alone."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "root"

    return make
