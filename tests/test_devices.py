"""The same numbers on one device, on eight (of one CPU) and in two processes on loopback."""

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import recon_scale
from tests import on_devices
from tests.test_experiments import run
from vaejax import records

ROOT = Path(__file__).parents[1]
assert_close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)  # sums in another order
STUDY = ["--dataset", "digits", "--widths", "8", "--latent-size", "2", "--seeds", "0", "1"]
STUDY += ["--recon-scale", "1", "100", "6000", "--batch-size", "64"]


def environment(devices: int) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def eight() -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.on_devices"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(8), capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["devices"] == 8
    return found


def assert_same(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert got["diverged"] == want["diverged"] == [False] * 3 + [True] * 3 + [False] * 3
    for name in ("weights", "error"):
        assert_close(got[name], want[name])


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    return on_devices.trained(1, None)


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


def two_processes(*arguments: Any) -> list[subprocess.CompletedProcess[str]]:
    """The study in two processes of two devices each; what each of them printed."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    cluster = ["--distributed", "--coordinator", f"localhost:{port}", "--processes", "2"]
    command = [sys.executable, "-m", "experiments.recon_scale", *STUDY, *map(str, arguments)]
    started = [
        subprocess.Popen(
            [*command, *cluster, "--process-id", str(process)],
            cwd=ROOT,
            env=environment(2),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for process in (0, 1)
    ]
    said = [process.communicate(timeout=300) for process in started]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *texts)
        for process, texts in zip(started, said, strict=True)
    ]


def figures(folder: Path) -> list[list[float]]:
    names = ("steps", "recon_scale", "seed", "neg_elbo_nats", "kl_nats", "mse", "active_units")
    rows = records.read(folder / "recon_scale/results.jsonl")
    return [[float(row[name]) for name in names] for row in rows]


def test_two_processes_resume_what_one_began_and_write_once_what_one_does(tmp_path: Path) -> None:
    shared, alone = tmp_path / "two", tmp_path / "one"
    run(recon_scale, *STUDY, "--epochs", "1", "--out", shared)
    first, second = two_processes("--epochs", "3", "--resume", "--out", shared)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "C13" in first.stdout
    # Its transport may print; threads of it, into each other's lines.
    assert not [word for word in ("C13", "wrote", "recon scale") if word in second.stdout]
    run(recon_scale, *STUDY, "--epochs", "3", "--out", alone)
    one_epoch, three_epochs = figures(shared)[:6], figures(shared)[6:]
    assert [row[0] for row in one_epoch] == [22] * 6
    np.testing.assert_allclose(three_epochs, figures(alone), rtol=1e-3)
    files, wanted = (
        {path.relative_to(folder) for path in folder.rglob("*.*")} for folder in (shared, alone)
    )
    assert files == wanted


def test_what_stops_the_first_process_stops_the_second_with_the_same_message(
    tmp_path: Path,
) -> None:
    (tmp_path / "recon_scale").mkdir()
    (tmp_path / "recon_scale/results.jsonl").write_text("")
    for process in two_processes("--epochs", "1", "--out", tmp_path):
        assert process.returncode == 1
        assert "holds results already" in process.stderr
        assert "Traceback" not in process.stderr
