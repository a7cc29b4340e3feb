"""Everything that a cluster does to a job, with loaders at work: the weights are the same bits.

By hand: `make torture-slurm`; its results are in LOG.md.
"""

from collections.abc import Callable

import pytest

from tests import slurm_bed, slurm_site
from tests.project import Project
from tests.slurm_site import Site, get_step, list_attempts, list_steps, load_outputs, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.torture]

TWO_NODES = ("--nodes=2", "--ntasks-per-node=1", "--exclusive")
STEPS = "pretrain.max_steps=32"
LONG = "pretrain.max_steps=600"
"""More than a minute anywhere: no time limit is shorter."""

Build = Callable[[str], Site]


@pytest.fixture(scope="module")
def build_undisturbed(
    bed: slurm_bed.SlurmBed, prepared: Project, tmp_path_factory: pytest.TempPathFactory
) -> Build:
    """Gives a run that nobody disturbed, without loaders."""

    def build(steps: str) -> Site:
        folder = tmp_path_factory.mktemp("undisturbed")
        site = slurm_site.build_site(folder / "site", bed, like=prepared, overrides=[steps])
        site.finish(site.sbatch(*TWO_NODES))
        return site

    return build


@pytest.fixture(scope="module")
def undisturbed(build_undisturbed: Build) -> Site:
    """A run of `STEPS`."""
    return build_undisturbed(STEPS)


@pytest.fixture(scope="module")
def undisturbed_long(build_undisturbed: Build) -> Site:
    """A run of `LONG`."""
    return build_undisturbed(LONG)


@pytest.fixture(params=["fork", "spawn"])
def loaders(request: pytest.FixtureRequest) -> dict[str, str]:
    """Two loaders beside each process."""
    return {"VILLS_LOADERS": "2", "VILLS_WORKER_START": request.param}


def wait_for_step(site: Site, job: str, step: int) -> None:
    """Wait until the job's run has come so far, and is not done."""

    def has_come() -> bool:
        assert site.bed.get_state(job) in ("PENDING", "RUNNING"), site.get_output(job)
        return any(get_step(run) >= step for run in site.list_runs("pretrain"))

    wait_until(has_come, f"step {step}")
    assert not (site.get_run("pretrain") / "result.json").exists(), "it was too quick"


def preempt(site: Site, job: str) -> None:
    """Let an urgent job take the nodes, and come back when the job waits to start again."""
    urgent = site.bed.sbatch("sleep 1", "-p", "prio", "-N2", "--exclusive")
    site.bed.wait(urgent, "COMPLETED", timeout=120)
    assert site.bed.wait(job, ("PENDING", "COMPLETED", "FAILED")) == "PENDING", site.get_output(job)
    site.bed.release(job)


def check(site: Site, undisturbed: Site, *, attempts: int) -> None:
    """The run was disturbed as often, and has the undisturbed one's outputs and curves."""
    run, wanted = site.get_run("pretrain"), undisturbed.get_run("pretrain")
    assert len(list_attempts(run)) == attempts, list_attempts(run)
    assert load_outputs(run) == load_outputs(wanted)
    assert list_steps(run) == list_steps(wanted)


def test_preempted_several_times(
    undisturbed: Site, build_site: Callable[..., Site], loaders: dict[str, str]
) -> None:
    site = build_site(STEPS)
    job = site.sbatch(*TWO_NODES, env=loaders)
    for step in (2, 10, 18):
        wait_for_step(site, job, step)
        preempt(site, job)
    site.finish(job)
    check(site, undisturbed, attempts=4)


def test_preempted_while_it_starts(undisturbed: Site, build_site: Callable[..., Site]) -> None:
    site = build_site(STEPS)
    job = site.sbatch(*TWO_NODES)
    site.bed.wait(job, "RUNNING")
    preempt(site, job)
    site.finish(job)
    assert load_outputs(site.get_run("pretrain")) == load_outputs(undisturbed.get_run("pretrain"))


def test_at_its_time_limit(
    undisturbed_long: Site, build_site: Callable[..., Site], loaders: dict[str, str]
) -> None:
    site = build_site(LONG)
    # SLURM looks at time limits twice a minute, and sends the signal up to a minute early
    job = site.sbatch(*TWO_NODES, "--time=3", "--signal=USR2@60", env=loaders)
    over = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED")
    while site.bed.wait(job, ("PENDING", *over), timeout=400) == "PENDING":
        site.bed.release(job)
        site.bed.wait(job, ("RUNNING", *over))
    site.finish(job)
    ends = [end["status"] for end in list_attempts(site.get_run("pretrain"))]
    assert ends[:-1] == ["interrupted"] * (len(ends) - 1)
    assert len(ends) > 1, "it was done before its time was over"
    check(site, undisturbed_long, attempts=len(ends))


def test_a_dead_node(
    undisturbed: Site, build_site: Callable[..., Site], loaders: dict[str, str]
) -> None:
    site = build_site(STEPS, "operation.checkpoint_steps=4")
    job = site.sbatch(*TWO_NODES, env=loaders)
    wait_for_step(site, job, 10)
    site.bed.kill_node("n1", down=True)  # the node of rank 0
    try:
        site.bed.wait(job, "PENDING")
    finally:
        site.bed.restart_node("n1")
    site.finish(job)
    check(site, undisturbed, attempts=2)


@pytest.mark.parametrize("worlds", [(2, 1), (1, 2)])
def test_another_number_of_processes(
    undisturbed: Site, build_site: Callable[..., Site], worlds: tuple[int, int]
) -> None:
    site = build_site(STEPS)
    job = site.sbatch(f"--nodes={worlds[0]}", "--ntasks-per-node=1")
    wait_for_step(site, job, 10)
    run = site.get_run("pretrain")
    site.bed.run("scancel", job)
    site.bed.wait(job, "CANCELLED")
    stopped = get_step(run)
    site.finish(site.sbatch(f"--nodes={worlds[1]}", "--ntasks-per-node=1"))
    assert [end["status"] for end in list_attempts(run)] == ["interrupted", "finished"]
    found, wanted = list_steps(run), list_steps(undisturbed.get_run("pretrain"))
    print(f"\n{worlds[0]} -> {worlds[1]}, changed at step {stopped}: step, loss, loss at 2 -> 2")
    for step, loss in found.items():
        print(f"{step:4d}  {loss:9.5f}  {wanted[step]:9.5f}  {abs(loss / wanted[step] - 1):.1e}")
    assert list(found) == list(wanted)
    for step, loss in found.items():
        assert loss == pytest.approx(wanted[step], rel=1e-4), step
