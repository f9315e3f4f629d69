"""The loops of the lab, and the bare matrix products of a step, all in JAX."""

import sys
from collections.abc import Iterator
from typing import Any

import lazy_loader
import numpy as np

import vaejax as vj
from benchmarks.nets import RATE, Task

jax: Any = lazy_loader.load("jax")  # --help does not wait for it
TINY = 1e-9
"""The step of the weights in `products`: too small to change their size."""


def lanes(task: Task, models: int) -> Iterator[float]:
    """Some number of models, trained side by side a turn of steps at a time; gives their mean
    loss."""
    config = task.config
    knobs = vj.stack([vj.knobs(config, learning_rate=RATE)] * models)
    placed, state = vj.parallel.replicate(task.images), vj.parallel.init(config, range(models))
    for _, trace in vj.parallel.advance(config, knobs, state, placed, sys.maxsize, task.epochs):
        yield float(trace.objective.mean())


def initial_weights(task: Task, models: int) -> Any:
    """The weights that the models of `lanes` begin with, on the host: other loops begin with them,
    too, so that their losses can be compared."""
    state = vj.train.init_lanes(task.config, np.arange(models, dtype=np.uint32))
    return jax.device_get(state.params)


def products(task: Task, initial: Any) -> Iterator[None]:
    """The eleven matrix products of each step as one program: the outputs of four layers, the
    gradients of their weights, and those of the inputs of all but the first. Each gradient moves
    its weights a little, so that XLA can leave nothing out. There are no activations, losses,
    random numbers or optimizers, and the batch is always the same one."""
    jnp, config = jax.numpy, task.config
    x = jnp.asarray(task.images[: config.batch_size], jnp.float32) / 255
    weights = [
        jnp.asarray(initial[net]["params"][f"Dense_{layer}"]["kernel"][0])
        for net in ("encoder", "decoder")
        for layer in (0, 1)
    ]

    def step(weights: Any, _: Any) -> Any:
        w1, w2, w3, w4 = weights
        h1 = x @ w1
        posterior = h1 @ w2
        code = posterior[:, : config.latent_size]
        h3 = code @ w3
        g4 = h3 @ w4  # stands for the gradient of the logits
        g3 = g4 @ w4.T
        g_code = g3 @ w3.T
        g2 = jnp.concatenate([g_code, g_code], 1)
        g1 = g2 @ w2.T
        grads = [x.T @ g1, h1.T @ g2, code.T @ g3, h3.T @ g4]
        return [w - TINY * grad for w, grad in zip(weights, grads, strict=True)], None

    run = jax.jit(lambda weights: jax.lax.scan(step, weights, length=task.steps)[0])
    while True:
        weights = jax.block_until_ready(run(weights))
        yield None  # it has no loss


def elbo(config: vj.Config, params: Any, images: np.ndarray) -> Iterator[float]:
    """The mean negative ELBO of images, for one model with a lane axis."""
    evaluate = vj.measure.over_lanes(vj.measure.evaluate, config)
    while True:
        found = evaluate(params, images, jax.random.key(0))
        yield float(np.asarray(found.neg_elbo).mean())


def nll(config: vj.Config, params: Any, images: np.ndarray, samples: int) -> Iterator[float]:
    """The mean importance-weighted NLL of images, for one model with a lane axis."""
    estimate = vj.measure.over_lanes(vj.measure.importance_nll, config, samples)
    while True:
        found = estimate(params, images, jax.random.key(0))
        yield float(np.asarray(found.nll).mean())
