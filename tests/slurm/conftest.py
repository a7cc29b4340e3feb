"""A bed for each file; projects that have come so far as a test's own jobs need."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import slurm_bed, slurm_site
from tests.project import Project, build_project
from tests.slurm_site import Site

BuildSite = Callable[..., Site]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_bed.SlurmBed]:
    """A started bed, or a skip that says why."""
    if reason := slurm_bed.explain_missing():
        pytest.skip(reason)
    with slurm_bed.SlurmBed(tmp_path_factory.mktemp("bed")) as started:
        yield started


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Everything before the pre-training is computed."""
    if reason := slurm_bed.explain_missing():
        pytest.skip(reason)
    project = build_project(tmp_path_factory.mktemp("prepared") / "p", profile="tiny_sets")
    slurm_site.save_jobs(project.folder)
    project.run("dvc", "repro", "lse")
    return project


@pytest.fixture(scope="session")
def tuned(prepared: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Everything before the evaluation on Market-1501 is computed."""
    project = slurm_site.copy_project(prepared, tmp_path_factory.mktemp("tuned") / "p")
    project.run("dvc", "repro", "finetune@market1501")
    return project


@pytest.fixture
def build_site(bed: slurm_bed.SlurmBed, prepared: Project, tmp_path: Path) -> BuildSite:
    """Gives a site of the test's own; every call another one."""

    def build(*overrides: str, like: Project | None = None, name: str = "site") -> Site:
        return slurm_site.build_site(
            tmp_path / name, bed, like=like or prepared, overrides=overrides
        )

    return build
