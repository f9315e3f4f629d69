"""vaejax.parallel.processes, two of them on loopback: what the first one says is heard by both, and
neither waits for ever for one that is not there."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALONE = """
import sys
from vaejax.parallel import processes
processes.connect(sys.argv[1], 2, int(sys.argv[2]), timeout=2)
"""
TWO = """
import os
import signal
import sys
import numpy as np
from vaejax.parallel import processes
this = int(sys.argv[2])
processes.connect(sys.argv[1], 2, this)
print(processes.once(lambda: {"process": this, "of": [2, None, "λ"]}))
arrays = [np.arange(3, dtype="i8") + this, np.zeros((2, 0), "f4"), np.bool_(True)]
told = processes.arrays_once(lambda: arrays)
print([(each.dtype.str, each.shape, each.tolist()) for each in told])
try:
    processes.once(lambda: 1 / this)
except Exception as error:
    print(type(error).__name__, error, flush=True)
if this == 1:
    os.kill(os.getpid(), signal.SIGKILL)
processes.largest(0)
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def address() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def end(process: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    """Exit status, and the lines of stdout and stderr."""
    try:
        stdout, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, stdout.splitlines(), stderr.splitlines()


def test_a_process_whose_other_never_comes_ends_with_one_line() -> None:
    processes = [start(ALONE, address(), this) for this in (0, 1)]
    for process in processes:
        status, _, (line,) = end(process)
        assert status == 1
        assert line == (
            "error: The other processes did not come within 2 s: start all of them, with the same "
            "coordinator and number of processes, or allow more seconds."
        )


@pytest.fixture(scope="module")
def two() -> list[tuple[int, list[str], list[str]]]:
    where = address()
    return [end(process) for process in [start(TWO, where, this) for this in (0, 1)]]


def test_what_the_first_process_returns_or_raises_is_told_to_the_second(two) -> None:
    # The transport of jax may print, too.
    (_, first, _), (_, second, _) = two
    assert [line for line in first if "Gloo" not in line] == [
        "{'process': 0, 'of': [2, None, 'λ']}",
        "[('<i8', (3,), [0, 1, 2]), ('<f4', (2, 0), [[], []]), ('|b1', (), True)]",
        "ZeroDivisionError division by zero",
    ]
    assert [line for line in second if "Gloo" not in line] == [
        "{'process': 0, 'of': [2, None, 'λ']}",
        "[('<i8', (3,), [0, 1, 2]), ('<f4', (2, 0), [[], []]), ('|b1', (), True)]",
        "LabError The first process failed: division by zero",
    ]


def test_a_process_whose_other_is_killed_ends_with_one_line(two) -> None:
    (first, _, (line,)), (second, _, _) = two
    assert (first, second) == (1, -signal.SIGKILL)
    assert line.startswith("error: Another process has ended (")
    assert line.endswith("a study resumes from its newest checkpoint.")
