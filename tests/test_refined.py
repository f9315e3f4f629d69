"""measure.refined: closed forms of a linear Gaussian model of three units, and a grid at two.

With decoder `x = z W + b + N(0, s^2 I)`, `p(x) = N(b, W^T W + s^2 I)`, and the posterior of the
code is Gaussian with the precision `P = I + W W^T / s^2`. Of all Gaussians with independent units
the best has its mean and the variances `1 / P_ii`, and lacks `(sum log P_ii - log det P) / 2`
nats.
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from tests.test_elbo import AE, BINARIZED, FEW, KEY, SE, dense, random_params, stacked
from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.measure.batched import over_lanes
from vaejax.measure.elbo import importance_nll
from vaejax.measure.grid import grid_nll
from vaejax.measure.refined import RefinedEstimate, refined_nll

CONFIG = Config(
    image_shape=(4, 3, 1), latent_size=3, encoder_widths=(), decoder_widths=(),
    likelihood="gaussian", output="linear", decoder_variance="learned", pixel_range="signed",
)  # fmt: skip
IMAGES = np.tile(FEW, (10, 1))
X = IMAGES / 127.5 - 1
SIGMA = 0.6
RNG = np.random.default_rng(3)
W, B = RNG.normal(size=(3, 12)) / 2, RNG.normal(size=12) / 2
PRECISION = np.eye(3) + W @ W.T / SIGMA**2
COVARIANCE = np.linalg.inv(PRECISION)
gaussian: Any = multivariate_normal
NLL = -gaussian(B, W.T @ W + SIGMA**2 * np.eye(12)).logpdf(X)
LACKING = (np.log(np.diag(PRECISION)).sum() - np.linalg.slogdet(PRECISION)[1]) / 2
OFF, TOO_WIDE = 0.4, 2.0  # the encoder's means, and its deviations


def linear_params(off: float, wide: float) -> Any:
    """An encoder that is as good as one with independent units can be, or off and too wide."""
    to_mean = W.T @ COVARIANCE / SIGMA**2
    kernel = np.hstack([to_mean, np.zeros((12, 3))])
    logvar = 2 * np.log(wide) - np.log(np.diag(PRECISION))
    encoder = dense(kernel, np.concatenate([off - B @ to_mean, logvar]))
    return {"encoder": encoder, "decoder": dense(W, B), "log_sigma": np.float32(np.log(SIGMA))}


@cache
def of_linear() -> tuple[RefinedEstimate, RefinedEstimate]:
    """Of the best encoder, and of the one that is off."""
    lanes = stacked(linear_params(0.0, 1.0), linear_params(OFF, TOO_WIDE))
    found = over_lanes(refined_nll, CONFIG, 200, 200, 1)(lanes, IMAGES, KEY)
    best, wrong = (
        jax.tree.map(lambda part, lane=lane: np.float64(part[lane]), found) for lane in (0, 1)
    )
    return best, wrong


def test_the_refined_posterior_is_the_best_gaussian_with_independent_units() -> None:
    for found in of_linear():
        gap = found.refined_neg_elbo - NLL
        error = gap.std() / np.sqrt(len(gap))
        assert abs(gap.mean() - LACKING) < SE * error + 0.02
    assert LACKING > 0.1


def test_the_nll_is_that_of_the_marginal_gaussian() -> None:
    for found in of_linear():
        standard_error = np.sqrt(1 / found.effective_samples - 1 / 200)
        assert (abs(found.nll - NLL) < SE * standard_error).all()
        assert abs((found.nll - NLL).mean()) < 0.02


def test_the_elbo_of_the_encoder_has_its_closed_form() -> None:
    """`-log p(x) + KL(q(z | x) || p(z | x))`, the latter between Gaussians."""
    best, wrong = of_linear()
    shift = np.full(3, OFF)
    more = shift @ PRECISION @ shift / 2 + 3 * (TOO_WIDE**2 - 1 - 2 * np.log(TOO_WIDE)) / 2
    for found, want in ((best, LACKING), (wrong, LACKING + more)):
        gap = found.neg_elbo - NLL
        assert abs(gap.mean() - want) < SE * gap.std() / np.sqrt(len(gap))


def test_the_best_encoder_has_no_amortization_gap() -> None:
    best, _ = of_linear()
    assert abs((best.neg_elbo - best.refined_neg_elbo).mean()) < 0.02


@cache
def of_mlp() -> dict[str, Any]:
    """A Bernoulli model of two units whose encoder is not trained, by three measures: the NLL."""
    params = jax.tree.map(lambda leaf: 2 * leaf[None], random_params(BINARIZED))
    grid = over_lanes(grid_nll, BINARIZED, 201)(params, IMAGES, KEY)
    importance = over_lanes(importance_nll, BINARIZED, 200)(params, IMAGES, KEY)
    return {
        "grid": np.asarray(grid.nll[0]),
        "importance": np.asarray(importance.nll[0]),
        "refined": over_lanes(refined_nll, BINARIZED)(params, IMAGES, KEY),
    }


def test_at_two_units_the_nll_is_that_of_the_grid() -> None:
    """Of the same pixels, which are drawn. The encoder alone misses it by much."""
    found = of_mlp()
    off = np.asarray(found["refined"].nll[0]) - found["grid"]
    assert abs(off.mean()) < 0.02
    assert abs(off).max() < 0.5
    assert (found["importance"] - found["grid"]).mean() > 0.5


def test_every_bound_is_below_the_one_before() -> None:
    """On average: of single images they are estimates."""
    found = of_mlp()["refined"]
    assert found.neg_elbo.mean() > found.refined_neg_elbo.mean() + 1
    assert found.refined_neg_elbo.mean() > found.nll.mean()
    assert jnp.all((found.effective_samples > 0.99) & (found.effective_samples < 201))


def test_an_ae_is_refused() -> None:
    with pytest.raises(LabError, match="An AE has no likelihood"):
        refined_nll(AE, random_params(AE), IMAGES, KEY)
