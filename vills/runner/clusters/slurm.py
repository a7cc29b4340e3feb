"""SLURM through submitit: batches become job arrays. The only user of submitit.

submitit writes the sbatch script, pickles the call and starts it under srun, one process per task.
Its own requeue is not used: it pickles on rank 0 alone while the others are being killed, so that
no collective checkpoint fits into it (`vills.runner.work.slurm_job` has ours). Time limits, retries
and states are ours too; submitit's wait for sacct.

sacct may be switched off, or lag behind; squeue forgets a job minutes after its end. So both are
asked, and a job that neither knows is unknown, never failed. While the controller is down nobody
can say anything: jobs are then as good as pending.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vills.programs import run_command
from vills.runner.clusters.jobs import UNKNOWN, Batch, ClusterError, JobState, Phase
from vills.runner.work.job import NodeJob
from vills.runner.work.slurm_job import REQUEUE
from vills.trust import render_guarded

DEFAULT_ARRAY = 1001
"""SLURM's own MaxArraySize."""
QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT")
ACTIVE = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
SILENT = JobState("pending", "UNKNOWN", "squeue does not answer")
MAX_IDS = 200
"""Jobs per question: a command line has its limits."""


class SlurmCluster:
    """The cluster behind sbatch."""

    name = "slurm"

    def submit(self, batch: Batch) -> list[str]:
        """Submit a batch as arrays no larger than MaxArraySize allows; ids in the order of keys.

        Raises:
            ClusterError: with sbatch's own words.
        """
        size = int(load_config().get("MaxArraySize", DEFAULT_ARRAY))
        ids: dict[str, str] = {}
        chunks = build_chunks(batch, size=max(size, 1))
        # Arrays know nothing of each other: each lane gets its share of the limit, and in a lane
        # one waits for the one before it. Without a limit each array is a lane of its own.
        limit = batch.max_parallel
        lanes = min(limit, len(chunks)) or len(chunks)
        last = [""] * lanes
        for number, (keys, dependency) in enumerate(chunks):
            lane = number % lanes
            found = self._submit_chunk(
                batch,
                keys,
                dependency=",".join(filter(None, (dependency, last[lane]))),
                throttle=limit // lanes + (lane < limit % lanes),
            )
            ids |= zip(keys, found, strict=True)
            last[lane] = f"afterany:{found[0].partition('_')[0]}"
        return [ids[key] for key in batch.keys]

    def load_states(self, jobs: Collection[str]) -> dict[str, JobState]:
        """States (of `12` or `12_3`) from squeue, then sacct for what squeue has forgotten."""
        arrays = sorted({job.partition("_")[0] for job in jobs})
        found: dict[str, JobState] = {}
        for start in range(0, len(arrays), MAX_IDS):
            asked = ",".join(arrays[start : start + MAX_IDS])
            options = ("--allocations", "--noheader", "--parsable2", "--jobs", asked)
            command = ["sacct", *options, "--format=JobID,State,ExitCode"]
            found |= _load_told(command, prefix="exit ") or {}
        # A list of jobs of which one is forgotten makes squeue refuse the rest, so all are asked
        # for. One row per element: a long list of elements is cut short without a word.
        options = ("--noheader", "--me", "--array", "--states=all", "--format=%i|%T|%r")
        listed = _load_told(["squeue", *options])
        found |= listed or {}
        otherwise = SILENT if listed is None and shutil.which("squeue") else UNKNOWN
        states: dict[str, JobState] = {}
        for job in jobs:
            # An array that was cancelled before any of it began is listed as one job.
            whole = found.get(job.partition("_")[0], otherwise)
            states[job] = found.get(job, whole if whole.phase == "ended" else otherwise)
        return states

    def cancel(self, jobs: Collection[str]) -> None:
        """`scancel` of these ids."""
        if jobs:
            _cancel(*sorted(jobs))

    def cancel_batch(self, name: str) -> None:
        """`scancel` of all jobs of this name."""
        _cancel("--me", f"--name={name}")

    def _submit_chunk(
        self, batch: Batch, keys: Sequence[str], *, dependency: str, throttle: int
    ) -> list[str]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        runs = batch.runs.resolve()
        if found := re.search(r"[%\\\n]", str(runs)):
            raise ClusterError(
                f"SLURM cannot write logs below {runs}: it reads {found[0]!r} in paths as "
                "more than itself. What to do: set VILLS_RUNS to another folder."
            )
        parameters = build_parameters(batch, dependency=dependency, throttle=throttle)
        with _outside_of_job():
            try:
                python = render_guarded(
                    sys.executable, runs=runs, paths=[batch.code.resolve(), runs / batch.log]
                )
                executor = submitit.SlurmExecutor(folder=runs / batch.log, python=python)
                executor.update_parameters(**parameters)
                jobs = executor.map_array(NodeJob(str(runs)), list(keys))
            # RuntimeError: there is no srun
            except (FailedJobError, FailedSubmissionError, OSError, RuntimeError) as error:
                text = str(error).strip().splitlines()
                raise ClusterError(
                    f"sbatch refused {len(keys)} job(s) of {batch.stage}: {' '.join(text[-3:])} "
                    f"What to do: correct slurm/{batch.stage}.yaml (or "
                    f"slurm.{batch.stage}.FIELD=VALUE); `vills doctor` finds the usual causes."
                ) from error
        return [str(job.job_id) for job in jobs]


@contextmanager
def _outside_of_job() -> Iterator[None]:
    """Hide the variables of the job in which this launcher runs from the jobs that it asks for.

    Elsewhere they are the user's own (SBATCH_ACCOUNT, SLURM_CONF) and stay.
    """
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    from submitit.helpers import clean_env

    config = os.environ.get("SLURM_CONF")
    with clean_env():
        if config:
            os.environ["SLURM_CONF"] = config
        yield


def build_chunks(batch: Batch, *, size: int) -> list[tuple[list[str], str]]:
    """Build the chunks of a batch with the dependency of each, as sbatch writes it.

    Elements that wait for elements 0, 1, 2, ... of one array and nothing else wait one by one
    (aftercorr); others are asked for singly. Several may wait for the same element (a data set
    each): as many groups go through the array.
    """
    waits = list(zip(batch.keys, batch.after, strict=True))
    free = [key for key, after in waits if not after]
    chunks = [(free[start : start + size], "") for start in range(0, len(free), size)]
    groups: list[tuple[str, list[str]]] = []
    """What the first element of a group waits for, and its elements."""
    for key, after in waits:
        if after:
            for first, keys in groups:
                array = first.removesuffix("_0")
                if first != array and list(after) == [f"{array}_{len(keys)}"]:
                    keys.append(key)
                    break
            else:
                groups.append((":".join(after), [key]))
    for first, keys in groups:
        one_by_one = f"aftercorr:{first.removesuffix('_0')}"
        chunks.append((keys, one_by_one if len(keys) > 1 else f"afterok:{first}"))
    return chunks


def build_parameters(batch: Batch, *, dependency: str, throttle: int) -> dict[str, Any]:
    """Return what submitit is told, in its names."""
    resources = batch.resources
    same = ("nodes", "gpus_per_node", "cpus_per_task", "partition", "account", "qos", "constraint")
    named = {name: getattr(resources, name) for name in same}
    named |= {"dependency": dependency, "mem": resources.mem_gb and f"{resources.mem_gb}GB"}
    variables = {**batch.build_environment(), REQUEUE: "1"}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    cpus = f"--cpus-per-task={resources.cpus_per_task}"
    return {
        **{name: value for name, value in named.items() if value},
        "job_name": batch.name,
        "ntasks_per_node": resources.num_tasks,
        "time": resources.timeout_min,
        "signal_delay_s": resources.signal_seconds,
        "array_parallelism": throttle or len(batch.keys),
        "stderr_to_stdout": True,
        "setup": [*resources.setup, *exports],
        # srun does not inherit the CPUs of a task, and must end all ranks when one fails.
        "srun_args": [cpus, "--cpu-bind=none", "--kill-on-bad-exit=1"],
        # Without it an element whose predecessor failed would stay pending for ever.
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes"} | resources.extra,
    }


def load_config() -> dict[str, str]:
    """`scontrol show config` by key; empty where there is no scontrol."""
    return parse_config(run_command(["scontrol", "show", "config"]).text)


def parse_config(text: str) -> dict[str, str]:
    """Lines of `scontrol show config` by key; (null) is empty."""
    pairs = (line.split("=", maxsplit=1) for line in text.splitlines() if "=" in line)
    found = {name.strip(): value.strip() for name, value in pairs}
    return {name: "" if value == "(null)" else value for name, value in found.items()}


def parse_array(job: str) -> list[str]:
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


def _cancel(*options: str) -> None:
    """`scancel`; what it says against it is a ClusterError."""
    answer = run_command(["scancel", *options])
    if not answer.ok:
        words = answer.words or answer.reason
        raise ClusterError(
            f"`scancel {' '.join(options)}` failed: {words}. What to do: run `vills doctor`."
        )


def _load_told(command: Sequence[str], *, prefix: str = "") -> dict[str, JobState] | None:
    """Load states from a command's lines of `job|state|reason`; None if it does not answer."""
    answer = run_command(command)
    found: dict[str, JobState] = {}
    for line in answer.text.splitlines():
        job, words, reason = line.strip().split("|", maxsplit=2)
        state = words.split()[0]  # CANCELLED by 1000
        phase: Phase = "pending" if state in QUEUED else "running" if state in ACTIVE else "ended"
        told = JobState(phase, state, "" if reason in ("None", "0:0") else f"{prefix}{reason}")
        found |= dict.fromkeys(parse_array(job), told)
    return found if answer.ok else None
