"""Errors whose message is written for the person at the keyboard: it says what to do."""


class UserError(Exception):
    """`vills` prints the message without a traceback and ends with `exit_status`."""

    exit_status = 2


class InputError(UserError, ValueError):
    """A file, a model or a value that somebody gave is not what it should be."""


class LostProcessError(UserError, RuntimeError):
    """A process that worked for this one is gone without a word, so somebody ended it."""

    def __str__(self) -> str:
        """Say what is known of it, and what to do."""
        return (
            f"{self.args[0]}. What to do: mostly memory ran out (`dmesg` tells), or /dev/shm (`df "
            "/dev/shm`); work with fewer processes (VILLS_WORKERS, VILLS_LOADERS); then give the "
            "same command again, it continues from there."
        )


class RunError(UserError, RuntimeError):
    """A run cannot go on; the message says what to do."""
