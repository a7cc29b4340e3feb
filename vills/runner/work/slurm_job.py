"""Inside a SLURM job: what is noted of it, and how a process leaves it.

The signal was answered by a checkpoint on all ranks (`vills.interrupt`). Then
- SIGUSR2 (`--signal` before the time limit, `preempt_send_user_signal`): rank 0 asks for a requeue,
  SLURM ends the others;
- SIGTERM (cancelled; or preempted on a cluster that sends no user signal): nobody asks for
  anything, since that would bring a cancelled job back. All stay until SLURM has made up its mind:
  a process that ended by itself would count as failed, and would not be requeued.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vills.config.environment import read_count, read_switch
from vills.interrupt import InterruptedRunError
from vills.programs import run_command
from vills.runner.store.lock import STALE_SECONDS
from vills.runner.work.ranks import Ranks

REQUEUE = "VILLS_REQUEUE"
"""Set by our launcher and scripts to 1: this job may be started again."""
LOCAL_JOB = "VILLS_JOB"
"""Set by our own queue: the id of its job."""
PATIENCE_SECONDS = STALE_SECONDS + 60.0
"""In an allocation, devices stand idle while a run's lock is waited for: long enough to see that
a dead node is dead, no longer."""
LEAVE_SECONDS = 300.0
GPUS = Path("/proc/driver/nvidia/gpus")
"""A folder for each GPU, where there is NVIDIA's driver."""


def get_job_id() -> str:
    """Return the id that scontrol and sacct know: 12, or 12_3 of an array; empty outside SLURM.

    An array's last element bears the number of the whole array, so that number alone would name
    all of them.
    """
    array, index = (os.environ.get(f"SLURM_ARRAY_{part}", "") for part in ("JOB_ID", "TASK_ID"))
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID", "")


def get_patience() -> float | None:
    """Return the seconds that this process waits for another writer of its run; None: for ever."""
    return PATIENCE_SECONDS if get_job_id() else None


def build_notes(ranks: Ranks) -> dict[str, Any]:
    """Return what an attempt says about its job, for `explain` and `status`."""
    return {
        "job": get_job_id() or os.environ.get(LOCAL_JOB, ""),
        "cluster": os.environ.get("SLURM_CLUSTER_NAME", ""),
        "partition": os.environ.get("SLURM_JOB_PARTITION", ""),
        "nodes": os.environ.get("SLURM_JOB_NODELIST", ""),
        "ranks": ranks.world_size,
        "gpus": count_gpus(),
    }


def count_gpus() -> int:
    """Count the GPUs of the whole job, without importing torch."""
    on_node = os.environ.get("SLURM_GPUS_ON_NODE", "")
    if on_node.isdigit():
        return int(on_node) * read_count("SLURM_JOB_NUM_NODES", default=1)
    return len(list_gpus()) if GPUS.is_dir() else 0


def list_gpus() -> list[str]:
    """List the names of the GPUs that this machine lets us use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name.strip() not in ("", "-1")]
    return [str(i) for i in range(len(list(GPUS.iterdir())))] if GPUS.is_dir() else []


def wait_for_slurm(error: InterruptedRunError, ranks: Ranks, *, say: Callable[[str], None]) -> None:
    """Requeue this job if it may be, and stay until SLURM ends it; outside SLURM nothing."""
    job = get_job_id()
    if not job or not read_switch(REQUEUE, default=False):
        return
    if error.wants_requeue and ranks.is_leader and not _requeue(job, say):
        return  # nobody else will start it again: the status says 75, and the launcher can
    end = time.monotonic() + LEAVE_SECONDS
    while time.monotonic() < end:
        time.sleep(1.0)


def _requeue(job: str, say: Callable[[str], None]) -> bool:
    answer = run_command(["scontrol", "requeue", job])
    if answer.ok:
        say(f"job {job} is requeued and will continue from its checkpoint")
    else:
        say(
            f"job {job} could not be requeued ({answer.words or answer.reason}). What to do: give "
            "the same command again: it continues from the checkpoint; `vills doctor` says what "
            "the cluster lacks."
        )
    return answer.ok
