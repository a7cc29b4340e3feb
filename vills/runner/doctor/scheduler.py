"""The scheduler: are its tools there, and is it set up so that jobs come back."""

import os
import re
from collections.abc import Iterator, Mapping

from vills.runner.doctor.answers import Answer
from vills.runner.doctor.finding import Finding, Level

CRED_SECONDS = 120
"""SLURM's own life of a credential: a requeued job waits as long."""
_GROUP = "scheduler"
_MENDS = {
    "sbatch": "jobs cannot be submitted from here: go to a login node, or use `--cluster local`",
    "squeue": "jobs cannot be followed from here: put SLURM's programs on the PATH",
    "sinfo": "partitions cannot be compared with slurm/*.yaml: put SLURM's programs on the PATH",
    "scontrol": (
        "a job here cannot requeue itself (usual in containers): mount scontrol, libslurm, "
        "/etc/slurm and munge's socket into the container; without it a job that is told to stop "
        "leaves its checkpoint, and the same command given again goes on from there"
    ),
}


def check_tools(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """sbatch, squeue, sinfo, scontrol: there, and answering."""
    for name, remedy in _MENDS.items():
        answer = answers[name]
        if answer.ok:
            said = answer.text.strip() if name == "sbatch" else "answers"
            yield Finding(_GROUP, name, "ok", said)
        else:
            is_lost = answer.missing or name != "scontrol"
            level: Level = "fault" if is_lost else "unknown"
            yield Finding(_GROUP, name, level, answer.reason, remedy)


def check_accounting(config: Mapping[str, str], sacct: Answer) -> Iterator[Finding]:
    """Sacct knows the jobs that squeue has forgotten."""
    kept = config.get("MinJobAge", "300 sec")
    kind = config.get("AccountingStorageType", "")
    remedy = (
        "ask for slurmdbd (AccountingStorageType=accounting_storage/slurmdbd); until then look at "
        f"`launch.py status` within {kept} of a job's end, and believe runs/, not the queue"
    )
    if sacct.ok:
        yield Finding(_GROUP, "accounting", "ok", "sacct answers")
        return
    off = "disabled" in sacct.reason or kind.endswith("/none")
    price = f"how a job ended is unknown {kept} after its end"
    if off or sacct.missing:
        found = f"{sacct.reason}: {price}"
        yield Finding(_GROUP, "accounting", "fault", found, remedy)
    else:
        yield Finding(_GROUP, "accounting", "unknown", f"sacct: {sacct.reason}; {price}", remedy)


def check_preemption(config: Mapping[str, str]) -> Iterator[Finding]:
    """Preempted jobs are told, and come back."""
    name = "preempt_send_user_signal"
    kind = config.get("PreemptType", "")
    mode = config.get("PreemptMode", "")
    if not kind:
        yield _cannot_see(name)
        return
    if kind.endswith("/none"):
        yield Finding(_GROUP, name, "ok", "nothing preempts (PreemptType=preempt/none)")
        return
    told = name in config.get("SlurmctldParameters", "")
    what = f"PreemptMode={mode}"
    if told:
        yield Finding(_GROUP, name, "ok", f"set; {what}")
    elif "CANCEL" in mode.upper():
        yield Finding(
            _GROUP,
            name,
            "fault",
            f"not set with {what}: a preempted job gets SIGTERM like a cancelled one, leaves its "
            "checkpoint and does not come back",
            f"ask for SlurmctldParameters={name}, or for PreemptMode=REQUEUE; until then give the "
            "launching command again (it attaches)",
        )
    else:
        yield Finding(
            _GROUP,
            name,
            "note",
            f"not set with {what}: a preempted job gets SIGTERM only. VILLS checkpoints at it and "
            "SLURM requeues the job; programs that wait for USR2 (plain submitit) lose their work",
            f"ask for SlurmctldParameters={name}",
        )


def check_requeue(config: Mapping[str, str]) -> Iterator[Finding]:
    """Jobs may be requeued, and how soon they run again."""
    value = config.get("JobRequeue", "")
    if not value:
        yield _cannot_see("JobRequeue")
        return
    if value == "0":
        yield Finding(
            _GROUP,
            "JobRequeue",
            "note",
            "0: jobs do not come back unless they say so. Those of VILLS do (--requeue overrides "
            "it); a script of your own is not requeued after preemption or a node's failure",
            "keep `#SBATCH --requeue` in your own scripts, or ask for JobRequeue=1",
        )
    else:
        yield Finding(_GROUP, "JobRequeue", "ok", value)
    found = re.search(r"cred_expire=(\d+)", config.get("AuthInfo", ""))
    seconds = int(found[1]) if found else CRED_SECONDS
    yield Finding(_GROUP, "requeue delay", "ok", f"a requeued job waits {seconds} s or a bit more")


def check_kill_wait(config: Mapping[str, str]) -> Iterator[Finding]:
    """SIGTERM to SIGKILL leaves time for a checkpoint."""
    text = config.get("KillWait", "")
    if not text:
        yield _cannot_see("KillWait")
        return
    seconds = int(text.split()[0])
    if seconds >= 30:
        yield Finding(_GROUP, "KillWait", "ok", f"{seconds} s")
        return
    yield Finding(
        _GROUP,
        "KillWait",
        "note",
        f"{seconds} s from SIGTERM to SIGKILL: a cancelled job may not finish its checkpoint, and "
        "then goes on from the one before it",
        "keep operation.checkpoint_minutes short, or ask for KillWait=30 (SLURM's own)",
    )


def check_arrays(config: Mapping[str, str], sweeps: Mapping[str, int]) -> Iterator[Finding]:
    """Job arrays take a sweep; `sweeps` are numbers of points by name."""
    text = config.get("MaxArraySize", "")
    if not text:
        yield _cannot_see("MaxArraySize")
        return
    size = int(text)
    name, num = max(sweeps.items(), key=lambda item: item[1], default=("", 0))
    if size < 2:
        remedy = "ask for MaxArraySize=1001 (SLURM's own); until then `--cluster local`"
        found = f"{size}: no job arrays, and every job of VILLS is one's element"
        yield Finding(_GROUP, "MaxArraySize", "fault", found, remedy)
    elif size < num:
        yield Finding(
            _GROUP,
            "MaxArraySize",
            "note",
            f"{size}: the {num} points of {name} become {-(-num // size)} arrays a stage, which "
            "share --max-parallel and wait for each other",
            f"nothing must be done; one array would need MaxArraySize of at least {num}",
        )
    else:
        yield Finding(_GROUP, "MaxArraySize", "ok", f"{size}")


def check_allocation() -> Iterator[Finding]:
    """Whether this command runs inside a job."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if job:
        yield Finding(
            _GROUP,
            "allocation",
            "note",
            f"this is job {job}: `dvc repro` from two nodes is not seen by DVC's lock, which knows "
            "process ids only, and a launcher ends with the job",
            "give `dvc repro` and `launch.py` on the login node",
        )


def _cannot_see(name: str) -> Finding:
    remedy = f"ask the administrators, or `scontrol show config | grep {name}` on a login node"
    return Finding(_GROUP, name, "unknown", "scontrol shows no configuration", remedy)
