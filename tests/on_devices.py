"""What tests/test_devices.py runs in processes of its own, each with several devices.

python -m tests.on_devices eight                  prints, as JSON, what a grid became
python -m tests.on_devices two ADDRESS PROCESS HELD REFUSED SHARED  runs a study in two processes
python -m tests.on_devices told ADDRESS PROCESS   has the first of two processes tell the second
python -m tests.on_devices alone ADDRESS PROCESS  waits for another process
"""

import functools
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vaejax import parallel, train
from vaejax.config import Config, grid
from vaejax.errors import LabError
from vaejax.parallel import devices, processes

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=2, encoder_widths=(), decoder_widths=(), batch_size=16
)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), np.uint8)
GRID, SEEDS = grid(CONFIG, (0,), learning_rate=(1e-3, 1e38, 1e-2), recon_scale=(1.0, 9.0, 40.0))
EPOCHS = 2
KINDS = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def trained(batch_devices: int, chunk: int | None) -> dict[str, Any]:
    """Of nine lanes: their weights, which of them diverged, and the trace of their error."""
    images = parallel.replicate(IMAGES, batch_devices)
    fresh = parallel.init(CONFIG, SEEDS)
    ((lanes, trace),) = parallel.advance(CONFIG, GRID, fresh, images, EPOCHS, EPOCHS, chunk)
    state = lanes.on_host()
    weights = [leaf.reshape(len(SEEDS), -1) for leaf in jax.tree.leaves(state.params)]
    return {
        "weights": np.concatenate(weights, 1).tolist(),
        "diverged": state.diverged.tolist(),
        "error": np.nan_to_num(trace.error, posinf=0, neginf=0).tolist(),
    }


def collectives(batch_devices: int, lanes: int) -> dict[str, int]:
    """How often the program of the epochs of so many lanes has devices speak to each other, by
    kind. It is a program that `trained` has compiled before."""
    images = parallel.replicate(IMAGES, batch_devices)
    mesh, rows = devices.mesh_of(images), np.arange(lanes) % len(SEEDS)
    many = jax.tree.map(lambda leaf: leaf[rows], (GRID, parallel.init(CONFIG, SEEDS)))
    knobs, state = devices.put(mesh, devices.LANES, many[0]), devices.put_state(mesh, many[1])
    program = train.train_lanes.lower(CONFIG, knobs, state, images, EPOCHS, False, mesh).compile()
    text = program.as_text()
    assert text is not None
    return {kind: text.count(f" {kind}(") + text.count(f" {kind}-start(") for kind in KINDS}


def refused() -> str:
    """What is said of a batch that its devices cannot share."""
    images, fresh = parallel.replicate(IMAGES, 8), parallel.init(CONFIG, SEEDS)
    try:
        next(parallel.advance(replace(CONFIG, batch_size=12), GRID, fresh, images, 1))
    except LabError as error:
        return str(error)
    return "nothing"


def eight() -> None:
    found = {
        "devices": jax.device_count(),
        "trained": {"lanes": trained(1, 5), "both": trained(2, None), "batch": trained(8, None)},
        "collectives": {"lanes": collectives(1, 8), "both": collectives(2, 12)},
        "refused": refused(),
    }
    print(json.dumps(found))


def two(address: str, process: str, held: str, refused: str, shared: str) -> None:
    """A study whose folder another process holds, one whose folder holds results already, and one
    that continues what another began; of the first two the exit status is said on stderr."""
    from tests import tiny

    processes.connect = functools.cache(processes.connect)  # a process can join only once
    cluster = ["--distributed", "--coordinator", address, "--processes", "2"]
    cluster += ["--process-id", process]
    for folder in (held, refused):
        try:
            tiny.run("recon_scale", Path(folder), *cluster)
        except SystemExit as end:
            print(f"refused: {end.code}", file=sys.stderr)
    tiny.run("recon_scale", Path(shared), "--epochs", "3", "--resume", *cluster)


def told(address: str, process: str) -> None:
    """Print what the first process returns, and what is raised of a mistake of its; then the second
    one is killed."""
    this = int(process)
    processes.connect(address, 2, this)
    print(processes.once(lambda: {"process": this, "of": [2, None, "λ"]}))
    arrays = [np.arange(3, dtype="i8") + this, np.zeros((2, 0), "f4"), np.bool_(True)]
    found = processes.arrays_once(lambda: arrays)
    print([(each.dtype.str, each.shape, each.tolist()) for each in found])
    try:
        processes.once(lambda: 1 / this)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    if this == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    processes.largest(0)


def alone(address: str, process: str) -> None:
    processes.connect(address, 2, int(process), timeout=2)


if __name__ == "__main__":
    {"eight": eight, "two": two, "told": told, "alone": alone}[sys.argv[1]](*sys.argv[2:])
