"""vaejax.loss: every term against an independent implementation; weights against their meaning."""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from tests.test_elbo import CONFIG as SMALL
from tests.test_elbo import random_params
from vaejax import loss, model
from vaejax.config import Config, Knobs, knobs, stack

BERNOULLI = Config(image_shape=(4, 3, 1), latent_size=2)
GAUSSIAN = replace(BERNOULLI, likelihood="gaussian")
CONFIGS = [
    BERNOULLI,
    GAUSSIAN,
    replace(GAUSSIAN, output="tanh", pixel_range="signed"),
    replace(GAUSSIAN, output="linear"),
]
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(3 * RNG.normal(size=(5, 12)), jnp.float32)
X = jnp.asarray(RNG.uniform(size=(5, 12)), jnp.float32)
MEAN, LOGVAR = (jnp.asarray(2 * RNG.normal(size=(5, 2)), jnp.float32) for _ in range(2))
KL = jax.jit(loss.kl_divergence)(MEAN, LOGVAR)
neg_log_likelihood, reconstruction_error, mean_image = (
    jax.jit(function, static_argnums=0)
    for function in (loss.neg_log_likelihood, loss.reconstruction_error, model.mean_image)
)
UNIT, STEP = jnp.zeros(()), jnp.int32(0)  # log sigma; the first step, which warm-up would show


cross_entropy = jax.jit(jax.value_and_grad(loss.cross_entropy))


@pytest.mark.parametrize("x", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("logit", [-200.0, -20.0, -1.0, 0.0, 1.0, 20.0, 200.0])
def test_cross_entropy_and_its_gradient_are_right_at_any_logit(logit: float, x: float) -> None:
    value, slope = cross_entropy(np.float32(logit), np.float32(x))
    exact = x * np.logaddexp(0, -logit) + (1 - x) * np.logaddexp(0, logit)
    # sigmoid(logit) - x, as a difference that loses no digits
    exact_slope = (1 - x) * scipy.special.expit(logit) - x * scipy.special.expit(-logit)
    smallest = float(np.finfo(np.float32).tiny)  # below it, float32 is zero
    np.testing.assert_allclose(value, exact, rtol=1e-6, atol=smallest)
    # the slope is a sum of terms of size 1, so it has absolute, not relative, precision
    np.testing.assert_allclose(slope, exact_slope, rtol=0, atol=2e-7)


@pytest.mark.parametrize("config", CONFIGS[1:])
def test_gaussian_likelihood_is_that_of_unit_variance(config: Config) -> None:
    want = -scipy.stats.norm.logpdf(X, mean_image(config, LOGITS), scale=1).sum(-1)
    np.testing.assert_allclose(neg_log_likelihood(config, LOGITS, X, UNIT), want, rtol=1e-6)


def test_bernoulli_likelihood_sums_the_pixels() -> None:
    want = loss.cross_entropy(LOGITS, X).sum(-1)
    np.testing.assert_allclose(neg_log_likelihood(BERNOULLI, LOGITS, X, UNIT), want, rtol=1e-6)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_error_averages_over_pixels(config: Config) -> None:
    """A mean-reduced cross entropy is 1/D of the likelihood; a squared error is the MSE."""
    if config.likelihood == "bernoulli":
        want = neg_log_likelihood(config, LOGITS, X, UNIT) / 12
    else:
        want = np.square(np.asarray(mean_image(config, LOGITS)) - X).mean(-1)
    np.testing.assert_allclose(reconstruction_error(config, LOGITS, X), want, rtol=1e-6)


def log_ratio(z: Any, mean: Any, logvar: Any) -> Any:
    """log q(z) - log p(z)."""
    norm = scipy.stats.norm
    return norm.logpdf(z, mean, np.exp(logvar / 2)) - norm.logpdf(z)


def test_kl_is_the_mean_log_ratio_by_quadrature() -> None:
    """The log ratio is quadratic in z, for which three Gauss-Hermite nodes are exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    mean, logvar = (np.asarray(moment, np.float64)[..., None] for moment in (MEAN, LOGVAR))
    ratio = log_ratio(mean + np.exp(logvar / 2) * nodes, mean, logvar)
    exact = (ratio * weights).sum(-1) / weights.sum()
    np.testing.assert_allclose(KL, exact, rtol=1e-5)


def test_kl_is_zero_at_the_prior_and_only_there() -> None:
    mean, logvar = (grid.ravel() for grid in np.meshgrid(*[np.linspace(-4, 4, 41)] * 2))
    moments = (jnp.asarray(moment, jnp.float32) for moment in (mean, logvar))
    kl = np.asarray(jax.jit(loss.kl_divergence)(*moments))
    prior = (mean == 0) & (logvar == 0)
    assert prior.sum() == 1
    np.testing.assert_array_equal(kl[prior], 0)
    assert kl[~prior].min() > 0


@pytest.mark.parametrize("config", CONFIGS)
def test_at_the_elbo_scale_the_objective_is_the_negative_elbo(config: Config) -> None:
    error = reconstruction_error(config, LOGITS, X)
    got = loss.objective(config, knobs(config, recon_scale="elbo"), error, KL, UNIT, STEP)
    neg_elbo = neg_log_likelihood(config, LOGITS, X, UNIT) + KL.sum(-1)
    constant = 0 if config.likelihood == "bernoulli" else 12 / 2 * math.log(2 * math.pi)
    np.testing.assert_allclose(got, neg_elbo - constant, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS)
def test_at_the_elbo_scale_importance_weights_are_those_of_the_joint_and_the_posterior(
    config: Config,
) -> None:
    posterior = model.Posterior(MEAN, LOGVAR)
    z, ratio = model.draw_codes(posterior, KEY, 7)
    np.testing.assert_allclose(ratio, log_ratio(z, MEAN, LOGVAR).sum(-1), atol=1e-4)
    logits = np.asarray(z) @ np.asarray(LOGITS)[:2] / 3
    images = np.broadcast_to(X, logits.shape)
    error = reconstruction_error(config, logits, images)
    iwae = replace(config, importance_samples=7)
    got = loss.importance_weighted(iwae, knobs(iwae), error, ratio, UNIT, STEP)
    constant = 0 if config.likelihood == "bernoulli" else 12 / 2 * math.log(2 * math.pi)
    log_p = constant - np.asarray(neg_log_likelihood(config, logits, images, UNIT))
    log_mean = np.logaddexp.reduce(log_p - np.asarray(ratio), axis=0) - math.log(7)
    np.testing.assert_allclose(got, -log_mean, rtol=1e-5)


def test_with_more_samples_the_importance_weighted_objective_is_tighter() -> None:
    """Of one sample its mean is that of the ELBO."""
    params = random_params(SMALL)
    images, of_batch = np.full((5000, 12), 90, np.uint8), jax.jit(loss.of_batch, static_argnums=1)
    elbo, one, many = (
        float(of_batch(params, config, knobs(config), images, KEY, STEP)[0])
        for config in (SMALL, *(replace(SMALL, importance_samples=k) for k in (1, 20)))
    )
    assert one == pytest.approx(elbo, abs=0.05)
    assert many < elbo - 0.05


@pytest.mark.parametrize("config", CONFIGS)
def test_an_ae_has_no_beta(config: Config) -> None:
    ae = replace(config, model="ae")
    np.testing.assert_array_equal(loss.effective_beta(ae, knobs(ae, kl_weight=3.0)), 0)


@pytest.mark.parametrize("kl_weight", [1.0, 0.2])
@pytest.mark.parametrize("recon_scale", [1.0, 50.0])
@pytest.mark.parametrize("config", CONFIGS[1:])
def test_effective_sigma_is_that_of_the_gaussian_whose_elbo_is_trained(
    config: Config, recon_scale: float, kl_weight: float
) -> None:
    lane = knobs(config, recon_scale=recon_scale, kl_weight=kl_weight)
    got = loss.objective(config, lane, reconstruction_error(config, LOGITS, X), KL, UNIT, STEP)
    sigma = math.sqrt(kl_weight * 12 / (2 * recon_scale))
    np.testing.assert_allclose(loss.effective_sigma(config, lane), sigma, rtol=1e-6)
    density = scipy.stats.norm.logpdf(X, mean_image(config, LOGITS), scale=sigma).sum(-1)
    neg_elbo = KL.sum(-1) - density
    constant = -12 / 2 * math.log(2 * math.pi * sigma**2)
    assert np.ptp(neg_elbo) > 1  # images differ, so one constant for all of them says something
    rounding = 1e-6 * float(neg_elbo.max())  # of float32, in the larger of the two terms
    np.testing.assert_allclose(got / kl_weight - neg_elbo, constant, atol=rounding)


@pytest.mark.parametrize("kl_weight", [1.0, 0.2])
@pytest.mark.parametrize("config", CONFIGS)
def test_effective_beta_weighs_kl_beside_the_true_reconstruction(config, kl_weight) -> None:
    lane = knobs(config, recon_scale=50.0, kl_weight=kl_weight)
    error = reconstruction_error(config, LOGITS, X)
    got = loss.objective(config, lane, error, KL, UNIT, STEP) * config.elbo_scale / 50
    beta_vae = config.elbo_scale * error + loss.effective_beta(config, lane) * KL.sum(-1)
    np.testing.assert_allclose(got, beta_vae, rtol=1e-5)


@pytest.mark.parametrize("lanes", [None, 2])
@pytest.mark.parametrize("config", [BERNOULLI, replace(GAUSSIAN, model="ae")])
def test_without_a_gaussian_elbo_there_is_no_sigma(config: Config, lanes: int | None) -> None:
    lane = knobs(config)
    sigma = loss.effective_sigma(config, stack([lane] * lanes) if lanes else lane)
    assert sigma.shape == ((lanes,) if lanes else ())
    assert np.isnan(sigma).all()


@pytest.mark.parametrize("weight", [loss.effective_beta, loss.effective_sigma])
def test_weights_of_lanes_are_those_of_single_models(weight: Any) -> None:
    lanes = [knobs(GAUSSIAN, recon_scale=scale) for scale in (1.0, 20.0, 300.0)]
    singles = [float(weight(GAUSSIAN, lane)) for lane in lanes]
    np.testing.assert_allclose(weight(GAUSSIAN, stack(lanes)), singles, rtol=1e-6)
    np.testing.assert_allclose(
        weight(GAUSSIAN, Knobs(*map(jnp.asarray, stack(lanes)))), singles, rtol=1e-6
    )
