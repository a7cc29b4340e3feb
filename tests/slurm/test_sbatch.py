"""`sbatch slurm/pretrain.sh` on two nodes: whatever the cluster does, the weights are the same."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import slurm_bed, slurm_site
from tests.project import Project
from tests.slurm_site import Site, get_step, list_attempts, load_outputs, wait_until

pytestmark = pytest.mark.slurm

TWO_NODES = ("--nodes=2", "--ntasks-per-node=1", "--exclusive")
STEPS = "pretrain.max_steps=16"
MORE_OFTEN = "operation.checkpoint_minutes=0"
STOP = 3
"""Late enough to have something to lose, early enough for the rest to be most of it."""


@pytest.fixture(scope="module")
def undisturbed(
    bed: slurm_bed.SlurmBed, prepared: Project, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What nobody disturbed has made of the same parameters."""
    site = slurm_site.build_site(
        tmp_path_factory.mktemp("undisturbed") / "site", bed, like=prepared, overrides=[STEPS]
    )
    site.finish(site.sbatch(*TWO_NODES))
    run = site.get_run("pretrain")
    assert [end["status"] for end in list_attempts(run)] == ["finished"]
    return load_outputs(run)


def wait_for_step(site: Site, job: str, step: int = STOP) -> Path:
    """Wait until the job's run has come so far."""

    def has_come() -> bool:
        assert site.bed.get_state(job) in ("PENDING", "RUNNING"), site.get_output(job)
        return any(get_step(run) >= step for run in site.list_runs("pretrain"))

    wait_until(has_come, f"step {step}")
    run = site.get_run("pretrain")
    assert not (run / "result.json").exists(), "it was too quick to be disturbed"
    return run


def test_it_finishes(undisturbed: dict[str, str]) -> None:
    assert "pretrain/teacher/model.safetensors" in undisturbed


def test_preempted_and_told_to_checkpoint_more_often_it_gives_the_same_weights(
    undisturbed: dict[str, str], build_site: Callable[..., Site]
) -> None:
    site = build_site(STEPS, "operation.checkpoint_minutes=9")
    job = site.sbatch(*TWO_NODES)
    run = wait_for_step(site, job)
    urgent = site.bed.sbatch("sleep 1", "-p", "prio", "-N2", "--exclusive")
    site.bed.wait(urgent, "COMPLETED")
    assert site.bed.wait(job, ("PENDING", "COMPLETED", "FAILED")) == "PENDING"
    site.run("vills", "configure", "profile=tiny_sets", STEPS, MORE_OFTEN, "--force")
    site.bed.release(job)
    site.finish(job)
    assert [end["status"] for end in list_attempts(run)] == ["interrupted", "finished"]
    assert load_outputs(run) == undisturbed
    assert "continues where the last one ended" in site.get_output(job)
    notes = [json.loads((run / "attempts" / f"{n:06}.json").read_text()) for n in (1, 2)]
    assert [note["operation"]["checkpoint_minutes"] for note in notes] == [9.0, 0.0]


def test_after_a_dead_node_it_gives_the_same_weights(
    undisturbed: dict[str, str], build_site: Callable[..., Site]
) -> None:
    site = build_site(STEPS)
    job = site.sbatch(*TWO_NODES)
    run = wait_for_step(site, job)
    site.bed.kill_node("n2", down=True)
    try:
        site.bed.wait(job, "PENDING")
    finally:
        site.bed.restart_node("n2")
    site.finish(job)
    ends = [end.get("status", "") for end in list_attempts(run)]
    assert len(ends) == 2
    assert ends[-1] == "finished"
    assert load_outputs(run) == undisturbed
