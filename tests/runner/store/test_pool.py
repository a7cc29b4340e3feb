"""A pool that the scheduler's signals do not reach, and that ends with its owner."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from tests.processes import list_group, wait_until
from vills.runner.store.interrupt import SIGNALS
from vills.runner.store.pool import open_pool


def start() -> None:
    pass


def get_mask() -> set[int]:
    return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_block_the_signals_and_their_owner_does_not() -> None:
    with open_pool(2, start=start) as pool:
        masks = [pool.submit(get_mask).result(), pool.submit(get_mask).result()]
        for number in SIGNALS:
            assert all(number in mask for mask in masks)
            assert number not in get_mask()


def fail_beside_work(error: BaseException) -> None:
    """Raise while one process sleeps."""
    with open_pool(2, start=start) as pool:
        pool.submit(time.sleep, 60)
        pool.submit(get_mask).result()
        raise error


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_after_an_error_it_does_not_wait_for_what_is_in_progress(error: BaseException) -> None:
    begin = time.monotonic()
    with pytest.raises(type(error)):
        fail_beside_work(error)
    assert time.monotonic() - begin < 10


def die_beside_work() -> None:
    """Lose one process while another sleeps."""
    with open_pool(2, start=start) as pool:
        pool.submit(time.sleep, 60)
        # CPython watches a process that it has just started only once some result has come.
        pool.submit(get_mask).result()
        pool.submit(die).result()


def test_a_worker_that_is_killed_ends_the_others() -> None:
    """The executor ends them by SIGTERM, which they block."""
    begin = time.monotonic()
    with pytest.raises(BrokenProcessPool):
        die_beside_work()
    assert time.monotonic() - begin < 10


SCRIPT = """
import sys, time
from pathlib import Path
from vills.runner.store.interrupt import InterruptedRunError, interrupt_at_once
from vills.runner.store.pool import open_pool

def start():
    pass

def work(folder, number):
    time.sleep(0.2)
    (Path(folder) / str(number)).touch()

if __name__ == "__main__":
    try:
        with interrupt_at_once(ends_process=True), open_pool(2, start=start) as pool:
            for future in [pool.submit(work, sys.argv[1], n) for n in range(500)]:
                future.result()
    except InterruptedRunError as error:
        print("requeue" if error.wants_requeue else "stop")
        sys.exit(error.exit_status)
"""


@pytest.mark.parametrize(
    ("signals", "said"),
    [([signal.SIGUSR2, signal.SIGTERM], "requeue\n"), ([signal.SIGTERM], "stop\n")],
)
def test_signals_to_the_whole_group(tmp_path: Path, signals: list[int], said: str) -> None:
    script, done = tmp_path / "main.py", tmp_path / "done"
    done.mkdir()
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(done)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: len(list(done.iterdir())) > 2)
    assert len(list_group(process.pid)) >= 3
    begin = time.monotonic()
    for number in signals:
        os.killpg(process.pid, number)
    out, errors = process.communicate(timeout=10)
    assert time.monotonic() - begin < 15
    assert (process.returncode, out, errors) == (75, said, "")
    wait_until(lambda: not list_group(process.pid))
