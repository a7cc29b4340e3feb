"""A real SLURM with accounting and two nodes on this machine: what a stage meets on a cluster.

Everything lies below one folder; the machine's own /etc and /var are not touched. Each node lives
in a PID, mount and host name namespace of its own: it has a name that resolves, its process ids
mean nothing on the other node, and killing it takes every process of it, as a power cut does.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

from tests import slurm_files
from tests.slurm_files import NAMESPACES, PATH, explain_missing

NODES = ("n1", "n2")
# A test that is killed takes its daemons along: the kernel sees to it, no handler has to run.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
# bash is the node's first process: it reaps what the steps leave behind, and outlives slurmd.
NODE = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; "$@" & wait; sleep infinity'
_MAX_PATH = 60
_START_SECONDS = 60.0
_POLL_SECONDS = 0.1


def is_available() -> bool:
    """Whether a bed can start here."""
    return not explain_missing()


class SlurmBed:
    """Partitions `test` (preempted by requeue) and `prio`; nodes n1 and n2, two GPUs each."""

    def __init__(
        self,
        folder: Path,
        *,
        accounting: bool = True,
        user_signal: bool = True,
        job_requeue: bool = True,
        max_array_size: int = 1001,
        grace_seconds: int = 10,
        max_time: str = "01:00:00",
        down_seconds: int = 10,
        cpus: int = 2,
    ) -> None:
        """Say what the cluster is like; `start` starts it.

        Args:
            folder: State, logs and sockets; short, as a socket's path has 108 bytes at most.
            accounting: slurmdbd and sacct; without it the cluster knows only its present jobs.
            user_signal: A preempted job's steps get the signal of `--signal` before SIGTERM.
            job_requeue: Whether jobs may be requeued unless they say otherwise.
            max_array_size: An array's highest index, plus one.
            grace_seconds: Between a preemption's signal and its SIGKILL.
            max_time: The partitions' time limit, and a job's that names none.
            down_seconds: A node that is silent for so long is down; SLURM looks now and then only.
            cpus: Each node's, whatever the machine has.
        """
        self.folder = folder.resolve()
        if len(str(self.folder)) > _MAX_PATH:
            raise ValueError(
                f"folder is {self.folder}: SLURM's sockets allow {_MAX_PATH} characters at most; "
                "give a shorter one"
            )
        self.settings = slurm_files.Settings(
            folder=self.folder,
            accounting=accounting,
            user_signal=user_signal,
            job_requeue=job_requeue,
            max_array_size=max_array_size,
            grace_seconds=grace_seconds,
            max_time=max_time,
            down_seconds=down_seconds,
            cpus=cpus,
        )
        self.env: dict[str, str] = {
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "GLOO_SOCKET_IFNAME": "lo",
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: dict[str, str] = {}
        self._has_link = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start every daemon and wait until both nodes are idle."""
        if reason := explain_missing():
            raise RuntimeError(reason)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill every daemon and every job; twice does no harm."""
        for name in reversed(list(self._daemons)):
            self._kill(name)
        shutil.rmtree(self.folder / "db", ignore_errors=True)
        if self._has_link:
            subprocess.run(["ip", "link", "del", slurm_files.LINK], check=False)
            self._has_link = False

    def run(
        self,
        *command: str,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> "subprocess.CompletedProcess[str]":
        """Give a command as a user on the login node; its stdout and stderr together."""
        result = subprocess.run(
            command,
            env=self.build_environment(env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            input=stdin,
            text=True,
            check=False,
        )
        assert not check or result.returncode == 0, f"{command} failed:\n{result.stdout[-4000:]}"
        return result

    def build_environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The caller's environment without another cluster's names, and with this one's."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH_"))}
        return {**kept, "PATH": PATH, **self.env, **extra}

    def sbatch(self, script: str, *options: str, env: Mapping[str, str] | None = None) -> str:
        """Submit the lines of a bash script; the job's id. Its output is `get_output`'s."""
        out = f"--output={self.folder}/out/%j"
        fixed = ("sbatch", "--parsable", "--open-mode=append", out)
        result = self.run(*fixed, *options, env=env, stdin=f"#!/bin/bash\n{script}\n")
        return result.stdout.split()[-1].split(";")[0]

    def get_output(self, job: str) -> str:
        """What a job has printed in all its runs; of an array, ask for the element's own id."""
        path = self.folder / "out" / job
        return path.read_text() if path.exists() else ""

    def get_state(self, job: str) -> str:
        """A job's last state, such as RUNNING; UNKNOWN if neither SLURM nor accounting knows it.

        SLURM is asked first: for seconds after a change sacct still gives the state before it.
        """
        asked = (
            ("squeue", "-h", "-t", "all", "-j", job, "-o", "%T"),
            ("sacct", "-n", "-X", "-P", "-j", job, "-o", "State"),
        )
        for command in asked:
            result = self.run(*command, check=False)
            if result.returncode == 0 and result.stdout.strip():
                return result.stdout.split()[0]
        return "UNKNOWN"

    def wait(self, job: str, states: str | Iterable[str], timeout: float = 60.0) -> str:
        """Wait until a job is in one of the states, and return which."""
        wanted = {states} if isinstance(states, str) else set(states)
        deadline = time.monotonic() + timeout
        while (state := self.get_state(job)) not in wanted:
            if time.monotonic() > deadline:
                shown = self.run("scontrol", "show", "job", job, check=False).stdout
                raise TimeoutError(f"job {job} is {state}, not {wanted}, in {timeout} s\n{shown}")
            time.sleep(2 * _POLL_SECONDS)
        return state

    def release(self, job: str) -> None:
        """Let a requeued job start at once instead of some seconds later.

        Not where its node failed: SLURM's late kill of the lost run would meet the new one.
        """
        answer = self.run("scontrol", "update", f"JobId={job}", "StartTime=now", check=False)
        # It may have started by itself in between.
        started = "no longer pending" in answer.stdout
        assert started or answer.returncode == 0, answer.stdout

    def kill_node(self, name: str, *, steps: bool = True, down: bool = False) -> None:
        """Kill a node with all that runs on it, or only its slurmd.

        SLURM notices some time after `down_seconds`; with `down` an operator says so at once.
        """
        (self._kill if steps else self._kill_slurmd)(name)
        if down:
            self.run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=killed")

    def restart_node(self, name: str) -> None:
        """Start a killed node, or a live one's slurmd, and wait until it takes jobs.

        A job of a node that is back before SLURM has missed it stays RUNNING, for minutes.
        """
        if name in self._daemons:
            self._kill_slurmd(name)
        self._start_node(name)
        self._wait_for(lambda: self._is_up(name), f"node {name}")

    def start_accounting(self) -> None:
        """Start slurmdbd, again after `stop_accounting`; the cluster sends what it has kept."""
        self._spawn("slurmdbd", "slurmdbd", "-D", MYSQL_UNIX_PORT=str(self.folder / "db.sock"))
        show = ("sacctmgr", "-n", "-P", "show", "cluster")
        self._wait_for(lambda: self.run(*show, check=False).returncode == 0, "slurmdbd")

    def stop_accounting(self) -> None:
        """Kill slurmdbd: sacct fails, squeue still answers."""
        self._kill("slurmdbd")

    def _start(self) -> None:
        (self.folder / "out").mkdir(parents=True, exist_ok=True)
        self._has_link = slurm_files.add_link()
        slurm_files.save_files(self.settings)
        self._start_munge()
        if self.settings.accounting:
            self._start_database()
            self.start_accounting()
            self.run("sacctmgr", "-i", "add", "cluster", slurm_files.CLUSTER)
        self._spawn("slurmctld", "slurmctld", "-D")
        for name in NODES:
            self._start_node(name)
        self._wait_for(lambda: all(self._is_up(name) for name in NODES), "nodes")

    def _start_munge(self) -> None:
        sock = self.folder / "munge.sock"
        files = ("key-file", "pid-file", "log-file", "seed-file")
        paths = [f"--{name}={self.folder}/munge.{name[:-5]}" for name in files]
        # Forced: it frowns on a socket in a folder that only root may enter, which is the point.
        fixed = ("--foreground", "--force", "--num-threads=10")
        self._spawn("munged", "munged", *fixed, f"--socket={sock}", *paths)
        self._wait_for(sock.exists, "munged")

    def _start_database(self) -> None:
        data, sock = self.folder / "db", self.folder / "db.sock"
        common = ("--no-defaults", "--user=root", f"--datadir={data}")
        self.run("mariadb-install-db", *common, "--auth-root-authentication-method=normal")
        quick = ("--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900")
        own = ("--skip-networking", f"--socket={sock}")
        self._spawn("mariadbd", "mariadbd", *common, *own, *quick)
        self._wait_for(sock.exists, "mariadbd")

    def _start_node(self, name: str) -> None:
        slurmd = ("slurmd", "-D", "-N", name)
        self._begun[name] = datetime.now().isoformat(timespec="seconds")
        if name in self._daemons:
            first = slurm_files.find_children(self._daemons[name].pid, "bash")[0]
            into = ("nsenter", f"--target={first}", "--mount", "--uts", "--pid")
            self._spawn(f"slurmd-{name}", *into, *slurmd)
        else:
            inner = ("bash", "-c", NODE, "node", name, str(self.folder / "hosts"))
            self._spawn(name, *NAMESPACES, *inner, *slurmd)

    def _kill_slurmd(self, name: str) -> None:
        for parent in (name, f"slurmd-{name}"):
            if parent in self._daemons:
                for pid in slurm_files.find_children(self._daemons[parent].pid, "slurmd"):
                    os.kill(pid, signal.SIGKILL)
        self._kill(f"slurmd-{name}")

    def _is_up(self, name: str) -> bool:
        shown = self.run("scontrol", "show", "node", name, check=False).stdout
        fields = dict(item.split("=", 1) for item in shown.split() if "=" in item)
        state = fields.get("State", "")
        if state.startswith("DOWN"):
            self.run("scontrol", "update", f"NodeName={name}", "State=RESUME", check=False)
        # Until SLURM has missed it, a killed node looks idle: only the new slurmd counts.
        begun = fields.get("SlurmdStartTime", "None")
        has_registered = begun != "None" and begun >= self._begun[name]
        return has_registered and state in ("IDLE", "MIXED", "ALLOCATED")

    def _spawn(self, name: str, *command: str, **env: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                [*DIE_WITH_PARENT, *command],
                cwd=self.folder,
                env=self.build_environment(env),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def _kill(self, name: str) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is not None:
            daemon.kill()
            daemon.wait()

    def _wait_for(self, is_ready: "slurm_files.Check", what: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not is_ready():
            dead = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = slurm_files.load_tails(self.folder, list(self._daemons))
                raise RuntimeError(f"{what} did not start; dead: {dead}\n{logs}")
            time.sleep(_POLL_SECONDS)
