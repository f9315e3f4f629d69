"""Several processes run one program. Each runs the same code on the same data, but only the first
reads and writes files; `once` tells the others what the first one read, or how it failed."""

import io
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from vaejax.errors import LabError, first_line

T = TypeVar("T")
MARGIN = 60
"""Seconds that jax would wait longer than `connect` does. At its own limit jax aborts."""


def connect(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    timeout: int = 300,
) -> None:
    """Join the other processes, before any other use of jax; their devices are then `jax.devices()`
    in all of them. Without the first three the cluster is detected (SLURM, Open MPI, TPU pods and
    others: `jax.distributed`).

    If the others have not come after `timeout` seconds, this process ends with one message and
    status 1. No error is raised then, because jax cannot be told to stop waiting."""
    given = (coordinator, processes, process_id)
    if None in given and any(value is not None for value in given):
        raise LabError("Give all of coordinator, processes and process_id, or none of them.")
    if coordinator is not None and not _is_address(coordinator):
        raise LabError(f"coordinator={coordinator!r}: give HOST:PORT, with a port from 1 to 65535.")
    joined: Future[None] = Future()

    def join() -> None:
        limit = timeout + MARGIN
        try:
            jax.distributed.initialize(
                coordinator, processes, process_id, initialization_timeout=limit
            )
        except Exception as error:
            joined.set_exception(error)
        else:
            joined.set_result(None)

    # jax waits in C++, where no signal is heard: here Ctrl-C still ends the process.
    threading.Thread(target=join, daemon=True).start()
    try:
        joined.result(timeout)
    except TimeoutError:
        _end(
            f"The other processes did not come within {timeout} s: start all of them, with the "
            "same coordinator and number of processes, or allow more seconds."
        )
    except (ValueError, RuntimeError) as error:
        raise LabError(
            f"These processes cannot find each other ({first_line(error)}): give each "
            "the coordinator, HOST:PORT, the number of processes and its own process_id, or run "
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
    return int(gathered(np.asarray(number)).max())


def gathered(array: Any, tiled: bool = False) -> np.ndarray:
    """What all processes, which must all come here, hold of an array; `tiled` as in
    `multihost_utils.process_allgather`. If another process has ended, this one ends, too."""
    return _together(partial(multihost_utils.process_allgather, array, tiled=tiled))


def _together(collective: Callable[[], T]) -> T:
    """What a collective gives. It fails if another process has ended; then this one ends, too."""
    try:
        return collective()
    except (ValueError, RuntimeError) as error:
        _end(
            f"Another process has ended ({first_line(error)}): its own messages say why. Start all "
            "of them again; a study resumes from its newest checkpoint."
        )


def _end(message: str) -> NoReturn:
    """End this process at once, with one message and status 1. At the usual end of a process jax
    waits for all others, and aborts if they do not come."""
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(1)


def once(function: Callable[[], T]) -> T:
    """Call `function` in the first process alone; all of them, which must all come here, return
    what it returned. That is what JSON knows: None, numbers, strings, lists, dicts."""
    if jax.process_count() == 1:
        return function()
    (text,) = arrays_once(lambda: [np.asarray(json.dumps(function()))])
    return json.loads(str(text))


def arrays_once(function: Callable[[], Sequence[Any]]) -> list[np.ndarray]:
    """`once` for a function that returns arrays on the host, of whatever shapes."""
    if jax.process_count() == 1:
        return [np.asarray(array) for array in function()]
    buffer, mistake = io.BytesIO(), None
    if is_first():
        try:
            np.savez(buffer, *function())
        except LabError as error:
            np.savez(buffer, error=str(error))
        except Exception as error:
            mistake = error
            np.savez(buffer, error=f"The first process failed: {first_line(error)}")
    size = largest(len(buffer.getvalue()))  # it is 0 in all but the first
    sent = np.resize(np.frombuffer(buffer.getvalue(), np.uint8), size)
    received = _together(partial(multihost_utils.broadcast_one_to_all, sent))
    if mistake is not None:
        raise mistake
    with np.load(io.BytesIO(received.tobytes()), allow_pickle=False) as arrays:
        if "error" in arrays:
            raise LabError(str(arrays["error"]))
        return [arrays[name] for name in arrays.files]  # in their order
