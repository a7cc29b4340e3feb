"""Signals raise a flag, or end the work at once; what they were is known; old handlers return."""

import os
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress

import pytest

from vills.runner.store.interrupt import (
    SIGNALS,
    InterruptedRunError,
    InterruptFlag,
    interrupt_at_once,
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
    with pytest.raises(InterruptedRunError) as caught, interrupt_at_once():
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
    with interrupt_at_once():
        pass
    with pytest.raises(ValueError, match="own"), interrupt_at_once():
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
            with interrupt_at_once():
                send(signal.SIGUSR2)
        finally:
            send(signal.SIGTERM)
            cleaned.append(1)

    assert run_inside(work).wants_requeue
    assert cleaned == [1]


def test_signals_stay_ignored_where_the_process_ends_with_the_stop() -> None:
    before = get_handlers()
    try:
        with pytest.raises(InterruptedRunError), interrupt_at_once(ends_process=True):
            send(signal.SIGUSR2)
        send(signal.SIGTERM)  # would end the tests
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)  # type: ignore[arg-type]
    with interrupt_at_once(ends_process=True):
        pass
    assert get_handlers() == before
