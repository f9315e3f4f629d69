"""The best linear VAE with squared error, in closed form from the principal components.

It is probabilistic PCA at a fixed variance (Tipping and Bishop 1999; Lucas et al. 2019, "Don't
Blame the ELBO!"). The objective with squared error, divided by kl_weight, is up to a constant the
negative ELBO of a Gaussian decoder with the variance `kl_weight * D / (2 recon_scale)`. At the
threshold of a direction this is the variance of the images along the direction.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float

from vaejax.config import Config
from vaejax.theory.components import PCA, Images, project
from vaejax.theory.threshold import predicted_units, units_off

MARGIN = 1.1
"""Eigenvalues closer to each other, or to the variance, than this factor are not told apart."""


def decoder_variance(recon_scale: float, pixels: int, kl_weight: float = 1.0) -> float:
    """The variance of the Gaussian decoder, in squared units of the pixel range, that squared error
    at this scale amounts to: the square of `loss.effective_sigma`."""
    return kl_weight * pixels / (2 * recon_scale)


class LinearOptimum(NamedTuple):
    """The best linear VAE with squared error, on the images whose components it was given."""

    units: int
    """Active units: eigenvalues above the variance, at most the latent size."""
    neg_elbo: float
    """`-log p(x)` in nats at the decoder's variance, averaged over images: the bound is tight."""
    gain: float
    """How many nats lower that is than at the collapsed solution."""
    kl: float
    """Nats per image."""
    mse: float
    """Squared error per pixel of the image decoded from one drawn code, in squared units of the
    pixel range."""
    decoder: Float[np.ndarray, "units pixels"]
    """A row for each active unit, in units of the pixel range; any rotation of them is as good."""


def linear_optimum(
    config: Config, space: PCA, total_variance: float, variance: float
) -> LinearOptimum:
    """The best linear VAE at a decoder variance in squared units of the config's pixel range.

    `space` has at least `latent_size` components (or all), and `total_variance` is the trace of the
    pixel covariance, for pixels in [0, 1].
    """
    in_range = config.pixel_width**2
    kept = in_range * space.eigenvalues[: config.latent_size]
    kept = kept[kept > variance]
    left_over = max(in_range * total_variance - kept.sum(), 0)
    pixels = config.pixels
    kl = np.log(kept / variance).sum() / 2
    gain = (kept.sum() / variance - len(kept)) / 2 - kl
    error = left_over + len(kept) * variance
    neg_elbo = (pixels * math.log(2 * math.pi * variance) + error / variance) / 2 + kl
    decoder = np.sqrt(kept - variance)[:, None] * space.components[: len(kept)]
    mse = float(error / pixels)
    return LinearOptimum(len(kept), float(neg_elbo), float(gain), float(kl), mse, decoder)


def linear_reconstructions(
    config: Config, space: PCA, images: Images, variance: float
) -> Float[np.ndarray, "n pixels"]:
    """What the best linear VAE decodes from the posterior means of images, pixels in [0, 1], at a
    decoder variance in squared units of the config's pixel range.

    Each coordinate along a principal component shrinks by `1 - variance / eigenvalue`, to 0 if the
    eigenvalue is below the variance (Tipping and Bishop 1999, section 3.3). `space` has at least
    `latent_size` components (or all).
    """
    eigenvalues = config.pixel_width**2 * space.eigenvalues[: config.latent_size]
    kept = (1 - variance / np.maximum(eigenvalues, variance)).astype(np.float32)
    codes = project(space, images)[:, : len(kept)] * kept
    return codes @ space.components[: len(kept)] + space.mean


def largest_angle(
    components: Float[np.ndarray, "n pixels"], rows: Float[np.ndarray, "m pixels"]
) -> float:
    """The largest angle in degrees between a direction in the span of the components and the span
    of the rows; 90 if there are fewer rows than components, NaN without components."""
    if not len(components):
        return math.nan
    if len(rows) < len(components):
        return 90.0
    return float(np.degrees(scipy.linalg.subspace_angles(rows.T, components.T).max()))


class Oracle(NamedTuple):
    """What the training images say about linear VAEs of a latent size."""

    space: PCA
    """One component more than the latent size, or all."""
    total_variance: float
    """The variance of all pixels together, in [0, 1]."""
    thresholds: Float[np.ndarray, "units"]
    """The recon_scale at which each of these components wakes a unit, at kl_weight 1."""


def beside_the_oracle(
    oracle: Oracle,
    config: Config,
    settings: Mapping[str, float],
    *,
    error: float,
    kl: float,
    decoder: Float[np.ndarray, "units pixels"],
) -> dict[str, float]:
    """The figures of a trained linear VAE with squared error beside those of the best one, by the
    names of columns.

    Args:
        settings: its recon_scale and kl_weight.
        error: its squared error of an image, summed over pixels, in the config's pixel range.
        kl: its KL in nats.
        decoder: a row for each of its active units.
    """
    recon_scale, kl_weight = settings["recon_scale"], settings["kl_weight"]
    variance = decoder_variance(recon_scale, config.pixels, kl_weight)
    best = linear_optimum(config, oracle.space, oracle.total_variance, variance)
    constant = config.pixels * np.log(2 * np.pi * variance)
    neg_elbo = (constant + error / variance) / 2 + kl

    scale = np.float32(recon_scale).astype(float) / np.float32(kl_weight).astype(float)
    own = oracle.thresholds[: config.latent_size]
    fewest, likely = predicted_units(own, scale * np.array([1 / MARGIN, 1]), 1.0, len(own)).tolist()
    off = units_off(own, np.array([scale]), np.array([len(decoder)]), MARGIN)
    # A decoder must span the components that are clearly above the variance, and clearly apart from
    # the first one that is left out.
    left_out = min(oracle.thresholds[likely:], default=np.inf)
    clear = oracle.thresholds[:fewest] * MARGIN < left_out
    return {
        "predicted_units": likely,
        "active_units": len(decoder),
        "units_off": off[0],
        "predicted_kl_nats": best.kl,
        "kl_nats": kl,
        "predicted_neg_elbo_nats": best.neg_elbo,
        "sigma_neg_elbo_nats": neg_elbo,
        "gain_nats": best.gain,
        "gap_nats": neg_elbo - best.neg_elbo,
        "angle_degrees": largest_angle(oracle.space.components[:fewest][clear], decoder),
    }
