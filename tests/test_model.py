"""vaejax.model: the nets as functions, against a forward pass in numpy."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax import Array

from tests.conv_nets import CONV
from tests.test_elbo import random_params
from vaejax import model
from vaejax.config import Config, Nets

LINEAR = Config(image_shape=(4, 3, 1), latent_size=2, encoder_widths=(), decoder_widths=())
CONFIG = replace(LINEAR, encoder_widths=(7, 5), decoder_widths=(6,))
CONVOLUTIONAL = replace(CONFIG, image_shape=(4, 4, 1), nets=CONV)
SIGNED = replace(CONFIG, likelihood="gaussian", output="tanh", pixel_range="signed")
KEY = jax.random.key(0)
BYTES = np.arange(252, dtype=np.uint8).reshape(21, 12)
DRAWS = 100_000
encode, decode, images_of, to_pixels, draw_code = (
    jax.jit(function, static_argnums=0)
    for function in (
        model.encode, model.decode, model.images_of, model.to_pixels, model.draw_code
    )
)  # fmt: skip
SE = 5  # standard errors that a Monte Carlo estimate may be off: 6e-7 of all keys are further

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    "gelu": lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def forward(net: model.Params, activation: str, inputs: np.ndarray) -> np.ndarray:
    layers = [net["params"][name] for name in sorted(net["params"])]
    for index, layer in enumerate(layers):
        if index:
            inputs = ACTIVATIONS[activation](inputs)
        inputs = inputs @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
    return inputs


DENSE = [
    replace(CONFIG, encoder_activation=one, decoder_activation=other)
    for one, other in pairwise([*ACTIVATIONS, "relu"])
]


@pytest.mark.parametrize("config", [LINEAR, *DENSE])
def test_encode_and_decode_are_dense_layers_with_activations_between(config: Config) -> None:
    params = random_params(config)
    rng = np.random.default_rng(1)
    x, z = rng.random((3, 12), np.float32), rng.normal(size=(3, 2)).astype(np.float32)
    posterior = encode(config, params, jnp.asarray(x))
    outputs = forward(params["encoder"], config.encoder_activation, x)
    logits = forward(params["decoder"], config.decoder_activation, z)
    got = np.concatenate(posterior, -1)
    np.testing.assert_allclose(got, outputs, atol=1e-4)  # float32 sums of terms of up to 1e2
    got = decode(config, params, jnp.asarray(z))
    np.testing.assert_allclose(got, logits, atol=1e-4)


@pytest.mark.parametrize("config", [CONFIG, LINEAR, CONVOLUTIONAL])
@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3)])
def test_leading_axes_pass_through(config: Config, batch: tuple[int, ...]) -> None:
    def through(params: model.Params, x: Array) -> tuple[Array, ...]:
        posterior = model.encode(config, params, x)
        code = model.draw_code(config, posterior, KEY)
        return *posterior, code, model.images_of(config, params, code)

    shapes = jax.eval_shape(through, random_params(config), jnp.zeros((*batch, config.pixels)))
    sizes = (2, 2, 2, config.pixels)
    assert [array.shape for array in shapes] == [(*batch, size) for size in sizes]


@pytest.mark.parametrize("config", [CONFIG, LINEAR, CONVOLUTIONAL])
def test_an_encoder_of_centred_inputs_sees_pixels_less_a_half(config: Config) -> None:
    """And nothing else differs: the pixels themselves, which are what is reconstructed, do not."""
    centred, params = replace(config, centre_inputs=True), random_params(config)
    images = np.random.default_rng(2).integers(0, 256, (5, config.pixels), np.uint8)
    x = to_pixels(centred, images, KEY)
    np.testing.assert_array_equal(x, to_pixels(config, images, KEY))
    got, want = encode(centred, params, x), encode(config, params, x - 0.5)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert abs(got.mean - encode(config, params, x).mean).max() > 0.1
    codes = decode(centred, params, got.mean), decode(config, params, got.mean)
    np.testing.assert_array_equal(*codes)


def test_pixels_whose_middle_is_0_are_centred_as_they_are() -> None:
    params, x = random_params(SIGNED), to_pixels(SIGNED, BYTES, KEY)
    centred = replace(SIGNED, centre_inputs=True)
    got, want = (encode(config, params, x) for config in (centred, SIGNED))
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_nets_of_ones_own_see_a_batch_of_flat_images_or_codes_whatever_the_axes() -> None:
    seen = []

    def slices(config: Config, params: model.Params, x: Array) -> model.Posterior:
        seen.append(x.shape)
        return model.Posterior(x[:, :2], x[:, 2:4])

    def tiles(config: Config, params: model.Params, z: Array) -> Array:
        seen.append(z.shape)
        return jnp.tile(z, 6)

    config = replace(CONFIG, nets=Nets("slices", lambda config, key: {}, slices, tiles))
    x = jnp.asarray(np.arange(72, dtype=np.float32).reshape(2, 3, 12))
    posterior = model.encode(config, {}, x)
    np.testing.assert_array_equal(posterior.mean, x[..., :2])
    np.testing.assert_array_equal(posterior.logvar, x[..., 2:4])
    np.testing.assert_array_equal(model.decode(config, {}, posterior.mean), np.tile(x[..., :2], 6))
    np.testing.assert_array_equal(model.encode(config, {}, x[0, 1]).mean, x[0, 1, :2])
    assert seen == [(6, 12), (6, 2), (1, 12)]


def test_a_learned_sigma_is_a_parameter_beside_those_of_any_nets() -> None:
    learned = replace(CONVOLUTIONAL, likelihood="gaussian", decoder_variance="learned")
    shapes = jax.eval_shape(partial(model.init, learned), KEY)
    assert set(shapes) == {"encoder", "decoder", "log_sigma"}
    assert shapes["log_sigma"].shape == ()


def test_an_ae_and_a_vae_of_one_key_start_from_the_same_parameters() -> None:
    ae, vae, other = (
        jax.tree.leaves(jax.jit(partial(model.init, config))(jax.random.key(seed)))
        for config, seed in ((replace(LINEAR, model="ae"), 0), (LINEAR, 0), (LINEAR, 1))
    )
    assert all(np.array_equal(a, b) for a, b in zip(ae, vae, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(vae, other, strict=True) if a.ndim == 2)


def test_codes_have_the_mean_and_variance_of_the_posterior() -> None:
    mean, logvar = jnp.array([-2.0, 0.0, 3.0]), jnp.array([-4.0, 0.0, 1.5])
    config = replace(CONFIG, latent_size=3)
    posterior = model.Posterior(*(jnp.tile(moment, (DRAWS, 1)) for moment in (mean, logvar)))
    codes = np.float64(draw_code(config, posterior, KEY))
    variance = np.exp(np.float64(logvar))
    assert (abs(codes.mean(0) - mean) < SE * np.sqrt(variance / DRAWS)).all()
    assert (abs(codes.var(0) - variance) < SE * variance * math.sqrt(2 / DRAWS)).all()
    correlation = np.corrcoef(codes, rowvar=False)
    assert (abs(correlation - np.eye(3)) < SE / math.sqrt(DRAWS)).all()


def test_noise_is_what_jax_draws() -> None:
    np.testing.assert_array_equal(
        model.standard_normal(KEY, (4, 3, 2)), jax.random.normal(KEY, (4, 3, 2))
    )


@pytest.mark.parametrize(("config", "low"), [(CONFIG, 0), (SIGNED, -1)])
def test_pixels_fill_their_range_and_come_back(config: Config, low: int) -> None:
    ends = jnp.array([[0, 255]], jnp.uint8)
    np.testing.assert_array_equal(to_pixels(config, ends, KEY), [[low, 1]])
    x = to_pixels(config, BYTES, KEY)
    np.testing.assert_allclose(model.to_unit(config, x), np.float64(BYTES) / 255, atol=1e-7)


def test_binarized_pixels_are_bernoulli_draws_of_the_grey_ones() -> None:
    config = replace(CONFIG, binarize=True)
    grey = jnp.array([0, 1, 64, 128, 254, 255], jnp.uint8)
    x = np.asarray(to_pixels(config, jnp.tile(grey, (DRAWS, 1)), KEY))
    assert set(np.unique(x)) == {0, 1}
    p = np.float64(grey) / 255
    assert (abs(x.mean(0) - p) <= SE * np.sqrt(p * (1 - p) / DRAWS)).all()


@pytest.mark.parametrize(
    ("output", "function"),
    [("sigmoid", scipy.special.expit), ("tanh", np.tanh), ("linear", np.array)],
)
def test_the_mean_image_is_the_output_function_of_the_logits(output, function) -> None:
    config = replace(CONFIG, likelihood="gaussian", output=output)
    logits = np.linspace(-9, 9, 12, dtype=np.float32)
    mean = model.mean_image(config, jnp.asarray(logits))
    np.testing.assert_allclose(mean, function(np.float64(logits)), rtol=1e-5)


def test_samples_of_a_linear_gaussian_model_have_its_covariance() -> None:
    """x = W z + b with z from N(0, I) has mean b and covariance W W^T."""
    config = replace(LINEAR, likelihood="gaussian", output="linear")
    params = random_params(config)
    layer = jax.tree.map(np.float64, params["decoder"]["params"]["Dense_0"])
    samples = np.float64(model.sample(config, params, KEY, DRAWS))
    covariance = layer["kernel"].T @ layer["kernel"]
    variance = np.diag(covariance)
    assert (abs(samples.mean(0) - layer["bias"]) < SE * np.sqrt(variance / DRAWS)).all()
    # var(s_ij) = (C_ii C_jj + C_ij^2) / n
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / DRAWS)
    assert (abs(np.cov(samples, rowvar=False) - covariance) < SE * error).all()
