"""vaejax.diagnostics: closed forms of a linear Gaussian model, and every image counted once.

With decoder `x = z W + b + N(0, I)` and prior `N(0, I)`, `p(x) = N(b, W^T W + I)` and
`p(z | x) = N((x - b) W^T S, S)` with `S = (I + W W^T)^-1`: diagonal if the rows of W are
orthogonal, so that a linear encoder can be exactly right.
"""

import inspect
import math
import re
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from vaejax import diagnostics, frechet, loss, model, theory
from vaejax.config import Config
from vaejax.diagnostics import evaluate, importance_nll

CONFIG = Config(image_shape=(4, 3, 1), latent_size=2, encoder_widths=(5,), decoder_widths=(5,))
SIGNED = replace(CONFIG, likelihood="gaussian", output="tanh", pixel_range="signed")
BINARIZED = replace(CONFIG, binarize=True)
LINEAR = replace(
    CONFIG, likelihood="gaussian", output="linear", encoder_widths=(), decoder_widths=()
)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (11, 12), np.uint8)
SE = 5  # standard errors that a Monte Carlo estimate may be off: 6e-7 of all keys are further


def random_params(config: Config, seed: int = 0) -> model.Params:
    leaves, tree = jax.tree.flatten(jax.eval_shape(partial(model.init, config), KEY))
    rng = np.random.default_rng(seed)
    drawn = [jnp.asarray(rng.normal(size=leaf.shape) / 2, jnp.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, drawn)


@cache
def compiled(function: Any, config: Config, **static: int) -> Any:
    """Of (params, images, key): compiled once for all tests."""
    return jax.jit(partial(function, config, **static))


@cache
def lanes_of(function: Any) -> tuple[list[model.Params], Any]:
    """Two models, and what they give side by side."""
    lanes = [random_params(CONFIG, seed) for seed in range(2)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)
    return lanes, diagnostics.over_lanes(function, CONFIG)(stacked, IMAGES, KEY)


def dense(kernel: np.ndarray, bias: np.ndarray) -> dict[str, Any]:
    layer = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    return {"params": {"Dense_0": layer}}


W = np.linalg.qr(RNG.normal(size=(12, 2)))[0].T * [[2.0], [0.7]]
B = RNG.uniform(0.2, 0.8, 12)
S = np.diag(1 / (1 + np.square(W).sum(1)))
gaussian: Any = scipy.stats.multivariate_normal
MARGINAL = gaussian(B, W.T @ W + np.eye(12))
NLL = -MARGINAL.logpdf(IMAGES / 255)


def linear_params(shift: float, widening: float) -> model.Params:
    """The exact posterior, off by a shift of its mean and a factor on its deviation."""
    kernel = np.hstack([W.T @ S, np.zeros((12, 2))])
    logvar = np.log(np.diag(S)) + 2 * math.log(widening)
    bias = np.concatenate([-B @ W.T @ S + shift, logvar])
    return {"encoder": dense(kernel, bias), "decoder": dense(W, B)}


def linear_neg_elbo(images: np.ndarray, shift: float, widening: float) -> np.ndarray:
    """-log p(x) + KL(q(z | x) || p(z | x)), the latter between Gaussians."""
    nll = -np.atleast_1d(MARGINAL.logpdf(images / 255))
    kl = (shift**2 / np.diag(S) + widening**2 - 1 - 2 * math.log(widening)) / 2
    return nll + kl.sum()


@pytest.mark.parametrize("function", [evaluate, partial(importance_nll, samples=3)])
def test_no_figure_depends_on_the_batch_size(function: Any) -> None:
    """Eleven images fill one batch, or leave a remainder; binarized, so that all noise counts."""
    params = random_params(BINARIZED)
    whole = function(BINARIZED, params, IMAGES, KEY, batch_size=1000)
    batched = function(BINARIZED, params, IMAGES, KEY, batch_size=4)
    for got, want in zip(batched, whole, strict=True):
        assert len(got) == 11
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [CONFIG, SIGNED])
def test_every_image_is_evaluated_once_in_its_place(config: Config) -> None:
    """Against a plain loop over the images, one at a time, with the code that was drawn."""
    params = random_params(config)
    got = evaluate(config, params, IMAGES, KEY, batch_size=4)
    assert {len(figure) for figure in got} == {11}
    for index, image in enumerate(IMAGES):
        x = jnp.asarray(image / 255 * 2 - 1 if config.pixel_range == "signed" else image / 255)
        mean, logvar = model.encode(config, params, x)
        logits = model.decode(config, params, got.code[index])
        kl = loss.kl_divergence(mean, logvar)
        recon = loss.neg_log_likelihood(config, logits, x, jnp.zeros(()))
        images_of = model.images_of(config, params, got.code[index])
        np.testing.assert_allclose(got.mean[index], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got.kl[index], kl, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(got.recon[index], recon, rtol=1e-5)
        np.testing.assert_allclose(got.neg_elbo[index], recon + kl.sum(), rtol=1e-5)
        mse = np.square(images_of - image / 255).mean()  # in unit pixels, whatever the range
        np.testing.assert_allclose(got.mse[index], mse, rtol=1e-5)


def test_codes_are_drawn_from_the_posterior_anew_for_each_image() -> None:
    params = linear_params(0.3, 1.5)
    got = compiled(evaluate, LINEAR)(params, np.tile(IMAGES[:1], (20_000, 1)), KEY)
    noise: Any = np.asarray(got.code - got.mean) / (1.5 * np.sqrt(np.diag(S)))
    _, p = scipy.stats.kstest(noise.ravel(), "norm")
    assert p > 1e-6  # the share of keys that would be further off
    assert abs(noise.prod(1).mean()) < SE / math.sqrt(20_000)  # of independent units, 0
    assert len(np.unique(got.code, axis=0)) == 20_000


def test_noise_is_a_function_of_the_key() -> None:
    params = random_params(BINARIZED)
    first, same, other = (
        compiled(evaluate, BINARIZED)(params, IMAGES, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.neg_elbo, same.neg_elbo)
    assert (first.code != other.code).all()
    assert not np.array_equal(first.mean, other.mean)  # the pixels were drawn anew too


def test_an_ae_has_no_elbo_and_no_noise() -> None:
    config = replace(CONFIG, model="ae")
    got = evaluate(config, random_params(config), IMAGES, KEY)
    assert np.isnan(got.neg_elbo).all()
    assert np.isnan(got.kl).all()
    assert np.isfinite(got.recon).all()
    assert np.isfinite(got.mse).all()
    np.testing.assert_array_equal(got.code, got.mean)


@pytest.mark.parametrize(("shift", "widening"), [(0.0, 1.0), (0.3, 1.5)])
def test_the_elbo_of_a_linear_model_has_its_closed_form_on_average(shift, widening) -> None:
    draws, params = 20_000, linear_params(shift, widening)
    images = np.tile(IMAGES[:1], (draws, 1))
    got = np.float64(compiled(evaluate, LINEAR)(params, images, KEY).neg_elbo)
    (exact,) = linear_neg_elbo(IMAGES[:1], shift, widening)
    assert abs(got.mean() - exact) < SE * got.std() / math.sqrt(draws)


def test_one_importance_sample_is_the_elbo_on_average() -> None:
    draws = 20_000
    images = np.tile(IMAGES[:1], (draws, 1))
    got = importance_nll(LINEAR, linear_params(0.3, 1.5), images, KEY, samples=1)
    (exact,) = linear_neg_elbo(IMAGES[:1], 0.3, 1.5)
    nll = np.float64(got.nll)
    assert abs(nll.mean() - exact) < SE * nll.std() / math.sqrt(draws)
    np.testing.assert_allclose(got.effective_samples, 1, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 7])
def test_the_exact_posterior_gives_the_exact_likelihood_with_any_samples(samples: int) -> None:
    """Every weight is p(x) itself, so all of them count."""
    got = importance_nll(LINEAR, linear_params(0.0, 1.0), IMAGES, KEY, samples=samples)
    np.testing.assert_allclose(got.nll, NLL, rtol=1e-5)
    np.testing.assert_allclose(got.effective_samples, samples, rtol=1e-4)


def test_many_samples_find_the_likelihood_with_a_wrong_posterior() -> None:
    samples, params = 20_000, linear_params(0.3, 1.5)
    got = importance_nll(LINEAR, params, IMAGES, KEY, samples=samples)
    # the delta method: the variance of log mean(w) is var(w) / (k mean(w)^2) = 1 / ESS - 1 / k
    standard_error = np.sqrt(1 / np.float64(got.effective_samples) - 1 / samples)
    assert standard_error.max() < 0.01
    assert (abs(np.float64(got.nll) - NLL) < SE * standard_error).all()
    # KL(q || p) of the wrong posterior is 0.73 nats, which one sample pays and many do not
    assert got.nll.mean() < linear_neg_elbo(IMAGES, 0.3, 1.5).mean() - 0.5


def test_many_samples_bound_the_likelihood_tighter_than_the_elbo() -> None:
    params, images = random_params(BINARIZED), np.tile(IMAGES, (50, 1))
    neg_elbo = np.float64(evaluate(BINARIZED, params, images, KEY).neg_elbo)
    got = importance_nll(BINARIZED, params, images, KEY, samples=16)
    difference = neg_elbo - got.nll
    assert difference.mean() > SE * difference.std() / math.sqrt(len(images))
    assert got.effective_samples.min() >= 1 - 1e-4
    assert got.effective_samples.max() <= 16 * (1 + 1e-4)
    assert np.ptp(got.effective_samples) > 1


def test_a_unit_is_active_if_its_mean_varies_by_more_than_a_hundredth() -> None:
    deviations = np.sqrt([0.0, 0.0099, 0.0101, 4.0])
    mean = np.tile([[-1.0], [1.0]], (50, 4)) * deviations + [7, 7, 7, 0]
    lanes = jnp.asarray([mean, mean[:, ::-1]], jnp.float32)
    want = [[False, False, True, True], [True, True, False, False]]
    np.testing.assert_array_equal(diagnostics.active_units(lanes), want)


def test_directions_are_active_whatever_the_axes() -> None:
    signs = np.stack([np.arange(64) >> bit & 1 for bit in range(4)], 1) * 2 - 1.0  # uncorrelated
    mean = signs * np.sqrt([0.0, 0.0098, 0.0102, 4.0]) + [7, 7, 7, 0]
    turn, _ = np.linalg.qr(RNG.normal(size=(4, 4)))
    lanes = jnp.asarray([mean, mean @ turn, mean / 3], jnp.float32)
    np.testing.assert_array_equal(diagnostics.active_directions(lanes), [2, 2, 1])
    spread = np.tile([[-1.0], [1.0]], (50, 3)) * np.sqrt(0.005)  # one direction, of no unit's own
    assert diagnostics.active_directions(jnp.asarray(spread, jnp.float32)) == 1
    assert not diagnostics.active_units(jnp.asarray(spread, jnp.float32)).any()


def codes_with(mean: np.ndarray, covariance: np.ndarray) -> Any:
    """A sample with exactly these moments."""
    code = np.random.default_rng(0).normal(size=(50, len(mean)))
    code -= code.mean(0)
    white = code @ np.linalg.inv(np.linalg.cholesky(code.T @ code / len(code))).T
    return jnp.asarray(white @ np.linalg.cholesky(covariance).T + mean, jnp.float32)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_aggregated_posterior_is_the_gaussian_of_its_moments(size: int) -> None:
    rng = np.random.default_rng(size)
    factor = rng.normal(size=(size, size)) / 2
    mean, covariance = rng.normal(size=size), factor @ factor.T + 0.1 * np.eye(size)
    got = diagnostics.aggregated_posterior(codes_with(mean, covariance))
    root = scipy.linalg.sqrtm(covariance)
    distance = mean @ mean + np.trace(covariance + np.eye(size) - 2 * root)
    np.testing.assert_allclose(got.mean, mean, atol=1e-5)
    np.testing.assert_allclose(got.covariance, covariance, atol=1e-5)
    np.testing.assert_allclose(got.distance_to_prior, distance, rtol=1e-4)


def test_codes_with_the_moments_of_the_prior_are_no_distance_from_it() -> None:
    got = diagnostics.aggregated_posterior(codes_with(np.zeros(3), np.eye(3)))
    np.testing.assert_allclose(got.distance_to_prior, 0, atol=1e-5)


@pytest.mark.parametrize("constant", [1, 2, 3])
def test_each_constant_unit_is_one_away_from_the_prior_and_its_square(constant: int) -> None:
    code = codes_with(np.zeros(3), np.eye(3)).at[:, :constant].set(0.5)
    distance = diagnostics.aggregated_posterior(code).distance_to_prior
    np.testing.assert_allclose(distance, constant * (1 + 0.5**2), rtol=1e-5)


@pytest.mark.parametrize("function", [evaluate, importance_nll])
def test_lanes_are_evaluated_like_single_models(function: Any) -> None:
    lanes, together = lanes_of(function)
    for index, params in enumerate(lanes):
        alone = compiled(function, CONFIG)(params, IMAGES, KEY)
        for got, want in zip(together, alone, strict=True):
            np.testing.assert_allclose(got[index], want, rtol=1e-4, atol=1e-5)


def test_static_arguments_pass_through_the_lanes() -> None:
    stacked = jax.tree.map(lambda leaf: leaf[None], linear_params(0.0, 1.0))
    got = diagnostics.over_lanes(importance_nll, LINEAR, 7, 4)(stacked, IMAGES, KEY)
    np.testing.assert_allclose(got.nll[0], NLL, rtol=1e-5)
    np.testing.assert_allclose(got.effective_samples, 7, rtol=1e-4)


def test_a_summary_averages_over_images() -> None:
    _, evaluation = lanes_of(evaluate)
    got = diagnostics.summary(evaluation)
    for index in range(2):
        one = jax.tree.map(lambda figure, index=index: figure[index], evaluation)
        want = {
            "neg_elbo_nats": np.mean(one.neg_elbo),
            "recon_nats": np.mean(one.recon),
            "kl_nats": np.sum(one.kl) / 11,
            "mse": np.mean(one.mse),
            "active_units": (np.var(one.mean, axis=0) > 0.01).sum(),
            "kl_per_unit_nats": np.mean(one.kl, axis=0),
            "code_distance_to_prior": diagnostics.aggregated_posterior(one.code).distance_to_prior,
        }
        assert got.keys() == want.keys()
        for name, value in want.items():
            np.testing.assert_allclose(got[name][index], value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(got["neg_elbo_nats"], got["recon_nats"] + got["kl_nats"], rtol=1e-5)


def test_sample_distances_are_those_of_samples_from_the_test_images() -> None:
    """Of Gaussian samples, whose moments are known: the pixels vary by W^T W, nothing else."""
    count = 20_000
    train, test = np.random.default_rng(1).integers(0, 256, (2, 40, 12), np.uint8)
    target = frechet.reference(theory.pca(train, 12), train, test)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), linear_params(0.0, 1.0))
    got = diagnostics.sample_distances(LINEAR, stacked, target, count, KEY)
    basis = np.float64(target.space.components)
    for distance, factor in zip(got, (1, 2), strict=True):
        loadings = factor * W @ basis.T
        exact = frechet.Moments((factor * B - target.space.mean) @ basis.T, loadings.T @ loadings)
        # moments of so many samples are off by about 1 / sqrt(count)
        want = frechet.frechet_distance(exact, target.test)
        np.testing.assert_allclose(distance, want, rtol=SE / math.sqrt(count))


@pytest.mark.parametrize("function", [evaluate, importance_nll])
def test_matrix_products_run_at_full_precision(function: Any) -> None:
    jaxpr = str(jax.make_jaxpr(partial(function, CONFIG))(random_params(CONFIG), IMAGES, KEY))
    products = re.findall(r"dot_general\[.*?\]", jaxpr, re.DOTALL)
    assert len(products) == 4  # two layers each of the encoder and of the decoder
    assert jaxpr.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 4


def test_no_reported_figure_can_depend_on_a_training_weight() -> None:
    functions = [
        function
        for name, function in inspect.getmembers(diagnostics, inspect.isfunction)
        if function.__module__ == diagnostics.__name__ and not name.startswith("_")
    ]
    assert {evaluate, importance_nll, diagnostics.summary} <= set(functions)
    arguments = {name for function in functions for name in inspect.signature(function).parameters}
    assert arguments.isdisjoint({"knobs", "recon_scale", "kl_weight"})
    assert not hasattr(diagnostics, "Knobs")
