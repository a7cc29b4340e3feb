"""This machine, and with `vills doctor --probe` two nodes, looked at from there by a short job.

srun starts this file on each node; what it finds there is printed, and read here.
"""

import fcntl
import json
import os
import resource
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path

import vills
from vills.config.resources import Resources
from vills.mounts import find_mount
from vills.programs import Answer, run_command
from vills.runner.doctor import Finding, Level, compute_level
from vills.runner.doctor.facts import TORCH_COMMAND, ClusterFacts
from vills.runner.store.lock import NO_LINKS

LOCK = "lock"
TORCH_SECONDS, SCONTROL_SECONDS, QUEUE_SECONDS, JOB_MINUTES = 100.0, 20.0, 120, 3
MIN_FILES = 4096
MIN_SHARED_GB, TINY_SHARED_GB = 1.0, 0.1
DRIVER = Path("/proc/driver/nvidia/version")
# In this order, so that a node that lacks the folder or python can still say so. The folder's name
# is random: another node that has such a one has this one.
_SCRIPT = """\
say() {{ echo "VILLS [\\"$(hostname)\\", \\"$1\\"]"; exit 0; }}
[ -r {folder}/{lock} ] || say no_folder
[ -x {python} ] || say no_python
PYTHONPATH={code} {python} -m vills.runner.doctor.machine {folder} {loaders} {gpus} {version} \\
    || say no_import
"""
_LOST = {
    "no_folder": (
        "runs",
        "{runs} is missing, or is not the same folder",
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


def check_devices(facts: ClusterFacts) -> Iterator[Finding]:
    """Torch, CUDA, NCCL and the driver fit each other."""
    torch = facts.answers["torch"]
    if torch.ok:
        here = "login node" if facts.on_cluster else "machine"
        yield describe_devices(torch, wanted=0, here=here)
    else:
        remedy = "import it by hand; for a slow file system, `vills doctor --probe` waits longer"
        yield Finding("GPU", "unknown", f"importing torch: {torch.reason}", remedy)


def describe_devices(answer: Answer, *, wanted: int, here: str) -> Finding:
    """Describe what TORCH_COMMAND saw on a machine called `here`, `wanted` devices being needed."""
    torch = json.loads(answer.text.strip().splitlines()[-1])  # lines before it are the site's
    driver = read_driver()
    name, versions = f"GPU of {here}", f"torch {torch['torch']}, CUDA {torch['cuda'] or 'none'}"
    if torch["devices"]:
        nccl = f"NCCL {torch['nccl'] or 'unknown'}"
        found = f"{torch['devices']} devices; {versions}, {nccl}, driver {driver or '?'}"
        remedy = "several GPUs need it: install torch's own CUDA build"
        return Finding(name, "ok" if torch["nccl"] else "fault", found, remedy)
    if driver or wanted:
        why = f"driver {driver}" if driver else "no driver visible"
        remedy = (
            "compare torch's CUDA with the driver's (nvidia-smi): a driver older than it, a torch "
            "for CPUs, an empty CUDA_VISIBLE_DEVICES or a container without --nv hides them"
        )
        return Finding(name, "fault", f"torch sees no device ({why}; {versions})", remedy)
    if here == "login node":
        remedy = "normal on a login node: `vills doctor --probe` checks the nodes"
    else:
        remedy = "everything runs on CPUs, slowly; the paper's sizes need GPUs"
    return Finding(name, "note", f"none ({versions})", remedy)


def read_driver() -> str:
    """Version of NVIDIA's driver; empty without one."""
    try:
        words = DRIVER.read_text().split("Kernel Module")[1].split()
    except (OSError, IndexError):
        return ""
    return next((word for word in words if word[:1].isdigit()), "of an unknown version")


def check_loaders(facts: ClusterFacts) -> Iterator[Finding]:
    """Loader processes hand batches over through /dev/shm."""
    loaders = max((resources.loaders for resources in facts.stages.values()), default=0)
    yield describe_shared_memory("/dev/shm", loaders=loaders)


def describe_shared_memory(name: str, *, loaders: int) -> Finding:
    """Describe the room of this machine's /dev/shm for the loaders of a process."""
    size_gb = shutil.disk_usage("/dev/shm").total / 1e9
    level = compute_level(size_gb, fault=TINY_SHARED_GB, note=MIN_SHARED_GB) if loaders else "ok"
    remedy = "start the container with --shm-size=8g or --ipc=host, or set loaders: 0 in slurm/"
    return Finding(name, level, f"{size_gb:.2f} GB for {loaders} loaders a process", remedy)


def describe_links(name: str, folder: Path) -> Finding:
    """Describe whether hard links can be made in a folder; without them VILLS makes copies."""
    try:
        with tempfile.TemporaryDirectory(prefix=".link-", dir=folder) as trial:
            first = Path(trial) / "first"
            first.touch()
            os.link(first, first.with_suffix(".link"))
    except OSError as error:
        found = f"{error.strerror}: {folder}"
        if error.errno in NO_LINKS:
            remedy = "results are copied and take twice the space; another file system has links"
            return Finding(name, "note", found, remedy)
        remedy = f"get write permission for {folder}, or set VILLS_RUNS to your own folder"
        return Finding(name, "fault", found, remedy)
    return Finding(name, "ok", f"work on {folder} ({find_mount(folder)[1]})")


def check_open_files(_: ClusterFacts) -> Iterator[Finding]:
    """Loaders, shards and sockets are open files; jobs inherit the limit of who submits."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = soft == resource.RLIM_INFINITY
    level: Level = "ok" if endless or soft >= MIN_FILES else "note"
    remedy = f"`ulimit -n {MIN_FILES}` before launching: jobs inherit it"
    yield Finding("open files (ulimit -n)", level, "no limit" if endless else f"{soft}", remedy)


def check_nodes(facts: ClusterFacts) -> Iterator[Finding]:
    """Ask two nodes (or the only one) of each partition that stages use what they see."""
    if not facts.on_cluster:
        remedy = "give --probe on a machine with SLURM"
        yield Finding("probe", "note", "no SLURM, no nodes to ask", remedy)
        return
    if "SLURM_JOB_ID" in os.environ:
        found = "inside a job srun reaches only the job's own nodes"
        yield Finding("probe", "unknown", found, "give it on a login node")
        return
    # One stage's resources for each partition that is used, those with GPUs first.
    chosen: dict[tuple[str, bool], Resources] = {}
    for resources in sorted(facts.stages.values(), key=lambda r: -r.num_gpus):
        chosen.setdefault((resources.partition, resources.gpus_per_node > 0), resources)
    runs = facts.runs.resolve()
    runs.mkdir(parents=True, exist_ok=True)
    for resources in chosen.values():
        partitions = facts.choose_partitions(resources).values()
        up = max((sum(node.is_up for node in nodes) for nodes in partitions), default=0)
        num_nodes = min(2, max(1, up))
        trial = tempfile.TemporaryDirectory(prefix=".doctor-", dir=runs, ignore_cleanup_errors=True)
        with trial as folder, Path(folder, LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            command = build_command(Path(folder), resources, num_nodes=num_nodes)
            answer = run_command(command, seconds=QUEUE_SECONDS + 60 * JOB_MINUTES)
        yield from read_probe(answer, num_nodes=num_nodes, runs=runs)


def build_command(folder: Path, resources: Resources, *, num_nodes: int) -> list[str]:
    """Build the srun: where a stage's jobs would go, a process a node, a GPU if they have any."""
    gpus = min(1, resources.gpus_per_node)
    named = {name: getattr(resources, name) for name in ("account", "qos", "constraint")}
    named |= {"partition": resources.partition.split(",")[0], "gpus-per-node": gpus}
    values = {
        "folder": folder,
        "lock": LOCK,
        "python": sys.executable,
        "code": Path(vills.__file__).parent.parent,
        "loaders": resources.loaders,
        "gpus": gpus,
        "version": vills.__version__,
    }
    quoted = {name: shlex.quote(str(value)) for name, value in values.items()}
    return [
        *("srun", "--job-name=vills-doctor", "--quiet", f"--nodes={num_nodes}"),
        *("--ntasks-per-node=1", f"--time={JOB_MINUTES}", f"--immediate={QUEUE_SECONDS}"),
        *(f"--{name}={value}" for name, value in named.items() if value),
        *("bash", "-c", "\n".join([*resources.setup, _SCRIPT.format(**quoted)])),
    ]


def read_probe(answer: Answer, *, num_nodes: int, runs: Path) -> Iterator[Finding]:
    """Return the findings that the nodes have printed, or why there are none."""
    if not answer.ok:
        remedy = "no node was free, or srun is refused: try again, or `srun --nodes=2 hostname`"
        yield Finding("probe", "unknown", f"the job printed nothing: {answer.reason}", remedy)
        return
    lines = [line for line in answer.text.splitlines() if line.startswith("VILLS ")]
    said = sorted((json.loads(line.removeprefix("VILLS ")) for line in lines), key=itemgetter(0))
    if (num := len({host for host, _ in said})) < num_nodes:
        found = f"{num} of {num_nodes} nodes answered"
        yield Finding("probe", "unknown", found, "check the other with `srun`")
    for host, entry in said:
        if isinstance(entry, str):
            what, found, remedy = _LOST[entry]
            found = found.format(runs=runs, python=sys.executable)
            yield Finding(f"{host}: {what}", "fault", found, remedy)
        else:
            yield Finding(**entry)


def check_node(folder: Path, *, loaders: int, gpus: int, version: str) -> Iterator[Finding]:
    """Look from this node; the asker holds the lock in `folder`, and is of a `version`."""
    host = socket.gethostname()
    yield Finding(f"{host}: runs", "ok", f"the same folder, {find_mount(folder)[1]}")
    code = Path(vills.__file__).parent
    found = f"Python {sys.version.split()[0]}, vills {vills.__version__} from {code}"
    remedy = f"it is another vills than here ({version}): unset PYTHONPATH"
    level: Level = "ok" if vills.__version__ == version else "fault"
    yield Finding(f"{host}: python", level, found, remedy)
    yield describe_links(f"{host}: hard links", folder)
    lock = _try_lock(folder)
    remedy = (
        "give launchers and `vills track` on one machine only; ask for NFSv4, or Lustre mounted "
        "with flock. Runs themselves are safe: their lock is a file that only one can make"
    )
    level = "ok" if lock == "held" else "note"
    yield Finding(f"{host}: flock", level, f"a lock held here is {lock} there", remedy)
    job = os.environ.get("SLURM_JOB_ID", "")
    scontrol = run_command(["scontrol", "show", "job", job], seconds=SCONTROL_SECONDS)
    remedy = (
        "a job cannot requeue itself: mount scontrol, libslurm, /etc/slurm and munge's socket "
        "into the container (docs/cluster.md); until then give the same command again to continue"
    )
    level, found = "ok" if scontrol.ok else "fault", scontrol.reason or "answers inside a job"
    yield Finding(f"{host}: scontrol", level, found, remedy)
    yield describe_shared_memory(f"/dev/shm of {host}", loaders=loaders)
    torch = run_command(TORCH_COMMAND, seconds=TORCH_SECONDS)
    if torch.ok:
        yield describe_devices(torch, wanted=gpus, here=host)
    else:
        remedy = "import it by hand in a job: `srun python -c 'import torch'`"
        yield Finding(f"{host}: torch", "fault", torch.reason, remedy)
    for name in ("VILLS_DATA", "VILLS_WEIGHTS"):
        if os.environ.get(name) and not os.access(os.environ[name], os.R_OK | os.X_OK):
            remedy = f"{name}: a folder that every node sees"
            yield Finding(f"{host}: {name}", "fault", "is not readable there", remedy)


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
    _, where, loaders, gpus, version = sys.argv
    seen = list(check_node(Path(where), loaders=int(loaders), gpus=int(gpus), version=version))
    # a line each: srun mixes the nodes' output, and cuts lines of more than 1,024 bytes for it
    for finding in seen:
        print(f"VILLS {json.dumps([socket.gethostname(), asdict(finding)])}", flush=True)
