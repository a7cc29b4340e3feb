"""Ends this process group by SIGKILL at its n-th file operation; every Python of it loads this.

TORTURE_LOG   a file that gets a byte per operation, d of dvc, v of vills: its size is the count
TORTURE_ROOT  operations on files below this folder count
TORTURE_KILL  "N before", "N after" the operation, or "N BYTES": this process alone dies while it
              writes, from N on, the first byte of a file behind so many; without it nothing dies
TORTURE_WHOM  group, or leader (dvc alone, the stage that it started goes on as an orphan), or self
              (the process that works, and dvc sees it die)
"""

import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

_LOG = os.open(os.environ["TORTURE_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
_ROOT = os.environ["TORTURE_ROOT"] + "/"
_AT, _, _WHEN = os.environ.get("TORTURE_KILL", "0 never").partition(" ")
_WHO = b"d" if any(word.endswith("/dvc") for word in sys.orig_argv) else b"v"
_WHOM = os.environ.get("TORTURE_WHOM")
_NAMES = {"os.rename": "rename", "os.remove": "unlink", "os.mkdir": "mkdir", "os.rmdir": "rmdir"}
_NAMES |= {"os.link": "link", "os.symlink": "symlink", "os.truncate": "truncate", "open": "open"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_busy = False


def _count(event: str, values: tuple[Any, ...]) -> None:
    global _busy
    if event not in _NAMES or _busy or not isinstance(values[0], str | bytes | os.PathLike):
        return
    if event == "open" and not (isinstance(values[2], int) and values[2] & _WRITES):
        return
    path = os.path.abspath(os.fsdecode(values[0]))  # noqa: PTH100 - links count as themselves
    if not path.startswith(_ROOT) or "__pycache__" in path:
        return
    os.write(_LOG, _WHO)
    if not 0 < int(_AT) <= os.fstat(_LOG).st_size:
        return
    _busy = True
    if _WHEN.isdigit():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(_WHEN), int(_WHEN)))
        return
    if _WHEN == "after":
        with suppress(OSError, TypeError):
            _do(event, values)
    if _WHOM == "group":
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpgrp() if _WHOM == "leader" else os.getpid(), signal.SIGKILL)
    _busy = False


def _do(event: str, values: tuple[Any, ...]) -> None:
    """Do the operation here, so that the kill comes right behind it."""
    if event == "open":
        os.open(values[0], values[2], 0o666)
    elif event in ("os.rename", "os.link", "os.symlink"):
        getattr(os, _NAMES[event])(*values[:2])
    else:
        getattr(os, _NAMES[event])(values[0])


def _sync(descriptor: Any, fsync: Any = os.fsync) -> None:
    _count("os.truncate", (_ROOT + "fsync",))
    fsync(descriptor)


os.fsync = _sync  # type: ignore[assignment]
sys.addaudithook(_count)
