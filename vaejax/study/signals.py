"""Signals during training: the epoch ends, a checkpoint is saved, and then the process ends."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from vaejax.parallel import processes

HEEDED: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, the end of a job, and SLURM's warning that the end is near."""


@contextmanager
def deferred() -> Iterator[Callable[[], int | None]]:
    """Within it, the first signal is only noted, and the second one has its usual effect. Yields a
    function that tells which signal came, if any; of several processes, in any of them, which all
    must call it."""
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if noted:
            signal.signal(number, before[number])
            os.kill(os.getpid(), number)
            return
        noted.append(number)
        print("stopping after this epoch; a second signal stops at once", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in HEEDED}
    try:
        yield lambda: processes.largest(noted[0] if noted else 0) or None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
