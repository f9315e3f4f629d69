"""Runs for the explorer: of the tiny sweep that a study has trained, and with weights made by hand,
which cost no training."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

import vaejax as vj

EXPLORED: dict[str, dict[str, Any]] = {
    "mlp": {
        "encoder_widths": (9, 8),
        "decoder_widths": (7,),
        "encoder_activation": "elu",
        "decoder_activation": "gelu",
        "centre_inputs": True,
    },
    "ae": {
        "model": "ae",
        "likelihood": "gaussian",
        "encoder_widths": (9,),
        "decoder_widths": (8,),
        "encoder_activation": "silu",
        "decoder_activation": "leaky_relu",
    },
    "linear": {
        "likelihood": "gaussian",
        "output": "linear",
        "pixel_range": "signed",
        "encoder_widths": (),
        "decoder_widths": (),
    },
}
"""Choices of a Config of three latent units, by name."""


DIGITS = vj.Images("digits", "train")


def make(
    folder: Path,
    scales: tuple[float, ...] = (64.0,),
    seeds: tuple[int, ...] = (0,),
    images: vj.Images = DIGITS,
    **choices: Any,
) -> vj.store.Trained:
    """Write a run of the digits whose weights are drawn, not trained; lanes of each scale and
    seed."""
    config = vj.Config(image_shape=(8, 8, 1), latent_size=3, **choices)
    knobs, of_lanes = vj.grid(config, seeds, recon_scale=scales)
    run = vj.Run(folder.name, images, config, knobs, of_lanes)
    return write(folder, run)


def write(folder: Path, run: vj.Run, diverged: tuple[int, ...] = ()) -> vj.store.Trained:
    """Write a run with drawn weights; some lanes have diverged."""
    generator, lanes, latent = np.random.default_rng(5), len(run.seeds), run.config.latent_size
    one = vj.parallel.memory.shapes(run.config)  # which compiles nothing
    one = one._replace(key=np.zeros(2, np.uint32))
    state = jax.tree.map(lambda leaf: np.zeros((lanes, *leaf.shape), leaf.dtype), one)
    params = jax.tree.map(
        lambda leaf: np.float32(0.2 * generator.normal(size=leaf.shape)), state.params
    )
    marked = np.isin(np.arange(lanes), diverged)
    state = state._replace(params=params, diverged=marked)
    terms = np.zeros((lanes, 1), np.float32)
    trace = vj.train.Trace(terms, terms, np.zeros((lanes, 1, latent), np.float32))
    trained = vj.store.Trained(run, state, trace)
    vj.store.write(folder, trained)
    return trained
