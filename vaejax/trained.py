"""Trained models, and `fit`, which trains them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from vaejax import parallel, train
from vaejax.config import Config, Knobs
from vaejax.errors import LabError
from vaejax.parallel.lanes import Lanes
from vaejax.run import ARRAY, Images, Run, digest


class Trained(NamedTuple):
    """A run, with the state of its models and the terms of all steps that led there."""

    run: Run
    state: train.State
    """The state of all lanes, on the host: numpy arrays, of keys the raw data."""
    trace: train.Trace
    """The loss terms of every step from the first on, on the host: arrays [lanes, steps, ...],
    mapped from disk where they were read from there."""

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.trace.objective.shape[1]


def begin(run: Run, state: train.State | None = None) -> Trained:
    """A run before its first step, from fresh weights or from a state on the host."""
    none = np.zeros((len(run.seeds), 0), np.float32)
    trace = train.Trace(none, none, np.zeros((*none.shape, run.config.latent_size), np.float32))
    return Trained(run, state or parallel.init(run.config, run.seeds), trace)


def one_lane(trained: Trained, lane: int) -> Trained:
    """One lane of a run, as a run of its own."""
    state, trace = train.take_lanes((trained.state, trained.trace), [lane])
    return Trained(trained.run.of_lanes([lane]), state, trace)


def fit(
    config: Config,
    knobs: Knobs,
    seeds: Sequence[int],
    images: UInt8[np.ndarray, "n pixels"],
    epochs: int,
    epochs_per_call: int = 1,
    dataset: str = ARRAY,
) -> Trained:
    """Train a model of each seed and knobs (arrays [lanes], see `config.grid`) for so many epochs,
    on all cores or devices. What comes back is on the host; `store.write` puts it on disk.

    Args:
        epochs_per_call: epochs of one call of the compiled program. With few images an epoch is
            only a step or two, and many epochs to a call are faster.
        dataset: what the images are called. Under the name or path of a data set the commands find
            its test images.

    Raises:
        LabError: images of another shape or type, fewer than one batch, a negative number of
            epochs, seeds and knobs that are not equally many, or too little memory for one model.
    """
    if images.dtype != np.uint8 or images.shape[1:] != (config.pixels,):
        raise LabError(
            f"The images are {images.dtype} of shape {images.shape}: give uint8 of shape "
            f"(images, {config.pixels})."
        )
    if epochs < 0 or epochs_per_call < 1:
        raise LabError(f"{epochs} epochs, {epochs_per_call} to a call: give 0 or more, 1 or more.")
    run = Run("fit", Images(dataset, train_digest=digest(images)), config, knobs, tuple(seeds))
    begun = begin(run)
    newest, traces = Lanes((begun.state,), len(run.seeds)), [begun.trace]
    on_devices = parallel.replicate(images)
    for now, trace in parallel.advance(
        config, knobs, begun.state, on_devices, epochs, epochs_per_call
    ):
        newest = now
        traces.append(trace)
    trace = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *traces)
    return Trained(run, newest.on_host(), trace)
