"""measure.activity: units and directions that are active, and Gaussians of known distance."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from vaejax.measure import activity

RNG = np.random.default_rng(0)


def test_a_unit_is_active_if_its_mean_varies_by_more_than_a_hundredth() -> None:
    deviations = np.sqrt([0.0, 0.0099, 0.0101, 4.0])
    mean = np.tile([[-1.0], [1.0]], (50, 4)) * deviations + [7, 7, 7, 0]
    lanes = jnp.asarray([mean, mean[:, ::-1]], jnp.float32)
    want = [[False, False, True, True], [True, True, False, False]]
    np.testing.assert_array_equal(activity.active_units(lanes), want)


def test_directions_are_active_whatever_the_axes() -> None:
    signs = np.stack([np.arange(64) >> bit & 1 for bit in range(4)], 1) * 2 - 1.0  # uncorrelated
    mean = signs * np.sqrt([0.0, 0.0098, 0.0102, 4.0]) + [7, 7, 7, 0]
    turn, _ = np.linalg.qr(RNG.normal(size=(4, 4)))
    lanes = jnp.asarray([mean, mean @ turn, mean / 3], jnp.float32)
    np.testing.assert_array_equal(activity.active_directions(lanes), [2, 2, 1])
    spread = np.tile([[-1.0], [1.0]], (50, 3)) * np.sqrt(0.005)  # one direction, of no unit's own
    assert activity.active_directions(jnp.asarray(spread, jnp.float32)) == 1
    assert not activity.active_units(jnp.asarray(spread, jnp.float32)).any()


def test_variances_along_directions_fall_and_turn_with_the_code() -> None:
    """Each lane on its own, against numpy."""
    mean = RNG.normal(size=(2, 200, 4)) * [0.1, 2, 0, 1] + [7, 7, 7, 0]
    turn, _ = np.linalg.qr(RNG.normal(size=(4, 4)))
    plain, turned = (
        np.asarray(activity.direction_variances(jnp.asarray(lanes, jnp.float32)))
        for lanes in (mean, mean @ turn)
    )
    want = [np.linalg.eigvalsh(np.cov(lane.T, bias=True))[::-1] for lane in mean]
    np.testing.assert_allclose(plain, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(turned, plain, rtol=1e-4, atol=1e-5)
    assert (np.diff(plain) < 0).all()


def codes_with(mean: np.ndarray, covariance: np.ndarray) -> Any:
    """A sample with exactly these moments."""
    code = np.random.default_rng(0).normal(size=(50, len(mean)))
    code -= code.mean(0)
    white = code @ np.linalg.inv(np.linalg.cholesky(code.T @ code / len(code))).T
    return jnp.asarray(white @ np.linalg.cholesky(covariance).T + mean, jnp.float32)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_codes_are_as_far_from_the_prior_as_the_gaussian_of_their_moments(size: int) -> None:
    rng = np.random.default_rng(size)
    factor = rng.normal(size=(size, size)) / 2
    mean, covariance = rng.normal(size=size), factor @ factor.T + 0.1 * np.eye(size)
    got = activity.code_distance_to_prior(codes_with(mean, covariance))
    root = scipy.linalg.sqrtm(covariance)
    want = mean @ mean + np.trace(covariance + np.eye(size) - 2 * root)
    np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize("constant", [0, 1, 3])
def test_each_constant_unit_is_one_away_from_the_prior_and_its_square(constant: int) -> None:
    code = codes_with(np.zeros(3), np.eye(3)).at[:, :constant].set(0.5)
    distance = activity.code_distance_to_prior(code)
    np.testing.assert_allclose(distance, constant * (1 + 0.5**2), rtol=1e-5, atol=1e-5)
