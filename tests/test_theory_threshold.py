"""The thresholds of vaejax.theory against the second derivatives of the training objective at the
collapsed solution: the posterior is the prior, and the output the best constant image."""

from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_elbo import random_params
from vaejax import loss, model, theory
from vaejax.config import Config, Knobs, knobs

LINEAR = Config(
    image_shape=(2, 2, 1),
    latent_size=1,
    encoder_widths=(),
    decoder_widths=(),
    likelihood="gaussian",
    output="linear",
)
SIGNED = replace(LINEAR, pixel_range="signed", output="tanh")
SIGMOID = replace(LINEAR, output="sigmoid")
LEARNED = replace(LINEAR, decoder_variance="learned")
BERNOULLI = replace(LINEAR, likelihood="bernoulli", output="sigmoid")
BINARIZED = replace(BERNOULLI, binarize=True)
DEEP = replace(
    BERNOULLI,
    encoder_widths=(5,),
    decoder_widths=(4, 4),
    encoder_activation="tanh",
    decoder_activation="tanh",
)
LINEAR_NETS = [LINEAR, SIGNED, SIGMOID, LEARNED, BERNOULLI, BINARIZED]
NAMES = ["linear", "tanh, signed", "sigmoid", "learned variance", "bernoulli", "binarized"]

MIXING = np.array([[160, 120, 0, 30], [0, 90, -70, 30], [0, 0, 80, 40], [0, 0, 0, 60]])
DRAWS = np.random.default_rng(1).uniform(-1, 1, (30, 4)) @ MIXING
MANY = np.clip(128 + DRAWS, 1, 254).astype(np.uint8)
TWO = np.resize([MANY[0], 255 - MANY[0]], MANY.shape)
ROUNDING = 1e-12


@pytest.fixture(autouse=True, scope="module")
def _in_double_precision():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def inputs(config: Config, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All inputs that the model may see, and their probabilities: the images, or, if pixels are
    drawn, all images of black and white pixels."""
    if not config.binarize:
        x = model.to_pixels(config, jnp.asarray(images), jax.random.key(0))
        return np.asarray(x, float), np.full(len(images), 1 / len(images))
    drawn = np.array(list(product((0.0, 1.0), repeat=4)))
    chance = np.where(drawn[:, None] == 1, images / 255, 1 - images / 255).prod(-1)
    return drawn, chance.mean(1)


@cache
def curvatures(config: Config) -> Any:
    """A compiled function of inputs, their probabilities and knobs. It returns the Hessian at the
    collapsed solution, and the steepest slope there, of the objective averaged over inputs and over
    codes (by Gauss-Hermite quadrature). Hidden layers have random weights."""
    nodes, masses = np.polynomial.hermite_e.hermegauss(60)
    params = jax.tree.map(np.float64, random_params(config))
    for net in ("encoder", "decoder"):
        layers = params[net]["params"]
        last = f"Dense_{len(layers) - 1}"
        layers[last] = jax.tree.map(np.zeros_like, layers[last])
    logits_of = {
        "linear": lambda mean: mean,
        "sigmoid": jax.scipy.special.logit,
        "tanh": jnp.arctanh,
    }

    def objective(params: model.Params, x: jax.Array, chance: jax.Array, weights: Knobs) -> Any:
        mean, logvar = model.encode(config, params, x)

        def error_at(node: jax.Array) -> jax.Array:
            logits = model.decode(config, params, mean + jnp.exp(logvar / 2) * node)
            return chance @ loss.reconstruction_error(config, logits, x)

        errors = jax.vmap(error_at)(jnp.asarray(nodes))
        error = errors @ (masses / masses.sum())
        kl, log_sigma = chance @ loss.kl_divergence(mean, logvar), model.log_sigma(config, params)
        return loss.objective(config, weights, error, kl, log_sigma, jnp.zeros((), int))

    @jax.jit
    def of(x: jax.Array, chance: jax.Array, weights: Knobs) -> tuple[jax.Array, jax.Array]:
        best = chance @ x
        params["decoder"]["params"][last]["bias"] = logits_of[config.output](best)
        if "log_sigma" in params:
            params["log_sigma"] = jnp.log(chance @ jnp.square(x - best).mean(-1)) / 2
        flat, tree = jax.flatten_util.ravel_pytree(params)

        def slopes(flat: jax.Array) -> tuple[jax.Array, jax.Array]:
            found = jax.grad(lambda flat: objective(tree(flat), x, chance, weights))(flat)
            return found, found

        hessian, slope = jax.jacfwd(slopes, has_aux=True)(flat)
        return hessian, jnp.abs(slope).max()

    return of


def at(config: Config, images: np.ndarray, scale: float, kl_weight: float = 1.0) -> np.ndarray:
    """The eigenvalues of the Hessian."""
    weights = knobs(config, recon_scale=scale, kl_weight=kl_weight)
    hessian, slope = curvatures(config)(*inputs(config, images), weights)
    assert slope < ROUNDING * scale  # a stationary point
    return np.linalg.eigvalsh(hessian)


@pytest.mark.parametrize("images", [MANY, TWO], ids=["many", "two"])
@pytest.mark.parametrize(
    ("config", "saddle"),
    [*((config, 1.005) for config in LINEAR_NETS), (DEEP, 4.0)],
    ids=[*NAMES, "deep"],
)
def test_the_collapsed_solution_is_stable_below_the_threshold_and_a_saddle_above(
    config: Config, saddle: float, images: np.ndarray
) -> None:
    """It is stable below whatever the net is. With a linear net it is a saddle just above. Other
    nets have random hidden layers, which fit the direction that pays only in part: with them it is
    a saddle at a larger multiple of the threshold."""
    first = float(theory.thresholds(config, images, 1)[0])
    for kl_weight in (1.0, 0.3):
        below, above = (
            at(config, images, multiple * kl_weight * first, kl_weight)[0]
            for multiple in (0.995, saddle)
        )
        assert below > -ROUNDING
        assert above < -ROUNDING


@pytest.mark.parametrize("config", LINEAR_NETS, ids=NAMES)
def test_every_threshold_adds_a_direction_in_which_the_collapsed_solution_falls(
    config: Config,
) -> None:
    """There is one unit, which may take any of the directions that pay: so many second derivatives
    are negative."""
    thresholds = theory.thresholds(config, MANY, 4)
    assert (thresholds[1:] > 1.02 * thresholds[:-1]).all()
    for paying, threshold in enumerate(thresholds):
        for multiple, want in ((0.995, paying), (1.005, paying + 1)):
            scale = float(multiple * threshold)
            assert (at(config, MANY, scale) < -ROUNDING).sum() == want
            assert theory.predicted_units(thresholds, scale, 1.0, 4) == want
