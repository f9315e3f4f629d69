"""measure.samples: the matrix square root of scipy, and moments that are known."""

import math

import jax
import numpy as np
import pytest
import scipy.linalg

from vaejax.config import Config
from vaejax.measure import samples
from vaejax.measure.samples import FeatureMoments, frechet_distance
from vaejax.theory.components import moments, principal_components, project

LINEAR = Config(
    image_shape=(4, 3, 1),
    latent_size=2,
    encoder_widths=(),
    decoder_widths=(),
    likelihood="gaussian",
    output="linear",
)
IMAGES, TEST = np.random.default_rng(0).integers(0, 256, (2, 40, 12), np.uint8)
PIXELS = (IMAGES / 255).astype(np.float32)


def random_moments(seed: int, size: int = 5, rank: int = 5) -> FeatureMoments:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(size, rank))
    return FeatureMoments(rng.normal(size=size), factor @ factor.T)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_the_matrix_square_root(seed: int) -> None:
    a, b = random_moments(2 * seed), random_moments(2 * seed + 1)
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    traces = np.trace(a.covariance + b.covariance - 2 * root).real
    want = np.square(a.mean - b.mean).sum() + traces
    np.testing.assert_allclose(frechet_distance(a, b), want, rtol=1e-9)
    np.testing.assert_allclose(frechet_distance(b, a), want, rtol=1e-9)


@pytest.mark.parametrize("rank", [2, 5])
def test_it_is_zero_for_itself_and_nothing_else(rank: int) -> None:
    a = random_moments(0, rank=rank)
    # the square root of a rounding error of 1e-15 in an eigenvalue that is zero
    np.testing.assert_allclose(frechet_distance(a, a), 0, atol=1e-6)
    assert frechet_distance(a, a._replace(mean=a.mean + 1)) > 1
    assert frechet_distance(a, a._replace(covariance=2 * a.covariance)) > 0.1


@pytest.mark.parametrize("components", [1, 3, 12])
def test_moments_are_those_of_the_projections(components: int) -> None:
    space = principal_components(moments(IMAGES), components)
    features = np.float64(project(space, PIXELS))
    got = samples.feature_moments(space, PIXELS)
    centred = features - features.mean(0)
    np.testing.assert_allclose(got.mean, features.mean(0), rtol=1e-12)
    np.testing.assert_allclose(got.covariance, centred.T @ centred / 40, atol=1e-12)
    assert got.covariance.shape == (components, components)


def test_the_floor_is_the_distance_of_the_training_images_from_the_test_images() -> None:
    space = principal_components(moments(IMAGES), 12)
    got = samples.reference(space, IMAGES, TEST)
    of_train, of_test = (
        samples.feature_moments(space, (x / 255).astype(np.float32)) for x in (IMAGES, TEST)
    )
    np.testing.assert_allclose(got.floor, frechet_distance(of_train, of_test), rtol=1e-5)
    np.testing.assert_allclose(got.test.mean, of_test.mean, atol=1e-6)
    np.testing.assert_allclose(got.test.covariance, of_test.covariance, atol=1e-6)
    # no more than rounding: the pixels are float32
    np.testing.assert_allclose(samples.reference(space, IMAGES, IMAGES).floor, 0, atol=1e-9)


def test_sample_distances_are_those_of_samples_from_the_test_images() -> None:
    """Of Gaussian samples, whose moments are known: the pixels vary by W^T W, nothing else."""
    count, lanes = 20_000, np.array([1.0, 2.0])
    rng = np.random.default_rng(2)
    kernel, bias = rng.normal(size=(2, 12)) * [[0.6], [0.2]], rng.uniform(0.2, 0.8, 12)
    layer = {
        "kernel": (lanes[:, None, None] * kernel).astype(np.float32),
        "bias": (lanes[:, None] * bias).astype(np.float32),
    }
    target = samples.reference(principal_components(moments(IMAGES), 12), IMAGES, TEST)
    params = {"decoder": {"params": {"Dense_0": layer}}}
    got = samples.sample_distances(LINEAR, params, target, count, jax.random.key(0))
    basis = np.float64(target.space.components)
    for distance, factor in zip(got, lanes, strict=True):
        loadings = factor * kernel @ basis.T
        mean = (factor * bias - target.space.mean) @ basis.T
        # moments of so many samples are off by about 1 / sqrt(count)
        want = frechet_distance(FeatureMoments(mean, loadings.T @ loadings), target.test)
        np.testing.assert_allclose(distance, want, rtol=5 / math.sqrt(count))
