"""The files of a test bed's SLURM, and what it asks of the machine."""

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = {
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "slurmdbd": "slurmdbd",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "nsenter": "util-linux",
}
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
NAMESPACES = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
Check = Callable[[], bool]
CLUSTER = "bed"
LINK = "villsbed0"
_NUM_GPUS = 2
# Below the ports that the kernel gives to outgoing connections, which would take one in between.
_PORTS = range(20000, 32000)


def explain_missing() -> str:
    """Why no bed can start here; empty where it can."""
    missing = {pkg for name, pkg in PROGRAMS.items() if shutil.which(name, path=PATH) is None}
    if missing:
        return f"a real SLURM needs root and: apt-get install {' '.join(sorted(missing))}"
    if os.geteuid() != 0:
        return "a real SLURM needs root"
    probe = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return f"a real SLURM needs namespaces: {probe.stderr.strip()}" if probe.returncode else ""


@dataclass(frozen=True)
class Settings:
    """What `SlurmBed` was told."""

    folder: Path
    accounting: bool
    user_signal: bool
    job_requeue: bool
    max_array_size: int
    grace_seconds: int
    max_time: str
    down_seconds: int
    cpus: int


def save_files(settings: Settings) -> None:
    """Write slurm.conf and its neighbours, munge's key and the fake GPUs."""
    folder = settings.folder
    ports = find_ports(4)
    _save(folder / "munge.key", os.urandom(128))
    _save(folder / "slurm.conf", build_slurm_conf(settings, ports).encode())
    _save(folder / "slurmdbd.conf", build_slurmdbd_conf(settings, ports[1]).encode())
    _save(folder / "cgroup.conf", b"CgroupPlugin=cgroup/v1\n")
    gpus = "\n".join(
        f"NodeName={name} Name=gpu File={folder}/gpu[0-{_NUM_GPUS - 1}]" for name in ("n1", "n2")
    )
    _save(folder / "gres.conf", f"{gpus}\n".encode())
    hosts = "127.0.0.1 localhost n1 n2 " + socket.gethostname()
    (folder / "hosts").write_text(f"{hosts}\n::1 localhost\n")
    for index in range(_NUM_GPUS):
        # SLURM wants a device file for a GPU, and any will do: this is /dev/null.
        device = folder / f"gpu{index}"
        if not device.exists():
            os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (folder / "state").mkdir(exist_ok=True)
    (folder / "spool").mkdir(exist_ok=True)


def _save(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def build_slurm_conf(settings: Settings, ports: list[int]) -> str:
    """The text of slurm.conf; `ports` are the controller's, slurmdbd's and the two nodes'."""
    folder = settings.folder
    accounting = [
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={ports[1]}",
        # The name misleads: with munge it is the socket, as AuthInfo is not asked for slurmdbd.
        f"AccountingStoragePass={folder}/munge.sock",
        "AccountingStorageTRES=gres/gpu",
    ]
    signal = ["SlurmctldParameters=preempt_send_user_signal"]
    limits = f"MaxTime={settings.max_time} DefaultTime={settings.max_time}"
    nodes = [
        f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port} CPUs={settings.cpus} "
        f"RealMemory=10000 Gres=gpu:{_NUM_GPUS}"
        for name, port in zip(("n1", "n2"), ports[2:], strict=True)
    ]
    lines = [
        f"ClusterName={CLUSTER}",
        # With its address, so that nothing has to resolve the machine's name.
        f"SlurmctldHost={socket.gethostname().split('.')[0]}(127.0.0.1)",
        f"SlurmctldPort={ports[0]}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        # A requeued job waits a credential's life, 120 s by default; five is the least there is.
        f"AuthInfo=socket={folder}/munge.sock,cred_expire=5",
        # Process tracking and binding without cgroups: a container has none to give.
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "MpiDefault=none",
        "ReturnToService=2",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        # The nodes have the CPUs and memory of this file, whatever the machine has.
        "SlurmdParameters=config_overrides",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2",
        "KillWait=5",
        f"SlurmdTimeout={settings.down_seconds}",
        f"MaxArraySize={settings.max_array_size}",
        f"JobRequeue={int(settings.job_requeue)}",
        "JobAcctGatherType=jobacct_gather/linux",
        "GresTypes=gpu",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool/%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/slurmd-%n.pid",
        *(signal if settings.user_signal else []),
        *(accounting if settings.accounting else ["AccountingStorageType=accounting_storage/none"]),
        *nodes,
        f"PartitionName=test Nodes=n1,n2 Default=YES {limits} PriorityTier=1 PreemptMode=REQUEUE "
        f"GraceTime={settings.grace_seconds}",
        f"PartitionName=prio Nodes=n1,n2 {limits} PriorityTier=10 PreemptMode=OFF",
    ]
    return "\n".join(lines) + "\n"


def build_slurmdbd_conf(settings: Settings, port: int) -> str:
    """The text of slurmdbd.conf; the database's socket is in slurmdbd's environment."""
    lines = [
        "DbdHost=localhost",
        "DbdAddr=127.0.0.1",
        f"DbdPort={port}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={settings.folder}/munge.sock",
        "StorageType=accounting_storage/mysql",
        "StorageHost=localhost",
        "StorageUser=root",
        "StorageLoc=slurm",
        f"PidFile={settings.folder}/slurmdbd.pid",
    ]
    return "\n".join(lines) + "\n"


def find_ports(num: int) -> list[int]:
    """Ports of this machine that are free now, starting at another for each process."""
    found: list[int] = []
    start = os.getpid() * 16 % len(_PORTS)
    for offset in range(len(_PORTS)):
        port = _PORTS[(start + offset) % len(_PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            found.append(port)
        if len(found) == num:
            return found
    raise RuntimeError("no free ports from 20000 to 31999")


def add_link() -> bool:
    """Give a machine that has only `lo` an address, and say whether it was needed.

    SLURM resolves names with AI_ADDRCONFIG, which finds none where no interface but `lo` has an
    address.
    """
    listed = subprocess.run(["ip", "-o", "addr", "show", "up"], capture_output=True, text=True)
    if any(line.split()[1] != "lo" for line in listed.stdout.splitlines()):
        return False
    for command in (
        f"link add {LINK} type veth peer name {LINK}p",
        f"addr add 10.99.0.1/24 dev {LINK}",
        f"link set {LINK} up",
        f"link set {LINK}p up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    return True


def find_children(pid: int, name: str) -> list[int]:
    """Processes named so among a process's descendants."""
    found: list[int] = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if Path(f"/proc/{child}/comm").read_text().strip() == name:
            found.append(int(child))
        found += find_children(int(child), name)
    return found


def find_users(folder: Path) -> list[int]:
    """Processes that were started with this folder's slurm.conf, all nodes' jobs among them."""
    wanted = f"SLURM_CONF={folder.resolve()}/slurm.conf".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def load_tails(folder: Path, names: list[str]) -> str:
    """The last lines of the daemons' logs."""
    parts = []
    for name in names:
        lines = (folder / f"{name}.log").read_text(errors="replace").splitlines()
        parts += [f"--- {name}", *lines[-15:]]
    return "\n".join(parts)
