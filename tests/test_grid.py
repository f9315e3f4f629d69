"""vaejax.measure.grid: the likelihood of models whose evidence is known, and of one that draws."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import vaejax as vj
from vaejax import loss, model
from vaejax.config import Config
from vaejax.errors import LabError

LINEAR = Config(
    image_shape=(1, 5, 1), latent_size=2, encoder_widths=(), decoder_widths=(),
    likelihood="gaussian", output="linear",
)  # fmt: skip
MLP = Config(image_shape=(1, 5, 1), latent_size=2, encoder_widths=(7,), decoder_widths=(7,))
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 5), dtype=np.uint8)
KEY = jax.random.key(4)
grid_nll, importance_nll = (
    jax.jit(function, static_argnums=(0, 4))
    for function in (vj.measure.grid_nll, vj.measure.importance_nll)
)


def params_of(config: Config, scale: float, log_sigma: float = -0.7) -> Any:
    """Weights `scale` times as large as those of a fresh net, so that codes matter."""
    rng = np.random.default_rng(0)

    def drawn(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        spread = scale / np.sqrt(leaf.shape[0]) if len(leaf.shape) == 2 else 0.0
        return jnp.asarray(spread * rng.normal(size=leaf.shape), jnp.float32)

    grown = jax.tree.map(drawn, jax.eval_shape(partial(model.init, config), KEY))
    learned = config.decoder_variance == "learned"
    return grown | ({"log_sigma": jnp.asarray(log_sigma)} if learned else {})


@pytest.mark.parametrize(
    ("latent_size", "variance", "pixel_range"),
    [
        (1, "fixed", "unit"),
        (2, "fixed", "signed"),
        (1, "learned", "signed"),
        (2, "learned", "unit"),
    ],
)
def test_a_linear_model_has_the_evidence_of_a_gaussian(
    latent_size: int, variance: Any, pixel_range: Any
) -> None:
    config = replace(
        LINEAR, latent_size=latent_size, decoder_variance=variance, pixel_range=pixel_range
    )
    params = params_of(config, 1.5)
    found = grid_nll(config, params, IMAGES, KEY)
    dense = params["decoder"]["params"]["Dense_0"]
    kernel, sigma = np.asarray(dense["kernel"]), np.exp(model.log_sigma(config, params))
    covariance = kernel.T @ kernel + sigma**2 * np.eye(5)
    x = np.asarray(model.to_pixels(config, jnp.asarray(IMAGES), KEY))
    want = -multivariate_normal(np.asarray(dense["bias"]), covariance).logpdf(x)  # pyright: ignore
    np.testing.assert_allclose(found.nll, want, rtol=1e-4)
    assert np.max(found.error) < 1e-4


def test_draws_from_the_prior_agree() -> None:
    params = params_of(MLP, 2.0)
    found = grid_nll(MLP, params, IMAGES[:3], KEY, 201)
    codes = jax.random.normal(jax.random.key(9), (200_000, 2))
    x = model.to_pixels(MLP, jnp.asarray(IMAGES[:3]), KEY)

    @jax.jit
    def averaged(image: jax.Array) -> jax.Array:
        logits = model.decode(MLP, params, codes)
        repeated = jnp.broadcast_to(image, logits.shape)
        each = -loss.neg_log_likelihood(MLP, logits, repeated, jnp.zeros(()))
        return np.log(len(codes)) - jax.nn.logsumexp(each)

    for image, nll in zip(x, np.asarray(found.nll), strict=True):
        assert nll == pytest.approx(float(averaged(image)), abs=0.01)


def test_a_grid_that_is_too_coarse_says_so() -> None:
    config = replace(LINEAR, decoder_variance="learned")
    params = params_of(config, 3.0, -5.0)
    coarse = grid_nll(config, params, IMAGES, KEY, 41)
    assert np.median(coarse.error) > 1


@pytest.mark.parametrize("config", [replace(MLP, model="ae"), replace(MLP, latent_size=3)])
def test_an_ae_and_more_units_are_refused(config: Config) -> None:
    with pytest.raises(LabError, match="for VAEs of one or 2 latent units"):
        grid_nll(config, params_of(config, 1.0), IMAGES, KEY)
