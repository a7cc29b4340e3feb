"""Everything that the doctor looks at, in order."""

import os
import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import vills
from vills.config.load import load_params
from vills.config.params import Params
from vills.errors import UserError
from vills.pipeline import STAGES
from vills.runner.clusters.resources import Resources, load_resources
from vills.runner.doctor import files, limits, machine, project, scheduler
from vills.runner.doctor.answers import (
    Answer,
    build_questions,
    load_answers,
    parse_config,
    parse_table,
)
from vills.runner.doctor.finding import Finding, run_check
from vills.runner.doctor.nodes import Partition, count_nodes, parse_partitions
from vills.runner.doctor.probe import list_partitions, run_probe
from vills.runner.mlflow.settings import load_tracking_settings
from vills.runner.plan.launch import LIGHT
from vills.runner.work.stage import get_runs_root


@dataclass(frozen=True, slots=True)
class Patient:
    """What was asked once, and the project."""

    folder: Path
    runs: Path
    answers: dict[str, Answer]
    config: dict[str, str]
    partitions: dict[str, Partition]
    stages: dict[str, Resources]
    params: Params | None
    mounts: str

    @property
    def on_cluster(self) -> bool:
        """Whether SLURM is set up here; its programs alone are no cluster."""
        return any(self.answers[name].ok for name in ("sbatch", "squeue", "sinfo", "sacct"))

    @property
    def num_nodes(self) -> int:
        """Nodes of the cluster; one without a cluster, two where they cannot be counted."""
        return (count_nodes(self.partitions) or 2) if self.on_cluster else 1


def examine(folder: Path, *, probe: bool = False) -> list[Finding]:
    """Look at the cluster, this machine and the project; nothing raises."""
    findings: list[Finding] = []
    patient = _ask(folder, findings)
    checks = _list_machine_checks(patient)
    if patient.on_cluster:
        checks = [*_list_cluster_checks(patient), *checks]
    else:
        reason = patient.answers["sbatch"].reason
        found = f"none here ({reason}): jobs go through the local queue of this machine"
        remedy = "nothing must be done; on a cluster, run this on a login node"
        findings.append(Finding("scheduler", "SLURM", "note", found, remedy))
    for group, name, check in checks:
        findings += run_check(group, name, check)
    if probe:
        findings += run_check("nodes", "probe", partial(_probe, patient))
        findings = drop_answered(findings)
    return findings


def drop_answered(findings: list[Finding]) -> list[Finding]:
    """Without the doubts about shared folders, once nodes have looked at them."""
    looked = [f for f in findings if f.group == "nodes"]
    asked = any(f.name.endswith(": runs") and f.level == "ok" for f in looked)
    if not asked or any(f.level in ("fault", "unknown") for f in looked if ": " in f.name):
        return findings
    doubts = ("runs", "code", "python")
    return [
        f
        for f in findings
        if not (f.group == "files" and f.name in doubts and f.level == "unknown")
    ]


def _ask(folder: Path, findings: list[Finding]) -> Patient:
    questions = {**build_questions(), "torch": machine.build_torch_question()}
    stages: dict[str, Resources] = {}
    params: Params | None = None
    partitions: dict[str, Partition] = {}

    def read_stages() -> Iterator[Finding]:
        for stage in STAGES:
            try:
                stages[stage] = load_resources(folder, stage)
            except UserError as error:
                remedy = f"mend slurm/{stage}.yaml"
                yield Finding("jobs", f"{stage}: file", "fault", str(error), remedy)

    def read_params() -> Iterator[Finding]:
        nonlocal params
        try:
            params = load_params(folder)
        except UserError as error:
            found, remedy = str(error), "mend params.yaml; what depends on it is not looked at"
            yield Finding("project", "params.yaml", "fault", found, remedy)

    def read_partitions() -> Iterator[Finding]:
        partitions.update(parse_partitions(answers["sinfo"].text))
        if not partitions and answers["sbatch"].ok:
            remedy = "compare slurm/*.yaml with the cluster's pages by hand"
            found = f"sinfo lists none ({answers['sinfo'].reason or 'empty'})"
            yield Finding("jobs", "partitions", "unknown", found, remedy)

    with ThreadPoolExecutor(max_workers=1) as pool:  # files are read while the tools think
        asked = pool.submit(load_answers, questions)
        findings += run_check("jobs", "slurm/*.yaml", read_stages)
        findings += run_check("project", "params.yaml", read_params)
        answers = asked.result()
    findings += run_check("jobs", "partitions", read_partitions)
    path = Path("/proc/mounts")
    return Patient(
        folder=folder,
        runs=get_runs_root(folder),
        answers=answers,
        config=parse_config(answers["scontrol"].text),
        partitions=partitions,
        stages=stages,
        params=params,
        mounts=path.read_text(errors="replace") if path.exists() else "",
    )


Checks = list[tuple[str, str, "partial[Iterator[Finding]]"]]


def _list_cluster_checks(patient: Patient) -> Checks:
    config, answers = patient.config, patient.answers
    points = project.count_points(patient.folder / "sweeps")
    checks: Checks = [
        ("scheduler", "tools", partial(scheduler.check_tools, answers)),
        (
            "scheduler",
            "accounting",
            partial(scheduler.check_accounting, config, answers["sacct"]),
        ),
        ("scheduler", "preemption", partial(scheduler.check_preemption, config)),
        ("scheduler", "requeue", partial(scheduler.check_requeue, config)),
        ("scheduler", "KillWait", partial(scheduler.check_kill_wait, config)),
        ("scheduler", "MaxArraySize", partial(scheduler.check_arrays, config, points)),
        ("scheduler", "allocation", partial(scheduler.check_allocation)),
    ]
    num_jobs = max(points.values(), default=1)
    for stage, resources in patient.stages.items():
        if stage in LIGHT:
            continue
        check = partial(_join_stage, patient, stage, resources, num_jobs)
        checks.append(("jobs", stage, check))
    return checks


def _join_stage(
    patient: Patient, stage: str, resources: Resources, num_jobs: int
) -> Iterator[Finding]:
    """All that is well with a stage in one line."""
    found = list(_check_stage(patient, stage, resources, num_jobs))
    well = [finding.found for finding in found if finding.level == "ok"]
    if well:
        yield Finding("jobs", stage, "ok", "; ".join(well))
    yield from (finding for finding in found if finding.level != "ok")


def _check_stage(
    patient: Patient, stage: str, resources: Resources, num_jobs: int
) -> Iterator[Finding]:
    answers, config = patient.answers, patient.config
    if patient.partitions:
        yield from limits.check_partition(stage, resources, patient.partitions)
    yield from limits.check_times(stage, resources, _get_checkpoint_minutes(patient, stage))
    qos = parse_table(answers["qos"].text)
    if stage in ("pretrain", "finetune"):
        lines = answers["partitions"].text.splitlines()
        rows = [dict(w.split("=", 1) for w in line.split() if "=" in w) for line in lines if line]
        yield from limits.check_grace(stage, resources, config=config, partitions=rows, qos=qos)
    assoc = parse_table(answers["assoc"].text)
    rules = limits.choose_rows(resources, config=config, qos=qos, assoc=assoc)
    yield from limits.check_account_limits(stage, resources, rows=rules, num_jobs=num_jobs)


def _get_checkpoint_minutes(patient: Patient, stage: str) -> float | None:
    """None for stages without checkpoints: they keep what is finished, or are short."""
    if patient.params is None or stage not in ("pretrain", "finetune"):
        return None
    return patient.params.operation.checkpoint_minutes


def _list_machine_checks(patient: Patient) -> Checks:
    mounts, num_nodes, runs = patient.mounts, patient.num_nodes, patient.runs
    shared = {
        "runs": runs,
        "code": Path(vills.__file__).parent,
        "python": Path(sys.prefix),
    }
    loaders = max((resources.loaders for resources in patient.stages.values()), default=0)
    checks: Checks = [
        ("files", name, partial(files.check_shared, name, path, mounts=mounts, num_nodes=num_nodes))
        for name, path in shared.items()
    ]
    checks += [
        ("files", "hard links", partial(files.check_links, runs, mounts=mounts)),
        ("files", "room", partial(files.check_room, runs)),
        ("files", "DVC", partial(files.check_dvc, patient.folder, runs, mounts=mounts)),
        ("files", "tracker", partial(_check_tracking, patient)),
        (
            "machine",
            "GPU",
            partial(
                machine.check_devices,
                patient.answers["torch"],
                driver=machine.read_driver(),
                on_cluster=patient.on_cluster,
            ),
        ),
        ("machine", "/dev/shm", partial(_check_memory, loaders)),
        ("machine", "open files", partial(_check_open_files)),
    ]
    if patient.params is not None:
        checks.append(("project", "folders", partial(project.check_folders, patient.params)))
    return checks


def _check_tracking(patient: Patient) -> Iterator[Finding]:
    try:
        settings = load_tracking_settings(patient.folder)
    except ValueError as error:
        remedy = "set VILLS_TRACKING to on or off"
        yield Finding("project", "tracker", "fault", str(error), remedy)
        return
    uri = settings.uri if settings else None
    yield from project.check_tracker(uri, num_nodes=patient.num_nodes)
    if uri is not None:
        yield from files.check_database(uri, mounts=patient.mounts, num_nodes=patient.num_nodes)


def _check_memory(loaders: int) -> Iterator[Finding]:
    yield from machine.check_shared_memory(machine.get_shared_memory_gb(), loaders=loaders)


def _check_open_files() -> Iterator[Finding]:
    yield from machine.check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _probe(patient: Patient) -> Iterator[Finding]:
    if not patient.on_cluster:
        remedy = "give --probe where SLURM is"
        yield Finding("nodes", "probe", "note", "no SLURM, no nodes to ask", remedy)
        return
    if "SLURM_JOB_ID" in os.environ:
        found = "inside a job srun would look at its own nodes only"
        yield Finding("nodes", "probe", "unknown", found, "give it on a login node")
        return
    for resources in list_partitions(list(patient.stages.values())):
        names = resources.partition.split(",")
        chosen = [
            p
            for p in patient.partitions.values()
            if p.name in names or (names == [""] and p.is_default)
        ]
        up = max((sum(node.is_up for node in p.nodes) for p in chosen), default=0)
        yield from run_probe(patient.runs, resources, num_nodes=min(2, max(1, up)))
