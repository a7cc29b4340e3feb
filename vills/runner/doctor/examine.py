"""Everything that the doctor looks at, in order."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from vills.pipeline import STAGES
from vills.runner.doctor import Finding, jobs, machine, project, run_check, scheduler
from vills.runner.doctor.facts import ClusterFacts, load_facts
from vills.runner.plan.launch import LIGHT

Check = Callable[[ClusterFacts], Iterable[Finding]]
CHECKS: tuple[tuple[str, str, Check], ...] = (
    ("scheduler", "tools", scheduler.check_tools),
    ("scheduler", "accounting", scheduler.check_accounting),
    *(("scheduler", key, partial(scheduler.check_setting, key)) for key in scheduler.SETTINGS),
    ("scheduler", "allocation", scheduler.check_allocation),
    *(("jobs", s, partial(jobs.check_stage, s)) for s in STAGES if s not in LIGHT),
    *(("files", name, partial(project.check_shared, name)) for name in project.FOLDERS),
    ("files", "hard links", project.check_links),
    ("files", "room", project.check_room),
    ("files", "DVC", project.check_dvc),
    ("project", "tracker", project.check_tracker),
    ("machine", "GPU", machine.check_devices),
    ("machine", "/dev/shm", machine.check_loaders),
    ("machine", "open files", machine.check_open_files),
    ("project", "folders", project.check_folders),
    ("project", "git", project.check_git),
)
"""Group, name, check; those of the scheduler and of jobs only where SLURM is."""


def run_checks(folder: Path, *, probe: bool = False) -> list[Finding]:
    """Look at the cluster, this machine and the project; nothing raises."""
    facts, findings = load_facts(folder)
    if not facts.on_cluster:
        reason = facts.answers["sbatch"].reason
        found = f"none here ({reason}): jobs go through the local queue of this machine"
        remedy = "nothing needs to be done; on a cluster, run this on a login node"
        findings.append(Finding("SLURM", "note", found, remedy, group="scheduler"))
    for group, name, check in CHECKS:
        if facts.on_cluster or group not in ("scheduler", "jobs"):
            findings += run_check(group, name, check, facts)
    if probe:
        findings += run_check("nodes", "probe", machine.check_nodes, facts)
        findings = select_unanswered(findings)
    return findings


def select_unanswered(findings: list[Finding]) -> list[Finding]:
    """Without the doubts about shared folders, once nodes have looked at them."""
    looked = [finding for finding in findings if finding.group == "nodes"]
    asked = any(f.name.endswith(": runs") and f.level == "ok" for f in looked)
    if not asked or any(f.level in ("fault", "unknown") for f in looked if ": " in f.name):
        return findings
    doubts = [("files", name, "unknown") for name in project.FOLDERS]
    return [f for f in findings if (f.group, f.name, f.level) not in doubts]
