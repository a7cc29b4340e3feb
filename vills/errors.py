"""Errors whose message is written for the person at the keyboard: it says what to do."""


class UserError(Exception):
    """`vills` prints the message without a traceback and ends with `exit_status`."""

    exit_status = 2


class InputError(UserError, ValueError):
    """A file, a model or a value that somebody gave is not what it should be."""
