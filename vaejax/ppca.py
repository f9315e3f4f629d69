"""The best linear VAE with squared error: probabilistic PCA at a fixed variance (Tipping and Bishop
1999; Lucas et al. 2019, "Don't Blame the ELBO!"), in closed form from the principal components.

Squared error at a recon_scale is, over kl_weight and but for a constant, the negative ELBO of a
Gaussian decoder of one variance. At the threshold of a direction that is the direction's own.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vaejax.config import Config
from vaejax.theory import PCA


def decoder_variance(recon_scale: float, pixels: int, kl_weight: float = 1.0) -> float:
    """The variance of the Gaussian decoder, in squared units of the pixel range, that squared error
    at this scale amounts to: `loss.effective_sigma` squared."""
    return kl_weight * pixels / (2 * recon_scale)


class LinearOptimum(NamedTuple):
    """The best linear VAE with squared error, on the images whose components it was given."""

    units: int
    """Active units: eigenvalues above the variance, at most the latent size."""
    neg_elbo: float
    """`-log p(x)` in nats at the decoder's variance, averaged: the bound is tight."""
    gain: float
    """Nats that the collapsed solution has more."""
    kl: float
    """Nats per image."""
    mse: float
    """Of the mean image of one drawn code, per pixel, in squared units of the pixel range."""
    decoder: Float[np.ndarray, "units pixels"]
    """A row for each active unit, in units of the pixel range; any rotation of them is as good."""


def linear_optimum(config: Config, space: PCA, total: float, variance: float) -> LinearOptimum:
    """Probabilistic PCA at a fixed variance (Tipping and Bishop 1999), in squared units of the
    config's pixel range. `space` has at least `latent_size` components (or all), and `total` is
    the trace of the pixel covariance, for pixels in [0, 1]."""
    in_range = config.pixel_width**2
    kept = in_range * space.eigenvalues[: config.latent_size]
    kept = kept[kept > variance]
    left = max(in_range * total - kept.sum(), 0)
    pixels = config.pixels
    kl = np.log(kept / variance).sum() / 2
    gain = (kept.sum() / variance - len(kept)) / 2 - kl
    error = left + len(kept) * variance
    neg_elbo = (pixels * math.log(2 * math.pi * variance) + error / variance) / 2 + kl
    decoder = np.sqrt(kept - variance)[:, None] * space.components[: len(kept)]
    mse = float(error / pixels)
    return LinearOptimum(len(kept), float(neg_elbo), float(gain), float(kl), mse, decoder)
