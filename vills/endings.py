"""How a command ends: whatever it raises becomes words and an exit status, here and nowhere else.

- 2: the user can mend it: a UserError (whose own status counts), a file system, little memory;
- 70 (EX_SOFTWARE): a bug; the traceback is in a file that the message names;
- 130: Ctrl-C;
- 141: whoever read the output has seen enough, as after SIGPIPE.
"""

import errno
import os
import platform
import select
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import vills
from vills.errors import UserError
from vills.io import get_runs_root
from vills.refusals import NO_SPACE, describe_full_disk, find_refusal
from vills.secrets import render_public

BUG, INTERRUPTED, CLOSED_PIPE = os.EX_SOFTWARE, 130, 141
OUTPUT, ERRORS = 1, 2
"""Descriptors of stdout and stderr."""
_OF_PEERS = ("DistBackendError", "DistNetworkError", "DistStoreError")
"""Of torch, which is not imported for them: what a process meets when another one is gone."""
_GONE = "the folder in which the command was given is not there any more"
_AGAIN = "correct that and give the same command again"
_REMEDIES = {
    errno.EROFS: "work in a copy on a disk that can be written to; runs alone can lie elsewhere, "
    "VILLS_RUNS=/path",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM),
        "get the permission (`ls -ld` shows who has it), or work in a folder of your own",
    ),
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE), "allow more open files, `ulimit -n 4096`, and try again"
    ),
    errno.ENAMETOOLONG: "give a shorter name, or work in a folder with a shorter path",
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
        "a file is where a folder should be, or the other way round: move it away",
    ),
    **dict.fromkeys(NO_SPACE, "free space (or raise the quota) and give the same command again"),
    errno.EFBIG: "allow larger files (`ulimit -f unlimited`, or another file system) and give the "
    "same command again; it continues from there",
    errno.ENOENT: "check the path; `vills COMMAND --help` says what a command needs",
    errno.ELOOP: "a link leads to itself: remove it",
    **dict.fromkeys(
        (errno.ENOMEM, errno.EAGAIN),
        "end other programs, or work with fewer processes (VILLS_WORKERS, VILLS_LOADERS)",
    ),
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN),
        "look after the disk or its file server, then give the same command again",
    ),
}


def run_main(program: str, work: Callable[[], int]) -> int:
    """Do the work of a command; its exit status. What it raises is said on stderr.

    Args:
        program: its name, in front of what is said.
        work: reads its arguments, prints, and returns a status.
    """
    _set_up_streams()
    try:
        try:
            status = work()
        finally:
            sys.stdout.flush()  # here, where what goes wrong can be told
        text = ""
    except BaseException as error:  # noqa: BLE001 - this is the place for it
        if isinstance(error, SystemExit | GeneratorExit):
            raise
        text, status = _describe(error)
    if text:
        with suppress(OSError):
            print(f"{program}: {render_public(text)}", file=sys.stderr, flush=True)
    _drop_output()
    return status


def _describe(error: BaseException) -> tuple[str, int]:
    """Words and status of what a command raised; no words where nobody would read them."""
    if isinstance(error, UserError):
        return str(error), error.exit_status
    if isinstance(error, KeyboardInterrupt):
        return (
            "interrupted; what is finished is kept, and jobs that were submitted go on. What to "
            "do: give the same command again to continue",
            INTERRUPTED,
        )
    # torch's is a RuntimeError, and torch is not imported for it
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"not enough memory ({error}). What to do: {_REMEDIES[errno.ENOMEM]}.", 2
    if isinstance(error, BrokenPipeError) and (_is_closed(OUTPUT) or _is_closed(ERRORS)):
        return "", CLOSED_PIPE
    if isinstance(error, FileNotFoundError) and not error.filename and _is_folder_gone():
        return f"{_GONE}. What to do: `cd` into one that is there.", UserError.exit_status
    if isinstance(error, OSError):
        return describe_os_error(error), UserError.exit_status
    if (refused := find_refusal(error)) is not None:
        # of a library that was not told which file it writes
        refused.strerror = f"{refused.strerror} ({type(error).__name__}: {_get_first_line(error)})"
        return describe_os_error(refused), UserError.exit_status
    if type(error).__name__ in _OF_PEERS or "closed by peer" in str(error):
        return (
            f"another process of this run has ended ({_get_first_line(error)}). What to do: read "
            "what that one said, correct it, and start all of them again; they continue.",
            UserError.exit_status,
        )
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        return (
            f"the name {error.object!a} holds bytes that are not UTF-8. What to do: give the file "
            "or folder another name (`convmv` renames whole folders).",
            UserError.exit_status,
        )
    return _describe_bug(error), BUG


def describe_os_error(error: OSError) -> str:
    """Path, reason and remedy of what the operating system refused."""
    path = error.filename2 or error.filename
    if error.errno in NO_SPACE and path:
        return str(describe_full_disk(Path(os.fsdecode(path))))
    if error.errno is None or error.strerror is None:  # words of ours, or of a library
        text = str(error) or type(error).__name__
        return text if "What to do" in text else f"{text.rstrip('.')}. What to do: {_AGAIN}."
    where = f"{os.fsdecode(path)}: " if isinstance(path, str | bytes) else ""
    return f"{where}{error.strerror}. What to do: {_REMEDIES.get(error.errno, _AGAIN)}."


def _describe_bug(error: BaseException) -> str:
    trace = "".join(traceback.format_exception(error))
    here = Path() if _is_folder_gone() else Path.cwd()
    report = render_public(
        f"vills {vills.__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"in {here}: {shlex.join(sys.argv)}\n\n{trace}"
    )
    first = render_public(_get_first_line(error))
    text = f"this is our fault, not yours: {type(error).__name__}: {first}"
    name = f"vills-fault-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    # all nodes see the runs; a project may be read-only, or not be there
    for folder in (*_list_runs(here), *_list_temporary()):
        with suppress(OSError):
            if folder.is_dir():
                # "x": in a folder of everybody, a link of that name leads elsewhere
                with (folder / name).open("x", errors="backslashreplace") as file:
                    file.write(report)
                return (
                    f"{text}\nWhat is finished is kept. What to do: send us {folder / name}, which "
                    "says where it happened."
                )
    return f"{text}\nWhat to do: send us this:\n{report}"


def _list_runs(project: Path) -> list[Path]:
    with suppress(UserError):
        return [get_runs_root(project)]
    return []


def _list_temporary() -> list[Path]:
    with suppress(FileNotFoundError):
        return [Path(tempfile.gettempdir())]
    return []


def _get_first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def _is_folder_gone() -> bool:
    """Whether the folder that the command was given in has been removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _set_up_streams() -> None:
    """Open what the caller closed (`>&-`), so that no file gets its number; print any name."""
    for number in (0, OUTPUT, ERRORS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", errors="replace"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _is_closed(number: int) -> bool:
    """Whether nobody reads the pipe at a descriptor any more."""
    poll = select.poll()
    poll.register(number, 0)  # errors are told in any case
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _drop_output() -> None:
    """Let Python's own flush at the end find nothing that it would complain about."""
    for stream, number in ((sys.stdout, OUTPUT), (sys.stderr, ERRORS)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
