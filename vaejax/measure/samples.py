"""Prior samples against test images: a Frechet distance in a fixed, documented feature space.

The features are the first principal components of the training images: no downloaded network, the
same numbers everywhere. Distances compare models on one data set; they are not FID (Heusel et al.
2017), and mean nothing across data sets. The floor to compare them with is the distance of
the training images from the test images.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from vaejax import model
from vaejax.config import Config
from vaejax.measure.batched import lane_of
from vaejax.theory.components import PCA, Images, project

_sample = jax.jit(model.sample, static_argnums=(0, 3))

FEATURES = 64
"""Principal components kept, or as many as there are pixels."""


class FeatureMoments(NamedTuple):
    """Mean and covariance of the features of a set of images."""

    mean: Float[np.ndarray, "features"]
    covariance: Float[np.ndarray, "features features"]


def feature_moments(space: PCA, images: Images) -> FeatureMoments:
    """Feature moments of images. They are bytes, or have pixels in [0, 1]."""
    features = project(space, images).astype(np.float64)
    return FeatureMoments(
        features.mean(0), np.atleast_2d(np.cov(features, rowvar=False, bias=True))
    )


class Reference(NamedTuple):
    """What samples are compared with."""

    space: PCA
    """The feature space: principal components of the training images."""
    test: FeatureMoments
    floor: float
    """Distance of the training images from the test images, in squared pixel units."""

    def distance(self, images: Float[np.ndarray, "n *pixels"]) -> float:
        """The Frechet distance of images, pixels in [0, 1], from the test images, in squared pixel
        units."""
        drawn = feature_moments(self.space, images.reshape(len(images), -1))
        return frechet_distance(drawn, self.test)


def reference(
    space: PCA, train: UInt8[np.ndarray, "n pixels"], test: UInt8[np.ndarray, "m pixels"]
) -> Reference:
    """The moments of the test images in the first `FEATURES` components of `space`."""
    space = PCA(space.mean, space.components[:FEATURES], space.eigenvalues[:FEATURES])
    of_train, of_test = (feature_moments(space, images) for images in (train, test))
    return Reference(space, of_test, frechet_distance(of_train, of_test))


def sample_distances(
    config: Config, params: model.Params, target: Reference, count: int, key: Key[Array, ""]
) -> list[float]:
    """Frechet distance between the test images and `count` prior samples of each lane of stacked
    parameters, in squared pixel units. All lanes decode the same drawn codes."""
    distances = []
    for lane in range(len(jax.tree.leaves(params)[0])):
        with jax.default_matmul_precision("highest"):
            images = _sample(config, lane_of(params, lane), key, count)
        distances.append(target.distance(np.asarray(images)))
    return distances


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """`|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))` (Dowson and Landau 1982): the squared
    2-Wasserstein distance of two Gaussians, in squared pixel units summed over the features."""
    root_a = _sqrt(a.covariance)
    # (A B)^(1/2) has the same trace as (A^(1/2) B A^(1/2))^(1/2), which is symmetric.
    cross = np.linalg.eigvalsh(root_a @ b.covariance @ root_a)
    traces = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(cross.clip(0)).sum()
    return float(np.square(a.mean - b.mean).sum() + traces)


def _sqrt(covariance: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T
