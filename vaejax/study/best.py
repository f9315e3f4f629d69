"""The best state of each model of a run, by images that were held out: `--keep-best`."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from vaejax import model, train
from vaejax.config import Config
from vaejax.measure.batched import over_lanes
from vaejax.measure.elbo import evaluate
from vaejax.run import Run
from vaejax.store import checkpoint
from vaejax.store.checkpoint import Best
from vaejax.study.keys import evaluation_key


def held_out_neg_elbo(
    config: Config,
    params: model.Params,
    images: UInt8[Array | np.ndarray, "n pixels"],
    key: Key[Array, ""],
) -> Float[Array, ""]:
    """The mean negative ELBO, in nats; of an AE, which has none, its reconstruction part."""
    found = evaluate(config, params, images, key)
    return (found.recon if config.model == "ae" else found.neg_elbo).mean()


def candidate(run: Run, images: UInt8[np.ndarray, "n pixels"], state: train.State) -> Best:
    """A state of all lanes, on the host, with what it comes to on the images held out."""
    lifted = over_lanes(held_out_neg_elbo, run.config)
    neg_elbo = lifted(state.params, images, evaluation_key())
    return Best(state, np.asarray(neg_elbo))


def better(best: Best, other: Best) -> Best:
    """The state of less negative ELBO, for each lane. Of equal ones it is the first, and a NaN is
    never less."""
    is_less = other.neg_elbo < best.neg_elbo

    def chosen(new: np.ndarray, old: np.ndarray) -> Any:
        return np.where(is_less.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(chosen, other, best)


def so_far(
    folder: Path,
    run: Run,
    images: UInt8[np.ndarray, "n pixels"],
    state: train.State,
    measured: bool,
) -> Best:
    """The best state up to this one: that of the newest checkpoint in the folder, or this one where
    it is better.

    Args:
        images: those held out.
        state: of all lanes, on the host.
        measured: whether this state is a candidate. The states at which a signal stops a run are
            none, so that a run that goes on finds the same as one that never stopped.
    """
    newest = checkpoint.latest(folder)
    before = None if newest is None else checkpoint.restore_best(folder, newest, state)
    best = before or Best(state, np.full(len(run.seeds), np.inf, np.float32))
    return better(best, candidate(run, images, state)) if measured else best
