"""Measuring in rounds: loops take turns, so that a busy machine slows all of them alike."""

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

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


def take_turns(loops: Sequence[Loop], rounds: int, show: Callable[[str], None]) -> list[Timed]:
    """Measure loops: one turn of each, which compiles, then `rounds` rounds of a turn of each.

    Gives for each loop: its name and number of models; `first`, the seconds of its first turn;
    `seconds` of the turn in each round; `result`, what its last turn gave. A loop that may fail and
    does has `failed`, the reason, instead of the last three."""
    timed: list[Timed] = [
        {"name": loop.name, "models": loop.models, "seconds": []} for loop in loops
    ]
    for turn in range(1 + rounds):
        for loop, found in zip(loops, timed, strict=True):
            if "failed" in found:
                continue
            show(f"{loop.name}, round {turn} of {rounds}")
            start = perf_counter()
            try:
                found["result"] = next(loop.turns)
            except Exception as error:  # compilers fail with many types
                if not loop.may_fail or turn:
                    raise
                found["failed"] = f"{type(error).__name__}: {vj.errors.first_line(error)}"
                continue
            seconds = perf_counter() - start
            if turn:
                found["seconds"].append(seconds)
            else:
                found["first"] = seconds
    return timed


def machine() -> dict[str, Any]:
    """What the measurement ran on, and with which versions."""
    names = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows the processor, or a part of it
    lines = names.read_text().splitlines() if names.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    about: dict[str, Any] = vj.study.provenance.provenance()
    if find_spec("torch") is not None:
        about["versions"] = {**about["versions"], "torch": version("torch")}
    processor = next(iter(named), platform.processor() or platform.machine())
    return {**about, "processor": processor, "cores": vj.parallel.devices.cores()}


def target(path: Path | None) -> Path | None:
    """Where the JSON goes; asked before anything is measured.

    Raises:
        LabError: its folder is missing.
    """
    if path is None:
        return None
    whole = vj.files.own_path(path)
    if not whole.parent.is_dir() or whole.is_dir():
        raise vj.LabError(f"--json {path}: give a file in a folder that exists.")
    return whole


def write(found: Any, path: Path | None) -> None:
    if path is not None:
        vj.files.write_bytes(path, f"{json.dumps(found, indent=1)}\n".encode())
