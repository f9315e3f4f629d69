"""The error for problems that a user can fix, and the end that a signal asks for."""

import signal


class LabError(Exception):
    """Bad input, missing data, a full disk, a diverged run: the message names cause and remedy.

    Commands print it as one message, without a traceback, and exit with status 1. Any function may
    raise it: what a room exports says when.
    """


def first_line(error: Exception) -> str:
    """The first line of what an error of some library says, or its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class StoppedError(Exception):
    """A signal ended the training of a run after a checkpoint."""

    def __init__(self, number: int, where: str) -> None:
        name = signal.Signals(number).name
        super().__init__(f"stopped by {name} {where}; what was trained is saved, --resume goes on")
        self.status = 128 + number
