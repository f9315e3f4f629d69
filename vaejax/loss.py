"""The terms of the ELBO per example, in nats; the training objective; effective sigma and beta.

The objective is `recon_scale * mean over pixels (error) + kl_weight * KL`. The negative ELBO never
contains either weight: for squared error it is that of a unit-variance Gaussian decoder.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from vaejax.config import Config, Knobs
from vaejax.model import mean_image


def cross_entropy(
    logits: Float[Array, "*shape"], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`-log Bernoulli(x; sigmoid(logits))` of each pixel in nats, finite at any finite logit."""
    # `where`, not `maximum`: jax would split the slope of the latter at 0, but not that of `abs`.
    positive = jnp.where(logits >= 0, logits, 0)
    return positive - logits * x + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def reconstruction_error(
    config: Config, logits: Float[Array, "*batch pixels"], x: Float[Array, "*batch pixels"]
) -> Float[Array, "*batch"]:
    """The error of each image, averaged over its pixels: cross entropy (nats) or squared error."""
    if config.likelihood == "bernoulli":
        return cross_entropy(logits, x).mean(-1)
    return jnp.square(mean_image(config, logits) - x).mean(-1)


def neg_log_likelihood(
    config: Config, logits: Float[Array, "*batch pixels"], x: Float[Array, "*batch pixels"]
) -> Float[Array, "*batch"]:
    """`-log p(x | z)` of each image in nats; a Gaussian decoder has variance 1."""
    nats = config.elbo_scale * reconstruction_error(config, logits, x)
    if config.likelihood == "gaussian":
        nats += config.pixels / 2 * math.log(2 * math.pi)
    return nats


def kl_divergence(
    mean: Float[Array, "*batch latent"], logvar: Float[Array, "*batch latent"]
) -> Float[Array, "*batch latent"]:
    """`KL(q(z | x) || N(0, I))` of each latent unit in nats (Kingma and Welling 2014, app. B)."""
    return (jnp.square(mean) + jnp.expm1(logvar) - logvar) / 2


def objective(
    config: Config,
    knobs: Knobs,
    error: Float[Array, "*batch"],
    kl: Float[Array, "*batch latent"],
) -> Float[Array, "*batch"]:
    """What training minimizes, per image. An AE has no KL term."""
    recon_scale, kl_weight = jnp.asarray(knobs.recon_scale), jnp.asarray(knobs.kl_weight)
    weighted = recon_scale * error
    return weighted if config.model == "ae" else weighted + kl_weight * kl.sum(-1)


def effective_beta(config: Config, knobs: Knobs) -> Float[Array, "*lanes"]:
    """The beta of the beta-VAE (Higgins et al. 2017) that this objective is: the weight of KL once
    the reconstruction is that of the true ELBO (unit variance, if Gaussian). 0 for an AE."""
    weight = jnp.asarray(knobs.kl_weight) * (config.model == "vae")
    return weight * config.elbo_scale / jnp.asarray(knobs.recon_scale)


def effective_sigma(config: Config, knobs: Knobs) -> Float[Array, "*lanes"]:
    """The decoder standard deviation at which this objective is a true ELBO, in units of the pixel
    range: `sigma^2 = kl_weight * D / (2 * recon_scale)` (Rybkin et al. 2021). NaN where there is
    none: a Bernoulli likelihood has no sigma, an AE no ELBO."""
    if config.likelihood == "bernoulli" or config.model == "ae":
        return jnp.full_like(effective_beta(config, knobs), jnp.nan)
    return effective_beta(config, knobs) ** 0.5
