"""Signals raise a flag; the old handlers come back."""

import os
import signal

from vills.train.interrupt import InterruptedRunError, InterruptFlag


def test_sigterm_and_sigusr2_raise_the_flag_and_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGUSR2):
        with InterruptFlag() as flag:
            assert not flag.is_set
            os.kill(os.getpid(), number)
            assert flag.is_set
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_on_request_is_told_from_a_failure() -> None:
    assert InterruptedRunError.exit_status == os.EX_TEMPFAIL
