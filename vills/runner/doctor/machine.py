"""This machine, and with `vills doctor --probe` two nodes, looked at from there by a short job.

srun starts this file on each node; what it prints there is read here.
"""

import fcntl
import json
import os
import resource
import shlex
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import vills
from vills.runner.clusters import Answer, run_command
from vills.runner.clusters.jobs import Resources
from vills.runner.doctor import Finding, Level, rate_number
from vills.runner.doctor.facts import TORCH_COMMAND, ClusterFacts
from vills.runner.doctor.project import find_existing
from vills.runner.mlflow.settings import MOUNTS, find_mount

LOCK, TOKEN = "lock", "token"
TORCH_SECONDS, SCONTROL_SECONDS, QUEUE_SECONDS, JOB_MINUTES = 100.0, 20.0, 120, 3
MIN_FILES = 4096
MIN_SHARED_GB, TINY_SHARED_GB = 1.0, 0.1
DRIVER = Path("/proc/driver/nvidia/version")
# In this order, so that a node that lacks the folder or python can still say so.
_SCRIPT = """\
say() {{ echo "VILLS {{\\"host\\": \\"$(hostname)\\", \\"$1\\": true}}"; exit 0; }}
[ -r {token} ] || say no_folder
[ -x {python} ] || say no_python
PYTHONPATH={code} {python} -m vills.runner.doctor.machine {folder} || say no_import
"""


def read_driver() -> str:
    """Version of NVIDIA's driver; empty without one."""
    try:
        words = DRIVER.read_text().split("Kernel Module")[1].split()
    except (OSError, IndexError):
        return ""
    return next((word for word in words if word[:1].isdigit()), "of an unknown version")


def check_devices(torch: Answer, *, driver: str, on_cluster: bool) -> Iterator[Finding]:
    """Torch, CUDA, NCCL and the driver fit each other."""
    if torch.ok:
        here = "login node" if on_cluster else "machine"
        yield describe_devices(parse_torch(torch), driver=driver, wanted=0, here=here)
    else:
        remedy = "import it by hand; on a slow file system `vills doctor --probe` waits longer"
        yield Finding("GPU", "unknown", f"importing torch: {torch.reason}", remedy)


def parse_torch(answer: Answer) -> dict[str, Any]:
    """Return what TORCH_COMMAND has printed last; other lines are the site's."""
    return dict(json.loads(answer.text.strip().splitlines()[-1]))


def describe_devices(torch: Mapping[str, Any], *, driver: str, wanted: int, here: str) -> Finding:
    """Describe what torch sees on a machine called `here`, `wanted` devices being asked for."""
    name, versions = f"GPU of {here}", f"torch {torch['torch']}, CUDA {torch['cuda'] or 'none'}"
    if torch["devices"]:
        nccl = f"NCCL {torch['nccl'] or 'unknown'}"
        found = f"{torch['devices']} devices; {versions}, {nccl}, driver {driver or '?'}"
        if torch["nccl"]:
            return Finding(name, "ok", found)
        remedy = "several GPUs need it: install torch's own CUDA build"
        return Finding(name, "fault", found, remedy)
    if driver or wanted:
        why = f"driver {driver}" if driver else "no driver visible"
        remedy = (
            "compare torch's CUDA with the driver's (nvidia-smi): a driver older than it, a torch "
            "for CPUs, an empty CUDA_VISIBLE_DEVICES or a container without --nv hides them"
        )
        return Finding(name, "fault", f"torch sees no device ({why}; {versions})", remedy)
    if here == "login node":
        remedy = "usual there: `vills doctor --probe` looks on the nodes"
    else:
        remedy = "everything runs on CPUs, slowly; the paper's sizes need GPUs"
    return Finding(name, "note", f"none ({versions})", remedy)


def check_shared_memory(size_gb: float, *, loaders: int, here: str = "") -> Iterator[Finding]:
    """Loader processes hand batches over through /dev/shm."""
    level = rate_number(size_gb, fault=TINY_SHARED_GB, note=MIN_SHARED_GB) if loaders else "ok"
    found = f"{size_gb:.2f} GB for {loaders} loaders a process"
    remedy = (
        "start the container with --shm-size=8g (or --ipc=host), or set loaders: 0 in slurm/*.yaml"
    )
    yield Finding(f"/dev/shm{here}", level, found, remedy)


def get_shared_memory_gb() -> float:
    """Size of /dev/shm, GB."""
    stats = os.statvfs("/dev/shm")
    return stats.f_frsize * stats.f_blocks / 1e9


def check_open_files(soft: int) -> Iterator[Finding]:
    """Loaders, shards and sockets are open files; jobs inherit the limit of who submits."""
    endless = soft == resource.RLIM_INFINITY
    level: Level = "ok" if endless or soft >= MIN_FILES else "note"
    remedy = f"`ulimit -n {MIN_FILES}` before launching: jobs inherit it"
    yield Finding("open files (ulimit -n)", level, "no limit" if endless else f"{soft}", remedy)


def check_nodes(facts: ClusterFacts) -> Iterator[Finding]:
    """Ask two nodes (or the only one) of each partition that stages use what they see."""
    if not facts.on_cluster:
        remedy = "give --probe where SLURM is"
        yield Finding("probe", "note", "no SLURM, no nodes to ask", remedy)
        return
    if "SLURM_JOB_ID" in os.environ:
        found = "inside a job srun would look at its own nodes only"
        yield Finding("probe", "unknown", found, "give it on a login node")
        return
    # One stage's resources for each partition that is used, those with GPUs first.
    chosen: dict[tuple[str, bool], Resources] = {}
    for resources in sorted(facts.stages.values(), key=lambda r: -r.num_gpus):
        chosen.setdefault((resources.partition, resources.gpus_per_node > 0), resources)
    for resources in chosen.values():
        partitions = facts.choose_partitions(resources)
        up = max((sum(node.is_up for node in p.nodes) for p in partitions), default=0)
        yield from _run_probe(facts.runs, resources, num_nodes=min(2, max(1, up)))


def _run_probe(runs: Path, resources: Resources, *, num_nodes: int) -> Iterator[Finding]:
    runs, secret = runs.resolve(), os.urandom(16).hex()
    runs.mkdir(parents=True, exist_ok=True)
    trial = tempfile.TemporaryDirectory(prefix=".doctor-", dir=runs, ignore_cleanup_errors=True)
    with trial as name:
        folder = Path(name)
        (folder / TOKEN).write_text(secret)
        with (folder / LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            command = build_command(folder, resources, num_nodes=num_nodes)
            answer = run_command(command, seconds=QUEUE_SECONDS + 60 * JOB_MINUTES)
    yield from read_probe(
        answer, secret=secret, resources=resources, num_nodes=num_nodes, runs=runs
    )


def build_command(folder: Path, resources: Resources, *, num_nodes: int) -> list[str]:
    """Build the srun: where a stage's jobs would go, a process a node, a GPU if they have any."""
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
    return [
        *("srun", "--job-name=vills-doctor", "--quiet", f"--nodes={num_nodes}"),
        *("--ntasks-per-node=1", f"--time={JOB_MINUTES}", f"--immediate={QUEUE_SECONDS}"),
        *(f"--{name}={value}" for name, value in named.items() if value),
        *("bash", "-c", "\n".join([*resources.setup, _SCRIPT.format(**quoted)])),
    ]


def read_probe(
    answer: Answer, *, secret: str, resources: Resources, num_nodes: int, runs: Path
) -> Iterator[Finding]:
    """Return findings of what the nodes have printed."""
    if not answer.ok:
        remedy = "no node was free, or srun is refused: try again, or `srun --nodes=2 hostname`"
        yield Finding("probe", "unknown", f"the job gave nothing: {answer.reason}", remedy)
        return
    lines = [line for line in answer.text.splitlines() if line.startswith("VILLS ")]
    if len(lines) < num_nodes:
        found = f"{len(lines)} of {num_nodes} nodes answered"
        yield Finding("probe", "unknown", found, "look at the other with `srun`")
    for line in lines:
        node = json.loads(line.removeprefix("VILLS "))
        if node.get("token", secret) != secret:
            node["no_folder"] = True
        lost = next((reason for reason in _LOST if reason in node), None)
        if lost is None:
            yield from _check_node(node, resources)
        else:
            what, found, remedy = _LOST[lost]
            found = found.format(runs=runs, python=sys.executable)
            yield Finding(f"{node['host']}: {what}", "fault", found, remedy)


_LOST = {
    "no_folder": (
        "runs",
        "{runs} is not there, or not the same folder",
        "put runs on a file system that all nodes share: VILLS_RUNS=/shared/path",
    ),
    "no_python": (
        "python",
        "{python} is not there",
        "install the environment on a file system that all nodes share",
    ),
    "no_import": (
        "python",
        "{python} does not import vills there",
        "lines under setup in slurm/*.yaml load modules; `srun python -c 'import vills'`",
    ),
}
"""Why a node could not look: what it lacks, how that is told, what to do."""


def _check_node(node: Mapping[str, Any], resources: Resources) -> Iterator[Finding]:
    host, torch = node["host"], node["torch"]
    yield Finding(f"{host}: runs", "ok", f"the same folder, {node['kind']}")
    level: Level = "ok" if node["vills"] == vills.__version__ else "fault"
    found = f"Python {node['python']}, vills {node['vills']} from {node['code']}"
    remedy = f"another vills than here ({vills.__version__}): unset PYTHONPATH"
    yield Finding(f"{host}: python", level, found, remedy)
    level, found = ("fault", node["link"]) if node["link"] else ("ok", "work on runs")
    remedy = "a run's lock is a hard link: put runs on another file system (VILLS_RUNS)"
    yield Finding(f"{host}: hard links", level, found, remedy)
    level, found = ("ok" if node["lock"] == "held" else "note"), node["lock"]
    remedy = (
        "give launchers and `vills track` on one machine only; ask for NFSv4, or Lustre mounted "
        "with flock. Runs themselves are safe: their lock is a hard link"
    )
    yield Finding(f"{host}: flock", level, f"a lock held here is {found} there", remedy)
    reason = node["scontrol"]
    level, found = ("fault", reason) if reason else ("ok", "answers inside a job")
    remedy = (
        "a job cannot requeue itself: mount scontrol, libslurm, /etc/slurm and munge's socket "
        "into the container (docs/cluster.md); until then the same command given again goes on"
    )
    yield Finding(f"{host}: scontrol", level, found, remedy)
    yield from check_shared_memory(node["shm_gb"], loaders=resources.loaders, here=f" of {host}")
    if "reason" in torch:
        remedy = "import it by hand in a job: `srun python -c 'import torch'`"
        yield Finding(f"{host}: torch", "fault", torch["reason"], remedy)
    else:
        wanted = min(1, resources.gpus_per_node)
        yield describe_devices(torch, driver=node["driver"], wanted=wanted, here=host)
    for name in node["lost"]:
        remedy = f"{name}: a folder that every node sees"
        yield Finding(f"{host}: {name}", "fault", "is not readable there", remedy)


def inspect_node(folder: Path) -> dict[str, Any]:
    """Return this node's facts; the asker's `folder` has its token and the lock that it holds."""
    job = os.environ.get("SLURM_JOB_ID", "")
    scontrol = run_command(["scontrol", "show", "job", job], seconds=SCONTROL_SECONDS)
    torch = run_command(TORCH_COMMAND, seconds=TORCH_SECONDS)
    return {
        "host": socket.gethostname(),
        "vills": vills.__version__,
        "code": str(Path(vills.__file__).parent),
        "python": sys.version.split()[0],
        "token": (folder / TOKEN).read_text(),
        "kind": find_mount(find_existing(folder), MOUNTS.read_text())[1],
        "link": _try_link(folder),
        "lock": _try_lock(folder),
        "scontrol": scontrol.reason,
        "driver": read_driver(),
        "shm_gb": get_shared_memory_gb(),
        "torch": parse_torch(torch) if torch.ok else {"reason": torch.reason},
        "lost": [
            name
            for name in ("VILLS_DATA", "VILLS_WEIGHTS")
            if os.environ.get(name) and not os.access(os.environ[name], os.R_OK | os.X_OK)
        ],
    }


def _try_link(folder: Path) -> str:
    """Why a hard link of the asker's token fails; empty if it works."""
    try:
        os.link(folder / TOKEN, folder / f"link-{socket.gethostname()}-{os.getpid()}")
    except OSError as error:
        return str(error.strerror)
    return ""


def _try_lock(folder: Path) -> str:
    """Whether the lock that the asker holds is respected here: held, free, or why unknown."""
    try:
        with (folder / LOCK).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return "held"
    except OSError as error:
        return str(error.strerror)
    return "free"


if __name__ == "__main__":
    print(f"VILLS {json.dumps(inspect_node(Path(sys.argv[1])))}", flush=True)
