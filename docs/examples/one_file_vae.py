"""A VAE in one file, from the model to samples: read it, copy it, change it.

    python docs/examples/one_file_vae.py --dataset mnist --epochs 10

It is a minimal version of `vaejax.fit`: Bernoulli pixels, a true ELBO, an epoch as one
compiled program, randomness as a function of the seed and the step. It imports nothing of the lab
but the data, and a test shows that losses, weights and samples agree with the lab's up to rounding.
"""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from matplotlib.figure import Figure

from vaejax.data import load

OPTIMIZER = optax.adam(1e-3)


class MLP(nn.Module):
    """One hidden layer."""

    hidden: int
    outputs: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        hidden = nn.relu(nn.Dense(self.hidden)(inputs))
        return nn.Dense(self.outputs)(hidden)


class VAE(NamedTuple):
    """The sizes of a model. Images are flat: [batch, pixels] in [0, 1]."""

    pixels: int
    hidden: int = 400
    latent: int = 10

    @property
    def encoder(self) -> MLP:
        """Images to mean and log variance of q(z | x), side by side: [batch, 2 * latent]."""
        return MLP(self.hidden, 2 * self.latent)

    @property
    def decoder(self) -> MLP:
        """Codes to logits of p(x | z): [batch, pixels]."""
        return MLP(self.hidden, self.pixels)


class State(NamedTuple):
    """All that training changes."""

    params: Any
    opt_state: Any
    step: jax.Array


def init(vae: VAE, key: jax.Array) -> State:
    """Fresh parameters and optimizer state."""
    encoder_key, decoder_key = jax.random.split(key)
    params = {
        "encoder": vae.encoder.init(encoder_key, jnp.zeros(vae.pixels)),
        "decoder": vae.decoder.init(decoder_key, jnp.zeros(vae.latent)),
    }
    return State(params, OPTIMIZER.init(params), jnp.zeros((), jnp.int32))


def negative_elbo(vae: VAE, params: Any, x: jax.Array, key: jax.Array) -> jax.Array:
    """The negative ELBO of each image in nats, from one drawn code."""
    mean, logvar = jnp.split(vae.encoder.apply(params["encoder"], x), 2, axis=-1)
    z = mean + jnp.exp(logvar / 2) * jax.random.normal(key, mean.shape)
    logits = vae.decoder.apply(params["decoder"], z)
    cross_entropy = optax.sigmoid_binary_cross_entropy(logits, x).sum(-1)
    kl = (mean**2 + jnp.exp(logvar) - 1 - logvar).sum(-1) / 2
    return cross_entropy + kl


@partial(jax.jit, static_argnums=(0, 4))
def epoch(
    vae: VAE, keys: jax.Array, state: State, images: jax.Array, batch_size: int
) -> tuple[State, jax.Array]:
    """One pass over all images (uint8, [n, pixels]) in a fresh order; the loss of each step.
    `keys` are those of the order and of the noise."""
    steps = len(images) // batch_size
    order = jax.random.permutation(jax.random.fold_in(keys[0], state.step // steps), len(images))

    def step(state: State, batch: jax.Array) -> tuple[State, jax.Array]:
        x = images[batch].astype(jnp.float32) / 255
        _, key = jax.random.split(
            jax.random.fold_in(keys[1], state.step)
        )  # vaejax uses the first key to binarize
        loss, grads = jax.value_and_grad(lambda params: negative_elbo(vae, params, x, key).mean())(
            state.params
        )
        updates, opt_state = OPTIMIZER.update(grads, state.opt_state)
        params = optax.apply_updates(state.params, updates)
        return State(params, opt_state, state.step + 1), loss

    return jax.lax.scan(step, state, order[: steps * batch_size].reshape(steps, batch_size))


def sample(vae: VAE, params: Any, key: jax.Array, count: int) -> jax.Array:
    """Mean images [count, pixels] of codes drawn from the prior N(0, I)."""
    z = jax.random.normal(key, (count, vae.latent))
    return jax.nn.sigmoid(vae.decoder.apply(params["decoder"], z))


def main(dataset: str = "digits", epochs: int = 100, batch_size: int = 128, seed: int = 0) -> None:
    """Train a VAE and draw 64 samples from it into samples.png."""
    images = load(dataset, "train").images
    flat = jnp.asarray(images.reshape(len(images), -1))
    vae = VAE(flat.shape[1])
    init_key, *keys = jax.random.split(jax.random.key(seed), 3)
    state = init(vae, init_key)
    for number in range(epochs):
        state, losses = epoch(vae, jnp.stack(keys), state, flat, batch_size)
        print(f"epoch {number + 1}: negative ELBO {losses.mean():.2f} nats")
    drawn = np.asarray(sample(vae, state.params, jax.random.key(seed + 1), 64))
    rows = drawn.reshape(8, 8, *images.shape[1:])
    figure = Figure(figsize=(4, 4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.concatenate(np.concatenate(rows, 1), 1), cmap="gray")
    axes.axis("off")
    figure.savefig("samples.png")


if __name__ == "__main__":
    tyro.cli(main)
