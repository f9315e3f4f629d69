"""The terms of the ELBO per example, in nats; the training objective; effective sigma and beta.

The objective is `recon_scale * mean over pixels (error) + kl_weight * KL`. The negative ELBO never
contains either weight. For squared error it is the negative ELBO of a Gaussian decoder, of variance
1 or of the variance that is learned.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from vaejax import model
from vaejax.config import Config, Knobs


def cross_entropy(
    logits: Float[Array, "*shape"], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """`-log Bernoulli(x; sigmoid(logits))` of each pixel in nats, finite at any finite logit."""
    # `where`, not `maximum`: at a logit of 0 jax halves the slope of `maximum`, not that of `abs`.
    positive = jnp.where(logits >= 0, logits, 0)
    return positive - logits * x + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def reconstruction_error(
    config: Config, logits: Float[Array, "*batch pixels"], x: Float[Array, "*batch pixels"]
) -> Float[Array, "*batch"]:
    """The error of each image, averaged over its pixels: cross entropy (nats) or squared error."""
    if config.likelihood == "bernoulli":
        return cross_entropy(logits, x).mean(-1)
    return jnp.square(model.mean_image(config, logits) - x).mean(-1)


def neg_log_likelihood(
    config: Config,
    logits: Float[Array, "*batch pixels"],
    x: Float[Array, "*batch pixels"],
    log_sigma: Float[Array, ""],
) -> Float[Array, "*batch"]:
    """`-log p(x | z)` of each image in nats. `log_sigma` is the log of a Gaussian decoder's
    standard deviation, in units of the pixel range."""
    error = reconstruction_error(config, logits, x)
    nats = config.elbo_scale * reconstruction_term(error, log_sigma)
    if config.likelihood == "gaussian":
        nats += config.pixels / 2 * math.log(2 * math.pi)
    return nats


def kl_divergence(
    mean: Float[Array, "*batch latent"], logvar: Float[Array, "*batch latent"]
) -> Float[Array, "*batch latent"]:
    """`KL(q(z | x) || N(0, I))` of each latent unit in nats (Kingma and Welling 2014, app. B)."""
    return (jnp.square(mean) + jnp.expm1(logvar) - logvar) / 2


def reconstruction_term(
    error: Float[Array, "*batch"], log_sigma: Float[Array, ""]
) -> Float[Array, "*batch"]:
    """`error / sigma^2 + 2 log sigma`. Times `D / 2` it is, up to a constant, the negative Gaussian
    log-likelihood (sigma-VAE: Rybkin et al. 2021); at sigma 1 it is the error itself."""
    return jnp.exp(-2 * log_sigma) * error + 2 * log_sigma


def annealed_kl_weight(knobs: Knobs, step: Int[Array, ""]) -> Float[Array, ""]:
    """The weight of the KL at a step. It grows linearly from 0 to `kl_weight` over `kl_warmup`
    steps (Sonderby et al. 2016), once or every `kl_cycle` steps anew (Fu et al. 2019)."""
    warmup, cycle = jnp.asarray(knobs.kl_warmup), jnp.asarray(knobs.kl_cycle)
    since = jnp.where(cycle > 0, step % jnp.maximum(cycle, 1), step)
    grown = jnp.where(since < warmup, since / jnp.maximum(warmup, 1), 1)
    return jnp.asarray(knobs.kl_weight) * grown


def with_free_bits(
    kl: Float[Array, "*batch latent"], free_bits: Float[Array | np.ndarray, ""]
) -> Float[Array, "*batch latent"]:
    """`max(free_bits, KL)` of each unit: below it the KL costs nothing and is not pushed down
    (Kingma et al. 2016, who take `kl` averaged over the batch)."""
    return jnp.where(kl < free_bits, free_bits, kl)


def objective(
    config: Config,
    knobs: Knobs,
    error: Float[Array, "*batch"],
    kl: Float[Array, "*batch latent"],
    log_sigma: Float[Array, ""],
    step: Int[Array, ""],
) -> Float[Array, "*batch"]:
    """What training minimizes, from the terms of an image or from their averages over a batch. With
    free bits the two differ: training takes the averages."""
    weighted = jnp.asarray(knobs.recon_scale) * reconstruction_term(error, log_sigma)
    if config.model == "ae":
        return weighted
    charged = with_free_bits(kl, knobs.free_bits).sum(-1)
    return weighted + annealed_kl_weight(knobs, step) * charged


def importance_weighted(
    config: Config,
    knobs: Knobs,
    error: Float[Array, "samples *batch"],
    log_ratio: Float[Array, "samples *batch"],
    log_sigma: Float[Array, ""],
    step: Int[Array, ""],
) -> Float[Array, "*batch"]:
    """What training minimizes with `importance_samples` codes for each image: `-log 1/k sum_i w_i`
    (Burda et al. 2016, equation 8), with the weights of the objective in the exponent of `w_i`.

    Args:
        log_ratio: `log q(z | x) - log p(z)` of each code, in nats; its mean over codes is the KL.
    """
    log_p = -jnp.asarray(knobs.recon_scale) * reconstruction_term(error, log_sigma)
    log_w = log_p - annealed_kl_weight(knobs, step) * log_ratio
    return math.log(len(log_w)) - jax.nn.logsumexp(log_w, axis=0)


def of_batch(
    params: model.Params,
    config: Config,
    knobs: Knobs,
    images: UInt8[Array, "batch pixels"],
    key: Key[Array, ""],
    step: Int[Array, ""],
) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Float[Array, "latent"]]]:
    """The objective of a batch at a step, with its error and its KL, which is 0 for an AE; `key`
    draws the pixels, if the config binarizes, and the codes."""
    pixel_key, code_key = jax.random.split(key)
    x = model.to_pixels(config, images, pixel_key)
    posterior = model.encode(config, params, x)
    kl = kl_divergence(*posterior).mean(0)
    if config.importance_samples:
        z, log_ratio = model.draw_codes(posterior, code_key, config.importance_samples)
        logits = model.decode(config, params, z)
        errors = reconstruction_error(config, logits, jnp.broadcast_to(x, logits.shape))
        log_sigma = model.log_sigma(config, params)
        bound = importance_weighted(config, knobs, errors, log_ratio, log_sigma, step)
        return bound.mean(), (errors.mean(), kl)
    logits = model.decode(config, params, model.draw_code(config, posterior, code_key))
    error = reconstruction_error(config, logits, x).mean()
    if config.model == "ae":
        kl = jnp.zeros_like(kl)
    return objective(config, knobs, error, kl, model.log_sigma(config, params), step), (error, kl)


def effective_beta(config: Config, knobs: Knobs) -> Float[np.ndarray, "*lanes"]:
    """The beta of the beta-VAE (Higgins et al. 2017) that this objective amounts to: the weight of
    the KL beside the reconstruction term of the reported ELBO; 0 for an AE. For a fixed variance
    `effective_sigma` expresses the same balance in another way."""
    weight = np.asarray(knobs.kl_weight) * (config.model == "vae")
    return np.asarray(weight * config.elbo_scale / np.asarray(knobs.recon_scale))


def effective_sigma(config: Config, knobs: Knobs) -> Float[np.ndarray, "*lanes"]:
    """The decoder standard deviation at which this objective is a true ELBO, in units of the pixel
    range: `sigma^2 = kl_weight * D / (2 * recon_scale)` (Rybkin et al. 2021). NaN where the weights
    do not determine it: for a Bernoulli likelihood, for an AE, and for a learned variance."""
    determined = config.likelihood == "gaussian" and config.decoder_variance == "fixed"
    if not determined or config.model == "ae":
        return np.full_like(effective_beta(config, knobs), np.nan)
    return np.asarray(np.sqrt(effective_beta(config, knobs)))
