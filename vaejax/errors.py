"""The error for problems that a user can fix."""


class LabError(Exception):
    """Bad input, missing data, a full disk, a diverged run: the message names cause and remedy.

    Commands print it as one message, without a traceback, and exit with status 1.
    """


def first_line(error: Exception) -> str:
    """The first line of what an error of some library says, or its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
