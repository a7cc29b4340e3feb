"""Bad values and files, one a case: none silent, none a traceback, none hangs.

Each case is one command, or two, in a forked copy of this process, which has imported VILLS: so
hundreds take minutes. Of every fifth case its valid neighbour is tried too, which must pass.
"""

import ctypes
import importlib
import os
import pkgutil
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

import vills.cli
import vills.cli.sweep
from tests.torture.base import get_base
from tests.torture.case import TOLD, WRONG, Ended, build_generator, build_name, find_fault
from tests.torture.undisturbed import Undisturbed

SECONDS = 60
MEMORY = 12 << 30
NEIGHBOURS = 5


@dataclass(frozen=True)
class Input:
    """Commands, and what makes one of their inputs bad."""

    commands: Sequence[Sequence[str]]
    """Each begins with vills or launch.py; the last that is reached is judged."""
    said: Sequence[str]
    """One of these must be in what is said: the field, the file, or a count."""
    spoil: Callable[[Path], object] = lambda folder: None
    """Makes it bad, in the folder of the case."""
    what: str = ""
    """What is bad."""
    prepare: Callable[[Path], object] = lambda folder: None
    """Done for its valid neighbour too."""
    env: Mapping[str, str] = field(default_factory=dict)
    statuses: Sequence[int] = (2,)
    """How it may end: `vills data check` and `extract` name what is broken with 1."""
    may_pass: bool = False
    """It may end with 0 if it says so, or one of `reports` does: damaged pictures are skipped."""
    reports: str = ""
    """Files of a count of what was skipped, as a pattern."""


def run_case(number: int, seed: int, *, reference: Undisturbed, folder: Path) -> Ended:
    """Give one bad input, and sometimes its valid neighbour, and judge what is said."""
    from tests.torture.bad_contents import CONTENTS
    from tests.torture.bad_files import FILES
    from tests.torture.bad_values import VALUES
    from tests.torture.bad_words import MORE

    families = [*VALUES, *FILES, *MORE, *CONTENTS]
    build = families[number % len(families)]
    name, base = build_name("input", number), get_base(reference)
    faults, words = [], ""
    is_checked = number // len(families) % NEIGHBOURS == 0
    for valid in (True, False) if is_checked else (False,):
        case = build(build_generator("input", number, seed), base, valid)
        place = folder / name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(base, place, symlinks=True, copy_function=os.link)
        case.prepare(place)
        if not valid:
            case.spoil(place)
        start = time.monotonic()
        for command in case.commands:
            status, output = run_words(command, place, case.env)
            if status != 0:
                break
        counted = "".join(path.read_text() for path in place.glob(case.reports or "-"))
        fault = judge(case, status, output + counted, place=str(place), valid=valid)
        words = f"{build.__name__}: {case.what}: {[' '.join(c)[:200] for c in case.commands]}: "
        words += f"{status} in {time.monotonic() - start:.0f} s: {output.strip()[-700:]}"
        if fault:
            faults.append(f"{fault}{' of the valid neighbour' if valid else ''}; {words}")
    if not faults:
        shutil.rmtree(place)
    outcome = WRONG if faults else TOLD
    return (outcome, " | ".join(faults) or words)


def import_all() -> None:
    """Import every module of VILLS, before the forks; nothing of it computes yet."""
    for module in pkgutil.walk_packages(vills.__path__, "vills."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def judge(case: Input, status: int | None, output: str, *, place: str, valid: bool) -> str:
    """What is wrong with how a command ended; empty: nothing."""
    if valid:
        return "" if status == 0 else "it is refused"
    plain = output.replace(place, "")
    is_said = any(word.lower() in plain.lower() for word in case.said)
    if status == 0:
        return "" if case.may_pass and is_said else "silent"
    if status == 2 and "usage: " in output and "error: " in output and is_said:
        return ""  # argparse's own words
    fault = find_fault(2 if status in case.statuses else status, output)
    if fault == "no remedy" and status == 1:
        fault = ""  # a table of what is wrong
    return fault or ("" if is_said else f"it names none of {list(case.said)}")


def run_words(words: Sequence[str], folder: Path, env: Mapping[str, str]) -> tuple[int | None, str]:
    """Status and output of a command in a forked copy of this process; None: it did not end."""
    path = folder.with_name(f"{folder.name}.output")
    child = os.fork()
    if child == 0:
        _work(words, folder, env, path)
    end, status = time.monotonic() + SECONDS, None
    while time.monotonic() < end:
        found, code = os.waitpid(child, os.WNOHANG)
        if found:
            status = os.waitstatus_to_exitcode(code)
            break
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    output = path.read_text(errors="replace")
    path.unlink()
    return status, output


def drop_rights() -> None:
    """Let the rights of files count for root too: no capability is left to this process."""
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None, use_errno=True).capset(header, none)


def _work(words: Sequence[str], folder: Path, env: Mapping[str, str], output: Path) -> None:
    """What the forked process does; it never returns."""
    status = 70
    try:
        os.setsid()
        os.chdir(folder)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, source in enumerate((null, descriptor, descriptor)):
            os.dup2(source, number)
        sys.stdout, sys.stderr = (os.fdopen(n, "w") for n in (1, 2))  # not pytest's
        drop_rights()
        torch.set_num_threads(1)  # as the launcher of a stage does
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        for name in [n for n in os.environ if n.startswith(("VILLS_", "MLFLOW_"))]:
            del os.environ[name]
        os.environ.update({"VILLS_TRACKING": "off", **env})
        sys.argv = list(words)
        main = vills.cli.main if words[0] == "vills" else vills.cli.sweep.main
        status = main(words[1:])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
