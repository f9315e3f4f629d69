"""Codes drawn from where they lie, and the nearest image, against their definitions."""

import numpy as np

import vaejax as vj

RANDOM = np.random.default_rng(0)


def test_one_gaussian_has_the_mean_and_the_covariance_of_the_codes() -> None:
    codes = RANDOM.normal(size=(5000, 3)) @ [[2.0, 1, 0], [0, 1, 0], [0, 0, 0.1]] + [1, -5, 0]
    drawn = vj.measure.draw_from_mixture(codes, 1, 200_000)
    np.testing.assert_allclose(drawn.mean(0), codes.mean(0), atol=0.02)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(codes.T), atol=0.05)


def test_a_mixture_draws_from_separate_clusters_and_not_between_them() -> None:
    centres = np.array([[0.0, 0], [10, 0], [0, 10]])
    codes = centres[np.arange(3000) % 3] + 0.1 * RANDOM.normal(size=(3000, 2))
    drawn = vj.measure.draw_from_mixture(codes, 3, 3000)
    distances = np.linalg.norm(drawn[:, None] - centres, axis=-1)
    assert distances.min(1).max() < 1
    np.testing.assert_allclose(np.bincount(distances.argmin(1)), 1000, atol=150)
    # In any part as in the whole: they do not come cluster by cluster.
    assert set(distances[:50].argmin(1)) == {0, 1, 2}


def test_the_same_codes_give_the_same_draws_and_few_codes_few_parts() -> None:
    codes = RANDOM.normal(size=(7, 2))
    first, second = (vj.measure.draw_from_mixture(codes, 10, 20) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (20, 2)
    assert first.dtype == np.float32


def test_the_nearest_image_is_the_one_of_least_squared_error() -> None:
    among = RANDOM.integers(0, 256, (12_000, 6), np.uint8)
    images = RANDOM.random((40, 6), np.float32)
    copied = [0, 4999, 5000, 11_999]  # the ends of what is compared at once
    images[:4] = among[copied] / np.float32(255)
    index, errors = vj.measure.nearest(images, among)
    every = np.square(images[:, None] - among / 255).mean(-1)
    np.testing.assert_array_equal(index, every.argmin(1))
    np.testing.assert_allclose(errors, every.min(1), atol=1e-6)
    assert index[:4].tolist() == copied
