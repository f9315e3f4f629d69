"""Which lanes train together, and where: numbers in, numbers out."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vaejax.errors import LabError


class Placement(NamedTuple):
    """Where the lanes of a run train."""

    chunks: list[np.ndarray]
    """The lanes of each chunk. All are of one size, so that one compiled program serves them: the
    last one is filled up with copies of the last lane."""
    at_once: int
    """How many chunks train at the same time, each on a core of its own; more take turns."""
    stays: bool
    """Whether the states stay on the devices. If not, each chunk leaves them after its turn."""


def mesh_axes(devices: int, batch_devices: int) -> dict[str, int]:
    """How many devices are along each axis of the mesh, `batch_devices` of them to each batch."""
    if not 1 <= batch_devices <= devices or devices % batch_devices:
        raise LabError(
            f"{devices} devices cannot share batches {batch_devices} at a time: use batch_devices "
            f"that divide {devices}."
        )
    return {"lanes": devices // batch_devices, "batch": batch_devices}


def on_devices(lanes: int, most: int, across: int = 1) -> Placement:
    """As few chunks as there can be of at most `most` lanes, each divided evenly among `across`
    groups of devices."""
    size = math.ceil(lanes / math.ceil(lanes / most) / across) * across
    starts = range(0, lanes, size)
    chunks = [np.minimum(np.arange(start, start + size), lanes - 1) for start in starts]
    return Placement(chunks, 1, len(chunks) == 1)


def on_cores(lanes: int, most: int, cores: int, in_cache: int) -> Placement:
    """Chunks for the cores of a CPU: at most `in_cache` lanes each, as many chunks for each core if
    there are lanes enough, and no more than `most` lanes in training at the same time."""
    number = math.ceil(lanes / min(most, in_cache) / cores) * cores
    chunks = on_devices(lanes, math.ceil(lanes / number)).chunks
    fitting = len(chunks) if most >= lanes else max(1, most // len(chunks[0]))
    return Placement(chunks, min(cores, fitting), True)


def calls(epochs: int, epochs_per_call: int, trained: int = 0) -> Iterator[int]:
    """How many epochs each call of the program trains after `trained` epochs: each ends at a
    multiple of `epochs_per_call`, counted from the first epoch of all, or with the last one."""
    last = trained + epochs
    while trained < last:
        end = min(trained - trained % epochs_per_call + epochs_per_call, last)
        yield end - trained
        trained = end
