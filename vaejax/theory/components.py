"""Moments of the pixels of a set of images, and their principal components (Pearson 1901)."""

import math
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from jaxtyping import Float, UInt8

from vaejax.errors import LabError

MOST = 16_384
"""The most pixels of an image, or images if there are fewer: products of so many take 2 GiB."""
EXACT_SUM = 1024
"""How many products of two bytes, less 128 each, float32 sums exactly: at most 1024 * 128^2 =
2^24."""
BLOCK = 3840
"""How many images are projected at once: as floats, a whole split takes four times its bytes. It is
a multiple of the 384 rows that OpenBLAS takes at a time: on one core sums have the same bits as in
one product of all rows."""


Images = UInt8[np.ndarray, "n pixels"] | Float[np.ndarray, "n pixels"]


class Moments(NamedTuple):
    """Mean and covariance (divided by n) of images with pixels in [0, 1], or of other vectors."""

    mean: Float[np.ndarray, "pixels"]
    products: Float[np.ndarray, "m m"]
    """The covariance; or, of fewer images than pixels, the products of the centred images with each
    other, divided by n. Both have the same eigenvalues, but for zeros, and the same trace."""
    images: Images | None = None
    """The images if they are fewer than pixels."""

    @property
    def covariance(self) -> Float[np.ndarray, "pixels pixels"]:
        """The covariance of all pairs of pixels.

        Raises:
            LabError: there are too many pixels.
        """
        return self.products if self.images is None else _covariance(self.images)

    def centred(self) -> Float[np.ndarray, "n pixels"]:
        """The images less their mean, over the root of n: of fewer images than pixels."""
        if self.images is None:
            raise ValueError("there are more images than pixels")
        white = 255 if self.images.dtype == np.uint8 else 1
        mean = self.images.mean(0, dtype=np.float64)
        return (self.images - mean) / (white * math.sqrt(len(self.images)))


class PCA(NamedTuple):
    """The leading principal components of images with pixels in [0, 1]."""

    mean: Float[np.ndarray, "pixels"]
    components: Float[np.ndarray, "components pixels"]
    """Orthonormal rows, by falling eigenvalue."""
    eigenvalues: Float[np.ndarray, "components"]
    """Variance along each component: the eigenvalues of the pixel covariance."""


def moments(images: Images) -> Moments:
    """Mean and covariance of the pixels; or of floats, as they are. The sums over bytes are of
    whole numbers and have no rounding error.

    Raises:
        LabError: the covariance of so many pixels of so many images is too large.
    """
    count, pixels = images.shape
    if images.dtype != np.uint8:
        few = Moments(images.mean(0, dtype=np.float64), np.empty((0, 0)), images)
        rows = few.centred() if count < pixels else few.centred().T
        _check_size(len(rows))
        return few._replace(products=rows @ rows.T, images=images if count < pixels else None)
    mean = images.sum(0, dtype=np.float64) / count / 255
    if count >= pixels:
        return Moments(mean, _covariance(images))
    products = _products(images.T)
    sums = products.sum(0)
    products *= count
    products -= sums
    products *= count
    products -= count * sums[:, None] - sums.sum()
    products /= 255**2 * count**3
    return Moments(mean, products, images)


def _covariance(images: UInt8[np.ndarray, "n pixels"]) -> Float[np.ndarray, "pixels pixels"]:
    count = len(images)
    products = _products(images)
    shifted = images.sum(0, dtype=np.float64) - 128 * count
    products *= count
    for row, sums in zip(products, shifted, strict=True):  # in place: it is large
        row -= sums * shifted
    products /= (255 * count) ** 2
    return products


def _products(rows: UInt8[np.ndarray, "n m"]) -> Float[np.ndarray, "m m"]:
    """The products of all pairs of columns, of numbers less 128, summed over rows."""
    count, size = rows.shape
    _check_size(size)
    products = np.zeros((size, size))
    for start in range(0, count, EXACT_SUM):
        part = rows[start : start + EXACT_SUM].astype(np.float32) - 128
        products += part.T @ part
    return products


def _check_size(size: int) -> None:
    if size > MOST:
        raise LabError(
            f"Principal components need the products of {size} pixels or images with each other, "
            f"and up to {MOST} are kept: use fewer images or smaller ones."
        )


def principal_components(moments: Moments, components: int) -> PCA:
    """The first principal components of images with these moments.

    Raises:
        LabError: more components than pixels are asked for.
    """
    pixels = len(moments.mean)
    if not 1 <= components <= pixels:
        raise LabError(f"{components} principal components of {pixels} pixels: use 1 to {pixels}.")
    known = min(components, len(moments.products))
    eigenvalues, vectors = leading_eigenvectors(moments.products, known)
    if moments.images is not None:  # along which images vary, and any further directions
        unknown = np.zeros((pixels, components - known))
        directions = np.hstack([moments.centred().T @ vectors, unknown])
        vectors, _ = np.linalg.qr(directions)
        eigenvalues = np.pad(eigenvalues, (0, components - known))
    mean, rows = moments.mean.astype(np.float32), vectors.T.astype(np.float32, order="C")
    return PCA(mean, rows, eigenvalues)


def leading_eigenvectors(
    matrix: Float[np.ndarray, "n n"], count: int
) -> tuple[Float[np.ndarray, "count"], Float[np.ndarray, "n count"]]:
    """The largest eigenvalues of a symmetric matrix, falling, and their eigenvectors."""
    size = len(matrix)
    if _is_few(count, matrix):
        eigenvalues, vectors = scipy.sparse.linalg.eigsh(matrix, count, v0=_start(size))
    else:
        leading = (size - count, size - 1)
        eigenvalues, vectors = scipy.linalg.eigh(matrix, subset_by_index=leading)
    return eigenvalues[::-1], vectors[:, ::-1]


def leading_eigenvalues(matrix: Float[np.ndarray, "n n"], count: int) -> Float[np.ndarray, "count"]:
    """The largest eigenvalues of a symmetric matrix, falling."""
    if _is_few(count, matrix):
        vectors = {"v0": _start(len(matrix)), "return_eigenvectors": False}
        return np.sort(scipy.sparse.linalg.eigsh(matrix, count, **vectors))[::-1]
    # All of them at once take a fraction of the time of a subset, or of the eigenvectors.
    return scipy.linalg.eigvalsh(matrix)[::-1][:count]


def _is_few(count: int, matrix: Float[np.ndarray, "n n"]) -> bool:
    """Whether Lanczos needs far fewer products than a dense solver."""
    return count <= len(matrix) // 20 and bool(matrix.any())


def _start(size: int) -> Float[np.ndarray, "size"]:
    """Where Lanczos starts: by default that would be drawn from numpy's global generator."""
    return np.random.default_rng(0).normal(size=size)


def project(space: PCA, images: Images) -> Float[np.ndarray, "n components"]:
    """Coordinates of images along the components. The images are bytes, or have pixels in
    [0, 1]."""
    blocks = [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]
    return np.concatenate([(unit(block) - space.mean) @ space.components.T for block in blocks])


def unit(images: Images) -> Float[np.ndarray, "n pixels"]:
    """Images with pixels in [0, 1], of bytes or as they are."""
    if images.dtype != np.uint8:
        return images
    floats = images.astype(np.float32)
    floats /= 255
    return floats


def compress(space: PCA, images: Images, components: int) -> Float[np.ndarray, "n pixels"]:
    """Images restored from their first `components` coordinates, pixels in [0, 1]."""
    codes = project(space, images)[:, :components]
    return codes @ space.components[:components] + space.mean


def reconstruction_mse(space: PCA, images: UInt8[np.ndarray, "n pixels"], components: int) -> float:
    """Mean squared error per pixel, for pixels in [0, 1], of images restored from their first
    `components` coordinates."""
    pixels = unit(images)
    error = compress(space, pixels, components)
    error -= pixels
    return float(np.square(error, out=error).mean(dtype=np.float64))
