"""Frechet distance between sets of images in a fixed, documented feature space.

The features are the first principal components of the training images: no downloaded network, the
same numbers everywhere. Distances compare models on one data set; they are not FID (Heusel et al.
2017), and mean nothing across data sets. Print the floor beside them: test against training images.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from vaejax.theory import PCA, project

FEATURES = 64
"""Principal components kept, or as many as there are pixels."""


class Moments(NamedTuple):
    """Mean and covariance of the features of a set of images."""

    mean: Float[np.ndarray, "features"]
    covariance: Float[np.ndarray, "features features"]


def moments(space: PCA, pixels: Float[np.ndarray, "n pixels"]) -> Moments:
    """Feature moments of images with pixels in [0, 1]."""
    features = project(space, pixels).astype(np.float64)
    return Moments(features.mean(0), np.atleast_2d(np.cov(features, rowvar=False, bias=True)))


class Reference(NamedTuple):
    """Against what samples are held."""

    space: PCA
    """Of the training images."""
    test: Moments
    floor: float
    """Distance of the training images from the test images."""


def reference(
    space: PCA, train: UInt8[np.ndarray, "n pixels"], test: UInt8[np.ndarray, "m pixels"]
) -> Reference:
    """The moments of the test images in the first `FEATURES` components of `space`."""
    space = PCA(space.mean, space.components[:FEATURES], space.eigenvalues[:FEATURES])
    of_train, of_test = (
        moments(space, images.astype(np.float32) / 255) for images in (train, test)
    )
    return Reference(space, of_test, frechet_distance(of_train, of_test))


def frechet_distance(a: Moments, b: Moments) -> float:
    """`|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))` (Dowson and Landau 1982): the squared
    2-Wasserstein distance of two Gaussians, in squared pixel units summed over the features."""
    root_a = _sqrt(a.covariance)
    # The trace of (A B)^(1/2) is that of (A^(1/2) B A^(1/2))^(1/2), which is symmetric.
    cross = np.linalg.eigvalsh(root_a @ b.covariance @ root_a)
    traces = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(cross.clip(0)).sum()
    return float(np.square(a.mean - b.mean).sum() + traces)


def _sqrt(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T
