"""What the data alone says: principal components, and the recon_scale below which a VAE collapses.

The threshold. The objective of an image is `s * error + kl_weight * KL`, `s = recon_scale / D`, its
error summed over D pixels. At the collapsed solution the posterior is the prior and the output the
mean image m. Let one unit carry a little: posterior mean `a.(x - m)`, decoded to `m + w z`. With C
the pixel covariance the objective changes, to second order in a and w, by

    squared error   s * (w.w - 2 a.C.w)       + kl_weight / 2 * a.C.a
    Bernoulli       s * (w.P.w / 2 - a.C.w)   + kl_weight / 2 * a.C.a

(w moves the logits of a Bernoulli, whose error has the slope `m - x` and the curvature
`P = diag(m (1 - m))`). The best a is `2 s w / kl_weight`, or half of it, and the change is negative
for some w if and only if `2 s lambda > kl_weight` for an eigenvalue of C, or `s lambda > kl_weight`
for one of `P^-1/2 C P^-1/2`. A learned decoder variance is there that of a pixel, `tr C / D`, and
divides s: `2 recon_scale lambda > kl_weight tr C`. At the scale of the ELBO, D / 2, the largest
eigenvalue is above their mean, unless all are the same.

Depth and width do not enter. Any encoder gives some mean and log variance for each x, any decoder
some `m + W h(z)`. To second order the best mean and log variance are again linear in x - m. They
reach h by its first and second Hermite component, while every component costs its square in error:
no h gains before `h(z) = z` does. `vaejax.ppca` has the best linear VAE above the threshold.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import scipy.special
from jaxtyping import Float, Int, UInt8

from vaejax.config import Config
from vaejax.errors import LabError

MOST_PIXELS = 16_384
"""A covariance of 2 GiB."""
EXACT_SUM = 1024
"""Products of two bytes, less 128, whose sum is exact in float32: 1024 * 128^2 = 2^24."""


class Moments(NamedTuple):
    """Of images with pixels in [0, 1]."""

    mean: Float[np.ndarray, "pixels"]
    covariance: Float[np.ndarray, "pixels pixels"]


class PCA(NamedTuple):
    """The leading principal components of images with pixels in [0, 1]."""

    mean: Float[np.ndarray, "pixels"]
    components: Float[np.ndarray, "components pixels"]
    """Orthonormal rows, by falling eigenvalue."""
    eigenvalues: Float[np.ndarray, "components"]
    """Variance along each component: eigenvalues of the pixel covariance."""


def moments(images: UInt8[np.ndarray, "n pixels"]) -> Moments:
    """Mean and covariance of the pixels, without rounding in the sums: those of bytes are whole.

    Raises:
        LabError: so many pixels that their covariance is too large.
    """
    count, pixels = images.shape
    if pixels > MOST_PIXELS:
        raise LabError(
            f"Images of {pixels} pixels: principal components need a covariance of all pairs, "
            f"which is kept for up to {MOST_PIXELS}."
        )
    products = np.zeros((pixels, pixels))
    for start in range(0, count, EXACT_SUM):
        few = images[start : start + EXACT_SUM].astype(np.float32) - 128
        products += few.T @ few
    total = images.sum(0, dtype=np.float64)
    shifted = total - 128 * count
    covariance = (count * products - np.outer(shifted, shifted)) / (255 * count) ** 2
    return Moments(total / count / 255, covariance)


def pca(images: UInt8[np.ndarray, "n pixels"], components: int) -> PCA:
    """Principal component analysis of the pixels (Pearson 1901).

    Raises:
        LabError: more components than pixels, or so many pixels that their covariance is too large.
    """
    return principal_components(moments(images), components)


def principal_components(moments: Moments, components: int) -> PCA:
    """`pca` of images of these moments."""
    pixels = len(moments.mean)
    if not 1 <= components <= pixels:
        raise LabError(f"{components} principal components of {pixels} pixels: use 1 to {pixels}.")
    eigenvalues, vectors = _leading(moments.covariance, components)
    mean, rows = moments.mean.astype(np.float32), vectors.T.astype(np.float32, order="C")
    return PCA(mean, rows, eigenvalues)


def _leading(
    matrix: Float[np.ndarray, "n n"], count: int
) -> tuple[Float[np.ndarray, "count"], Float[np.ndarray, "n count"]]:
    """The largest eigenvalues of a symmetric matrix, falling, and their vectors."""
    size = len(matrix)
    if count <= size // 20 and matrix.any():  # Lanczos: far fewer products than the dense solver
        start = np.random.default_rng(0).normal(size=size)  # its own would be numpy's global one
        eigenvalues, vectors = scipy.sparse.linalg.eigsh(matrix, count, v0=start)
    else:
        leading = (size - count, size - 1)
        eigenvalues, vectors = scipy.linalg.eigh(matrix, subset_by_index=leading)
    return eigenvalues[::-1], vectors[:, ::-1]


def thresholds(
    config: Config, images: UInt8[np.ndarray, "n pixels"], count: int
) -> Float[np.ndarray, "count"]:
    """The recon_scale, at kl_weight 1, at which each direction of the images begins to pay for its
    KL, rising; inf for one without variance. Below the first the collapsed solution is stable.

    Squared error: `D / (2 lambda)`, of the eigenvalues of the pixel covariance C in the model's
    pixel range; with a learned variance `tr C / (2 lambda)`. Bernoulli: `D / lambda`, of those of
    `P^-1/2 C P^-1/2`, pixels that never change left out; if each is drawn anew whenever it is used,
    the diagonal of C is P. All are those of the collapsed solution (see above): only for squared
    error of a fixed variance do they not move as units wake.

    Raises:
        LabError: an AE, which has no KL; no direction asked for, or too many pixels for a
            covariance.
    """
    return thresholds_of(config, moments(images), count)


def thresholds_of(config: Config, moments: Moments, count: int) -> Float[np.ndarray, "count"]:
    """`thresholds` of images of these moments."""
    if config.model == "ae":
        raise LabError("An AE has no KL to pay for, and no threshold: use model='vae'.")
    if count < 1:
        raise LabError(f"Thresholds of {count} directions: ask for 1 or more.")
    matrix, price = moments.covariance, config.pixels / 2
    if config.likelihood == "bernoulli":
        matrix, price = _standardized(moments, config.binarize), float(config.pixels)
    elif config.decoder_variance == "learned":
        price = np.trace(matrix) / 2
    else:
        price /= config.pixel_width**2  # the covariance of 2 x - 1 is 4 C
    eigenvalues = np.zeros(count)
    if known := min(count, len(matrix)):
        eigenvalues[:known] = _leading(matrix, known)[0]
    rounding = len(matrix) * np.finfo(float).eps * max(eigenvalues[0], 0)
    pays = eigenvalues > rounding
    return np.where(pays, price / np.where(pays, eigenvalues, 1), np.inf)


def _standardized(moments: Moments, binarize: bool) -> Float[np.ndarray, "kept kept"]:
    """`P^-1/2 C P^-1/2`, `P = diag(m (1 - m))`, but for pixels that are always 0 or always 1."""
    variance = moments.mean * (1 - moments.mean)
    covariance = moments.covariance.copy()
    if binarize:
        np.fill_diagonal(covariance, variance)
    kept = variance > 0
    spread = np.sqrt(variance[kept])
    return covariance[np.ix_(kept, kept)] / spread / spread[:, None]


def predicted_units(
    thresholds: Float[np.ndarray, "count"],
    recon_scale: float | Float[np.ndarray, "*scales"],
    kl_weight: float | Float[np.ndarray, "*scales"],
    latent_size: int,
) -> Int[np.ndarray, "*scales"]:
    """Units that pay for their KL: one for each threshold below `recon_scale / kl_weight`, at most
    `latent_size` (give as many thresholds, and a positive weight). With a learned variance these
    are the first to wake: each lowers the variance, and with it the thresholds of the rest."""
    return np.asarray((_gains(thresholds, recon_scale, kl_weight, latent_size) > 1).sum(-1))


def predicted_kl(
    thresholds: Float[np.ndarray, "count"],
    recon_scale: float | Float[np.ndarray, "*scales"],
    kl_weight: float | Float[np.ndarray, "*scales"],
    latent_size: int,
) -> Float[np.ndarray, "*scales"]:
    """KL of an image in nats, `1/2 sum log(recon_scale / (kl_weight * threshold))` over the
    predicted units: that of the best linear VAE with squared error, and near the threshold that of
    any other."""
    gains = _gains(thresholds, recon_scale, kl_weight, latent_size)
    return np.asarray(np.log(np.maximum(gains, 1)).sum(-1) / 2)


def _gains(
    thresholds: np.ndarray,
    recon_scale: float | np.ndarray,
    kl_weight: float | np.ndarray,
    latent_size: int,
) -> Float[np.ndarray, "*scales units"]:
    return np.asarray(recon_scale / np.asarray(kl_weight))[..., None] / thresholds[:latent_size]


def has_threshold(config: Config, kl_weight: float, free_bits: float, kl_cycle: float) -> bool:
    """Whether all of the KL costs something in the end: not if some bits are free, if its weight is
    0 or returns there, or in an AE."""
    return config.model == "vae" and kl_weight > 0 and not free_bits and not kl_cycle


def collapse_warning(config: Config, recon_scales: Sequence[float], threshold: float) -> str | None:
    """A line for the scales that are below the threshold (of their kl_weight); None without any."""
    below = [f"{scale:g}" for scale in recon_scales if scale < threshold]
    if not below:
        return None
    consequence = (
        "the collapsed solution is stable whatever the encoder and decoder, and training from "
        "scratch ends there as a rule"
    )
    linear = not config.decoder_widths and config.output == "linear"
    if linear and config.decoder_variance == "fixed":
        consequence = "a linear decoder has no better solution than the collapsed one"
    verb = "is" if len(below) == 1 else "are"
    return (
        f"recon_scale {', '.join(below)} {verb} below {threshold:.4g}, the threshold of these "
        f"images: {consequence}. Raise recon_scale or lower kl_weight."
    )


def constant_error(config: Config, moments: Moments) -> float:
    """The error of the mean image, averaged over pixels in [0, 1]: their variance, or entropy."""
    if config.likelihood == "gaussian":
        return float(moments.covariance.trace() / config.pixels)
    mean = moments.mean
    return float((scipy.special.entr(mean) + scipy.special.entr(1 - mean)).mean())


def project(space: PCA, pixels: Float[np.ndarray, "n pixels"]) -> Float[np.ndarray, "n components"]:
    """Coordinates of images (pixels in [0, 1]) along the components."""
    return (pixels - space.mean) @ space.components.T


def compress(
    space: PCA, pixels: Float[np.ndarray, "n pixels"], components: int
) -> Float[np.ndarray, "n pixels"]:
    """Images (pixels in [0, 1]) as their first `components` coordinates give them back."""
    codes = project(space, pixels)[:, :components]
    return codes @ space.components[:components] + space.mean


def reconstruction_mse(space: PCA, images: UInt8[np.ndarray, "n pixels"], components: int) -> float:
    """Mean squared error per pixel, for pixels in [0, 1], of images compressed to the first
    `components` coordinates."""
    pixels = images.astype(np.float32) / 255
    error = compress(space, pixels, components) - pixels
    return float(np.square(error).mean(dtype=np.float64))
