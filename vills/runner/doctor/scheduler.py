"""SLURM: are its tools there, do jobs come back, and does it give what slurm/*.yaml asks for.

`sbatch --test-only` was tried in place of the comparisons (SLURM 22.05). It passes a job over its
partition's MaxTime or its QOS's limits, which then waits for ever; of nodes it says no more than
"Requested node configuration is not available", also where they are only down for a while.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from vills.runner.clusters import Answer
from vills.runner.clusters.jobs import Resources
from vills.runner.doctor import Finding, Level
from vills.runner.doctor.facts import ClusterFacts, Partition, parse_minutes, parse_tres

CRED_SECONDS = 120
"""SLURM's own life of a credential: a requeued job waits as long."""
EARLY_SECONDS = 60
"""SLURM may send a signal so much earlier than it was asked to (sbatch(1))."""
_JOB_LIMITS = ("MaxJobsPU", "MaxSubmitPU", "MaxJobs", "MaxSubmit")
_MENDS = {
    "sbatch": "jobs cannot be submitted from here: go to a login node, or use `--cluster local`",
    "squeue": "jobs cannot be followed from here: put SLURM's programs on the PATH",
    "sinfo": "partitions cannot be compared with slurm/*.yaml: put SLURM's programs on the PATH",
    "scontrol": "a job here cannot requeue itself (usual in containers): mount scontrol, libslurm, "
    "/etc/slurm and munge's socket into the container; without it a job that is told to stop "
    "leaves its checkpoint, and the same command given again goes on from there",
}


def check_tools(answers: Mapping[str, Answer]) -> Iterator[Finding]:
    """sbatch, squeue, sinfo, scontrol: there, and answering."""
    for name, remedy in _MENDS.items():
        answer = answers[name]
        said = answer.text.strip() if name == "sbatch" else "answers"
        wrong: Level = "fault" if answer.missing or name != "scontrol" else "unknown"
        yield Finding(name, "ok" if answer.ok else wrong, answer.reason or said, remedy)


def check_accounting(config: Mapping[str, str], sacct: Answer) -> Iterator[Finding]:
    """Sacct knows the jobs that squeue has forgotten."""
    kept = config.get("MinJobAge", "300 sec")
    price = f"how a job ended is unknown {kept} after its end"
    off = "disabled" in sacct.reason or config.get("AccountingStorageType", "").endswith("/none")
    remedy = (
        "ask for slurmdbd (AccountingStorageType=accounting_storage/slurmdbd); until then look at "
        f"`launch.py status` within {kept} of a job's end, and believe runs/, not the queue"
    )
    if sacct.ok:
        yield Finding("accounting", "ok", "sacct answers")
    elif off or sacct.missing:
        yield Finding("accounting", "fault", f"{sacct.reason}: {price}", remedy)
    else:
        yield Finding("accounting", "unknown", f"sacct: {sacct.reason}; {price}", remedy)


def check_preemption(config: Mapping[str, str]) -> Iterator[Finding]:
    """Preempted jobs are told, and come back."""
    name = "preempt_send_user_signal"
    kind, what = config.get("PreemptType", ""), f"PreemptMode={config.get('PreemptMode', '')}"
    remedy = f"ask for SlurmctldParameters={name}"
    if not kind:
        yield _cannot_see(name)
    elif kind.endswith("/none"):
        yield Finding(name, "ok", "nothing preempts (PreemptType=preempt/none)")
    elif name in config.get("SlurmctldParameters", ""):
        yield Finding(name, "ok", f"set; {what}")
    elif "CANCEL" in what.upper():
        found = (
            f"not set with {what}: a preempted job gets SIGTERM like a cancelled one, leaves its "
            "checkpoint and does not come back"
        )
        until = "or for PreemptMode=REQUEUE; until then give the launching command again"
        yield Finding(name, "fault", found, f"{remedy}, {until} (it attaches)")
    else:
        found = (
            f"not set with {what}: a preempted job gets SIGTERM only. VILLS checkpoints at it and "
            "SLURM requeues the job; programs that wait for USR2 (plain submitit) lose their work"
        )
        yield Finding(name, "note", found, remedy)


def check_requeue(config: Mapping[str, str]) -> Iterator[Finding]:
    """Jobs may be requeued, and how soon they run again."""
    value = config.get("JobRequeue", "")
    if not value:
        yield _cannot_see("JobRequeue")
        return
    if value == "0":
        found = (
            "0: jobs do not come back unless they say so. Those of VILLS do (--requeue overrides "
            "it); a script of your own is not requeued after preemption or a node's failure"
        )
        remedy = "keep `#SBATCH --requeue` in your own scripts, or ask for JobRequeue=1"
        yield Finding("JobRequeue", "note", found, remedy)
    else:
        yield Finding("JobRequeue", "ok", value)
    match = re.search(r"cred_expire=(\d+)", config.get("AuthInfo", ""))
    seconds = int(match[1]) if match else CRED_SECONDS
    yield Finding("requeue delay", "ok", f"a requeued job waits {seconds} s or a bit more")


def check_kill_wait(config: Mapping[str, str]) -> Iterator[Finding]:
    """SIGTERM to SIGKILL leaves time for a checkpoint."""
    text = config.get("KillWait", "")
    if not text:
        yield _cannot_see("KillWait")
    elif (seconds := int(text.split()[0])) >= 30:
        yield Finding("KillWait", "ok", f"{seconds} s")
    else:
        found = (
            f"{seconds} s from SIGTERM to SIGKILL: a cancelled job may not finish its checkpoint, "
            "and then goes on from the one before it"
        )
        remedy = "keep operation.checkpoint_minutes short, or ask for KillWait=30 (SLURM's own)"
        yield Finding("KillWait", "note", found, remedy)


def check_arrays(config: Mapping[str, str], sweeps: Mapping[str, int]) -> Iterator[Finding]:
    """Job arrays take a sweep; `sweeps` are numbers of jobs a stage by name."""
    text = config.get("MaxArraySize", "")
    name, num = max(sweeps.items(), key=lambda item: item[1], default=("", 0))
    if not text:
        yield _cannot_see("MaxArraySize")
    elif (size := int(text)) < 2:
        found = f"{size}: no job arrays, and every job of VILLS is one's element"
        remedy = "ask for MaxArraySize=1001 (SLURM's own); until then `--cluster local`"
        yield Finding("MaxArraySize", "fault", found, remedy)
    elif size < num:
        found = (
            f"{size}: the {num} points of {name} become {-(-num // size)} arrays a stage, which "
            "share --max-parallel and wait for each other"
        )
        remedy = f"nothing must be done; one array would need MaxArraySize of at least {num}"
        yield Finding("MaxArraySize", "note", found, remedy)
    else:
        yield Finding("MaxArraySize", "ok", f"{size}")


def _cannot_see(name: str) -> Finding:
    remedy = f"ask the administrators, or `scontrol show config | grep {name}` on a login node"
    return Finding(name, "unknown", "scontrol shows no configuration", remedy)


def check_stage(facts: ClusterFacts, stage: str, num_jobs: int) -> Iterator[Finding]:
    """Check a stage's jobs, a sweep having `num_jobs`; what is well stands in one line."""
    found = list(check_partition(facts, stage)) if facts.partitions else []
    found.append(check_times(facts, stage))
    if stage in ("pretrain", "finetune"):
        found += check_grace(facts, stage)
    found += check_account_limits(facts, stage, num_jobs)
    if well := [finding.found for finding in found if finding.level == "ok"]:
        yield Finding(stage, "ok", "; ".join(well))
    yield from (finding for finding in found if finding.level != "ok")


def check_partition(facts: ClusterFacts, stage: str) -> Iterator[Finding]:
    """Check that a job fits into its partition: else it is refused, or waits for ever."""
    resources, known = facts.stages[stage], facts.partitions
    name, mend = f"{stage}: partition", f"slurm/{stage}.yaml"
    chosen = facts.choose_partitions(resources)
    lacking = [n for n in resources.partition.split(",") if n and n not in known]
    if lacking:
        found = f"no partition {', '.join(lacking)}; there are {', '.join(sorted(known))}"
        yield Finding(name, "fault", found, f"mend partition in {mend}")
    elif not chosen:
        remedy = f"name one in {mend}: partition: {min(known, default='NAME')}"
        yield Finding(name, "fault", "names no partition, and the cluster has no default", remedy)
    else:
        yield _check_time(stage, resources, chosen)
        yield _check_nodes(stage, resources, chosen)


def _check_time(stage: str, resources: Resources, chosen: Sequence[Partition]) -> Finding:
    name, asked = f"{stage}: time limit", resources.timeout_min
    limits = {p.name: math.inf if p.minutes is None else p.minutes for p in chosen}
    shown = ", ".join(f"{n} {'no limit' if m == math.inf else f'{m:g}'}" for n, m in limits.items())
    if asked <= max(limits.values()):
        return Finding(name, "ok", f"{asked} min, the limit of {shown}")
    return Finding(
        name,
        "fault",
        f"timeout_min {asked} is over the partition's MaxTime ({shown} min): the job is refused, "
        "or stays pending for ever (PartitionTimeLimit)",
        f"slurm/{stage}.yaml: timeout_min: {int(max(limits.values()))}; a run goes on over as many "
        "jobs as it takes",
    )


def _check_nodes(stage: str, resources: Resources, chosen: Sequence[Partition]) -> Finding:
    cpus, gpus = resources.num_tasks * resources.cpus_per_task, resources.gpus_per_node
    needs = {"CPUs": cpus, "GPUs": gpus, "MB of memory": 1024 * resources.mem_gb}
    feature = resources.constraint
    # `a40&nvme`, `a40|a100`, `[a*2]` are sbatch's own language; one plain name can be compared.
    if feature.replace("_", "").replace("-", "").isalnum():
        needs[f"nodes with {feature}"] = 1
    fitting, parts = [], []
    for partition in chosen:
        nodes, where = partition.nodes, partition.name
        has = np.array([[n.cpus, n.gpus, n.memory, feature in n.features] for n in nodes])
        fit = np.all(has[:, : len(needs)] >= [*needs.values()], axis=1)
        if fit.sum() >= resources.nodes:
            fitting.append((int(sum(fit & [node.is_up for node in nodes])), where))
        for (name, wanted), most in zip(needs.items(), has.max(axis=0), strict=False):
            if most < wanted:
                parts.append(f"{wanted} {name} of a node wanted, {where} has {most}")
        if len(nodes) < resources.nodes:
            parts.append(f"{resources.nodes} nodes wanted, {where} has {len(nodes)}")
    if not fitting:
        text = "; ".join(parts) or f"no {resources.nodes} nodes of {chosen[0].name} have all of it"
        remedy = (
            f"mend slurm/{stage}.yaml (nodes, gpus_per_node, cpus_per_task, mem_gb, constraint): "
            "such a job is refused, or stays pending for ever"
        )
        return Finding(f"{stage}: nodes", "fault", text, remedy)
    up, name = next((fit for fit in fitting if fit[0] >= resources.nodes), fitting[-1])
    if up >= resources.nodes:
        asked = f"{resources.nodes} x {cpus} CPUs, {gpus} GPUs"
        return Finding(f"{stage}: nodes", "ok", f"{asked} a job ({up} such nodes up)")
    found = f"only {up} fitting nodes of {name} are up; {resources.nodes} wanted"
    remedy = "jobs wait until others are back: `sinfo -R` says why they are not"
    return Finding(f"{stage}: nodes", "note", found, remedy)


def check_times(facts: ClusterFacts, stage: str) -> Finding:
    """Check that a job reaches its first periodic checkpoint, and is told early enough to stop."""
    name, mend = f"{stage}: checkpoints", f"slurm/{stage}.yaml"
    every = facts.get_checkpoint_minutes(stage)
    limit, signal = facts.stages[stage].timeout_min, facts.stages[stage].signal_seconds
    left = limit - signal / 60
    if left <= EARLY_SECONDS / 60:
        found = (
            f"timeout_min {limit} and signal_seconds {signal}: SLURM may signal a minute early, so "
            "that a job is told to stop as soon as it begins"
        )
        remedy = f"{mend}: a longer timeout_min, or a shorter signal_seconds"
        return Finding(name, "fault", found, remedy)
    if every is None:
        return Finding(name, "ok", f"{left:g} min of work")
    if every >= left:
        found = (
            f"a job works {left:g} min before it is told to stop, checkpoint_minutes is {every:g}: "
            "whatever ends it without a signal (a node's failure, out of memory) takes all of its "
            "work"
        )
        remedy = f"{mend}: a longer timeout_min, or a shorter operation.checkpoint_minutes"
        return Finding(name, "fault", found, remedy)
    if signal < 60:
        found = f"signal_seconds {signal}: a step and a checkpoint must fit into it"
        remedy = f"{mend}: signal_seconds: 120, unless yours are known to be fast"
        return Finding(name, "note", found, remedy)
    return Finding(name, "ok", f"{left:g} min of work, a checkpoint every {every:g}")


def check_grace(facts: ClusterFacts, stage: str) -> Iterator[Finding]:
    """Check that a preempted job has time for a checkpoint."""
    name, signal = f"{stage}: GraceTime", facts.stages[stage].signal_seconds
    seconds = facts.get_grace_seconds(facts.stages[stage])
    if seconds is not None and seconds < signal:
        found = (
            f"a preempted job has {seconds} s, less than signal_seconds {signal}: a checkpoint "
            "that takes longer is lost, and the job goes on from the periodic one before it"
        )
        remedy = "keep operation.checkpoint_minutes short, or ask for a longer GraceTime"
        yield Finding(name, "note", found, remedy)
    elif seconds is not None:
        yield Finding(name, "ok", f"GraceTime {seconds} s")


def check_account_limits(facts: ClusterFacts, stage: str, num_jobs: int) -> Iterator[Finding]:
    """QOS and association limits against a job, and against a sweep of `num_jobs` jobs."""
    resources = facts.stages[stage]
    asked = {
        "cpu": resources.nodes * resources.num_tasks * resources.cpus_per_task,
        "node": resources.nodes,
        "gres/gpu": resources.num_gpus,
    }
    for label, row in facts.choose_rules(resources):
        longest = parse_minutes(row.get("MaxWall", ""))
        parts = []
        if longest is not None and resources.timeout_min > longest:
            parts.append(f"MaxWall {longest:g} min, timeout_min {resources.timeout_min}")
        for key in ("MaxTRES", "MaxTRESPU", "GrpTRES"):
            for name, most in parse_tres(row.get(key, "")).items():
                if asked.get(name, 0) > most:
                    parts.append(f"{key} {name}={most}, a job asks for {asked[name]}")
        if parts:
            remedy = f"mend slurm/{stage}.yaml, or name another qos or account there"
            found = f"{label}: {'; '.join(parts)}: such a job is refused or pending for ever"
            yield Finding(f"{stage}: limits", "fault", found, remedy)
        most_jobs = {key: row.get(key, "") for key in _JOB_LIMITS}
        few = [f"{k} {v}" for k, v in most_jobs.items() if v.isdigit() and int(v) < num_jobs]
        if few:
            remedy = f"launch with --max-parallel, and again when jobs have ended; or mend {label}"
            found = f"{label}: {', '.join(few)}; a sweep has up to {num_jobs} jobs a stage"
            yield Finding(f"{stage}: number of jobs", "note", found, remedy)
