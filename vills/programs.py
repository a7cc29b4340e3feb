"""Other programs: what they answer, or why they do not."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Answer:
    """Output of a command, or why there is none."""

    text: str = ""
    """Its output; empty if it failed."""
    reason: str = ""
    """Why it gave none, in a line; empty if it did."""
    words: str = ""
    """All that it said then."""
    missing: bool = False
    """There is no such command."""

    @property
    def ok(self) -> bool:
        """Whether it answered."""
        return not self.reason


def run_command(
    command: Sequence[str], *, cwd: Path | None = None, seconds: float = 60.0
) -> Answer:
    """Run a command; it is stopped after `seconds`.

    It is found on the PATH without `.` and the like: `cwd` may be of a stranger.
    """
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path = os.pathsep.join(filter(os.path.isabs, places))
    try:
        result = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            cwd=cwd,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Answer(reason=f"no answer in {seconds:g} s")
    except FileNotFoundError:
        return Answer(reason=f"no {command[0]} on the PATH", missing=True)
    except OSError as error:
        return Answer(reason=str(error))
    if result.returncode == 0:
        return Answer(text=result.stdout)
    words = (result.stderr or result.stdout).strip() or f"exit status {result.returncode}"
    return Answer(reason=words.splitlines()[-1], words=words)
