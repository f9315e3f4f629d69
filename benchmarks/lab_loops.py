"""The loops of the lab, and the bare matrix products of a step, all in JAX."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import lazy_loader
import numpy as np

import vaejax as vj
from benchmarks.nets import Task

jax: Any = lazy_loader.load("jax")  # --help does not wait for it
TINY = 1e-9
"""The step of the weights in `products`: too small to change their size."""


def lanes(task: Task) -> Iterator[float]:
    """All models of a task, side by side; gives their mean objective in the last epoch of a
    turn."""
    config, batches = task.config, len(task.images) // task.config.batch_size
    placed = vj.parallel.replicate(task.images)
    state = vj.parallel.init(config, range(len(task.scales)))
    for _, trace in vj.parallel.advance(
        config, task.knobs, state, placed, sys.maxsize, task.epochs
    ):
        yield float(trace.objective[:, -batches:].mean())


def initial_weights(config: vj.Config, models: int) -> Any:
    """The weights that the models of `lanes` begin with, on the host: other loops begin with them,
    too, so that their losses can be compared."""
    return vj.parallel.init(config, range(models)).params


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


def evaluation(
    config: vj.Config, params: Any, images: np.ndarray, samples: int | None
) -> Iterator[float]:
    """The mean negative ELBO of images, or, with `samples`, their mean importance-weighted NLL, of
    models with a lane axis."""
    measure: Callable[..., Any] = vj.measure.over_lanes(vj.measure.evaluate, config)
    if samples:
        measure = vj.measure.over_lanes(vj.measure.importance_nll, config, samples)
    while True:
        found = measure(params, images, jax.random.key(0))
        yield float(np.asarray(found.nll if samples else found.neg_elbo).mean())
