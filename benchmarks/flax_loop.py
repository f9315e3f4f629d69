"""The usual Flax loop: a jitted step of a TrainState, called from Python for each batch.

It imports nothing of the lab's code of training: it is what one writes without the lab."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState

from benchmarks.nets import Task


class MLP(nn.Module):
    width: int
    outputs: int

    @nn.compact
    def __call__(self, x: Any) -> Any:
        hidden = nn.relu(nn.Dense(self.width)(x))
        return nn.Dense(self.outputs)(hidden)


class VAE(nn.Module):
    width: int
    latent: int
    pixels: int

    def setup(self) -> None:
        self.encoder = MLP(self.width, 2 * self.latent)
        self.decoder = MLP(self.width, self.pixels)

    def __call__(self, x: Any, key: Any) -> Any:
        mean, logvar = jnp.split(self.encoder(x), 2, axis=-1)
        code = mean + jnp.exp(logvar / 2) * jax.random.normal(key, mean.shape)
        return self.decoder(code), mean, logvar


def objective(model: VAE, params: Any, x: Any, key: Any) -> Any:
    """The negative ELBO, averaged over a batch."""
    outputs: Any = model.apply({"params": params}, x, key)
    logits, mean, logvar = outputs
    error = optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
    kl = (mean**2 + jnp.exp(logvar) - 1 - logvar).sum(-1) / 2
    return (error + kl).mean()


def as_flax(weights: Any) -> Any:
    """The weights of the lab's first lane as those of `VAE`."""
    first = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), weights)
    return {net: first[net]["params"] for net in ("encoder", "decoder")}


def per_step(task: Task, weights: Any) -> Iterator[float]:
    """A turn of steps at a time, over images that stay on the host; gives the mean loss of its last
    epoch."""
    config = task.config
    model = VAE(config.encoder_widths[0], config.latent_size, config.pixels)
    adam = optax.adam(task.rate)
    state = TrainState.create(apply_fn=model.apply, params=as_flax(weights), tx=adam)

    @jax.jit
    def step(state: Any, x: Any, key: Any) -> Any:
        key = jax.random.fold_in(key, state.step)
        loss, grads = jax.value_and_grad(lambda params: objective(model, params, x, key))(
            state.params
        )
        return state.apply_gradients(grads=grads), loss

    pixels = task.images.astype(np.float32) / 255
    generator, key = np.random.default_rng(0), jax.random.key(0)
    while True:
        losses = []
        for _ in range(task.epochs):
            losses = []
            for rows in generator.permutation(len(pixels)).reshape(-1, config.batch_size):
                state, loss = step(state, pixels[rows], key)
                losses.append(loss)
        yield float(np.mean(jax.device_get(losses)))
