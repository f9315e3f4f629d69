"""Measuring in rounds: loops take turns, so that a busy machine slows all of them alike."""

import platform
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import psutil

import vaejax as vj

Timed = dict[str, Any]
"""A loop that was measured, as JSON holds it: see `take_turns`."""


class Loop(NamedTuple):
    """A way to do some work."""

    name: str
    models: int
    """How many models a turn trains or measures."""
    turns: Iterator[float | None]
    """Each `next` does the work once more, waits for it, and gives the loss or another result."""
    may_fail: bool = False
    """It depends on a compiler outside of Python, which a machine may lack."""


class Spread(NamedTuple):
    """A median and a range."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))


def ratios(values: Sequence[float], base: Sequence[float]) -> Spread:
    """The ratio of two loops, taken within each round."""
    return spread([value / other for value, other in zip(values, base, strict=True)])


class Growth(NamedTuple):
    """How a time grows with a size."""

    exponent: float
    """p, where time is proportional to size^p."""
    r2: float
    """The share of the variance of log time that the fitted line explains."""
    least: float
    """The smallest size in the fit."""


def growth(sizes: Sequence[float], seconds: Sequence[float]) -> Growth:
    """The slope of log time over log size, by least squares over the upper half of the sizes, three
    of them at least."""
    half = max(0, min(len(sizes) // 2, len(sizes) - 3))
    x, y = np.log(sizes[half:]), np.log(seconds[half:])
    slope, offset = np.polyfit(x, y, 1)
    unexplained, total = ((y - slope * x - offset) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return Growth(float(slope), float(1 - unexplained / total) if total else 1.0, sizes[half])


def take_turns(loops: Sequence[Loop], rounds: int, show: Callable[[str], None]) -> list[Timed]:
    """Measure loops: one turn of each, which compiles, then `rounds` rounds of a turn of each.

    Gives for each loop: its name and number of models; `first`, the seconds of its first turn;
    `seconds` of the turn in each round; `result`, what its last turn gave. A loop that may fail and
    does has `failed`, the reason, instead of the last three."""
    timed: list[Timed] = [{"name": loop.name, "models": loop.models} for loop in loops]
    for turn in range(1 + rounds):
        for loop, found in zip(loops, timed, strict=True):
            if "failed" in found:
                continue
            show(f"{loop.name}, round {turn} of {rounds}")
            start = perf_counter()
            try:
                result = next(loop.turns)
            except Exception as error:  # compilers fail with many types
                if not loop.may_fail or turn:
                    raise
                found["failed"] = f"{type(error).__name__}: {vj.errors.first_line(error)}"
                continue
            seconds = perf_counter() - start
            found["result"] = result
            found["first"] = found.get("first", seconds)
            found.setdefault("seconds", []).extend([seconds] if turn else [])
    return timed


def processor() -> str:
    """The name of the processor."""
    with_names = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows it, or a part of it
    lines = with_names.read_text().splitlines() if with_names.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def machine() -> dict[str, Any]:
    """What the measurement ran on, and with which versions."""
    process = psutil.Process()
    allowed = process.cpu_affinity() if hasattr(process, "cpu_affinity") else None
    about: dict[str, Any] = vj.study.provenance.provenance()
    versions = dict(about["versions"])
    if find_spec("torch") is not None:
        versions["torch"] = version("torch")
    cores = len(allowed) if allowed else psutil.cpu_count()
    return {**about, "versions": versions, "processor": processor(), "cores": cores}
