"""A real SLURM for the tests of one file, and a bench for those that need none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import launching, slurm_bed


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_bed.SlurmBed]:
    """A started bed, or a skip that says why."""
    if reason := slurm_bed.explain_missing():
        pytest.skip(reason)
    folder: Path = tmp_path_factory.mktemp("bed")
    with slurm_bed.SlurmBed(folder) as started:
        yield started


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> launching.Bench:
    """A project without runs, and fake clusters; no tracker, no variables of the caller."""
    for name in [name for name in os.environ if name.startswith(("SLURM", "VILLS_", "SBATCH"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VILLS_TRACKING", "off")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # no power fails in these tests
    monkeypatch.setattr("vills.runner.plan.submit.save_code", lambda runs, project: "_code/frozen")
    for name in ("sweeps.sweep", "sweeps.explain"):
        monkeypatch.setattr(f"vills.runner.{name}.load_params", launching.load_known_params)
    (tmp_path / "project").mkdir()
    return launching.Bench(tmp_path / "project")
