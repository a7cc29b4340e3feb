"""Signals raise a flag, or end the work at once; what they were is known; old handlers return.

A pool that the scheduler's signals do not reach, and that ends with its owner.
"""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import list_group, wait_until
from vills.errors import LostProcessError
from vills.interrupt import (
    SIGNALS,
    InterruptedRunError,
    InterruptFlag,
    open_interruption,
    open_pool,
)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def get_handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def test_sigterm_and_sigusr2_raise_the_flag_and_handlers_are_restored() -> None:
    before = get_handlers()
    for number in SIGNALS:
        with InterruptFlag() as flag:
            assert not flag.is_set
            send(number)
            assert flag.is_set
            assert flag.signals == {number}
            assert flag.wants_requeue == (number == signal.SIGUSR2)
    with InterruptFlag() as flag:
        send(signal.SIGTERM, signal.SIGUSR2)
        assert flag.signals == set(SIGNALS)
        assert flag.wants_requeue
    assert get_handlers() == before


def test_a_stop_on_request_is_told_from_a_failure() -> None:
    assert InterruptedRunError.exit_status == os.EX_TEMPFAIL
    error = pickle.loads(pickle.dumps(InterruptedRunError("stopped", wants_requeue=True)))
    assert (str(error), error.wants_requeue) == ("stopped", True)


def run_inside(work: Callable[[], None]) -> InterruptedRunError:
    """The error that work ends with when it may be interrupted at once."""
    with pytest.raises(InterruptedRunError) as caught, open_interruption():
        work()
    return caught.value


@pytest.mark.parametrize("number", SIGNALS)
def test_at_once_is_at_once_and_handlers_are_restored(number: signal.Signals) -> None:
    before = get_handlers()
    done = []

    def work() -> None:
        send(number)
        done.append(1)

    error = run_inside(work)
    assert done == []
    assert "give the same command again" in str(error)
    assert error.wants_requeue == (number == signal.SIGUSR2)
    assert get_handlers() == before


def test_no_except_exception_swallows_it() -> None:
    done = []

    def work() -> None:
        with suppress(Exception):
            send(signal.SIGTERM)
        done.append(1)

    run_inside(work)
    assert done == []


def test_later_signals_are_ignored_but_counted() -> None:
    cleaned = []

    def work() -> None:
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGUSR2, signal.SIGTERM)
            cleaned.append(1)

    assert run_inside(work).wants_requeue
    assert cleaned == [1]


def test_work_that_ends_by_itself_ends_so() -> None:
    before = get_handlers()
    with open_interruption():
        pass
    with pytest.raises(ValueError, match="own"), open_interruption():
        raise ValueError("its own error")
    assert get_handlers() == before


def test_a_flag_takes_over_inside_and_gives_back() -> None:
    steps = []

    def work() -> None:
        with InterruptFlag() as flag:
            send(signal.SIGUSR2)
            steps.append(flag.is_set)  # a loop that ends by itself before it looks
        send(signal.SIGTERM)
        steps.append(False)

    run_inside(work)
    assert steps == [True]


def test_a_request_that_a_loop_has_answered_is_not_answered_twice() -> None:
    cleaned = []

    def work() -> None:
        try:
            with InterruptFlag():
                send(signal.SIGUSR2)
                raise InterruptedRunError("stopped at step 3", wants_requeue=True)
        finally:
            send(signal.SIGTERM)
            cleaned.append(1)

    assert str(run_inside(work)) == "stopped at step 3"
    assert cleaned == [1]


def test_what_cleans_up_after_the_work_is_not_cut_off() -> None:
    """The stage in one block, its run's lock and result in a block around it."""
    cleaned = []

    def work() -> None:
        try:
            with open_interruption():
                send(signal.SIGUSR2)
        finally:
            send(signal.SIGTERM)
            cleaned.append(1)

    assert run_inside(work).wants_requeue
    assert cleaned == [1]


def test_signals_stay_ignored_where_the_process_ends_with_the_stop() -> None:
    before = get_handlers()
    try:
        with pytest.raises(InterruptedRunError), open_interruption(ends_process=True):
            send(signal.SIGUSR2)
        send(signal.SIGTERM)  # would end the tests
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)  # type: ignore[arg-type]
    with open_interruption(ends_process=True):
        pass
    assert get_handlers() == before


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


@pytest.mark.slow
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
    with pytest.raises(LostProcessError, match="was killed. What to do: mostly memory ran out"):
        die_beside_work()
    assert time.monotonic() - begin < 10


def begin_badly() -> None:
    raise PermissionError(13, "Permission denied", "a/model.onnx")


def test_a_process_that_cannot_begin_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PermissionError) as caught, open_pool(1, start=begin_badly) as pool:
        pool.submit(os.getpid).result()
    assert caught.value.filename == "a/model.onnx"
    assert capfd.readouterr().err == ""


SCRIPT = """
import sys, time
from pathlib import Path
from vills.interrupt import InterruptedRunError, open_interruption
from vills.interrupt import open_pool

def start():
    pass

def work(folder, number):
    time.sleep(0.2)
    (Path(folder) / str(number)).touch()

if __name__ == "__main__":
    try:
        with open_interruption(ends_process=True), open_pool(2, start=start) as pool:
            for future in [pool.submit(work, sys.argv[1], n) for n in range(500)]:
                future.result()
    except InterruptedRunError as error:
        print("requeue" if error.wants_requeue else "stop")
        sys.exit(error.exit_status)
"""


@pytest.mark.slow
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
