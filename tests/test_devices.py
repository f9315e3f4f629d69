"""The same numbers on one device, on eight (of one CPU) and in two processes on loopback. They
hear what the first one says, and wait for ever for none."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests import on_devices, tiny
from vaejax.study import lock

ROOT = Path(__file__).parents[1]
assert_close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)  # sums in another order


class Started(NamedTuple):
    """Processes that run while the tests begin."""

    eight: subprocess.Popen[str]
    two: tuple[subprocess.Popen[str], ...]
    shared: Path
    """Where the two processes continue a study of two epochs, up to the third."""


class Ended(NamedTuple):
    status: int
    stdout: str
    stderr: str


def start(devices: int, *arguments: Any) -> subprocess.Popen[str]:
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    environment["PYTHONIOENCODING"] = "utf-8"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.on_devices", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def address() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def end(process: subprocess.Popen[str]) -> Ended:
    try:
        stdout, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
    return Ended(process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def started(
    finished: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    """All processes, side by side. The two have three devices each: more than there are lanes."""
    where, eight = address(), start(8, "eight")
    held, refused, shared = map(tmp_path_factory.mktemp, ("held", "refused", "shared"))
    (refused / "recon_scale").mkdir()
    (refused / "recon_scale/results.jsonl").write_text("")
    shutil.copytree(finished("recon_scale"), shared / "recon_scale")
    with lock.held(held / "recon_scale"):
        two = tuple(start(3, "two", where, process, held, refused, shared) for process in (0, 1))
        yield Started(eight, two, shared)
        for process in (eight, *two):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return on_devices.trained(1, None)


@pytest.fixture(scope="module")
def eight(started: Started, one: dict[str, Any]) -> dict[str, Any]:
    done = end(started.eight)
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["devices"] == 8
    return found


@pytest.fixture(scope="module")
def two(started: Started) -> tuple[Ended, ...]:
    return tuple(end(process) for process in started.two)


def assert_same(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert got["diverged"] == want["diverged"] == [False] * 3 + [True] * 3 + [False] * 3
    for name in ("weights", "error"):
        assert_close(got[name], want[name])


@pytest.mark.parametrize("along", ["lanes", "both", "batch"])
def test_lanes_and_batches_over_eight_devices_are_those_of_one(
    eight: dict[str, Any], one: dict[str, Any], along: str
) -> None:
    """Nine lanes, three of which diverge, which eight devices do not divide evenly: in two chunks,
    four devices by two, and all devices on each batch of one lane."""
    assert_same(eight["trained"][along], one)


def test_devices_of_different_lanes_never_speak_and_those_of_a_batch_sum_their_gradients(
    eight: dict[str, Any],
) -> None:
    lanes, both = (eight["collectives"][along] for along in ("lanes", "both"))
    assert set(lanes.values()) == {0}
    assert both.pop("all-reduce") > 0
    assert set(both.values()) == {0}


def test_a_batch_that_its_devices_cannot_share_is_refused(eight: dict[str, Any]) -> None:
    assert eight["refused"].startswith("8 devices cannot share a batch of 12: change batch_size")


def figures(rows: list[dict[str, Any]]) -> list[list[float]]:
    names = ("steps", "recon_scale", "seed", "neg_elbo_nats", "kl_nats", "mse", "active_units")
    return [[float(row[name]) for name in names] for row in rows]


def test_two_processes_resume_what_one_began_and_write_once_what_one_does(
    started: Started, two: tuple[Ended, ...], finished: Callable[[str], Path], tmp_path: Path
) -> None:
    first, second = two
    assert (first.status, second.status) == (0, 0), first.stderr + second.stderr
    assert "C13" in first.stdout
    # Its transport may print; threads of it, into each other's lines.
    assert not [word for word in ("C13", "wrote", "recon scale") if word in second.stdout]
    shared, alone = (
        started.shared / "recon_scale",
        tiny.run("recon_scale", tmp_path, "--epochs", 3, figures=tiny.no_figures),
    )
    rows = tiny.rows_of(shared)
    assert rows[:4] == tiny.rows_of(finished("recon_scale"))
    assert [row["steps"] for row in rows] == [22] * 4 + [33] * 4
    np.testing.assert_allclose(figures(rows[4:]), figures(tiny.rows_of(alone)), rtol=1e-3)
    files, wanted = (
        {path.relative_to(folder) for path in folder.rglob("*.*")} for folder in (shared, alone)
    )
    assert files == wanted | {Path("scales.png"), Path("reconstructions.png")}


def test_what_stops_the_first_process_stops_the_second_with_the_same_message(
    two: tuple[Ended, ...],
) -> None:
    for process in two:
        said = [line for line in process.stderr.splitlines() if line.startswith("refused: ")]
        assert all(line.startswith("refused: error: ") for line in said)
        locked, refused = said
        assert "is in use by another process" in locked
        assert "holds results already" in refused
        assert "Traceback" not in process.stderr


def test_a_process_whose_other_never_comes_ends_with_one_line() -> None:
    ended = end(start(1, "alone", address(), 1))
    assert ended.status == 1
    assert ended.stderr == (
        "error: The other processes did not come within 2 s: start all of them, with the same "
        "coordinator and number of processes, or allow more seconds.\n"
    )


@pytest.fixture(scope="module")
def told() -> list[Ended]:
    where = address()
    return [end(process) for process in [start(1, "told", where, this) for this in (0, 1)]]


def test_what_the_first_process_returns_or_raises_is_told_to_the_second(told: list[Ended]) -> None:
    raised = "ZeroDivisionError ", "LabError The first process failed: "
    for process, error in zip(told, raised, strict=True):
        # The transport of jax may print, too.
        assert [line for line in process.stdout.splitlines() if "Gloo" not in line] == [
            "{'process': 0, 'of': [2, None, 'λ']}",
            "[('<i8', (3,), [0, 1, 2]), ('<f4', (2, 0), [[], []]), ('|b1', (), True)]",
            f"{error}division by zero",
        ]


def test_a_process_whose_other_is_killed_ends_with_one_line(told: list[Ended]) -> None:
    first, second = told
    assert (first.status, second.status) == (1, -signal.SIGKILL)
    (line,) = first.stderr.splitlines()
    assert line.startswith("error: Another process has ended (")
    assert line.endswith("a study resumes from its newest checkpoint.")
