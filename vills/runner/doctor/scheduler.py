"""SLURM itself: are its tools there, and do jobs come back."""

import os
import re
from collections.abc import Iterator

from vills.runner.doctor import Finding, Level
from vills.runner.doctor.facts import ClusterFacts

CRED_SECONDS = 120
"""SLURM's own life of a credential: a requeued job waits as long."""
Judgement = tuple[Level, str, str]
"""Level, what was found, remedy."""
_MENDS = {
    "sbatch": "jobs cannot be submitted from here: go to a login node, or use `--cluster local`",
    "squeue": "jobs cannot be followed from here: put SLURM's programs on the PATH",
    "sinfo": "partitions cannot be compared with slurm/*.yaml: put SLURM's programs on the PATH",
    "scontrol": "a job here cannot requeue itself (usual in containers): mount scontrol, libslurm, "
    "/etc/slurm and munge's socket into the container; without it a job that is told to stop "
    "writes its checkpoint and ends: give the same command again to continue",
}


def check_tools(facts: ClusterFacts) -> Iterator[Finding]:
    """sbatch, squeue, sinfo, scontrol: there, and answering."""
    for name, remedy in _MENDS.items():
        answer = facts.answers[name]
        said = answer.text.strip() if name == "sbatch" else "answers"
        wrong: Level = "fault" if answer.missing or name != "scontrol" else "unknown"
        yield Finding(name, "ok" if answer.ok else wrong, answer.reason or said, remedy)


def check_accounting(facts: ClusterFacts) -> Iterator[Finding]:
    """Sacct knows the jobs that squeue has forgotten."""
    config, sacct = facts.config, facts.answers["sacct"]
    kept = config.get("MinJobAge", "300 sec")
    price = f"how a job ended is unknown {kept} after its end"
    off = "disabled" in sacct.reason or config.get("AccountingStorageType", "").endswith("/none")
    remedy = (
        "ask for slurmdbd (AccountingStorageType=accounting_storage/slurmdbd); until then run "
        f"`launch.py status` within {kept} of a job's end; runs/ is right, not the queue"
    )
    if sacct.ok:
        yield Finding("accounting", "ok", "sacct answers")
    elif off or sacct.missing:
        yield Finding("accounting", "fault", f"{sacct.reason}: {price}", remedy)
    else:
        yield Finding("accounting", "unknown", f"sacct: {sacct.reason}; {price}", remedy)


def check_allocation(_: ClusterFacts) -> Iterator[Finding]:
    """Whether this command runs inside a job."""
    if job := os.environ.get("SLURM_JOB_ID", ""):
        found = (
            f"this is job {job}: DVC's lock does not see a `dvc repro` on another node (it knows "
            "only process ids), and a launcher ends with the job"
        )
        remedy = "run `dvc repro` and `launch.py` on the login node"
        yield Finding("allocation", "note", found, remedy)


def check_setting(name: str, facts: ClusterFacts) -> Iterator[Finding]:
    """Judge one of SETTINGS in SLURM's configuration."""
    key, judge = SETTINGS[name]
    if value := facts.config.get(key, ""):
        yield Finding(name, *judge(value, facts))
    else:
        remedy = f"ask the administrators, or `scontrol show config | grep {name}` on a login node"
        yield Finding(name, "unknown", "scontrol shows no configuration", remedy)


def _judge_preemption(kind: str, facts: ClusterFacts) -> Judgement:
    """Preempted jobs are told, and come back."""
    what = f"PreemptMode={facts.config.get('PreemptMode', '')}"
    remedy = "ask for SlurmctldParameters=preempt_send_user_signal"
    if kind.endswith("/none"):
        return "ok", "nothing preempts (PreemptType=preempt/none)", ""
    if "preempt_send_user_signal" in facts.config.get("SlurmctldParameters", ""):
        return "ok", f"set; {what}", ""
    if "CANCEL" in what.upper():
        found = (
            f"not set with {what}: a preempted job gets SIGTERM like a cancelled one, writes its "
            "checkpoint and is not requeued"
        )
        until = "or for PreemptMode=REQUEUE; until then give the launch command again"
        return "fault", found, f"{remedy}, {until} (it attaches)"
    found = (
        f"not set with {what}: a preempted job gets SIGTERM only. VILLS then writes a checkpoint "
        "and SLURM requeues the job; programs that wait for USR2 (plain submitit) lose their work"
    )
    return "note", found, remedy


def _judge_requeue(value: str, _: ClusterFacts) -> Judgement:
    """Jobs may be requeued."""
    if value != "0":
        return "ok", value, ""
    found = (
        "0: jobs are not requeued unless they ask for it. Those of VILLS do (--requeue overrides "
        "it); your own scripts are not requeued after preemption or a node's failure"
    )
    return "note", found, "keep `#SBATCH --requeue` in your own scripts, or ask for JobRequeue=1"


def _judge_delay(_: str, facts: ClusterFacts) -> Judgement:
    """How soon requeued jobs run again."""
    match = re.search(r"cred_expire=(\d+)", facts.config.get("AuthInfo", ""))
    seconds = int(match[1]) if match else CRED_SECONDS
    return "ok", f"a requeued job waits {seconds} s or slightly longer", ""


def _judge_kill_wait(value: str, _: ClusterFacts) -> Judgement:
    """SIGTERM to SIGKILL leaves time for a checkpoint."""
    seconds = int(value.split()[0])
    if seconds >= 30:
        return "ok", f"{seconds} s", ""
    found = (
        f"{seconds} s from SIGTERM to SIGKILL: a cancelled job may not finish its checkpoint, and "
        "then continues from the previous one"
    )
    remedy = "keep operation.checkpoint_minutes short, or ask for KillWait=30 (SLURM's own)"
    return "note", found, remedy


def _judge_arrays(value: str, facts: ClusterFacts) -> Judgement:
    """Job arrays take a sweep."""
    size = int(value)
    name, num = max(facts.sweeps.items(), key=lambda item: item[1], default=("", 0))
    if size < 2:
        found = f"{size}: no job arrays, but VILLS submits all jobs as arrays"
        remedy = "ask for MaxArraySize=1001 (SLURM's own); until then `--cluster local`"
        return "fault", found, remedy
    if size < num:
        found = (
            f"{size}: the {num} points of {name} become {-(-num // size)} arrays a stage, which "
            "share --max-parallel and wait for each other"
        )
        remedy = f"nothing needs to be done; one array would need MaxArraySize of at least {num}"
        return "note", found, remedy
    return "ok", f"{size}", ""


SETTINGS = {
    "preempt_send_user_signal": ("PreemptType", _judge_preemption),
    "JobRequeue": ("JobRequeue", _judge_requeue),
    "requeue delay": ("JobRequeue", _judge_delay),
    "KillWait": ("KillWait", _judge_kill_wait),
    "MaxArraySize": ("MaxArraySize", _judge_arrays),
}
"""Findings by name: the key of SLURM's configuration that they stand on, and what judges it."""
