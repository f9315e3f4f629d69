"""measure.elbo: closed forms of a linear Gaussian model, and every image counted once.

With decoder `x = z W + b + N(0, I)` and prior `N(0, I)`, `p(x) = N(b, W^T W + I)` and
`p(z | x) = N((x - b) W^T S, S)` with `S = (I + W W^T)^-1`: diagonal if the rows of W are
orthogonal, so that a linear encoder can be exactly right.

What costs here is compiling: all tests but those of linear models have the same 550 images.
"""

import math
import re
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaejax import loss, model
from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.measure import activity, elbo
from vaejax.measure.batched import over_lanes
from vaejax.measure.elbo import evaluate, importance_nll
from vaejax.measure.pairing import pairs

CONFIG = Config(image_shape=(4, 3, 1), latent_size=2, encoder_widths=(5,), decoder_widths=(5,))
AE = replace(CONFIG, model="ae")
SIGNED = replace(CONFIG, likelihood="gaussian", output="tanh", pixel_range="signed")
BINARIZED = replace(CONFIG, binarize=True)
LINEAR = replace(
    CONFIG, likelihood="gaussian", output="linear", encoder_widths=(), decoder_widths=()
)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
FEW = RNG.integers(0, 256, (11, 12), np.uint8)
IMAGES = np.tile(FEW, (50, 1))
N = len(IMAGES)
MANY = 20_000  # images, or samples, of a linear model
SE = 5  # standard errors that a Monte Carlo estimate may be off: 6e-7 of all keys are further


@cache
def random_params(config: Config, seed: int = 0) -> model.Params:
    leaves, tree = jax.tree.flatten(jax.eval_shape(partial(model.init, config), KEY))
    rng = np.random.default_rng(seed)
    drawn = [(rng.normal(size=leaf.shape) / 2).astype(np.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, drawn)


def stacked(*lanes: Any) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *lanes)


@cache
def compiled(function: Any, config: Config, **static: int) -> Any:
    """The function of (params, images, key), for one model: compiled once for all tests."""
    return jax.jit(partial(function, config, **static))


@cache
def side_by_side(function: Any, config: Config) -> Any:
    """What it gives for two models at once."""
    lanes = stacked(*(random_params(config, seed) for seed in range(2)))
    return over_lanes(function, config)(lanes, IMAGES, KEY)


def dense(kernel: np.ndarray, bias: np.ndarray) -> dict[str, Any]:
    layer = {"kernel": np.asarray(kernel, np.float32), "bias": np.asarray(bias, np.float32)}
    return {"params": {"Dense_0": layer}}


W = np.linalg.qr(RNG.normal(size=(12, 2)))[0].T * [[2.0], [0.7]]
B = RNG.uniform(0.2, 0.8, 12)
S = np.diag(1 / (1 + np.square(W).sum(1)))
gaussian: Any = scipy.stats.multivariate_normal
MARGINAL = gaussian(B, W.T @ W + np.eye(12))
NLL = -MARGINAL.logpdf(FEW / 255)


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


EXACT, WRONG = linear_params(0.0, 1.0), linear_params(0.3, 1.5)
ONE_IMAGE = np.tile(FEW[:1], (MANY, 1))


@pytest.mark.parametrize(
    ("function", "static"),
    [(evaluate, {}), (importance_nll, {"samples": 16}), (elbo.reconstructions, {}), (pairs, {})],
)
def test_no_figure_depends_on_the_batch_size(function: Any, static: dict[str, int]) -> None:
    """The images fill one batch, or leave a remainder; binarized, so that all noise counts."""
    params = random_params(BINARIZED)
    whole, batched = (
        jax.tree.leaves(
            compiled(function, BINARIZED, batch_size=size, **static)(params, IMAGES, KEY)
        )
        for size in (1000, 4)
    )
    for got, want in zip(batched, whole, strict=True):
        assert len(got) == N
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [CONFIG, SIGNED], ids=["unit", "signed"])
def test_every_image_is_evaluated_once_in_its_place(config: Config) -> None:
    """Against a plain loop over the images, one at a time, with the code that was drawn."""
    params = random_params(config)
    got = jax.tree.map(lambda figure: np.asarray(figure)[0], side_by_side(evaluate, config))
    assert {len(figure) for figure in got} == {N}

    @jax.jit
    def one(image: Any, code: Any) -> dict[str, Any]:
        x = 2 * image - 1 if config is SIGNED else image
        mean, logvar = model.encode(config, params, x)
        logits = model.decode(config, params, code)
        return {
            "mean": mean,
            "logvar": logvar,
            "kl": loss.kl_divergence(mean, logvar),
            "recon": loss.neg_log_likelihood(config, logits, x, jnp.zeros(())),
            # in unit pixels, whatever the range
            "mse": jnp.square(model.images_of(config, params, code) - image).mean(),
        }

    for index, image in enumerate(FEW):
        want = one(np.float32(image / 255), got.code[index])
        np.testing.assert_allclose(got.mean[index], want["mean"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got.logvar[index], want["logvar"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got.kl[index], want["kl"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(got.recon[index], want["recon"], rtol=1e-5)
        neg_elbo = want["recon"] + want["kl"].sum()
        np.testing.assert_allclose(got.neg_elbo[index], neg_elbo, rtol=1e-5)
        np.testing.assert_allclose(got.mse[index], want["mse"], rtol=1e-5)


def test_codes_are_drawn_from_the_posterior_anew_for_each_image() -> None:
    got = compiled(evaluate, LINEAR)(WRONG, ONE_IMAGE, KEY)
    noise: Any = np.asarray(got.code - got.mean) / (1.5 * np.sqrt(np.diag(S)))
    _, p = scipy.stats.kstest(noise.ravel(), "norm")
    assert p > 1e-6  # the share of keys that would be further off
    assert abs(noise.prod(1).mean()) < SE / math.sqrt(MANY)  # of independent units, 0
    assert len(np.unique(got.code, axis=0)) == MANY


def test_noise_is_a_function_of_the_key() -> None:
    params = random_params(BINARIZED)
    first, same, other = (
        compiled(evaluate, BINARIZED, batch_size=1000)(params, IMAGES, jax.random.key(seed))
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.neg_elbo, same.neg_elbo)
    assert (first.code != other.code).all()
    assert not np.array_equal(first.mean, other.mean)  # the pixels were drawn anew too


def test_an_ae_has_no_elbo_and_no_noise() -> None:
    got = compiled(evaluate, AE)(random_params(AE), IMAGES, KEY)
    assert np.isnan(got.neg_elbo).all()
    assert np.isnan(got.kl).all()
    assert np.isfinite(got.recon).all()
    assert np.isfinite(got.mse).all()
    np.testing.assert_array_equal(got.code, got.mean)
    with pytest.raises(LabError, match="An AE has no likelihood"):
        importance_nll(AE, random_params(AE), IMAGES, KEY)


@pytest.mark.parametrize(("shift", "widening"), [(0.0, 1.0), (0.3, 1.5)])
def test_the_elbo_of_a_linear_model_has_its_closed_form_on_average(shift, widening) -> None:
    params = linear_params(shift, widening)
    got = np.float64(compiled(evaluate, LINEAR)(params, ONE_IMAGE, KEY).neg_elbo)
    (exact,) = linear_neg_elbo(FEW[:1], shift, widening)
    assert abs(got.mean() - exact) < SE * got.std() / math.sqrt(MANY)


def test_a_linear_decoder_has_its_expected_error_in_closed_form() -> None:
    """The average over many codes of one image."""
    error, kl, mean = compiled(elbo.linear_decoder_terms, LINEAR)(WRONG, FEW, KEY)
    drawn = compiled(evaluate, LINEAR)(WRONG, ONE_IMAGE, KEY)
    squared = 12 * np.float64(drawn.mse)
    assert abs(squared.mean() - error[0]) < SE * squared.std() / math.sqrt(MANY)
    np.testing.assert_allclose(kl[0], drawn.kl[0].sum(), rtol=1e-5)
    np.testing.assert_allclose(mean[0], drawn.mean[0], rtol=1e-5)


def test_one_importance_sample_is_the_elbo_on_average() -> None:
    got = compiled(importance_nll, LINEAR, samples=1)(WRONG, ONE_IMAGE, KEY)
    (exact,) = linear_neg_elbo(FEW[:1], 0.3, 1.5)
    nll = np.float64(got.nll)
    assert abs(nll.mean() - exact) < SE * nll.std() / math.sqrt(MANY)
    np.testing.assert_allclose(got.effective_samples, 1, rtol=1e-5)


@pytest.mark.parametrize("samples", [1, 7])
def test_the_exact_posterior_gives_the_exact_likelihood_with_any_samples(samples: int) -> None:
    """Every weight is p(x) itself, so all of them count. The number of samples and the batch size
    are static arguments, which pass through the lanes."""
    function = over_lanes(importance_nll, LINEAR, samples, 4)
    got = function(stacked(EXACT), FEW, KEY)
    np.testing.assert_allclose(got.nll[0], NLL, rtol=1e-5)
    np.testing.assert_allclose(got.effective_samples[0], samples, rtol=1e-4)


def test_many_samples_find_the_likelihood_with_a_wrong_posterior() -> None:
    got = compiled(importance_nll, LINEAR, samples=MANY)(WRONG, FEW, KEY)
    # the delta method: the variance of log mean(w) is var(w) / (k mean(w)^2) = 1 / ESS - 1 / k
    standard_error = np.sqrt(1 / np.float64(got.effective_samples) - 1 / MANY)
    assert standard_error.max() < 0.01
    assert (abs(np.float64(got.nll) - NLL) < SE * standard_error).all()
    # KL(q || p) of the wrong posterior is 0.73 nats, which one sample pays and many do not
    assert got.nll.mean() < linear_neg_elbo(FEW, 0.3, 1.5).mean() - 0.5


def test_reconstructions_are_decoded_from_posterior_means() -> None:
    """Binarized, so that the pixels drawn for each image count as well."""
    params = random_params(BINARIZED)

    @jax.jit
    def directly(images: Any) -> Any:
        keys = jax.vmap(partial(jax.random.fold_in, KEY))(jnp.arange(N))
        x = jax.vmap(partial(model.to_pixels, BINARIZED))(images, keys)
        return model.images_of(BINARIZED, params, model.encode(BINARIZED, params, x).mean)

    got = compiled(elbo.reconstructions, BINARIZED, batch_size=1000)(params, IMAGES, KEY)
    np.testing.assert_allclose(got, directly(IMAGES), rtol=1e-4, atol=1e-6)


def test_a_summary_averages_over_images() -> None:
    evaluation = side_by_side(evaluate, CONFIG)
    got = elbo.summary(evaluation)
    distances = activity.code_distance_to_prior(evaluation.code)
    for lane in range(2):
        one = jax.tree.map(lambda figure, lane=lane: np.asarray(figure)[lane], evaluation)
        want = {
            "neg_elbo_nats": np.mean(one.neg_elbo),
            "recon_nats": np.mean(one.recon),
            "kl_nats": np.sum(one.kl) / N,
            "mse": np.mean(one.mse),
            "active_units": (np.var(one.mean, axis=0) > 0.01).sum(),
            "kl_per_unit_nats": np.mean(one.kl, axis=0),
            "code_distance_to_prior": distances[lane],
        }
        assert got.keys() == want.keys()
        for name, value in want.items():
            np.testing.assert_allclose(got[name][lane], value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(got["neg_elbo_nats"], got["recon_nats"] + got["kl_nats"], rtol=1e-5)


def test_the_fitted_variance_of_a_lane_is_its_mean_squared_error() -> None:
    """In units of the pixel range: the second model always outputs 0, the middle of [-1, 1]."""
    model_of_0 = jax.tree.map(np.zeros_like, random_params(SIGNED))
    lanes = stacked(random_params(SIGNED), model_of_0)
    got = elbo.fitted_variance(SIGNED, lanes, IMAGES, KEY)
    own_mse = np.asarray(side_by_side(evaluate, SIGNED).mse)[0].mean()
    mse_of_0 = np.square(FEW / 255 - 0.5).mean()
    np.testing.assert_allclose(np.square(got.sigma), [4 * own_mse, 4 * mse_of_0], rtol=1e-5)
    np.testing.assert_allclose(np.exp(got.params["log_sigma"]), got.sigma, rtol=1e-6)
    assert got.config == replace(SIGNED, decoder_variance="learned")
    assert got.params.keys() - lanes.keys() == {"log_sigma"}


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
def test_the_error_of_the_mean_image_is_the_variance_of_the_pixels(count: int) -> None:
    """Of any other image: that, and the squared distance from the mean."""
    images = RNG.integers(0, 256, (count, 48), np.uint8)
    mean = (images / 255).mean(0)
    variance = (images / 255).var(0).mean()
    got = elbo.constant_mse(mean.reshape(4, 4, 3), images)
    np.testing.assert_allclose(got, variance, rtol=1e-6, atol=1e-12)
    off = RNG.normal(size=48)
    got = elbo.constant_mse((mean + off).reshape(4, 4, 3), images)
    np.testing.assert_allclose(got, variance + np.square(off).mean(), rtol=1e-6)


@pytest.mark.parametrize("function", [evaluate, importance_nll])
def test_matrix_products_run_at_full_precision(function: Any) -> None:
    jaxpr = str(jax.make_jaxpr(partial(function, CONFIG))(random_params(CONFIG), IMAGES, KEY))
    products = re.findall(r"dot_general\[.*?\]", jaxpr, re.DOTALL)
    assert len(products) == 4  # two layers each of the encoder and of the decoder
    assert jaxpr.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 4
