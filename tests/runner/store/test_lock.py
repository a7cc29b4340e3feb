"""One writer per run; and a job that gets nowhere stops, and says so."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vills.interrupt import InterruptedRunError
from vills.io import save_json
from vills.runner.store import lock as lock_module
from vills.runner.store.lock import (
    HeldRunError,
    LostRunError,
    RunLock,
    StalledRunError,
    check_current,
    compute_progress_mark,
    get_last_attempt,
)
from vills.runner.store.machine import is_alive, load_process_identity
from vills.runner.store.run import Run

HOLD = """
import sys, time
from pathlib import Path
from vills.runner.store.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print(lock.acquire(is_done=lambda: False, notes={}, progress=print), flush=True)
time.sleep(float(sys.argv[2]))
lock.release("finished")
"""


def acquire(lock: RunLock, said: list[str] | None = None) -> int | None:
    lines = said if said is not None else []
    return lock.acquire(is_done=lambda: False, notes={}, progress=lines.append)


@contextmanager
def hold_elsewhere(folder: Path, seconds: float = 600.0) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLD, str(folder), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def write_attempt(folder: Path, number: int, *, age: float, **changes: Any) -> Path:
    """An attempt of a process that this host cannot see."""
    path = folder / f"{number:06d}.json"
    save_json(path, {**load_process_identity(), "boot_id": "another", **changes})
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_attempts_are_numbered_and_say_who_and_how(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "attempts")
    for number in (1, 2):
        assert acquire(lock) == number
        lock.guard()
        lock.release("failed", "ValueError: why")
    assert sorted(path.name for path in (tmp_path / "attempts").iterdir()) == [
        "000001.end.json",
        "000001.json",
        "000002.end.json",
        "000002.json",
    ]
    begin = json.loads((tmp_path / "attempts" / "000001.json").read_text())
    assert begin["pid"] == os.getpid()
    end = json.loads((tmp_path / "attempts" / "000001.end.json").read_text())
    assert (end["status"], end["reason"]) == ("failed", "ValueError: why")


def test_after_kill_9_the_next_caller_takes_over_at_once(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path / "attempts") as process:
        process.send_signal(signal.SIGKILL)
        # Not waited for: a zombie is as dead as a process that is gone.
        begun = time.monotonic()
        said: list[str] = []
        lock = RunLock(tmp_path / "attempts")
        assert acquire(lock, said) == 2
        assert time.monotonic() - begun < 1.5
        lock.release("finished")


@pytest.mark.slow
def test_a_second_caller_waits_and_says_for_whom(tmp_path: Path) -> None:
    said: list[str] = []
    with hold_elsewhere(tmp_path / "attempts", seconds=1.2) as process:
        lock = RunLock(tmp_path / "attempts")
        begun = time.monotonic()
        assert acquire(lock, said) == 2
        assert time.monotonic() - begun > 0.5
        lock.release("finished")
        assert len(said) == 1
        assert f"waits for attempt 1 by process {process.pid} on " in said[0]


@pytest.mark.slow
def test_a_waiting_caller_leaves_when_the_run_is_done(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path / "attempts"):
        answers = iter([False, False, True])
        lock = RunLock(tmp_path / "attempts")
        assert (
            lock.acquire(is_done=lambda: next(answers), notes={}, progress=lambda text: None)
            is None
        )
        assert get_last_attempt(tmp_path / "attempts") == 1


@pytest.mark.slow
def test_of_many_callers_one_becomes_the_writer(tmp_path: Path) -> None:
    folder = tmp_path / "attempts"
    write_dead = write_attempt  # a writer of another boot that fell silent long ago
    folder.mkdir()
    write_dead(folder, 1, age=1000)
    inside: list[int] = []
    most: list[int] = []

    def work(_: int) -> None:
        lock = RunLock(folder)
        attempt = acquire(lock)
        assert attempt is not None
        inside.append(attempt)
        most.append(len(inside))
        time.sleep(0.02)
        inside.remove(attempt)
        lock.release("finished")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert max(most) == 1
    assert get_last_attempt(folder) == 7


def test_another_host_is_given_up_after_silence_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "attempts"
    folder.mkdir()
    path = write_attempt(folder, 1, age=0)
    monkeypatch.setattr(lock_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 0.6)
    begun = time.monotonic()
    lock = RunLock(folder)
    assert acquire(lock) == 2
    assert time.monotonic() - begun > 0.5
    lock.release("finished")
    assert path.exists()


def test_a_heartbeat_keeps_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_SECONDS", 0.05)
    lock = RunLock(tmp_path / "attempts")
    acquire(lock)
    path = tmp_path / "attempts" / "000001.json"
    os.utime(path, (0, 0))
    end = time.monotonic() + 5
    while path.stat().st_mtime == 0 and time.monotonic() < end:
        time.sleep(0.02)
    assert time.time() - path.stat().st_mtime < 5
    lock.release("finished")


def test_an_orphan_cannot_commit(tmp_path: Path) -> None:
    folder = tmp_path / "attempts"
    lock = RunLock(folder)
    acquire(lock)
    guard = pickle.loads(pickle.dumps(partial(check_current, folder, 1)))
    guard()
    write_attempt(folder, 2, age=0)
    with pytest.raises(LostRunError, match="attempt 1 of .* was taken over by attempt 2"):
        guard()
    lock.release("killed")


def test_a_reused_pid_is_another_process() -> None:
    here = load_process_identity()
    assert is_alive(here) is True
    assert is_alive({**here, "started": here["started"] + 1}) is False
    assert is_alive({**here, "boot_id": "another"}) is None
    assert is_alive({**here, "pid_namespace": "pid:[1]"}) is None


def test_an_unreadable_attempt_counts_as_another_host(tmp_path: Path) -> None:
    folder = tmp_path / "attempts"
    folder.mkdir()
    (folder / "000001.json").write_bytes(b"{")
    os.utime(folder / "000001.json", (0, 0))
    lock = RunLock(folder)
    assert acquire(lock) == 2
    lock.release("finished")


def test_file_systems_without_hard_links_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    lock = RunLock(tmp_path / "attempts")
    assert acquire(lock) == 1
    lock.guard()
    lock.release("finished")


@pytest.mark.slow
def test_patience_ends_with_a_word_about_who_writes(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path / "attempts") as process:
        lock = RunLock(tmp_path / "attempts")
        begun = time.monotonic()
        with pytest.raises(HeldRunError) as caught:
            lock.acquire(is_done=lambda: False, notes={}, progress=print, patience=0.6)
        assert 0.5 < time.monotonic() - begun < 5
        assert f"attempt 1 by process {process.pid} on" in str(caught.value)
        assert "What to do" in str(caught.value)
        assert caught.value.exit_status == 75
        assert get_last_attempt(tmp_path / "attempts") == 1


def test_patience_outlasts_a_writer_that_ends(tmp_path: Path) -> None:
    with hold_elsewhere(tmp_path / "attempts", seconds=0.3):
        lock = RunLock(tmp_path / "attempts")
        attempt = lock.acquire(
            is_done=lambda: False, notes={}, progress=lambda text: None, patience=20
        )
        assert attempt == 2
        lock.release("finished")


@pytest.mark.parametrize(("job", "restart", "at_once"), [("12", "1", True), ("13", "1", False)])
def test_a_job_that_slurm_started_again_takes_over_at_once(
    tmp_path: Path, job: str, restart: str, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first node died a second ago; nobody need wait until that is plain."""
    (tmp_path / "attempts").mkdir()
    write_attempt(tmp_path / "attempts", 1, age=0, slurm_job="12", slurm_restart="")
    monkeypatch.setenv("SLURM_JOB_ID", job)
    monkeypatch.setenv("SLURM_RESTART_COUNT", restart)
    lock = RunLock(tmp_path / "attempts")
    assert lock.find_holder() == (0 if at_once else 1)
    if at_once:
        assert acquire(lock) == 2
        lock.release("finished")


def test_the_same_start_of_a_job_is_not_superseded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "attempts").mkdir()
    for number, restart in ((1, ""), (2, "1")):
        write_attempt(tmp_path / "attempts", number, age=0, slurm_job="12", slurm_restart=restart)
        monkeypatch.setenv("SLURM_JOB_ID", "12")
        monkeypatch.setenv("SLURM_RESTART_COUNT", restart)
        assert RunLock(tmp_path / "attempts").find_holder() == number


def test_attempts_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    path = write_attempt(tmp_path / "attempts", 1, age=0)
    fields = json.loads(path.read_text())
    for name in ("slurm_job", "slurm_restart"):
        del fields[name]
    save_json(path, {**fields, "unknown": 1})
    assert is_alive(json.loads(path.read_text())) is not False
    assert RunLock(tmp_path / "attempts").find_holder() == 1


Opener = Callable[..., Run]


@pytest.fixture
def reopen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Open the run as a job that has been started so often."""
    (tmp_path / "data").write_text("x")

    def open_it(*, job: str = "12", restart: int = 0) -> Run:
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        return Run(
            tmp_path / "runs",
            stage="demo",
            read_params=dict,
            inputs={"data": tmp_path / "data"},
            module="vills.config.checks",
            progress=lambda text: None,
            patience=0.0,
        )

    return open_it


def work_until_limit(run: Run, *, leaves: str = "") -> None:
    """Work until the time limit."""
    with pytest.raises(InterruptedRunError), run:
        work(run, leaves)


def work(run: Run, leaves: str) -> None:
    if leaves:
        (run.work / leaves).write_text("weights")
    raise InterruptedRunError("stopped on request", wants_requeue=True)


def test_two_idle_attempts_of_one_job_are_the_last(reopen: Opener) -> None:
    work_until_limit(reopen())
    work_until_limit(reopen(restart=1))
    with pytest.raises(StalledRunError) as caught, reopen(restart=2):
        pass
    said = str(caught.value)
    assert (
        "makes no progress: 2 attempts of job 12 in a row made no new checkpoint or output" in said
    )
    assert "attempt 2 interrupted stopped on request; attempt 1 interrupted" in said
    assert "timeout_min" in said
    assert "checkpoint_minutes" in said


def test_a_job_that_is_submitted_anew_starts_clean(reopen: Opener) -> None:
    work_until_limit(reopen())
    work_until_limit(reopen(restart=1))
    run = reopen(job="13")
    with run:
        assert run.lock.attempt == 3


@pytest.mark.slow
@pytest.mark.parametrize("when", [0, 1])
def test_something_new_is_progress(reopen: Opener, when: int) -> None:
    for restart in range(2):
        work_until_limit(
            reopen(restart=restart), leaves="step-00000001.pt" if restart == when else ""
        )
    run = reopen(restart=2)
    with run:
        assert run.lock.attempt == 3


def test_after_progress_idle_attempts_count_from_there(reopen: Opener) -> None:
    work_until_limit(reopen())
    work_until_limit(reopen(restart=1), leaves="step-00000001.pt")
    work_until_limit(reopen(restart=2))
    work_until_limit(reopen(restart=3))
    with pytest.raises(StalledRunError, match=r"attempt 4 interrupted.*attempt 3 interrupted"):
        work_until_limit(reopen(restart=4))


def test_an_attempt_that_was_killed_counts_too(reopen: Opener) -> None:
    for restart in range(2):
        run = reopen(restart=restart)
        run.__enter__()
        run.lock._stop.set()  # the node dies: no word, no heartbeat
    with pytest.raises(StalledRunError, match="ended without a message"), reopen(restart=2):
        pass


def test_outside_of_a_scheduler_nobody_is_stopped(reopen: Opener) -> None:
    for _ in range(4):
        work_until_limit(reopen(job=""))
    with reopen(job="") as run:
        assert run.lock.attempt == 5


def test_marks_know_names_under_work_and_out(tmp_path: Path) -> None:
    marks = [compute_progress_mark(tmp_path)]
    for name in ("work/a", "out/deep/b"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
        marks.append(compute_progress_mark(tmp_path))
    assert len(set(marks)) == 3
    for name in ("work/.hidden", "work/x.tmp", "journal.jsonl"):
        (tmp_path / name).write_text("")
    assert compute_progress_mark(tmp_path) == marks[-1]
