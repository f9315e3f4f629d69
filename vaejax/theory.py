"""What the data alone says: principal components, the best that a linear code can do."""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from jaxtyping import Float, UInt8

from vaejax.errors import LabError

MOST_PIXELS = 16_384
"""A covariance of 2 GiB."""


class PCA(NamedTuple):
    """The leading principal components of images with pixels in [0, 1]."""

    mean: Float[np.ndarray, "pixels"]
    components: Float[np.ndarray, "components pixels"]
    """Orthonormal rows, by falling eigenvalue."""
    eigenvalues: Float[np.ndarray, "components"]
    """Variance along each component: eigenvalues of the pixel covariance."""


def pca(images: UInt8[np.ndarray, "n pixels"], components: int) -> PCA:
    """Principal component analysis of the pixels (Pearson 1901).

    Raises:
        LabError: more components than pixels, or so many pixels that their covariance is too large.
    """
    pixels = images.shape[1]
    if pixels > MOST_PIXELS:
        raise LabError(
            f"Images of {pixels} pixels: principal components need a covariance of all pairs, "
            f"which is kept for up to {MOST_PIXELS}."
        )
    if not 1 <= components <= pixels:
        raise LabError(f"{components} principal components of {pixels} pixels: use 1 to {pixels}.")
    centred = images.astype(np.float32) / 255
    mean = centred.mean(0, dtype=np.float64).astype(np.float32)
    centred -= mean
    covariance = (centred.T @ centred).astype(np.float64) / len(images)
    if components <= pixels // 20:  # Lanczos: far fewer products than the dense solver needs
        start = np.ones(pixels)  # its own would come from numpy's global generator
        eigenvalues, vectors = scipy.sparse.linalg.eigsh(covariance, components, v0=start)
    else:
        leading = (pixels - components, pixels - 1)
        eigenvalues, vectors = scipy.linalg.eigh(covariance, subset_by_index=leading)
    return PCA(mean, np.ascontiguousarray(vectors.T[::-1], np.float32), eigenvalues[::-1])


def threshold_scale(eigenvalue: float, pixels: int, kl_weight: float = 1.0) -> float:
    """The recon_scale at which a direction of the images begins to pay for its KL under squared
    error: `D * kl_weight / (2 * eigenvalue)`.

    A small signal `mu = a w.(x - mean)` in one latent unit, decoded along w, gains in proportion to
    `2 recon_scale / (D kl_weight) * eigenvalue - 1`, to second order. Below the threshold of the
    largest eigenvalue of the pixel covariance (in the pixel range that the model sees) the
    collapsed solution is stable whatever the encoder and decoder. For linear ones it is then the
    best there is (Lucas et al. 2019); deeper ones may know a better one far from it.
    """
    return pixels * kl_weight / (2 * eigenvalue)


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
