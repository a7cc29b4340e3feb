"""What SLURM's tools answer, all asked at once: a slow one costs no more than its patience."""

import getpass
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

SECONDS = 3.0
"""Of patience with a tool: with the rest of the examination under five."""
QOS_FIELDS = "Name,GraceTime,MaxWall,MaxTRES,MaxTRESPU,GrpTRES,MaxJobsPU,MaxSubmitPU"
ASSOC_FIELDS = "Account,Partition,QOS,DefaultQOS,MaxWall,MaxTRES,GrpTRES,MaxJobs,MaxSubmit"
NODE_FORMAT = "%R|%P|%l|%N|%c|%m|%G|%t|%f"
"""Partition, the same with * if it is the default, time limit, node, CPUs, MB, gres, state,
features. sinfo is asked, since it is there where scontrol is not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Output of a tool, or why there is none."""

    text: str = ""
    """Its output; empty if it failed."""
    reason: str = ""
    """Why it gave none; empty if it did."""
    missing: bool = False
    """There is no such tool."""

    @property
    def ok(self) -> bool:
        """Whether it answered."""
        return not self.reason


def ask_tool(command: Sequence[str], *, seconds: float = SECONDS) -> Answer:
    """Run a command; it is stopped after `seconds`."""
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return Answer(reason=f"no {command[0]} on the PATH", missing=True)
    except subprocess.TimeoutExpired:
        return Answer(reason=f"no answer in {seconds:g} s")
    except OSError as error:
        return Answer(reason=str(error))
    if result.returncode == 0:
        return Answer(text=result.stdout)
    lines = (result.stderr or result.stdout).strip().splitlines()
    return Answer(reason=lines[-1] if lines else f"exit status {result.returncode}")


def build_questions() -> dict[str, list[str]]:
    """Commands by what they are asked for; none changes anything."""
    user = getpass.getuser()
    return {
        "sbatch": ["sbatch", "--version"],
        "squeue": ["squeue", "--noheader", "--me", "--format=%i"],
        "scontrol": ["scontrol", "show", "config"],
        "partitions": ["scontrol", "show", "partition", "--oneliner"],
        "sacct": ["sacct", "--allocations", "--noheader", "--parsable2", "--starttime=now-1hours"],
        "sinfo": ["sinfo", "--noheader", "--Node", "--all", f"--format={NODE_FORMAT}"],
        "qos": ["sacctmgr", "--parsable2", "show", "qos", f"format={QOS_FIELDS}"],
        "assoc": [
            "sacctmgr",
            "--parsable2",
            "show",
            "assoc",
            f"user={user}",
            f"format={ASSOC_FIELDS}",
        ],
    }


def load_answers(questions: Mapping[str, Sequence[str]]) -> dict[str, Answer]:
    """Ask all of them, beside each other."""
    with ThreadPoolExecutor(max_workers=len(questions)) as pool:
        asked = {name: pool.submit(ask_tool, command) for name, command in questions.items()}
        return {name: future.result() for name, future in asked.items()}


def parse_config(text: str) -> dict[str, str]:
    """`scontrol show config` by key; (null) is empty."""
    pairs = (line.split("=", maxsplit=1) for line in text.splitlines() if "=" in line)
    found = {name.strip(): value.strip() for name, value in pairs}
    return {name: "" if value == "(null)" else value for name, value in found.items()}


def parse_table(text: str) -> list[dict[str, str]]:
    """Rows of `--parsable2` output with its header."""
    lines = [line.split("|") for line in text.splitlines() if line.strip()]
    return [dict(zip(lines[0], line, strict=False)) for line in lines[1:]] if lines else []


def parse_tres(text: str) -> dict[str, int]:
    """`cpu=16,gres/gpu=4` by name; what is not a plain number (100G) is left out."""
    pairs = (item.partition("=") for item in text.split(",") if "=" in item)
    return {name.strip(): int(value) for name, _, value in pairs if value.strip().isdigit()}


def parse_minutes(text: str) -> float | None:
    """`2-00:00:00`, `1:00:00`, `30:00`, `30` as minutes; None where nothing limits.

    Raises:
        ValueError: for anything else.
    """
    if text.strip().lower() in ("infinite", "unlimited", "none", "n/a", ""):
        return None
    days, dash, rest = text.strip().rpartition("-")
    numbers = [int(part) for part in rest.split(":")]
    if dash:  # D-HH[:MM[:SS]]
        hours, minutes, seconds = (numbers + [0, 0])[:3]
    elif len(numbers) == 1:
        hours, minutes, seconds = 0, numbers[0], 0
    else:  # [HH:]MM:SS
        hours, minutes, seconds = ([0] + numbers)[-3:]
    return 1440 * int(days or 0) + 60 * hours + minutes + seconds / 60
