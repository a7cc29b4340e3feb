"""Jobs: does the cluster give what slurm/*.yaml asks for.

`sbatch --test-only` was tried in place of the comparisons (SLURM 22.05). It passes a job over its
partition's MaxTime (unless EnforcePartLimits is set) or its QOS's limits, which then waits for
ever; of nodes it says no more than "Requested node configuration is not available", whatever it is
that they lack, and also where they are only down for a while.
"""

import math
from collections.abc import Iterator

import numpy as np

from vills.config.resources import Resources
from vills.runner.doctor import Finding
from vills.runner.doctor.facts import ClusterFacts, Node, parse_minutes, parse_table, parse_tres

EARLY_SECONDS = 60
"""SLURM may send a signal so much earlier than it was asked to (sbatch(1))."""
_JOB_LIMITS = ("MaxJobsPU", "MaxSubmitPU", "MaxJobs", "MaxSubmit")


def check_stage(stage: str, facts: ClusterFacts) -> Iterator[Finding]:
    """Check a stage's jobs; what is well stands in one line."""
    if stage not in facts.stages:
        return  # its file was refused
    found = list(check_partition(stage, facts)) if facts.partitions else []
    found.append(check_times(stage, facts))
    if stage in ("pretrain", "finetune"):
        found += check_grace(stage, facts)
    found += check_account_limits(stage, facts)
    if well := [finding.found for finding in found if finding.level == "ok"]:
        yield Finding(stage, "ok", "; ".join(well))
    yield from (finding for finding in found if finding.level != "ok")


def check_partition(stage: str, facts: ClusterFacts) -> Iterator[Finding]:
    """Check that a job fits into its partition: else it is refused, or waits for ever."""
    resources, known = facts.stages[stage], facts.partitions
    name, mend = f"{stage}: partition", f"slurm/{stage}.yaml"
    chosen = facts.choose_partitions(resources)
    lacking = [n for n in resources.partition.split(",") if n and n not in known]
    if lacking:
        found = f"no partition {', '.join(lacking)}; there are {', '.join(sorted(known))}"
        yield Finding(name, "fault", found, f"correct partition in {mend}")
    elif not chosen:
        remedy = f"name one in {mend}: partition: {min(known, default='NAME')}"
        yield Finding(name, "fault", "names no partition, and the cluster has no default", remedy)
    else:
        yield _check_time(stage, resources, chosen)
        yield _check_nodes(stage, resources, chosen)


def _check_time(stage: str, resources: Resources, chosen: dict[str, list[Node]]) -> Finding:
    name, asked = f"{stage}: time limit", resources.timeout_min
    limits = {name: nodes[0].minutes for name, nodes in chosen.items()}
    shown = ", ".join(f"{n} {'no limit' if m == math.inf else f'{m:g}'}" for n, m in limits.items())
    if asked <= max(limits.values()):
        return Finding(name, "ok", f"{asked} min, the limit of {shown}")
    found = (
        f"timeout_min {asked} is over the partition's MaxTime ({shown} min): the job is refused, "
        "or pending for ever (PartitionTimeLimit)"
    )
    remedy = f"timeout_min: {int(max(limits.values()))}; a run may take several jobs"
    return Finding(name, "fault", found, f"slurm/{stage}.yaml: {remedy}")


def _check_nodes(stage: str, resources: Resources, chosen: dict[str, list[Node]]) -> Finding:
    name, wanted = f"{stage}: nodes", resources.nodes
    cpus, gpus = resources.num_tasks * resources.cpus_per_task, resources.gpus_per_node
    needs = {"CPUs": cpus, "GPUs": gpus, "MB of memory": 1024 * resources.mem_gb}
    feature = resources.constraint
    # `a40&nvme`, `a40|a100`, `[a*2]` are sbatch's own language; one plain name can be compared.
    if feature.replace("_", "").replace("-", "").isalnum():
        needs[f"nodes with {feature}"] = 1
    fitting, parts = [], []
    for where, nodes in chosen.items():
        has = np.array([[n.cpus, n.gpus, n.memory, feature in n.features] for n in nodes])
        fit = np.all(has[:, : len(needs)] >= [*needs.values()], axis=1)
        if fit.sum() >= wanted:
            fitting.append((int(sum(fit & [node.is_up for node in nodes])), where))
        for (what, least), most in zip(needs.items(), has.max(axis=0), strict=False):
            if most < least:
                parts.append(f"{least} {what} of a node wanted, {where} has {most}")
        if len(nodes) < wanted:
            parts.append(f"{wanted} nodes wanted, {where} has {len(nodes)}")
    if not fitting:
        found = "; ".join(parts) or f"no {wanted} nodes of {next(iter(chosen))} have all of it"
        remedy = (
            f"correct slurm/{stage}.yaml (nodes, gpus_per_node, cpus_per_task, mem_gb, "
            "constraint): such a job is refused, or stays pending for ever"
        )
        return Finding(name, "fault", found, remedy)
    up, where = next((fit for fit in fitting if fit[0] >= wanted), fitting[-1])
    if up >= wanted:
        asked = f"{wanted} x {cpus} CPUs, {gpus} GPUs"
        return Finding(name, "ok", f"{asked} a job ({up} such nodes up)")
    found = f"only {up} fitting nodes of {where} are up; {wanted} wanted"
    remedy = "jobs wait until others are back: `sinfo -R` says why they are down"
    return Finding(name, "note", found, remedy)


def check_times(stage: str, facts: ClusterFacts) -> Finding:
    """Check that a job reaches its first periodic checkpoint, and is told early enough to stop."""
    name, mend = f"{stage}: checkpoints", f"slurm/{stage}.yaml"
    limit, signal = facts.stages[stage].timeout_min, facts.stages[stage].signal_seconds
    left = limit - signal / 60
    if left <= EARLY_SECONDS / 60:
        found = (
            f"timeout_min {limit} and signal_seconds {signal}: SLURM may signal a minute early, so "
            "a job would be told to stop as soon as it begins"
        )
        remedy = f"{mend}: a longer timeout_min, or a shorter signal_seconds"
        return Finding(name, "fault", found, remedy)
    # other stages have no checkpoints: they keep what is finished, or are short
    if facts.params is None or stage not in ("pretrain", "finetune"):
        return Finding(name, "ok", f"{left:g} min of work")
    every = facts.params.operation.checkpoint_minutes
    if every >= left:
        found = (
            f"a job works {left:g} min before it is told to stop, operation.checkpoint_minutes is "
            f"{every:g}: if it ends without a signal (node failure, out of memory), all of its "
            "work is lost"
        )
        remedy = f"{mend}: a longer timeout_min, or a shorter operation.checkpoint_minutes"
        return Finding(name, "fault", found, remedy)
    if signal < 60:
        found = f"signal_seconds {signal}: one step and one checkpoint must fit into it"
        remedy = f"{mend}: signal_seconds: 120, unless you know that yours are fast"
        return Finding(name, "note", found, remedy)
    return Finding(name, "ok", f"{left:g} min of work, a checkpoint every {every:g}")


def check_grace(stage: str, facts: ClusterFacts) -> Iterator[Finding]:
    """Check that a job that is preempted has time for a checkpoint; nothing if none ever is."""
    resources, kind = facts.stages[stage], facts.config.get("PreemptType", "")
    grace: list[float] = []
    if kind.endswith("partition_prio"):
        chosen = facts.choose_partitions(resources)
        for line in facts.answers["partitions"].text.splitlines():
            row = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if row.get("PartitionName") in chosen and row.get("PreemptMode") != "OFF":
                grace.append(int(row["GraceTime"]))
    elif kind.endswith("qos"):
        rows = parse_table(facts.answers["qos"].text)
        own = [row["GraceTime"] for row in rows if row["Name"] == (resources.qos or "normal")]
        grace = [60 * parse_minutes(text or "0") for text in own]
    if not grace:
        return
    name, seconds, signal = f"{stage}: GraceTime", int(min(grace)), resources.signal_seconds
    if seconds < signal:
        found = (
            f"a preempted job has {seconds} s, less than signal_seconds {signal}: a checkpoint "
            "that takes longer is lost, and the job continues from the previous one"
        )
        remedy = "keep operation.checkpoint_minutes short, or ask for a longer GraceTime"
        yield Finding(name, "note", found, remedy)
    else:
        yield Finding(name, "ok", f"GraceTime {seconds} s")


def check_account_limits(stage: str, facts: ClusterFacts) -> Iterator[Finding]:
    """QOS and association limits against a job, and against the largest sweep."""
    resources, num_jobs = facts.stages[stage], max(facts.sweeps.values(), default=1)
    asked = {
        "cpu": resources.nodes * resources.num_tasks * resources.cpus_per_task,
        "node": resources.nodes,
        "gres/gpu": resources.num_gpus,
    }
    for label, row in _choose_rules(resources, facts):
        longest, parts = parse_minutes(row.get("MaxWall", "")), []
        if resources.timeout_min > longest:
            parts.append(f"MaxWall {longest:g} min, timeout_min {resources.timeout_min}")
        for key in ("MaxTRES", "MaxTRESPU", "GrpTRES"):
            for name, most in parse_tres(row.get(key, "")).items():
                if asked.get(name, 0) > most:
                    parts.append(f"{key} {name}={most}, a job asks for {asked[name]}")
        if parts:
            remedy = f"correct slurm/{stage}.yaml, or name another qos or account there"
            found = f"{label}: {'; '.join(parts)}: such a job is refused or pending for ever"
            yield Finding(f"{stage}: limits", "fault", found, remedy)
        most_jobs = {key: row.get(key, "") for key in _JOB_LIMITS}
        few = [f"{k} {v}" for k, v in most_jobs.items() if v.isdigit() and int(v) < num_jobs]
        if few:
            remedy = f"launch with --max-parallel, and again when jobs end; or change {label}"
            found = f"{label}: {', '.join(few)}; a sweep has up to {num_jobs} jobs a stage"
            yield Finding(f"{stage}: number of jobs", "note", found, remedy)


def _choose_rules(
    resources: Resources, facts: ClusterFacts
) -> Iterator[tuple[str, dict[str, str]]]:
    """QOS and associations that hold for a stage's jobs, each with a name for people."""
    enforced = facts.config.get("AccountingStorageEnforce", "limits").lower()
    if not any(word in enforced for word in ("limits", "safe", "all")):
        return
    qos, assoc = (parse_table(facts.answers[name].text) for name in ("qos", "assoc"))
    own = [row for row in assoc if resources.account in ("", row.get("Account", ""))]
    defaults = {row.get("Def QOS", "") for row in own} - {""}
    names = {resources.qos} if resources.qos else defaults or {"normal"}
    yield from ((f"qos {row['Name']}", row) for row in qos if row.get("Name") in names)
    yield from ((f"account {row.get('Account', '?')}", row) for row in own)
