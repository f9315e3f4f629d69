"""The likelihood of every image under a VAE of any latent size, without its encoder.

Annealed importance sampling (Neal 2001, "Annealed importance sampling"), as Wu et al. (2017, "On
the Quantitative Analysis of Decoder-Based Generative Models") use it on decoders: codes drawn from
the prior move, temperature by temperature, towards the posterior of the image. It is slower than
`refined.refined_nll`, and an independent check of it: the two share the decoder alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vaejax import model
from vaejax.config import Config
from vaejax.measure.batched import Images, map_images
from vaejax.measure.elbo import ImportanceEstimate, code_error, from_weights, refuse_ae

PILOTS = 4
"""Chains of each image that set the step size of the others, and count for nothing else."""
FIRST_STEP, ACCEPTED, RATE = 0.5, 0.65, 0.2
"""The step size at the prior. After each move its log changes by RATE times what the pilots' mean
acceptance probability is above ACCEPTED, the aim of Wu et al."""
STEEPNESS = 4.0
"""Of the sigmoid by which b goes from 0 to 1, slowly at both ends (Wu et al.)."""


class _Chains(NamedTuple):
    """Codes of one image, with `-log p(x | z)` in nats and its gradient."""

    z: Float[Array, "chains latent"]
    error: Float[Array, "chains"]
    slope: Float[Array, "chains latent"]


def annealed_nll(
    config: Config,
    params: model.Params,
    images: Images,
    key: Key[Array, ""],
    chains: int = 16,
    temperatures: int = 1000,
    leaps: int = 2,
    batch_size: int = 100,
) -> ImportanceEstimate:
    """`-log` of the mean weight of chains that go from `N(z; 0, I)` to `p(x, z)` by way of
    `N(z; 0, I) p(x | z)^b`, with b from 0 to 1. At each b a chain makes a move of Hamiltonian Monte
    Carlo (Neal 2011, "MCMC using Hamiltonian dynamics"), which leaves that density invariant.

    The mean weight is an unbiased estimate of `p(x)`, at any number of temperatures: the NLL is a
    bound. Chains that adapt the step size to their own past, as is common, lose that. Here other
    chains, the pilots, set it. A bound is not more: if all chains miss a mode of the posterior,
    nothing says so. Pixels are drawn as by `importance_nll` with the same key, if the config
    binarizes.

    Args:
        chains: of each image, beside the pilots. They are the samples of the estimate.
        temperatures: how many values b takes after 0.
        leaps: leapfrog steps of a move; each takes a gradient of the decoder.

    Raises:
        LabError: an AE, which has no likelihood.
    """
    refuse_ae(config, "annealed_nll")
    sigmoid = jax.nn.sigmoid(STEEPNESS * jnp.linspace(-1, 1, temperatures + 1))
    schedule = (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])

    def one(image: Array, key: Array) -> ImportanceEstimate:
        pixel_key, code_key = jax.random.split(key)
        x = model.to_pixels(config, image, pixel_key)
        start_key, move_key = jax.random.split(code_key)
        error = code_error(config, params, x)

        def at(z: Array) -> _Chains:
            errors, gradient = jax.vjp(error, z)
            return _Chains(z, errors, *gradient(jnp.ones_like(errors)))

        def colder(index: Array, state: Any) -> tuple[_Chains, Array, Array]:
            (codes, log_w, log_step), b = state, schedule[index + 1]
            log_w -= (b - schedule[index]) * codes.error
            move = jax.random.fold_in(move_key, index)
            codes, probability = _moved(codes, at, b, jnp.exp(log_step), leaps, move)
            return codes, log_w, log_step + RATE * (probability[:PILOTS].mean() - ACCEPTED)

        z = model.standard_normal(start_key, (PILOTS + chains, config.latent_size))
        begun = at(z), jnp.zeros(len(z)), jnp.log(FIRST_STEP)
        _, log_w, _ = jax.lax.fori_loop(0, temperatures, colder, begun)
        return from_weights(log_w[PILOTS:])

    return map_images(one, images, key, batch_size)


def _moved(
    old: _Chains, at: Callable[[Array], _Chains], b: Array, step: Array, leaps: int, key: Array
) -> tuple[_Chains, Float[Array, "chains"]]:
    """Chains after a move at one b, and the probability with which each was accepted."""

    def energy(momentum: Array, now: _Chains) -> Array:
        return (jnp.square(momentum) + jnp.square(now.z)).sum(-1) / 2 + b * now.error

    def half(momentum: Array, now: _Chains) -> Array:
        return momentum - step / 2 * (now.z + b * now.slope)

    def leap(_: Array, state: tuple[Array, _Chains]) -> tuple[Array, _Chains]:
        momentum = half(*state)
        new = at(state[1].z + step * momentum)
        return half(momentum, new), new

    momentum_key, choice_key = jax.random.split(key)
    begun = model.standard_normal(momentum_key, old.z.shape), old
    ended = jax.lax.fori_loop(0, leaps, leap, begun)
    gain = energy(*begun) - energy(*ended)
    probability = jnp.where(jnp.isnan(gain), 0, jnp.exp(jnp.minimum(gain, 0)))
    accepted = jax.random.uniform(choice_key, gain.shape) < probability
    chosen = jax.vmap(lambda yes, *both: jax.tree.map(partial(jnp.where, yes), *both))
    return chosen(accepted, ended[1], old), probability
