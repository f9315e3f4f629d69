"""vaejax.theory.linear: the best linear VAE against an evidence, and a bound on it, that are
computed in other ways; the angle between subspaces."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from vaejax import loss, theory
from vaejax.config import Config, knobs

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(8, 8)) * np.linspace(2, 40, 8)
IMAGES = np.clip(128 + RNG.normal(size=(300, 8)) @ MIXING.T, 0, 255).astype(np.uint8)
UNIT = Config(
    image_shape=(2, 4, 1), latent_size=3, likelihood="gaussian", output="linear", decoder_widths=()
)
SIGNED = replace(UNIT, pixel_range="signed")
CONFIGS = pytest.mark.parametrize("config", [UNIT, SIGNED], ids=["unit", "signed"])
MOMENTS = theory.moments(IMAGES)
SPACE = theory.principal_components(MOMENTS, 8)
TOTAL = float(np.trace(MOMENTS.covariance))
MULTIPLES = (0.5, 1.5, 4.0, 100.0)
kl_divergence = jax.jit(loss.kl_divergence)


def pixels(config: Config) -> np.ndarray:
    return IMAGES / 255 if config.pixel_range == "unit" else IMAGES / 127.5 - 1


def variance_at(config: Config, multiple: float) -> float:
    """The variance of the decoder at a multiple of the first threshold."""
    first = float(theory.thresholds(config, IMAGES, 1)[0])
    return theory.decoder_variance(multiple * first, 8)


def neg_log_evidence(decoder: np.ndarray, variance: float, x: np.ndarray) -> float:
    covariance: Any = decoder.T @ decoder + variance * np.eye(8)
    return -float(multivariate_normal.logpdf(x, x.mean(0), covariance).mean())


@CONFIGS
@pytest.mark.parametrize("multiple", MULTIPLES)
def test_no_other_decoder_has_more_evidence(config: Config, multiple: float) -> None:
    """No decoder of three units has more, and the best one, its rows turned, has as much."""
    variance, x = variance_at(config, multiple), pixels(config)
    best = theory.linear_optimum(config, SPACE, TOTAL, variance)
    decoder = np.zeros((3, 8))
    decoder[: best.units] = best.decoder
    rng = np.random.default_rng(1)
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ decoder
    assert neg_log_evidence(turned, variance, x) == pytest.approx(best.neg_elbo, rel=1e-6)
    for size in (1e-3, 0.1):
        for _ in range(30):
            other = decoder + size * np.sqrt(variance) * rng.normal(size=decoder.shape)
            assert neg_log_evidence(other, variance, x) > best.neg_elbo


@CONFIGS
@pytest.mark.parametrize("multiple", MULTIPLES)
def test_its_parts_are_those_of_the_posterior_of_its_decoder(
    config: Config, multiple: float
) -> None:
    """KL and error of the exact posterior, by the loss terms of training, add up to the negative
    evidence. That of the collapsed solution is larger by the gain."""
    variance, x = variance_at(config, multiple), pixels(config)
    best = theory.linear_optimum(config, SPACE, TOTAL, variance)
    precision = np.eye(best.units) + best.decoder @ best.decoder.T / variance
    np.testing.assert_allclose(precision, np.diag(np.diag(precision)), atol=1e-4)
    spread, centred = 1 / np.diag(precision), x - x.mean(0)
    mean = centred @ best.decoder.T / variance * spread
    unused = ((0, 0), (0, 3 - best.units))  # units at the prior have no KL
    logvar = np.broadcast_to(np.log(spread), mean.shape)
    kl = kl_divergence(np.pad(mean, unused), np.pad(logvar, unused)).sum(-1)
    assert best.kl == pytest.approx(float(kl.mean()), rel=1e-5)
    power = np.square(best.decoder).sum(1)
    residual = np.square(mean @ best.decoder - centred).sum(1).mean() + spread @ power
    assert 8 * best.mse == pytest.approx(residual, rel=1e-5)
    constant = 4 * np.log(2 * np.pi * variance)
    assert best.neg_elbo == pytest.approx(constant + 4 * best.mse / variance + best.kl, rel=1e-9)
    nothing = neg_log_evidence(np.zeros((1, 8)), variance, x)
    assert best.gain == pytest.approx(nothing - best.neg_elbo, rel=1e-4, abs=1e-9)


@CONFIGS
@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
def test_predictions_from_thresholds_are_those_of_the_optimum(
    config: Config, kl_weight: float
) -> None:
    thresholds = theory.thresholds(config, IMAGES, 8)
    for scale in thresholds[0] * np.array(MULTIPLES):
        variance = theory.decoder_variance(float(scale), 8, kl_weight)
        best = theory.linear_optimum(config, SPACE, TOTAL, variance)
        where = thresholds, float(scale), kl_weight, 3
        assert theory.predicted_units(*where) == best.units
        assert theory.predicted_kl(*where) == pytest.approx(best.kl, rel=1e-9, abs=1e-12)


@CONFIGS
def test_a_scale_has_the_variance_that_the_loss_says(config: Config) -> None:
    """At a threshold the variance is an eigenvalue of the covariance."""
    weights = knobs(config, recon_scale=7.0, kl_weight=0.3)
    variance = theory.decoder_variance(7.0, 8, 0.3)
    assert float(loss.effective_sigma(config, weights)) ** 2 == pytest.approx(variance, rel=1e-6)
    assert variance == pytest.approx(float(loss.effective_beta(config, weights)), rel=1e-6)
    eigenvalues = np.linalg.eigvalsh(np.cov(pixels(config).T, bias=True))[::-1]
    scales = theory.thresholds(config, IMAGES, 8).tolist()
    variances = [theory.decoder_variance(scale, 8) for scale in scales]
    np.testing.assert_allclose(variances, eigenvalues, rtol=1e-9)


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        ([[1, 0, 0, 0], [0, 1, 0, 0]], 0),
        ([[1, 1, 0, 0], [1, -1, 0, 0]], 0),
        ([[1, 0, 0, 0], [0, 1, 1, 0]], 45),
        ([[1, 0, 0, 0], [0, 0, 1, 0]], 90),
        ([[1, 0, 0, 0]], 90),
        (np.zeros((0, 4)), 90),
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], 0),
    ],
)
def test_the_angle_is_the_largest_between_the_subspaces(rows: Any, want: float) -> None:
    got = theory.largest_angle(np.eye(4)[:2], np.asarray(rows, float))
    assert got == pytest.approx(want, abs=1e-4)
    assert np.isnan(theory.largest_angle(np.zeros((0, 4)), np.asarray(rows, float)))
