"""What can go wrong with a run, in words for the person who started it."""

from vills.errors import UserError


class RunError(UserError, RuntimeError):
    """A run cannot go on; the message says what to do."""


class LostRunError(RunError):
    """Another attempt has taken the run over; this one must not write any more."""


class HeldRunError(RunError):
    """Another process writes the run, and this one was not to wait for it any longer."""

    exit_status = 75


class StalledRunError(RunError):
    """The scheduler starts a job again and again, and it gets nowhere."""


class DriftError(RunError):
    """Parameters, inputs or code changed between the start of a run and its end."""


class DamagedError(RunError):
    """A finished run's outputs are not the bytes that were recorded."""
