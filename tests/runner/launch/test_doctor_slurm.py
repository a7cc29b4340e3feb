"""The doctor on a real SLURM: five planted faults, each found; on a healthy one, none."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import slurm_bed
from vills.config.load import load_profile, save_params
from vills.pipeline import STAGES

pytestmark = pytest.mark.slurm
PLANTED = ("accounting", "preempt_send_user_signal", "JobRequeue", "MaxArraySize")
FITTING = "cpus_per_task: 1\ntimeout_min: 30\nsignal_seconds: 60\n"


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_bed.SlurmBed]:
    if reason := slurm_bed.explain_missing():
        pytest.skip(reason)
    with slurm_bed.SlurmBed(
        tmp_path_factory.mktemp("sick"),
        accounting=False,
        user_signal=False,
        job_requeue=False,
        max_array_size=4,
    ) as started:
        yield started


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose jobs fit the bed."""
    save_params(tmp_path, profile="tiny")
    (tmp_path / "slurm").mkdir()
    for stage in STAGES:
        (tmp_path / "slurm" / f"{stage}.yaml").write_text(FITTING)
    root = Path(__file__).parent.parent.parent.parent
    (tmp_path / "sweeps").symlink_to(root / "sweeps")
    return tmp_path


def examine(
    bed: slurm_bed.SlurmBed, project: Path, *options: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    command = (sys.executable, "-m", "vills", "doctor", "--json", *options)
    result = bed.run("env", "-C", str(project), *command, check=False)
    return result.returncode, {entry["name"]: entry for entry in json.loads(result.stdout)}


def test_a_healthy_cluster_has_no_faults(bed: slurm_bed.SlurmBed, project: Path) -> None:
    status, found = examine(bed, project)
    assert [entry for entry in found.values() if entry["level"] == "fault"] == []
    assert status == 0
    assert {name: found[name]["level"] for name in PLANTED} == dict.fromkeys(PLANTED, "ok")
    assert "30 min, the limit of test 60" in found["pretrain"]["found"]


def test_five_planted_faults_are_found(sick: slurm_bed.SlurmBed, project: Path) -> None:
    (project / "slurm" / "pretrain.yaml").write_text("timeout_min: 120\n")
    status, found = examine(sick, project)
    assert status == 1
    planted = {name: found[name] for name in (*PLANTED, "pretrain: time limit")}
    assert {name: entry["level"] for name, entry in planted.items()} == {
        "accounting": "fault",
        "preempt_send_user_signal": "note",
        "JobRequeue": "note",
        "MaxArraySize": "note",
        "pretrain: time limit": "fault",
    }
    assert all(entry["remedy"] for entry in planted.values())


def test_a_job_that_ends_before_its_first_checkpoint(
    bed: slurm_bed.SlurmBed, project: Path
) -> None:
    minutes = int(load_profile("tiny").operation.checkpoint_minutes)
    text = f"timeout_min: {minutes + 1}\nsignal_seconds: 60\n"
    (project / "slurm" / "pretrain.yaml").write_text(text)
    status, found = examine(bed, project)
    assert status == 1
    assert found["pretrain: checkpoints"]["level"] == "fault"


def test_what_the_doctor_says_of_partitions_is_what_slurm_does(
    bed: slurm_bed.SlurmBed, sick: slurm_bed.SlurmBed
) -> None:
    """The words of the remedies are what was seen: not what a manual says."""
    job = bed.sbatch("true", "--time=120")
    reason = bed.run("squeue", "--noheader", f"--jobs={job}", "--format=%T %r").stdout.strip()
    assert reason in ("PENDING PartitionTimeLimit", "PENDING PartitionConfig")
    bed.run("scancel", job)
    for option, allowed in (("--requeue", "1"), ("--job-name=plain", "0")):
        job = sick.sbatch("true", "--hold", option)
        assert f"Requeue={allowed}" in sick.run("scontrol", "show", "job", job).stdout
        sick.run("scancel", job)
    array = ("sbatch", "--hold", "--wrap=true", "--output=/dev/null")
    assert sick.run(*array, "--array=0-3", check=False).returncode == 0
    assert sick.run(*array, "--array=0-4", check=False).returncode == 1


def test_the_probe_looks_from_both_nodes(bed: slurm_bed.SlurmBed, project: Path) -> None:
    status, found = examine(bed, project, "--probe")
    for node in slurm_bed.NODES:
        for name in ("runs", "python", "hard links", "flock", "scontrol"):
            assert found[f"{node}: {name}"]["level"] == "ok", found[f"{node}: {name}"]
    assert "runs" not in found  # the doubt about a local disk is settled
    assert status == 0
    assert list((project / "runs").iterdir()) == []


def test_the_probe_finds_a_folder_that_nodes_do_not_see(
    bed: slurm_bed.SlurmBed, project: Path
) -> None:
    """/dev/shm is the same on the bed's nodes; a mount made for the asker alone is not."""
    (project / "runs").mkdir()
    inner = f"mount -t tmpfs none {project}/runs; cd {project}; exec {sys.executable} -m vills "
    command = ("unshare", "--mount", "bash", "-c", f"{inner} doctor --json --probe")
    found = {e["name"]: e for e in json.loads(bed.run(*command, check=False).stdout)}
    assert found["runs"]["level"] == "fault"
    for node in slurm_bed.NODES:
        assert found[f"{node}: runs"]["level"] == "fault"
