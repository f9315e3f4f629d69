"""Several processes run one program. Each runs the same code on the same data, but only the first
reads and writes files; `once` tells the others what the first one read, or how it failed."""

import pickle
import re
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from vaejax.errors import LabError, first_line

T = TypeVar("T")


def connect(coordinator: str | None, processes: int | None, process_id: int | None) -> None:
    """Join the other processes, before any other use of jax; their devices are then `jax.devices()`
    in all of them. Without arguments the cluster is detected (SLURM, Open MPI, TPU pods and others:
    `jax.distributed`).

    Raises:
        LabError: some of the three are given and some are not, the coordinator is no address, no
            cluster is found, or the coordinator does not answer.
    """
    given = (coordinator, processes, process_id)
    if None in given and any(value is not None for value in given):
        raise LabError("Give all of --coordinator, --processes and --process-id, or none of them.")
    if coordinator is not None and not _is_address(coordinator):
        raise LabError(
            f"--coordinator {coordinator!r}: give HOST:PORT, with a port from 1 to 65535."
        )
    try:
        jax.distributed.initialize(coordinator, processes, process_id)
    except (ValueError, RuntimeError) as error:
        raise LabError(
            f"These processes cannot find each other ({first_line(error)}): start each "
            "with --coordinator HOST:PORT --processes N --process-id I, I from 0 to N-1, or run "
            "under SLURM, Open MPI or on a TPU pod."
        ) from error


def _is_address(text: str) -> bool:
    """Whether it is HOST:PORT. jax would wait for minutes at some addresses that are none."""
    port = re.fullmatch(r".+:([0-9]{1,5})", text)
    return port is not None and 1 <= int(port[1]) < 2**16


def is_first() -> bool:
    """Whether this is the process that reads and writes files."""
    return jax.process_index() == 0


def largest(number: int) -> int:
    """The largest of a number over all processes, which must all come here."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.asarray(number)).max())


def once(function: Callable[[], T]) -> T:
    """Call `function` in the first process alone; all of them, which must all come here, return
    what it returned.

    Raises:
        LabError: the function raised it; in every process. If it raised anything else, the others
            learn that the first process failed, and do not wait for it.
    """
    if jax.process_count() == 1:
        return function()
    outcome: tuple[T | None, LabError | None] = (None, None)
    mistake: Exception | None = None
    if is_first():
        try:
            outcome = function(), None
        except LabError as error:
            outcome = None, error
        except Exception as error:
            mistake = error
            outcome = None, LabError(f"The first process failed: {first_line(error)}")
    message = np.frombuffer(pickle.dumps(outcome), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(len(message))))
    message = np.resize(message, size)
    result, error = pickle.loads(multihost_utils.broadcast_one_to_all(message).tobytes())
    if mistake is not None:
        raise mistake
    if error is not None:
        raise error
    return result
