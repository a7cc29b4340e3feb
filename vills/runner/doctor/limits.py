"""What slurm/STAGE.yaml asks for against what partitions, QOS and accounts give."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from vills.runner.clusters.resources import Resources
from vills.runner.doctor.answers import parse_minutes, parse_tres
from vills.runner.doctor.finding import Finding
from vills.runner.doctor.nodes import NodeFacts, Partition

EARLY_SECONDS = 60
"""SLURM may send a signal so much earlier than it was asked to (sbatch(1))."""
_GROUP = "jobs"


def check_partition(
    stage: str, resources: Resources, partitions: Mapping[str, Partition]
) -> Iterator[Finding]:
    """A stage's job fits into its partition; one that does not is refused, or waits for ever."""
    mend = f"slurm/{stage}.yaml"
    names = [name for name in resources.partition.split(",") if name]
    lacking = [name for name in names if name not in partitions]
    if lacking:
        found = f"no partition {', '.join(lacking)}; there are {', '.join(sorted(partitions))}"
        yield Finding(_GROUP, f"{stage}: partition", "fault", found, f"mend partition in {mend}")
        return
    chosen = [p for p in partitions.values() if (p.name in names if names else p.is_default)]
    if not chosen:
        remedy = f"name one in {mend}: partition: {min(partitions, default='NAME')}"
        found = "names no partition, and the cluster has no default"
        yield Finding(_GROUP, f"{stage}: partition", "fault", found, remedy)
        return
    yield from _check_time(stage, resources, chosen)
    yield from _check_nodes(stage, resources, chosen)


def _check_time(stage: str, resources: Resources, chosen: Sequence[Partition]) -> Iterator[Finding]:
    limits = {p.name: p.minutes for p in chosen}
    asked = resources.timeout_min
    shown = ", ".join(f"{n} {'no limit' if m is None else f'{m:g}'}" for n, m in limits.items())
    name = f"{stage}: time limit"
    if all(minutes is not None and asked > minutes for minutes in limits.values()):
        longest = int(max(minutes or 0.0 for minutes in limits.values()))
        yield Finding(
            _GROUP,
            name,
            "fault",
            f"timeout_min {asked} is over the partition's MaxTime ({shown} min): the job is "
            "refused, or stays pending for ever (PartitionTimeLimit)",
            f"slurm/{stage}.yaml: timeout_min: {longest}; a run goes on over as many jobs as it "
            "takes",
        )
    else:
        yield Finding(_GROUP, name, "ok", f"{asked} min, the limit of {shown}")


def _check_nodes(
    stage: str, resources: Resources, chosen: Sequence[Partition]
) -> Iterator[Finding]:
    cpus = resources.num_tasks * resources.cpus_per_task
    needs: list[tuple[str, Callable[[NodeFacts], float], float]] = [
        ("CPUs", lambda node: node.cpus, cpus),
        ("GPUs", lambda node: node.gpus, resources.gpus_per_node),
        ("MB of memory", lambda node: node.memory, 1024 * resources.mem_gb),
    ]
    wanted = resources.constraint
    # `a40&nvme`, `a40|a100`, `[a*2]` are sbatch's own language; one plain name can be compared.
    if wanted and wanted.replace("_", "").replace("-", "").isalnum():
        needs.append((f"nodes with {wanted}", lambda node: float(wanted in node.features), 1))
    name = f"{stage}: nodes"
    best: tuple[int, Partition] | None = None
    for partition in chosen:
        fit = [n for n in partition.nodes if all(get(n) >= least for _, get, least in needs)]
        up = [n for n in fit if n.is_up]
        if len(fit) >= resources.nodes:
            if len(up) >= resources.nodes:
                asked = f"{resources.nodes} x {cpus} CPUs, {resources.gpus_per_node} GPUs"
                yield Finding(_GROUP, name, "ok", f"{asked} a job ({len(up)} such nodes up)")
                return
            best = (len(up), partition)
    if best:
        found = f"only {best[0]} fitting nodes of {best[1].name} are up; {resources.nodes} wanted"
        remedy = "jobs wait until others are back: `sinfo -R` says why they are not"
        yield Finding(_GROUP, name, "note", found, remedy)
        return
    parts = []
    for partition in chosen:
        for label, get, least in needs:
            most = max((get(node) for node in partition.nodes), default=0)
            if most < least:
                parts.append(f"{least:g} {label} of a node wanted, {partition.name} has {most:g}")
        if len(partition.nodes) < resources.nodes:
            has = len(partition.nodes)
            parts.append(f"{resources.nodes} nodes wanted, {partition.name} has {has}")
    text = "; ".join(parts) or f"no {resources.nodes} nodes of {chosen[0].name} have all of it"
    remedy = (
        f"mend slurm/{stage}.yaml (nodes, gpus_per_node, cpus_per_task, mem_gb, constraint): such "
        "a job is refused, or stays pending for ever"
    )
    yield Finding(_GROUP, name, "fault", text, remedy)


def check_times(
    stage: str, resources: Resources, checkpoint_minutes: float | None
) -> Iterator[Finding]:
    """A job lives until its first periodic checkpoint, and is told to stop early enough."""
    name = f"{stage}: checkpoints"
    mend = f"slurm/{stage}.yaml"
    left = resources.timeout_min - resources.signal_seconds / 60
    if left <= EARLY_SECONDS / 60:
        yield Finding(
            _GROUP,
            name,
            "fault",
            f"timeout_min {resources.timeout_min} and signal_seconds {resources.signal_seconds}: "
            "SLURM may signal a minute early, so that a job is told to stop as soon as it begins",
            f"{mend}: a longer timeout_min, or a shorter signal_seconds",
        )
    elif checkpoint_minutes is not None and checkpoint_minutes >= left:
        yield Finding(
            _GROUP,
            name,
            "fault",
            f"a job works {left:g} min before it is told to stop, checkpoint_minutes is "
            f"{checkpoint_minutes:g}: whatever ends it without a signal (a node's failure, out of "
            "memory) takes all of its work",
            f"{mend}: a longer timeout_min, or a shorter operation.checkpoint_minutes",
        )
    elif resources.signal_seconds < 60 and checkpoint_minutes is not None:
        yield Finding(
            _GROUP,
            name,
            "note",
            f"signal_seconds {resources.signal_seconds}: a step and a checkpoint must fit into it",
            f"{mend}: signal_seconds: 120, unless yours are known to be fast",
        )
    else:
        every = "" if checkpoint_minutes is None else f", a checkpoint every {checkpoint_minutes:g}"
        yield Finding(_GROUP, name, "ok", f"{left:g} min of work{every}")


def check_grace(
    stage: str,
    resources: Resources,
    *,
    config: Mapping[str, str],
    partitions: Sequence[Mapping[str, str]],
    qos: Sequence[Mapping[str, str]],
) -> Iterator[Finding]:
    """A preempted job has time for a checkpoint. Partitions and QOS as SLURM describes them."""
    kind = config.get("PreemptType", "")
    if kind.endswith("partition_prio"):
        names = resources.partition.split(",")
        seconds = [
            int(partition["GraceTime"])
            for partition in partitions
            if partition.get("PreemptMode", "") != "OFF"
            and (partition["PartitionName"] in names if names != [""] else _is_default(partition))
        ]
    elif kind.endswith("qos"):
        name = resources.qos or "normal"
        minutes = [parse_minutes(row.get("GraceTime", "")) for row in qos if row["Name"] == name]
        seconds = [int(60 * (value or 0.0)) for value in minutes]
    else:
        return
    if seconds and min(seconds) < resources.signal_seconds:
        yield Finding(
            _GROUP,
            f"{stage}: GraceTime",
            "note",
            f"a preempted job has {min(seconds)} s, less than signal_seconds "
            f"{resources.signal_seconds}: a checkpoint that takes longer is lost, and the job goes "
            "on from the periodic one before it",
            "keep operation.checkpoint_minutes short, or ask for a longer GraceTime",
        )
    elif seconds:
        yield Finding(_GROUP, f"{stage}: GraceTime", "ok", f"GraceTime {min(seconds)} s")


def _is_default(partition: Mapping[str, str]) -> bool:
    return partition.get("Default") == "YES"


def check_account_limits(
    stage: str,
    resources: Resources,
    *,
    rows: Sequence[tuple[str, Mapping[str, str]]],
    num_jobs: int,
) -> Iterator[Finding]:
    """QOS and association limits against a job, and against a sweep of `num_jobs` jobs.

    Args:
        stage: Name of the stage.
        resources: What its jobs ask for.
        rows: The QOS and associations that hold, each with a name for people.
        num_jobs: Jobs of the largest sweep.
    """
    asked = {
        "cpu": resources.nodes * resources.num_tasks * resources.cpus_per_task,
        "node": resources.nodes,
        "gres/gpu": resources.num_gpus,
    }
    for label, row in rows:
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
            yield Finding(_GROUP, f"{stage}: limits", "fault", found, remedy)
        few = _find_few(row, num_jobs)
        if few:
            remedy = f"launch with --max-parallel, and again when jobs have ended; or mend {label}"
            found = f"{label}: {', '.join(few)}; a sweep has up to {num_jobs} jobs a stage"
            yield Finding(_GROUP, f"{stage}: number of jobs", "note", found, remedy)


def _find_few(row: Mapping[str, str], num_jobs: int) -> list[str]:
    keys = ("MaxJobsPU", "MaxSubmitPU", "MaxJobs", "MaxSubmit")
    values = {key: row.get(key, "") for key in keys}
    return [f"{k} {v}" for k, v in values.items() if v.isdigit() and int(v) < num_jobs]


def choose_rows(
    resources: Resources,
    *,
    config: Mapping[str, str],
    qos: Sequence[Mapping[str, str]],
    assoc: Sequence[Mapping[str, str]],
) -> list[tuple[str, Mapping[str, str]]]:
    """The QOS and associations that hold for a stage's jobs; none where SLURM enforces none."""
    enforced = config.get("AccountingStorageEnforce", "limits")
    if not any(word in enforced.lower() for word in ("limits", "safe", "all")):
        return []
    own = [row for row in assoc if resources.account in ("", row.get("Account", ""))]
    defaults = {row.get("Def QOS", "") for row in own} - {""}
    names = {resources.qos} if resources.qos else defaults or {"normal"}
    chosen = [(f"qos {row['Name']}", row) for row in qos if row.get("Name") in names]
    return chosen + [(f"account {row.get('Account', '?')}", row) for row in own]
