"""Several processes, one program: each of them runs the same code on the same data, and only the
first touches files. What the first finds there, or fails at, all of them learn."""

import pickle
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from vaejax.errors import LabError

T = TypeVar("T")


def connect(coordinator: str | None, processes: int | None, process_id: int | None) -> None:
    """Join the other processes, before any other use of jax; their devices are then `jax.devices()`
    in all of them. Without arguments the cluster is detected (SLURM, Open MPI, TPU pods and others:
    `jax.distributed`).

    Raises:
        LabError: some of the three are given and some are not, no cluster is found, or the
            coordinator does not answer.
    """
    given = (coordinator, processes, process_id)
    if None in given and any(value is not None for value in given):
        raise LabError("Give all of --coordinator, --processes and --process-id, or none of them.")
    try:
        jax.distributed.initialize(coordinator, processes, process_id)
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LabError(
            f"These processes cannot find each other ({reason}): start one in each place with "
            "--coordinator HOST:PORT --processes N --process-id 0 to N-1, or run under SLURM, Open "
            "MPI or on a TPU pod."
        ) from error


def first() -> bool:
    """Whether this is the process that reads and writes files."""
    return jax.process_index() == 0


def once(function: Callable[[], T]) -> T:
    """Call `function` in the first process alone; all of them, which must all come here, return
    what it returned.

    Raises:
        LabError: the function raised it; in every process.
    """
    if jax.process_count() == 1:
        return function()
    outcome: tuple[T | None, LabError | None] = (None, None)
    if first():
        try:
            outcome = function(), None
        except LabError as error:
            outcome = None, error
    message = np.frombuffer(pickle.dumps(outcome), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(len(message))))
    message = np.resize(message, size)
    result, error = pickle.loads(multihost_utils.broadcast_one_to_all(message).tobytes())
    if error is not None:
        raise error
    return result
