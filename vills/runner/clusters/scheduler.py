"""What SLURM says about jobs and about itself: squeue, sacct, scontrol, scancel.

sacct may be switched off, or lag behind; squeue forgets a job minutes after its end. So both are
asked, and a job that neither knows is unknown, never failed. While the controller is down nobody
can say anything: jobs are then as good as pending.
"""

import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from vills.runner.clusters.jobs import UNKNOWN, ClusterError, JobState

TIMEOUT_SECONDS = 60.0
QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT")
ACTIVE = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
SILENT = JobState("pending", "UNKNOWN", "squeue does not answer")
MAX_IDS = 200
"""Jobs per question: a command line has its limits."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Output of a command, or why there is none."""

    text: str = ""
    """Its output; empty if it failed."""
    reason: str = ""
    """Why it gave none; empty if it did."""
    missing: bool = False
    """There is no such command."""

    @property
    def ok(self) -> bool:
        """Whether it answered."""
        return not self.reason


def run_command(
    command: Sequence[str],
    *,
    check: bool = False,
    cwd: Path | None = None,
    seconds: float = TIMEOUT_SECONDS,
) -> Answer:
    """Run a command; it is stopped after `seconds`.

    Raises:
        ClusterError: with `check`, if it is not there or fails; with all of its own words.
    """
    missing = False
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
        )
        if result.returncode == 0:
            return Answer(text=result.stdout)
        words = (result.stderr or result.stdout).strip() or f"exit status {result.returncode}"
    except subprocess.TimeoutExpired:
        words = f"no answer in {seconds:g} s"
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        words = f"no {command[0]} on the PATH" if missing else str(error)
    if check:
        raise ClusterError(f"`{' '.join(command)}` failed: {words}. What to do: `vills doctor`.")
    return Answer(reason=words.splitlines()[-1], missing=missing)


def load_job_states(jobs: Collection[str]) -> dict[str, JobState]:
    """State of each job (`12` or `12_3`), from squeue, then sacct for what squeue has forgotten."""
    arrays = sorted({job.partition("_")[0] for job in jobs})
    found: dict[str, JobState] = {}
    for start in range(0, len(arrays), MAX_IDS):
        found |= _read_accounts(arrays[start : start + MAX_IDS])
    listed = _read_queue()
    found |= listed or {}
    otherwise = SILENT if listed is None and shutil.which("squeue") else UNKNOWN
    states: dict[str, JobState] = {}
    for job in jobs:
        # An array that was cancelled before any of it began is listed as one job.
        whole = found.get(job.partition("_")[0], otherwise)
        states[job] = found.get(job, whole if whole.phase == "ended" else otherwise)
    return states


def load_config() -> dict[str, str]:
    """`scontrol show config` by key; empty where there is no scontrol."""
    return parse_config(run_command(["scontrol", "show", "config"]).text)


def parse_config(text: str) -> dict[str, str]:
    """Lines of `scontrol show config` by key; (null) is empty."""
    pairs = (line.split("=", maxsplit=1) for line in text.splitlines() if "=" in line)
    found = {name.strip(): value.strip() for name, value in pairs}
    return {name: "" if value == "(null)" else value for name, value in found.items()}


def expand_array(job: str) -> list[str]:
    """`12_[0-2,7%4]` -> 12_0, 12_1, 12_2, 12_7; other ids as they are."""
    found = re.fullmatch(r"(\d+)_\[([^\]]*)\]", job)
    if not found:
        return [job]
    indices: list[int] = []
    for part in found[2].split("%")[0].split(","):
        first, _, last = part.partition("-")
        last, _, step = last.partition(":")
        indices += range(int(first), int(last or first) + 1, int(step or 1))
    return [f"{found[1]}_{index}" for index in indices]


def _read_queue() -> dict[str, JobState] | None:
    # A list of jobs of which one is forgotten makes squeue refuse the rest, so all are asked for.
    # One row per element: a long list of elements is cut short without a word.
    options = ("--noheader", "--me", "--array", "--states=all", "--format=%i|%T|%r")
    answer = run_command(["squeue", *options])
    found: dict[str, JobState] = {}
    for line in answer.text.splitlines():
        job, state, reason = line.strip().split("|", maxsplit=2)
        told = _build_state(state, "" if reason == "None" else reason)
        found |= dict.fromkeys(expand_array(job), told)
    return found if answer.ok else None


def _read_accounts(arrays: Sequence[str]) -> dict[str, JobState]:
    command = ["sacct", "--allocations", "--noheader", "--parsable2"]
    command += ["--jobs", ",".join(arrays), "--format=JobID,State,ExitCode"]
    found: dict[str, JobState] = {}
    for line in run_command(command).text.splitlines():
        job, state, code = line.split("|")
        told = _build_state(state.split()[0], "" if code == "0:0" else f"exit {code}")
        found |= dict.fromkeys(expand_array(job), told)
    return found


def _build_state(state: str, reason: str) -> JobState:
    if state in QUEUED:
        return JobState("pending", state, reason)
    if state in ACTIVE:
        return JobState("running", state, reason)
    return JobState("ended", state, reason)
