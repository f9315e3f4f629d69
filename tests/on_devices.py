"""Trains a grid on meshes of the devices of this process; prints, as JSON, what it became.
Run by tests/test_devices.py, which gives it several."""

import json
from typing import Any

import jax
import numpy as np

from vaejax import sweep, train
from vaejax.config import Config

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=2, encoder_widths=(8,), decoder_widths=(8,), batch_size=16
)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), np.uint8)
GRID, SEEDS = sweep.grid(
    CONFIG, (0,), learning_rate=(1e-3, 1e38, 1e-2), recon_scale=(1.0, 9.0, 40.0)
)
EPOCHS = 2


def trained(batch_devices: int, chunk: int | None) -> dict[str, Any]:
    """Of nine lanes: their weights, which of them diverged, and the trace of their error."""
    mesh = sweep.mesh(batch_devices)
    images = sweep.replicate(mesh, IMAGES)
    steps = sweep.fit(mesh, CONFIG, GRID, sweep.init(CONFIG, SEEDS), images, EPOCHS, EPOCHS, chunk)
    ((collect, trace),) = steps
    state = collect()
    weights = [leaf.reshape(len(SEEDS), -1) for leaf in jax.tree.leaves(state.params)]
    return {
        "weights": np.concatenate(weights, 1).tolist(),
        "diverged": state.diverged.tolist(),
        "error": np.nan_to_num(trace.error, posinf=0, neginf=0).tolist(),
    }


def collectives(batch_devices: int) -> dict[str, int]:
    """How often the program of an epoch has devices speak to each other, by kind."""
    mesh = sweep.mesh(batch_devices)
    lanes = jax.sharding.NamedSharding(mesh, sweep.LANES)
    seeds = np.arange(8, dtype=np.uint32)
    knobs, _ = sweep.grid(CONFIG, seeds.tolist(), recon_scale=(1.0,))
    knobs, state = jax.device_put((knobs, train.init_lanes(CONFIG, seeds)), lanes)
    images = sweep.replicate(mesh, IMAGES)
    program = train.epoch_lanes.lower(CONFIG, knobs, state, images, 1, mesh).compile().as_text()
    assert program is not None
    kinds = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
    return {kind: program.count(f" {kind}(") + program.count(f" {kind}-start(") for kind in kinds}


if __name__ == "__main__":
    found = {
        "devices": jax.device_count(),
        "trained": {"lanes": trained(1, 5), "both": trained(2, None), "batch": trained(8, None)},
        "collectives": {"lanes": collectives(1), "both": collectives(2)},
    }
    print(json.dumps(found))
