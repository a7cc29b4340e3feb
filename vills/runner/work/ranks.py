"""One process of several: who started them, which one this is, and how they find each other.

srun starts one task per device and tells each its number (SLURM_PROCID); torchrun and our own
queue say RANK and WORLD_SIZE. Whoever it was, `join` leaves what torch wants to know in the
environment (env://), before torch is imported. No launcher runs inside a job.

The leader tells the others which run it is, and that it may be worked on. It names the run (that
may hash terabytes) and waits for its lock; meanwhile the others read one small file again and
again. A collective would time out there.
"""

import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.config.environment import read_count
from vills.io import load_json, save_own_json

FIRST_PORT, NUM_PORTS = 20_000, 20_000
"""Where rank 0 listens: below Linux's ephemeral ports, by the job's number."""
FOLDER = "_groups"
POLL_SECONDS = 0.2
OLD_SECONDS = 86_400.0


@dataclass(frozen=True)
class Ranks:
    """This process among those that work on one stage together."""

    rank: int = 0
    """Its number; 0 leads."""
    world_size: int = 1
    """How many there are."""
    local_rank: int = 0
    """Its number on its node."""
    token: str = ""
    """Names this start of all of them, and no other; empty for a process alone."""

    @property
    def is_leader(self) -> bool:
        """Whether this is the one that names, writes and publishes the run."""
        return self.rank == 0

    def join(self) -> None:
        """Put what torch.distributed reads into the environment; the user's own values win."""
        os.environ["RANK"] = str(self.rank)
        os.environ["WORLD_SIZE"] = str(self.world_size)
        os.environ["LOCAL_RANK"] = str(self.local_rank)
        if self.world_size > 1:
            os.environ.setdefault("MASTER_ADDR", _find_first_address())
            os.environ.setdefault("MASTER_PORT", str(_choose_port(self.token)))


def load_ranks() -> Ranks:
    """Read which process this is: RANK and WORLD_SIZE, else srun's variables, else alone.

    Raises:
        ConfigError: if the variables contradict each other.
    """
    environment = os.environ
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_LOCALID", "MASTER_PORT"):
        read_count(name, default=0, high=65_535)
    is_one = read_count("WORLD_SIZE", default=1, low=1) == 1 and read_count("RANK", default=0) == 0
    if "RANK" in environment and not is_one:
        names, token = ("RANK", "WORLD_SIZE", "LOCAL_RANK"), _name_launch()
    # srun alone sets it: the batch script itself, which knows SLURM_NTASKS too, is no task
    elif read_count("SLURM_STEP_NUM_TASKS", default=1, low=1) > 1:
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        token = "-".join(
            environment.get(name, "0")
            for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")
        )
    else:
        return Ranks()
    rank, world_size, local_rank = (
        read_count(name, default=int(name == "WORLD_SIZE")) for name in names
    )
    if not 0 <= rank < world_size:
        raise ConfigError(
            f"{names[0]} = {rank} is not allowed. Allowed: 0 to {world_size - 1}, since "
            f"{names[1]} = {world_size}. What to do: start the processes with srun or torchrun."
        )
    return Ranks(rank, world_size, local_rank, token)


def _name_launch() -> str:
    """Name a start that is not SLURM's; `vills`' own queue says VILLS_LAUNCH."""
    own = os.environ.get("VILLS_LAUNCH")
    if own:
        return own
    elastic = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if elastic != "none":
        return f"{elastic}-{attempt}"
    place = f"{os.environ.get('MASTER_ADDR', '')}-{os.environ.get('MASTER_PORT', '')}"
    return f"{place}-{os.getppid()}-{attempt}"


def _find_first_address() -> str:
    """Address of the node of rank 0: its name where that resolves, else where srun was called."""
    host = get_first_host()
    if host:
        with suppress(OSError):
            socket.getaddrinfo(host, None)
            return host
    return os.environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")


def get_first_host() -> str:
    """Return the name of this job's first node: `r03-ib` of `r[03-4,7]-ib,s`; empty outside one."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", os.environ.get("SLURM_JOB_NODELIST", ""))
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", first[0]) if first else ""


def _choose_port(token: str) -> int:
    """Jobs of neighbouring numbers, steps and restarts get ports of their own."""
    parts = (int(part) for part in token.split("-") if part.isdigit())
    weighed = (part * weight for part, weight in zip(parts, (1, 101, 1009), strict=False))
    return FIRST_PORT + sum(weighed) % NUM_PORTS


@contextmanager
def open_handoff(runs: Path, ranks: Ranks, word: Mapping[str, Any]) -> Iterator[None]:
    """Let the other ranks begin, or leave if the run is complete.

    That it is complete stays to be read by those that come late; nobody reads another word after
    the work that all have shared.
    """
    path = _get_path(runs, ranks)
    if ranks.world_size > 1:
        save_own_json(path, word)
        newest = path.stat().st_mtime
        for other in path.parent.glob("*.json"):
            if newest - other.stat().st_mtime > OLD_SECONDS:
                other.unlink(missing_ok=True)
    try:
        yield
    finally:
        if not word["complete"]:
            path.unlink(missing_ok=True)


def wait_for_handoff(runs: Path, ranks: Ranks) -> dict[str, Any]:
    """Wait for the leader's word.

    There is no time-out: whoever started the ranks ends them all when one fails (srun's
    --kill-on-bad-exit, torchrun, our queue).
    """
    path = _get_path(runs, ranks)
    while not path.exists():
        time.sleep(POLL_SECONDS)
    return load_json(path)


def _get_path(runs: Path, ranks: Ranks) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", ranks.token)[:128]  # of variables that anybody may set
    return runs / FOLDER / f"{name}.json"
