"""`dvc repro` with its heavy stages on a cluster: waited for, or left and collected later."""

from collections.abc import Callable

import pytest

from tests.project import Project
from tests.slurm_site import Site, list_attempts, list_submissions

pytestmark = pytest.mark.slurm

OTHERS = ("prcc", "ltcc", "mars", "prid2011", "sigset")
ONE_DATA_SET = [f"~{stage}.{name}" for name in OTHERS for stage in ("evaluate", "finetune")]


def test_dvc_waits_for_a_job_and_collects_it(
    build_site: Callable[..., Site], tuned: Project
) -> None:
    site = build_site(like=tuned)
    told = site.run("dvc", "repro", "evaluate@market1501", env={"VILLS_CLUSTER": "slurm"}).stdout
    ((job,),) = list_submissions(site, "evaluate")
    assert f"job {job} " in told
    assert "is complete; collected" in told
    assert len(list_attempts(site.get_run("evaluate"))) == 1
    assert (site.folder / "artifacts" / "evaluate" / "market1501" / "results.json").exists()


def test_detached_it_submits_then_collects(build_site: Callable[..., Site], tuned: Project) -> None:
    site = build_site(*ONE_DATA_SET, like=tuned)
    # Nothing may start before the first call has come back, however slow this machine is.
    blocker = site.bed.sbatch("sleep 600", "-N2", "--exclusive")
    site.bed.wait(blocker, "RUNNING")
    first = site.run("vills", "repro", "--detach", "--cluster", "slurm", check=False)
    assert first.returncode == 75, first.stdout
    ((job,),) = list_submissions(site, "evaluate")
    again = site.run("vills", "repro", "--detach", "--cluster", "slurm", check=False)
    assert again.returncode == 75, again.stdout
    assert list_submissions(site, "evaluate") == [[job]]
    site.bed.run("scancel", blocker)
    site.bed.wait(job, "COMPLETED", timeout=120)
    last = site.run("vills", "repro", "--detach", "--cluster", "slurm", check=False)
    assert last.returncode == 0, last.stdout
    assert len(list_attempts(site.get_run("evaluate"))) == 1
    assert (site.folder / "report" / "index.html").exists()
