"""The loss terms of every step of a run, in files of little-endian float32 that each save extends:

    trace/objective.f32    [steps, lanes]
    trace/error.f32        [steps, lanes]
    trace/kl.f32           [steps, lanes, latent units]

A save costs what is new, checksums included: the CRC-32 of a longer file continues from that of the
shorter one.
"""

import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vaejax.run import Run
from vaejax.train import Trace


def extend(folder: Path, trace: Trace, before: int, checksums: Mapping[str, int]) -> dict[str, int]:
    """Write the terms of the steps that follow the first `before` ones. Whatever the files hold
    beyond those is cut off.

    Args:
        folder: of the run.
        trace: the terms [lanes, steps, ...] of the new steps.
        checksums: of each term over the first `before` steps; may be empty if there are none.

    Returns:
        The checksums over all steps.
    """
    (folder / "trace").mkdir(exist_ok=True)
    extended = {}
    for term, values in trace._asdict().items():
        # Copied: it may be mapped from the very file that is cut.
        steps = np.array(np.swapaxes(values, 0, 1), "<f4", order="C")
        path = _file(folder, term)
        with path.open("r+b" if path.exists() else "x+b") as file:
            file.seek(before * steps.itemsize * math.prod(steps.shape[1:]))
            file.truncate()
            file.write(steps.data)
            file.flush()
            os.fsync(file.fileno())
        extended[term] = zlib.crc32(steps.data, checksums.get(term, 0))
    return extended


def checksums(trace: Trace) -> dict[str, int]:
    """The checksum of each term of a trace that was read from files."""
    return {term: zlib.crc32(np.swapaxes(values, 0, 1)) for term, values in trace._asdict().items()}


def read(folder: Path, run: Run, steps: int) -> Trace:
    """The terms of the first steps, mapped."""
    lanes = len(run.seeds)

    def mapped(term: str, *shape: int) -> np.ndarray:
        size = (steps, lanes, *shape)
        if steps:
            whole = np.memmap(_file(folder, term), "<f4", "r", shape=size)
        else:  # an empty file cannot be mapped
            whole = np.zeros(size, "<f4")
        return np.swapaxes(whole, 0, 1)

    return Trace(mapped("objective"), mapped("error"), mapped("kl", run.config.latent_size))


def _file(folder: Path, term: str) -> Path:
    return folder / "trace" / f"{term}.f32"
