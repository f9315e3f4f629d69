"""What a trained model is worth, over whole splits. Never a training weight in a reported ELBO.

A function of one model is lifted to many by `over_lanes`. Batches are padded to one size and the
padding is cut off again, an image's noise is a function of (key, its index), and matrix products
run at full precision: no figure depends on the batch size but by rounding.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from vaejax import frechet, loss, model
from vaejax.config import Config
from vaejax.errors import LabError

ACTIVE_VARIANCE = 0.01
"""A latent unit is active if its posterior mean varies more than this over images (Burda et al.
2016, section 5.2)."""


class Evaluation(NamedTuple):
    """Per image of a split (n of them), one code drawn for each."""

    neg_elbo: Float[Array, "*lanes n"]
    """Nats; NaN for an AE, which has no ELBO."""
    recon: Float[Array, "*lanes n"]
    """`-log p(x | z)` in nats."""
    kl: Float[Array, "*lanes n latent"]
    """Nats of each unit; NaN for an AE."""
    mse: Float[Array, "*lanes n"]
    """Squared error of the mean image, averaged over pixels, for pixels in [0, 1]."""
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


@functools.cache
def over_lanes(function: Callable[..., Any], config: Config, *static: Any) -> Callable[..., Any]:
    """Lift `function(config, params, images, key, *static)` to stacked params, compiled."""
    return jax.jit(
        jax.vmap(
            lambda params, images, key: function(config, params, images, key, *static),
            in_axes=(0, None, None),
        )
    )


def lane_of(stacked: Any, lane: int) -> Any:
    """One lane of stacked arrays, on the host: jax would compile a slice for each shape."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[lane], stacked)


def evaluate(
    config: Config,
    params: model.Params,
    images: UInt8[Array | np.ndarray, "n pixels"],
    key: Key[Array, ""],
    batch_size: int = 1000,
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


def importance_nll(
    config: Config,
    params: model.Params,
    images: UInt8[Array | np.ndarray, "n pixels"],
    key: Key[Array, ""],
    samples: int = 100,
    batch_size: int = 500,
) -> ImportanceEstimate:
    """`-log 1/k sum_i p(x, z_i) / q(z_i | x)` (Burda et al. 2016, equation 8). Each image is
    encoded once, then one code per image is decoded at a time.

    Raises:
        LabError: an AE, which has no likelihood.
    """
    if config.model == "ae":
        raise LabError("An AE has no likelihood: importance_nll is for model='vae'.")

    def one(image: Array, key: Array) -> ImportanceEstimate:
        pixel_key, code_key = jax.random.split(key)
        x = model.to_pixels(config, image, pixel_key)
        posterior = model.encode(config, params, x)

        def log_weight(index: Array) -> Array:
            noise = jax.random.normal(jax.random.fold_in(code_key, index), posterior.mean.shape)
            z = posterior.mean + jnp.exp(posterior.logvar / 2) * noise
            log_prior_over_q = (jnp.square(noise) + posterior.logvar - jnp.square(z)).sum() / 2
            logits = model.decode(config, params, z)
            log_sigma = model.log_sigma(config, params)
            return log_prior_over_q - loss.neg_log_likelihood(config, logits, x, log_sigma)

        log_w = jax.lax.map(log_weight, jnp.arange(samples))
        total = jax.nn.logsumexp(log_w)
        effective = jnp.exp(2 * total - jax.nn.logsumexp(2 * log_w))
        return ImportanceEstimate(jnp.log(samples) - total, effective)

    return map_images(one, images, key, batch_size)


def reconstructions(
    config: Config,
    params: model.Params,
    images: UInt8[Array | np.ndarray, "n pixels"],
    key: Key[Array, ""],
    batch_size: int = 1000,
) -> Float[Array, "n pixels"]:
    """The mean images decoded from the posterior means, pixels in [0, 1]; `key` draws the pixels if
    the config binarizes."""

    def one(image: Array, key: Array) -> Array:
        x = model.to_pixels(config, image, key)
        return model.images_of(config, params, model.encode(config, params, x).mean)

    return map_images(one, images, key, batch_size)


def active_units(mean: Float[Array, "*lanes n latent"]) -> Bool[Array, "*lanes latent"]:
    """Which units are active, from the posterior means of a split."""
    return jnp.var(mean, axis=-2) > ACTIVE_VARIANCE


def active_directions(mean: Float[Array, "*lanes n latent"]) -> Int[Array, "*lanes"]:
    """In how many orthogonal directions of the code, whatever its axes, posterior means vary as
    much as in an active unit: a linear VAE turns its code to the axes only slowly."""
    centred = mean - mean.mean(-2, keepdims=True)
    covariance = jnp.einsum("...ni,...nj->...ij", centred, centred) / mean.shape[-2]
    return (jnp.linalg.eigvalsh(covariance) > ACTIVE_VARIANCE).sum(-1)


class AggregatedPosterior(NamedTuple):
    """Moments of q(z), the codes of a whole split taken together."""

    mean: Float[Array, "*lanes latent"]
    covariance: Float[Array, "*lanes latent latent"]
    distance_to_prior: Float[Array, "*lanes"]
    """Squared 2-Wasserstein distance between N(0, I) and the Gaussian with these moments,
    `|mean|^2 + tr(C + I - 2 C^(1/2))`, in squared code units: 0 only for the prior's moments,
    the latent size if every code is 0."""


@jax.jit
def aggregated_posterior(code: Float[Array, "*lanes n latent"]) -> AggregatedPosterior:
    """How far the codes of a split are from the prior, from one drawn code per image."""
    mean = code.mean(-2)
    centred = code - mean[..., None, :]
    with jax.default_matmul_precision("highest"):
        covariance = jnp.swapaxes(centred, -1, -2) @ centred / code.shape[-2]
    spread = jnp.sqrt(jnp.linalg.eigvalsh(covariance).clip(0))
    distance = jnp.square(mean).sum(-1) + jnp.square(spread - 1).sum(-1)
    return AggregatedPosterior(mean, covariance, distance)


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
        "code_distance_to_prior": aggregated_posterior(evaluation.code).distance_to_prior,
    }


def sample_distances(
    config: Config,
    params: model.Params,
    target: frechet.Reference,
    count: int,
    key: Key[Array, ""],
) -> list[float]:
    """Frechet distance from the test images of `count` prior samples of each lane of stacked
    parameters, in squared pixel units. Lanes share the codes that are drawn."""
    draw = jax.jit(lambda one: model.sample(config, one, key, count))
    distances = []
    for lane in range(len(jax.tree.leaves(params)[0])):
        with jax.default_matmul_precision("highest"):
            images = draw(lane_of(params, lane))
        drawn = frechet.moments(target.space, np.asarray(images))
        distances.append(frechet.frechet_distance(drawn, target.test))
    return distances


def map_images(
    one: Callable[[Any, Array], Any], images: Any, key: Key[Array, ""], batch_size: int
) -> Any:
    """`one(image, its key)` for every row of `images` (an array, or a tree of arrays with equally
    many rows): vectorized in batches, the last one padded."""
    count = len(jax.tree.leaves(images)[0])
    batch_size = min(batch_size, count)
    extra = -count % batch_size
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count + extra))
    padded = jax.tree.map(
        lambda rows: jnp.pad(jnp.asarray(rows), ((0, extra),) + ((0, 0),) * (rows.ndim - 1)), images
    )
    batched = jax.tree.map(
        lambda rows: rows.reshape(-1, batch_size, *rows.shape[1:]), (padded, keys)
    )
    with jax.default_matmul_precision("highest"):
        results = jax.lax.map(lambda batch: jax.vmap(one)(*batch), batched)
    return jax.tree.map(lambda rows: rows.reshape(-1, *rows.shape[2:])[:count], results)
