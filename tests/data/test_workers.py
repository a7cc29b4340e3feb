"""Loader processes: the signals pass them by, and they are gone when their batches are."""

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from tests.processes import list_group, wait_until
from vills.config.checks import ConfigError
from vills.data.loading import METHODS, get_start_method, load_batches
from vills.endings import run_main
from vills.errors import LostProcessError
from vills.interrupt import SIGNALS, InterruptFlag

pytestmark = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def _start_method(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VILLS_WORKER_START", method)


class Masks(Dataset[tuple[int, set[int]]]):
    """Item n is (n, the signals that its process blocks); some are slow or fail."""

    def __init__(self, *, slow: int = -1, bad: int = -1) -> None:
        self.slow, self.bad = slow, bad

    def __getitem__(self, number: int) -> tuple[int, set[int]]:
        if number == self.slow:
            time.sleep(60)
        if number == self.bad:
            raise ValueError("this one is bad")
        return number, set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def test_the_method_is_read_from_the_environment(method: str, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    assert get_start_method() == method
    monkeypatch.delenv("VILLS_WORKER_START")
    assert get_start_method() == "fork"
    monkeypatch.setenv("VILLS_WORKER_START", "forkserver")
    with pytest.raises(ConfigError, match="'forkserver' is not allowed. Allowed: fork, spawn"):
        get_start_method()


@pytest.mark.slow
def test_workers_block_the_signals_and_their_parent_does_not() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    found = list(load_batches(Masks(), numbers=range(6), workers=2))
    assert [number for number, _ in found] == list(range(6))
    assert all(set(SIGNALS) <= mask for _, mask in found)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert active_children() == []


@pytest.mark.slow
def test_signals_to_workers_and_parent_cost_no_batch() -> None:
    with InterruptFlag() as flag:
        numbers = []
        for number, _ in load_batches(Masks(), numbers=range(40), workers=2):
            numbers.append(number)
            for process in (*active_children(), None):
                for signal_number in SIGNALS:
                    pid = process.pid if process else os.getpid()
                    if number % 10 == 0 and pid:
                        os.kill(pid, signal_number)
        assert flag.signals == set(SIGNALS)
    assert numbers == list(range(40))


@pytest.mark.slow
def test_closed_early_it_leaves_no_process_behind() -> None:
    with closing(load_batches(Masks(), numbers=range(1000), workers=2)) as batches:
        next(batches)
        begin = time.monotonic()
    assert active_children() == []
    assert time.monotonic() - begin < 10


@pytest.mark.slow
def test_a_stuck_worker_is_not_waited_for() -> None:
    """Torch's last resort is SIGTERM, which workers block."""
    numbers = range(1000)
    with closing(load_batches(Masks(slow=3), numbers=numbers, workers=2)) as batches:
        next(batches)
        begin = time.monotonic()
    assert active_children() == []
    assert time.monotonic() - begin < 15


@pytest.mark.slow
def test_an_error_in_a_worker_comes_through_and_ends_the_others() -> None:
    with pytest.raises(ValueError, match="this one is bad") as caught:
        list(load_batches(Masks(bad=5), numbers=range(1000), workers=2))
    assert active_children() == []  # while the traceback is alive
    assert str(caught.value) == "this one is bad"
    assert "in __getitem__" in "".join(caught.value.__notes__)
    del caught


class UnsendableError(Exception):
    """One that cannot be pickled: torch would wait for it for ever."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class Refusals(Dataset[int]):
    """Items that cannot be had."""

    def __getitem__(self, number: int) -> int:
        if number == 0:
            raise FileNotFoundError(2, "No such file or directory", "a/picture.jpg")
        raise UnsendableError("one", "two")


class Tensors(Dataset[torch.Tensor]):
    """Tensors of 4 MB, from a process that may open no more files, or whose /dev/shm is small."""

    def __init__(self, lack: str) -> None:
        self.lack = lack

    def __getitem__(self, number: int) -> torch.Tensor:
        tensor = torch.zeros(1_000_000)
        if self.lack == "files":
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # those that are open stay so
        elif self.lack == "shared memory":
            ctypes.CDLL(None).unshare(0x20000)  # mounts of its own
            for words in ("--make-rprivate /", "-t tmpfs -o size=64k none /dev/shm"):
                subprocess.run(["mount", *words.split()], check=True)
        return tensor


@pytest.mark.slow
def test_the_parent_says_what_the_worker_said(method: str) -> None:
    if method == "spawn":
        pytest.skip("what a process says does not depend on how it began; spawning takes long")
    with pytest.raises(FileNotFoundError) as caught:
        list(load_batches(Refusals(), numbers=range(1), workers=1))
    assert caught.value.filename == "a/picture.jpg"
    with pytest.raises(RuntimeError, match="UnsendableError: one and two"):
        list(load_batches(Refusals(), numbers=range(1, 2), workers=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lack", "words"),
    [
        ("files", "Too many open files"),
        ("shared memory", "No space left for /dev/shm: .* MB are free.*What to do: free space"),
    ],
)
def test_what_cannot_be_handed_over_is_said_and_not_waited_for(
    lack: str, words: str, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if method == "spawn":
        pytest.skip("what a process says does not depend on how it began; spawning takes long")
    if lack == "shared memory" and os.geteuid() != 0:
        pytest.skip("another /dev/shm can be mounted by root only")

    def work() -> int:
        return len(list(load_batches(Tensors(lack), numbers=range(4), workers=1)))

    assert run_main("vills", work) == 2
    assert re.search(words, capsys.readouterr().err)
    assert active_children() == []


@pytest.mark.slow
def test_a_lock_that_nobody_gives_back_does_not_hold_up_the_end() -> None:
    """A worker that dies while it asks whether it is to go on takes torch's lock with it."""
    batches: Any = load_batches(Masks(), numbers=range(1000), workers=2)
    next(batches)
    assert batches.gi_frame is not None
    batches.gi_frame.f_locals["iterator"]._workers_done_event._cond.acquire()
    closing_thread = threading.Thread(target=batches.close, daemon=True)
    closing_thread.start()
    closing_thread.join(20)
    assert not closing_thread.is_alive()
    assert active_children() == []


@pytest.mark.slow
def test_a_killed_worker_is_an_error_and_ends_the_others() -> None:
    batches = load_batches(Masks(slow=6), numbers=range(1000), workers=2)
    next(batches)
    os.kill(active_children()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(LostProcessError, match=r"DataLoader worker.*What to do: mostly memory"):
        list(batches)
    assert active_children() == []


ENDLESS = """
import sys
from tests.data.test_workers import Masks
from vills.data.loading import load_batches
if __name__ == "__main__":
    for number, _ in load_batches(Masks(), numbers=range(10**9), workers=2):
        if number == 10:
            print("works", flush=True)
"""


@pytest.mark.slow
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(ENDLESS)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert len(list_group(process.pid)) >= 3
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not list_group(process.pid), seconds=15)
