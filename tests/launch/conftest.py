"""A real SLURM for the tests of one file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_bed


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_bed.SlurmBed]:
    """A started bed, or a skip that says why."""
    if reason := slurm_bed.explain_missing():
        pytest.skip(reason)
    folder: Path = tmp_path_factory.mktemp("bed")
    with slurm_bed.SlurmBed(folder) as started:
        yield started
