"""The one kind of error that a user can mend."""


class LabError(Exception):
    """Bad input, missing data, a full disk, a diverged run: says the cause and the remedy.

    Commands print it as one message, without a traceback, and exit with status 1.
    """
