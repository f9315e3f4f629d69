"""The ELBO and its terms, and the importance-weighted likelihood, of every image of a split.

No reported ELBO contains a training weight. Functions of one model are lifted to many by
`batched.over_lanes`.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from vaejax import loss, model
from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.measure.activity import active_units, code_distance_to_prior
from vaejax.measure.batched import Images, map_images, over_lanes

CodeError = Callable[[Array], Array]
"""`-log p(x | z)` of one image, in nats, for each of some codes."""


class Evaluation(NamedTuple):
    """Per image of a split (n of them), one code drawn for each."""

    neg_elbo: Float[Array, "*lanes n"]
    """Nats; NaN for an AE, which has no ELBO."""
    recon: Float[Array, "*lanes n"]
    """`-log p(x | z)` in nats."""
    kl: Float[Array, "*lanes n latent"]
    """Nats of each unit; NaN for an AE."""
    mse: Float[Array, "*lanes n"]
    """Squared error of the decoder's mean for the drawn code, averaged over pixels in [0, 1]."""
    mean: Float[Array, "*lanes n latent"]
    """Posterior means."""
    logvar: Float[Array, "*lanes n latent"]
    """Posterior log variances; NaN for an AE."""
    code: Float[Array, "*lanes n latent"]
    """The codes drawn: together they are a sample of the aggregated posterior."""


class ImportanceEstimate(NamedTuple):
    """Per image of a split."""

    nll: Float[Array, "*lanes n"]
    """An upper bound, in expectation, on `-log p(x)`, in nats; tight as the samples grow."""
    effective_samples: Float[Array, "*lanes n"]
    """`(sum w)^2 / sum w^2`, from 1 (one weight says it all) to the number of samples."""


def evaluate(
    config: Config, params: model.Params, images: Images, key: Key[Array, ""], batch_size: int = 500
) -> Evaluation:
    """ELBO and its terms, reconstruction and codes of every image."""

    def one(image: Array, key: Array) -> Evaluation:
        pixel_key, code_key = jax.random.split(key)
        x = model.to_pixels(config, image, pixel_key)
        posterior = model.encode(config, params, x)
        code = model.draw_code(config, posterior, code_key)
        logits = model.decode(config, params, code)
        recon = loss.neg_log_likelihood(config, logits, x, model.log_sigma(config, params))
        kl, logvar = loss.kl_divergence(*posterior), posterior.logvar
        if config.model == "ae":
            kl = logvar = jnp.full_like(kl, jnp.nan)
        output = model.mean_image(config, logits)
        mse = jnp.square(model.to_unit(config, output) - model.to_unit(config, x)).mean()
        return Evaluation(recon + kl.sum(), recon, kl, mse, posterior.mean, logvar, code)

    return map_images(one, images, key, batch_size)


def refuse_ae(config: Config, function: str) -> None:
    """Raise the LabError of a function of this name that is about a likelihood."""
    if config.model == "ae":
        raise LabError(f"An AE has no likelihood: {function} is for model='vae'.")


def code_error(config: Config, params: model.Params, x: Float[Array, "pixels"]) -> CodeError:
    """`-log p(x | z)` of one image as a function of codes."""
    log_sigma = model.log_sigma(config, params)

    def error(z: Float[Array, "*codes latent"]) -> Float[Array, "*codes"]:
        logits = model.decode(config, params, z)
        return loss.neg_log_likelihood(config, logits, jnp.broadcast_to(x, logits.shape), log_sigma)

    return error


def importance_nll(
    config: Config,
    params: model.Params,
    images: Images,
    key: Key[Array, ""],
    samples: int = 100,
    batch_size: int = 500,
) -> ImportanceEstimate:
    """`-log 1/k sum_i p(x, z_i) / q(z_i | x)` (Burda et al. 2016, equation 8). Each image is
    encoded once, then one code per image is decoded at a time.

    Raises:
        LabError: an AE, which has no likelihood.
    """
    refuse_ae(config, "importance_nll")

    def one(image: Array, key: Array) -> ImportanceEstimate:
        pixel_key, code_key = jax.random.split(key)
        x = model.to_pixels(config, image, pixel_key)
        posterior = model.encode(config, params, x)
        error = code_error(config, params, x)

        def log_weight(index: Array) -> Array:
            noise = jax.random.normal(jax.random.fold_in(code_key, index), posterior.mean.shape)
            z = posterior.mean + jnp.exp(posterior.logvar / 2) * noise
            log_prior_over_q = (jnp.square(noise) + posterior.logvar - jnp.square(z)).sum() / 2
            return log_prior_over_q - error(z)

        return from_weights(jax.lax.map(log_weight, jnp.arange(samples)))

    return map_images(one, images, key, batch_size)


def from_weights(log_w: Float[Array, "samples"]) -> ImportanceEstimate:
    """What the weights `log p(x, z) - log q(z)` of codes from a proposal q say of one image."""
    total = jax.nn.logsumexp(log_w)
    effective = jnp.exp(2 * total - jax.nn.logsumexp(2 * log_w))
    return ImportanceEstimate(jnp.log(len(log_w)) - total, effective)


def reconstructions(
    config: Config, params: model.Params, images: Images, key: Key[Array, ""], batch_size: int = 500
) -> Float[Array, "n pixels"]:
    """The mean images decoded from the posterior means, pixels in [0, 1]; `key` draws the pixels if
    the config binarizes."""

    def one(image: Array, key: Array) -> Array:
        x = model.to_pixels(config, image, key)
        return model.images_of(config, params, model.encode(config, params, x).mean)

    return map_images(one, images, key, batch_size)


def summary(evaluation: Evaluation) -> dict[str, Array]:
    """The figures of a split, averaged over its images, by name and unit; arrays [lanes], or
    [lanes, latent] per unit."""
    return {
        "neg_elbo_nats": evaluation.neg_elbo.mean(-1),
        "recon_nats": evaluation.recon.mean(-1),
        "kl_nats": evaluation.kl.sum(-1).mean(-1),
        "mse": evaluation.mse.mean(-1),
        "active_units": active_units(evaluation.mean).sum(-1),
        "kl_per_unit_nats": evaluation.kl.mean(-2),
        "code_distance_to_prior": code_distance_to_prior(evaluation.code),
    }


class FittedVariance(NamedTuple):
    """Models whose decoder variance is the one at which their ELBO is highest."""

    config: Config
    params: model.Params
    """Stacked, as they were but for `log_sigma`."""
    sigma: Float[Array, "lanes"]
    """The standard deviation of the decoder, in units of the pixel range."""


def fitted_variance(
    config: Config, params: model.Params, images: Images, key: Key[Array, ""]
) -> FittedVariance:
    """Each lane of stacked parameters of a Gaussian model, at the decoder variance that equals its
    mean squared error on some images, one code drawn for each (Rybkin et al. 2021). Without any
    error, as of a net whose output is exactly 0 on black images, no variance is best: sigma is 0,
    and the likelihood of such a model is NaN."""
    evaluation = over_lanes(evaluate, config)(params, images, key)
    log_sigma = jnp.log(config.pixel_width * jnp.sqrt(evaluation.mse.mean(-1)))  # mse: in [0, 1]
    learned = replace(config, decoder_variance="learned")
    return FittedVariance(learned, params | {"log_sigma": log_sigma}, jnp.exp(log_sigma))


def linear_decoder_terms(
    config: Config, params: model.Params, images: Images, key: Key[Array, ""]
) -> tuple[Float[Array, "n"], Float[Array, "n"], Float[Array, "n latent"]]:
    """Three terms of every image, for a decoder without hidden layers and with a linear output: the
    squared error summed over pixels, as its exact expectation over codes, `|x - decode(mean)|^2 +
    sum_i var_i |w_i|^2`; the KL in nats; the posterior mean."""
    power = jnp.square(decoder_kernel(params)).sum(-1)

    def one(image: Array, key: Array) -> tuple[Array, Array, Array]:
        x = model.to_pixels(config, image, key)
        mean, logvar = model.encode(config, params, x)
        residual = jnp.square(model.decode(config, params, mean) - x).sum()
        return residual + jnp.exp(logvar) @ power, loss.kl_divergence(mean, logvar).sum(), mean

    return map_images(one, images, key, 200)


def decoder_kernel(params: model.Params) -> Any:
    """The weights [*lanes, latent, pixels] of a decoder MLP without hidden layers."""
    return params["decoder"]["params"]["Dense_0"]["kernel"]


def constant_mse(image: Float[np.ndarray, "..."], images: UInt8[np.ndarray, "n pixels"]) -> float:
    """Mean squared error, for pixels in [0, 1], of one image as the output for all of these images:
    the variance of their pixels if it is their mean."""
    total = sum(
        float(np.square(part.astype(np.float32) / 255 - image.ravel()).sum())
        for part in np.array_split(images, math.ceil(len(images) / 1000))
    )
    return total / images.size
