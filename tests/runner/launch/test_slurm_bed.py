"""The test bed behaves as a cluster does: what the launcher's tests rely on."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests import slurm_bed, slurm_files

pytestmark = pytest.mark.slurm

# A step that says which signals it meets, and finishes at once when it runs again.
STEP = """
[ -n "$SLURM_RESTART_COUNT" ] && { echo again on "$SLURMD_NODENAME"; exit 0; }
trap 'echo USR2' USR2
trap 'echo TERM; exit 1' TERM
echo first on "$SLURMD_NODENAME"
for _ in $(seq 300); do sleep 0.1; done
"""


def submit_step(bed: slurm_bed.SlurmBed, folder: Path, *options: str) -> str:
    """Submit a job of one step that runs STEP, and wait until it has begun."""
    script = folder / "step.sh"
    script.write_text(STEP)
    job = bed.sbatch(f"srun bash {script}", "--requeue", "--time=10", "--signal=USR2@60", *options)
    deadline = time.monotonic() + 20
    while "first" not in bed.get_output(job):
        assert time.monotonic() < deadline, bed.get_output(job)
        time.sleep(0.1)
    return job


def test_a_job_on_two_nodes_has_gpus_and_names_that_resolve(bed: slurm_bed.SlurmBed) -> None:
    told = "echo $(hostname) $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES; getent hosts n1 n2 >/dev/null"
    result = bed.run("srun", "-N2", "--ntasks-per-node=1", "--gres=gpu:2", "bash", "-c", told)
    assert sorted(result.stdout.split("\n")) == ["", "n1 n1 0,1", "n2 n2 0,1"]


def test_torch_meets_itself_on_the_other_node(bed: slurm_bed.SlurmBed, tmp_path: Path) -> None:
    script = tmp_path / "reduce.py"
    script.write_text(
        textwrap.dedent("""
            import os, torch, torch.distributed as dist
            rank = int(os.environ["SLURM_PROCID"])
            dist.init_process_group("gloo", init_method="tcp://n1:29871", rank=rank, world_size=2)
            value = torch.tensor(rank + 1)
            dist.all_reduce(value)
            print("sum", int(value))
        """)
    )
    job = bed.sbatch(f"srun {sys.executable} {script}", "-N2", "--ntasks-per-node=1", "--time=5")
    assert bed.wait(job, ("COMPLETED", "FAILED")) == "COMPLETED", bed.get_output(job)
    assert bed.get_output(job).split() == ["sum", "3", "sum", "3"]


def test_a_preempted_step_is_told_and_its_job_runs_again(
    bed: slurm_bed.SlurmBed, tmp_path: Path
) -> None:
    job = submit_step(bed, tmp_path, "--exclusive", "-N2", "-n1")
    urgent = bed.sbatch("sleep 1", "-p", "prio", "-N2", "--exclusive")
    bed.wait(urgent, "COMPLETED")
    assert bed.wait(job, ("PENDING", "REQUEUED")) == "PENDING"
    bed.release(job)
    bed.wait(job, "COMPLETED")
    known = ("first on n1", "USR2", "TERM", "again on n1")
    said = [line for line in bed.get_output(job).splitlines() if line in known]
    assert said == list(known)


def test_a_killed_nodes_job_runs_again_on_the_other(
    bed: slurm_bed.SlurmBed, tmp_path: Path
) -> None:
    job = submit_step(bed, tmp_path)
    first = bed.get_output(job).split()[-1]
    other = next(name for name in slurm_bed.NODES if name != first)
    bed.kill_node(first)
    try:
        # Nobody declares it down: SLURM finds out by itself.
        bed.wait(job, "PENDING", timeout=40)
        bed.release(job)
        bed.wait(job, "COMPLETED")
        assert f"again on {other}" in bed.get_output(job).splitlines()
    finally:
        bed.restart_node(first)
    assert bed.run("srun", "-w", first, "hostname").stdout.strip() == first


def test_an_operator_may_declare_a_node_down(bed: slurm_bed.SlurmBed, tmp_path: Path) -> None:
    job = submit_step(bed, tmp_path, "-w", "n2")
    bed.kill_node("n2", down=True)
    try:
        bed.wait(job, "PENDING", timeout=5)
    finally:
        bed.restart_node("n2")
    # Not released: SLURM still sends the lost run's kill, which would meet the new run.
    bed.wait(job, "COMPLETED")
    assert "again on n2" in bed.get_output(job).splitlines()


def test_steps_outlive_a_slurmd_that_alone_is_killed(
    bed: slurm_bed.SlurmBed, tmp_path: Path
) -> None:
    job = submit_step(bed, tmp_path, "-w", "n2")
    bed.kill_node("n2", steps=False)
    time.sleep(1)
    assert len(bed.get_output(job).splitlines()) == 1
    bed.restart_node("n2")
    assert bed.get_state(job) == "RUNNING"
    bed.run("scancel", job)
    assert bed.wait(job, ("CANCELLED", "FAILED")) == "CANCELLED"
    assert "TERM" in bed.get_output(job).splitlines()


def test_without_accounting_squeue_still_answers(bed: slurm_bed.SlurmBed) -> None:
    bed.stop_accounting()
    try:
        job = bed.sbatch("echo hello")
        bed.wait(job, "COMPLETED")
        assert bed.run("sacct", "-j", job, check=False).returncode != 0
        assert bed.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").stdout == "COMPLETED\n"
    finally:
        bed.start_accounting()


def test_nothing_outlives_a_killed_test(tmp_path_factory: pytest.TempPathFactory) -> None:
    if reason := slurm_bed.explain_missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("killed")
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path(slurm_bed.__file__).parent)!r})
        from pathlib import Path
        from tests.slurm_bed import SlurmBed
        bed = SlurmBed(Path({str(folder)!r}), accounting=False)
        bed.start()
        bed.sbatch("sleep 1000")
        print("up", flush=True)
        time.sleep(60)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    assert len(slurm_files.find_users(folder)) > 4
    child.send_signal(signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 5
    while users := slurm_files.find_users(folder):
        assert time.monotonic() < deadline, users
        time.sleep(0.1)


def test_a_failed_start_says_why_and_leaves_nothing(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := slurm_bed.explain_missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("broken")
    with pytest.raises(RuntimeError, match="nodes did not start"):
        slurm_bed.SlurmBed(folder, accounting=False, max_time="nonsense").start()
    assert slurm_files.find_users(folder) == []
