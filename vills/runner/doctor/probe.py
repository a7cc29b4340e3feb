"""`vills doctor --probe`: a short job on two nodes, which looks at everything from there."""

import fcntl
import json
import shlex
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import vills
from vills.runner.clusters.resources import Resources
from vills.runner.doctor.answers import Answer, ask_tool
from vills.runner.doctor.finding import Finding
from vills.runner.doctor.machine import check_shared_memory, describe_devices
from vills.runner.doctor.probe_node import LOCK, TOKEN

QUEUE_SECONDS, JOB_MINUTES = 120, 3
_GROUP = "nodes"
# In this order, so that a node that lacks the folder or python can still say so.
_SCRIPT = """\
say() {{ echo "VILLS {{\\"host\\": \\"$(hostname)\\", \\"$1\\": true}}"; exit 0; }}
[ -r {token} ] || say no_folder
[ -x {python} ] || say no_python
PYTHONPATH={code} {python} -m vills.runner.doctor.probe_node {folder} || say no_import
"""


def run_probe(runs: Path, resources: Resources, *, num_nodes: int) -> Iterator[Finding]:
    """Ask two nodes (or the only one) of a stage's partition what they see."""
    folder = runs.resolve() / f".doctor-{uuid.uuid4().hex}"
    folder.mkdir(parents=True)
    secret = uuid.uuid4().hex
    try:
        (folder / TOKEN).write_text(secret)
        with (folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            answer = ask_tool(
                build_command(folder, resources, num_nodes=num_nodes),
                seconds=QUEUE_SECONDS + 60 * JOB_MINUTES,
            )
        yield from read_probe(
            answer, secret=secret, resources=resources, num_nodes=num_nodes, folder=folder
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def build_command(folder: Path, resources: Resources, *, num_nodes: int) -> list[str]:
    """The srun: where a stage's jobs would go, one process a node, one GPU if they have any."""
    named = {
        "partition": resources.partition.split(",")[0],
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "gpus-per-node": "1" if resources.gpus_per_node else "",
    }
    values = {
        "token": folder / TOKEN,
        "python": sys.executable,
        "code": Path(vills.__file__).parent.parent,
        "folder": folder,
    }
    quoted = {name: shlex.quote(str(value)) for name, value in values.items()}
    script = "\n".join([*resources.setup, _SCRIPT.format(**quoted)])
    return [
        "srun",
        "--job-name=vills-doctor",
        "--quiet",
        f"--nodes={num_nodes}",
        "--ntasks-per-node=1",
        f"--time={JOB_MINUTES}",
        f"--immediate={QUEUE_SECONDS}",
        *(f"--{name}={value}" for name, value in named.items() if value),
        *("bash", "-c", script),
    ]


def read_probe(
    answer: Answer, *, secret: str, resources: Resources, num_nodes: int, folder: Path
) -> Iterator[Finding]:
    """Findings of what the nodes have printed."""
    if not answer.ok:
        found = f"the job gave nothing: {answer.reason}"
        remedy = "no node was free, or srun is refused: try again, or `srun --nodes=2 hostname`"
        yield Finding(_GROUP, "probe", "unknown", found, remedy)
        return
    lines = [line for line in answer.text.splitlines() if line.startswith("VILLS ")]
    seen = [json.loads(line.removeprefix("VILLS ")) for line in lines]
    if len(seen) < num_nodes:
        found = f"{len(seen)} of {num_nodes} nodes answered"
        yield Finding(_GROUP, "probe", "unknown", found, "look at the other with `srun`")
    for facts in seen:
        yield from _check_node(facts, secret=secret, resources=resources, folder=folder)


def _check_node(
    facts: Mapping[str, Any], *, secret: str, resources: Resources, folder: Path
) -> Iterator[Finding]:
    host = facts["host"]
    if "no_folder" in facts or ("token" in facts and facts["token"] != secret):
        found = f"{folder.parent} is not there, or not the same folder"
        remedy = "put runs on a file system that all nodes share: VILLS_RUNS=/shared/path"
        yield Finding(_GROUP, f"{host}: runs", "fault", found, remedy)
        return
    if "no_python" in facts:
        remedy = "install the environment on a file system that all nodes share"
        found = f"{sys.executable} is not there"
        yield Finding(_GROUP, f"{host}: python", "fault", found, remedy)
        return
    if "no_import" in facts:
        found = f"{sys.executable} does not import vills there"
        remedy = "lines under setup in slurm/*.yaml load modules; `srun python -c 'import vills'`"
        yield Finding(_GROUP, f"{host}: python", "fault", found, remedy)
        return
    yield Finding(_GROUP, f"{host}: runs", "ok", f"the same folder, {facts['kind']}")
    same = facts["vills"] == vills.__version__
    yield Finding(
        _GROUP,
        f"{host}: python",
        "ok" if same else "fault",
        f"Python {facts['python']}, vills {facts['vills']} from {facts['code']}",
        "" if same else f"another vills than here ({vills.__version__}): unset PYTHONPATH",
    )
    yield from _check_file_system(host, facts)
    yield _check_scontrol(host, facts["scontrol"])
    yield from check_shared_memory(facts["shm_gb"], loaders=resources.loaders, here=f" of {host}")
    torch = facts["torch"]
    if "reason" in torch:
        remedy = "import it by hand in a job: `srun python -c 'import torch'`"
        yield Finding(_GROUP, f"{host}: torch", "fault", torch["reason"], remedy)
    else:
        wanted = min(1, resources.gpus_per_node)
        yield from describe_devices(_GROUP, torch, driver=facts["driver"], wanted=wanted, here=host)
    for name in facts["lost"]:
        remedy = f"{name}: a folder that every node sees"
        yield Finding(_GROUP, f"{host}: {name}", "fault", "is not readable there", remedy)


def _check_file_system(host: str, facts: Mapping[str, Any]) -> Iterator[Finding]:
    if facts["link"]:
        remedy = "a run's lock is a hard link: put runs on another file system (VILLS_RUNS)"
        yield Finding(_GROUP, f"{host}: hard links", "fault", facts["link"], remedy)
    else:
        yield Finding(_GROUP, f"{host}: hard links", "ok", "work on runs")
    if facts["lock"] == "held":
        yield Finding(_GROUP, f"{host}: flock", "ok", "a lock held here is held there")
    else:
        found = f"a lock held here is {facts['lock']} there"
        remedy = (
            "give launchers and `vills track` on one machine only; ask for NFSv4, or Lustre "
            "mounted with flock. Runs themselves are safe: their lock is a hard link"
        )
        yield Finding(_GROUP, f"{host}: flock", "note", found, remedy)


def _check_scontrol(host: str, reason: str) -> Finding:
    if not reason:
        return Finding(_GROUP, f"{host}: scontrol", "ok", "answers inside a job")
    remedy = (
        "a job cannot requeue itself: mount scontrol, libslurm, /etc/slurm and munge's socket "
        "into the container (docs/cluster.md); until then the same command given again goes on"
    )
    return Finding(_GROUP, f"{host}: scontrol", "fault", reason, remedy)


def list_partitions(all_resources: Sequence[Resources]) -> list[Resources]:
    """One stage's resources for each partition that is used, those with GPUs first."""
    found: dict[tuple[str, bool], Resources] = {}
    for resources in sorted(all_resources, key=lambda r: -r.num_gpus):
        found.setdefault((resources.partition, resources.gpus_per_node > 0), resources)
    return list(found.values())
