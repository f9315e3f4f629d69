"""The figures of posterior collapse from arrays alone: what an encoder makes of images, and what a
decoder makes of its codes. The VAE may be of any framework.

`collapse.collapse_figures` measures the same on a model of this lab; `collapse.judge_collapse`
judges either.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from vaejax import model
from vaejax.loss import kl_divergence
from vaejax.measure.activity import active_directions, active_units, aggregated_posterior
from vaejax.measure.information import marginal_kl, mutual_information
from vaejax.measure.pairing import partners


def information_figures(
    kl_nats: Float[Array, "*lanes"],
    mean: Float[Array, "*lanes n latent"],
    logvar: Float[Array, "*lanes n latent"],
    code: Float[Array, "*lanes n latent"],
) -> dict[str, Array]:
    """The mutual information of image and code, its ceiling, and what is left of the KL, in nats;
    arrays [lanes].

    Args:
        kl_nats: the KL averaged over images, in nats.
        code: one code drawn from the posterior of each image.
    """
    information = mutual_information(mean, logvar, code)
    return {
        "mi_nats": information,
        "mi_ceiling_nats": jnp.full_like(information, math.log(mean.shape[-2])),
        "marginal_kl_nats": marginal_kl(kl_nats, information),
    }


def posterior_figures(
    mean: Float[Array | np.ndarray, "n latent"],
    logvar: Float[Array | np.ndarray, "n latent"],
    key: Key[Array, ""],
) -> dict[str, Array]:
    """What the posteriors of n images say of an encoder, by name and unit: the figures that
    `collapse_figures` has of it. One code is drawn for each image.

    Args:
        mean: posterior means.
        logvar: the natural logarithms of posterior variances: not standard deviations.

    Raises:
        LabError: a single image, which cannot be compared with another.
    """
    order_key, code_key = jax.random.split(key)
    mean, logvar = jnp.asarray(mean), jnp.asarray(logvar)
    code = mean + jnp.exp(logvar / 2) * model.standard_normal(code_key, mean.shape)
    kl = kl_divergence(mean, logvar)
    kl_nats = kl.sum(-1).mean()
    partner = partners(order_key, len(mean))
    return {
        "kl_nats": kl_nats,
        "kl_per_unit_nats": kl.mean(0),
        **information_figures(kl_nats, mean, logvar, code),
        "active_units": active_units(mean).sum(),
        "active_directions": active_directions(mean),
        "mean_variance_per_unit": jnp.var(mean, axis=0),
        "code_distance_to_prior": aggregated_posterior(code).distance_to_prior,
        "code_distance": jnp.sqrt(jnp.square(code - code[partner]).sum(-1).mean()),
        "mean_distance": jnp.sqrt(jnp.square(mean - mean[partner]).sum(-1).mean()),
    }


def output_figures(
    x: Float[Array | np.ndarray, "n *pixels"],
    x_mean: Float[Array | np.ndarray, "n *pixels"],
    x_shuffled: Float[Array | np.ndarray, "n *pixels"] | None,
    key: Key[Array, ""],
) -> dict[str, Array]:
    """What the outputs for n images say of a decoder, by name. Errors are squared and averaged over
    pixels, in the unit of `x`.

    Args:
        x: the images.
        x_mean: their reconstructions.
        x_shuffled: reconstructions of the images from codes of other images. None: reconstructions
            of other images. The two are the same if the decoder sees nothing but the code.

    Raises:
        LabError: a single image, which cannot be compared with another.
    """
    x, x_mean = (jnp.asarray(images).reshape(len(x), -1) for images in (x, x_mean))
    partner = partners(key, len(x))
    of_others = x_mean[partner]
    shuffled = of_others if x_shuffled is None else jnp.asarray(x_shuffled).reshape(x.shape)
    return {
        "output_variance_ratio": output_variance_ratio(
            _mean_square(x - x[partner]), _mean_square(x_mean - of_others)
        ),
        "reconstruction_mse": _mean_square(x_mean - x),
        "shuffled_mse": _mean_square(shuffled - x),
    }


def output_variance_ratio(
    input_change: Float[Array, "*lanes"], output_change: Float[Array, "*lanes"]
) -> Float[Array, "*lanes"]:
    """The variance of outputs over that of images, from their mean squared differences over pairs,
    which are twice the variances: 0 if the output ignores the input, NaN if all images are
    equal."""
    return output_change / jnp.where(input_change > 0, input_change, jnp.nan)


def _mean_square(difference: Float[Array, "n pixels"]) -> Float[Array, ""]:
    return jnp.square(difference).mean(-1).mean()
