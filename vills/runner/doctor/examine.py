"""Everything that the doctor looks at, in order."""

import os
import resource
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import vills
from vills.runner.doctor import Finding, machine, project, run_check, scheduler
from vills.runner.doctor.facts import ClusterFacts, load_facts
from vills.runner.mlflow.settings import load_tracking_settings
from vills.runner.plan.launch import LIGHT


def examine(folder: Path, *, probe: bool = False) -> list[Finding]:
    """Look at the cluster, this machine and the project; nothing raises."""
    facts, findings = load_facts(folder)
    if facts.on_cluster:
        findings += _examine_cluster(facts)
    else:
        reason = facts.answers["sbatch"].reason
        found = f"none here ({reason}): jobs go through the local queue of this machine"
        remedy = "nothing must be done; on a cluster, run this on a login node"
        findings.append(Finding("SLURM", "note", found, remedy, group="scheduler"))
    findings += _examine_machine(facts)
    if probe:
        findings += run_check("nodes", "probe", machine.check_nodes, facts)
        findings = drop_answered(findings)
    return findings


def _examine_cluster(facts: ClusterFacts) -> list[Finding]:
    config, points = facts.config, project.count_points(facts.folder / "sweeps")
    look = partial(run_check, "scheduler")
    findings = [
        *look("tools", scheduler.check_tools, facts.answers),
        *look("accounting", scheduler.check_accounting, config, facts.answers["sacct"]),
        *look("preemption", scheduler.check_preemption, config),
        *look("requeue", scheduler.check_requeue, config),
        *look("KillWait", scheduler.check_kill_wait, config),
        *look("MaxArraySize", scheduler.check_arrays, config, points),
        *look("allocation", check_allocation),
    ]
    num_jobs = max(points.values(), default=1)
    for stage in facts.stages:
        if stage not in LIGHT:
            findings += run_check("jobs", stage, scheduler.check_stage, facts, stage, num_jobs)
    return findings


def check_allocation() -> Iterator[Finding]:
    """Whether this command runs inside a job."""
    if job := os.environ.get("SLURM_JOB_ID", ""):
        found = (
            f"this is job {job}: `dvc repro` from two nodes is not seen by DVC's lock, which knows "
            "process ids only, and a launcher ends with the job"
        )
        remedy = "give `dvc repro` and `launch.py` on the login node"
        yield Finding("allocation", "note", found, remedy)


def _examine_machine(facts: ClusterFacts) -> list[Finding]:
    runs, mounts, num_nodes = facts.runs, facts.mounts, facts.num_nodes
    shared = {"runs": runs, "code": Path(vills.__file__).parent, "python": Path(sys.prefix)}
    findings: list[Finding] = []
    on = {"mounts": mounts, "num_nodes": num_nodes}
    for name, path in shared.items():
        findings += run_check("files", name, project.check_shared, name, path, **on)
    findings += run_check("files", "hard links", project.check_links, runs, mounts=mounts)
    findings += run_check("files", "room", project.check_room, runs)
    findings += run_check("files", "DVC", project.check_dvc, facts.folder, runs, mounts=mounts)
    try:
        settings = load_tracking_settings(facts.folder)
    except ValueError as error:
        remedy = "set VILLS_TRACKING to on or off"
        findings.append(Finding("tracker", "fault", str(error), remedy, group="project"))
    else:
        uri = settings.uri if settings else None
        check = project.check_tracker
        findings += run_check("project", "tracker", check, uri, num_nodes=num_nodes)
        findings += run_check("files", "MLflow database", project.check_database, uri, **on)
    findings += run_check(
        "machine",
        "GPU",
        machine.check_devices,
        facts.answers["torch"],
        driver=machine.read_driver(),
        on_cluster=facts.on_cluster,
    )
    loaders = max((resources.loaders for resources in facts.stages.values()), default=0)
    findings += run_check(
        "machine",
        "/dev/shm",
        lambda: machine.check_shared_memory(machine.get_shared_memory_gb(), loaders=loaders),
    )
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    findings += run_check("machine", "open files", machine.check_open_files, soft)
    if facts.params is not None:
        findings += run_check("project", "folders", project.check_folders, facts.params)
    return findings


def drop_answered(findings: list[Finding]) -> list[Finding]:
    """Without the doubts about shared folders, once nodes have looked at them."""
    looked = [finding for finding in findings if finding.group == "nodes"]
    asked = any(f.name.endswith(": runs") and f.level == "ok" for f in looked)
    if not asked or any(f.level in ("fault", "unknown") for f in looked if ": " in f.name):
        return findings
    doubts = [("files", name, "unknown") for name in ("runs", "code", "python")]
    return [f for f in findings if (f.group, f.name, f.level) not in doubts]
