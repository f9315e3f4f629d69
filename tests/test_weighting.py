"""vaejax.theory.weighting: losses of public code, written out as they stand there, against
`vaejax.loss` with the weights that they are converted to."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import xlogy

from experiments.advise import AdviseFlags
from tests.test_readme import parse
from vaejax import loss
from vaejax.config import Config, Knobs, knobs
from vaejax.errors import LabError
from vaejax.theory.advice import elbo_ratio, written_sigma
from vaejax.theory.weighting import WrittenLoss, lab_weights, written_kl_weight

PAGE = Path(__file__).parents[1] / "docs" / "your_loss.md"
GREY, COLOUR = (4, 3, 1), (4, 3, 3)
"""Image shapes of the nets below."""
LATENT = 5
BATCH = 6


class Outputs(NamedTuple):
    """Of a net, for a batch of images."""

    y: jax.Array
    """Decoded images, [batch, height, width, channels], in the pixel range of the loss."""
    mean: jax.Array
    logvar: jax.Array


Terms = tuple[jax.Array, jax.Array]
"""What a loss adds up: its weighted error and its weighted KL."""


def bce(y: jax.Array, x: jax.Array) -> jax.Array:
    return -(xlogy(x, y) + xlogy(1 - x, 1 - y))


def negative_kl(out: Outputs) -> jax.Array:
    """Twice the negative KL of each unit, as most of this code has it."""
    return 1 + out.logvar - out.mean**2 - jnp.exp(out.logvar)


def pytorch_example(out: Outputs, x: jax.Array) -> Terms:
    return bce(out.y, x).sum(), -0.5 * negative_kl(out).sum()


def pytorch_example_2017(out: Outputs, x: jax.Array) -> Terms:
    return bce(out.y, x).mean(), -0.5 * negative_kl(out).sum() / (len(x) * x[0].size)


def keras_example(out: Outputs, x: jax.Array) -> Terms:
    error = bce(out.y, x).mean(-1).sum((1, 2)).mean()  # keras.losses average the last axis
    return error, (-0.5 * negative_kl(out)).sum(1).mean()


def keras_blog(out: Outputs, x: jax.Array) -> Terms:
    flat, y = x.reshape(len(x), -1), out.y.reshape(len(x), -1)
    return bce(y, flat).mean(-1).mean(), (-0.5 * negative_kl(out).mean(-1)).mean()


def world_models_keras(out: Outputs, x: jax.Array) -> Terms:
    error = 1000 * jnp.square(x - out.y).mean((1, 2, 3))
    return error.mean(), (-0.5 * negative_kl(out).mean(-1)).mean()


def pythae(out: Outputs, x: jax.Array) -> Terms:
    error = 0.5 * jnp.square(out.y - x).reshape(len(x), -1).sum(-1)
    return error.mean(0), (-0.5 * negative_kl(out).sum(-1)).mean(0)


def pytorch_vae(out: Outputs, x: jax.Array) -> Terms:
    kl = (-0.5 * negative_kl(out).sum(1)).mean(0)
    return jnp.square(out.y - x).mean(), 0.00025 * kl


def flax_example(out: Outputs, x: jax.Array) -> Terms:
    log = jax.nn.log_sigmoid(jnp.log(out.y / (1 - out.y)))  # their net returns logits
    error = -(x * log + (1 - x) * jnp.log(-jnp.expm1(log))).reshape(len(x), -1).sum(-1)
    return error.mean(), (-0.5 * negative_kl(out).sum(-1)).mean()


def lightning_bolts(out: Outputs, x: jax.Array) -> Terms:
    std = jnp.exp(out.logvar / 2)  # torch.distributions.kl_divergence(q, p) of each unit
    kl = 0.5 * (std**2 + out.mean**2 - 1 - jnp.log(std**2))
    return jnp.square(out.y - x).mean(), kl.mean() * 0.1


def autoencoder_kl_squared(out: Outputs, x: jax.Array) -> Terms:
    """With squares in place of absolute values, logvar 0, and neither LPIPS nor discriminator."""
    kl = 0.5 * (out.mean**2 + jnp.exp(out.logvar) - 1 - out.logvar).sum(1)
    return jnp.square(x - out.y).sum() / len(x), 1e-6 * kl.sum() / len(x)


def mean_and_sum(out: Outputs, x: jax.Array) -> Terms:
    """`F.mse_loss(y, x)` and a `torch.sum` over units and batch: a frequent mistake."""
    return jnp.square(out.y - x).mean(), -0.5 * negative_kl(out).sum()


def standardized(out: Outputs, x: jax.Array) -> Terms:
    return jnp.square(out.y - x).mean(), -0.5 * negative_kl(out).sum(1).mean()


class Code(NamedTuple):
    """A loss in public code."""

    terms: Callable[[Outputs, jax.Array], Terms]
    loss: WrittenLoss
    over_batch: bool = False
    """Both terms are summed over the batch: the loss is that of the lab times its size."""
    shape: tuple[int, int, int] = GREY


def written(error: Any, pixels: Any, kl: Any, **more: Any) -> WrittenLoss:
    return WrittenLoss(error=error, pixels=pixels, kl=kl, **more)


ELBO = written("bce", "sum", "sum")
CODES = {
    "PyTorch example": Code(pytorch_example, ELBO, over_batch=True),
    "PyTorch example of 2017": Code(pytorch_example_2017, written("bce", "mean", "pixels")),
    "Keras example": Code(keras_example, written("bce", "positions", "sum"), shape=COLOUR),
    "Keras blog": Code(keras_blog, written("bce", "mean", "mean", latent_size=LATENT)),
    "World models in Keras": Code(
        world_models_keras,
        written("mse", "mean", "mean", error_weight=1000.0, latent_size=LATENT),
        shape=COLOUR,
    ),
    "pythae": Code(pythae, written("half_mse", "sum", "sum"), shape=COLOUR),
    "PyTorch-VAE": Code(
        pytorch_vae, written("mse", "mean", "sum", kl_weight=0.00025), shape=COLOUR
    ),
    "flax example": Code(flax_example, ELBO),
    "lightning-bolts": Code(
        lightning_bolts,
        written("mse", "mean", "mean", kl_weight=0.1, latent_size=LATENT),
        shape=COLOUR,
    ),
    "AutoencoderKL, squared": Code(
        autoencoder_kl_squared,
        written("mse", "sum", "sum", kl_weight=1e-6, pixel_std=0.5),
        shape=COLOUR,
    ),
    "mean next to a sum over the batch": Code(
        mean_and_sum, written("mse", "mean", "sum", kl_batch="sum", batch_size=4)
    ),
    "standardized pixels": Code(standardized, written("mse", "mean", "sum", pixel_std=0.3081)),
}


class Net(NamedTuple):
    """A linear encoder and decoder."""

    encoder: jax.Array
    decoder: jax.Array


def net(shape: tuple[int, int, int], seed: int) -> Net:
    rng, size = np.random.default_rng(seed), int(np.prod(shape))
    return Net(*(jnp.asarray(rng.normal(0, 0.5, s)) for s in ((size, 2 * LATENT), (LATENT, size))))


def outputs(parameters: Net, x: jax.Array) -> tuple[jax.Array, Outputs]:
    """Logits [batch, pixels], and what code with pixels in [0, 1] has."""
    mean, logvar = jnp.split(x.reshape(len(x), -1) @ parameters.encoder, 2, axis=1)
    z = mean + jnp.exp(logvar / 2) * jax.random.normal(jax.random.key(3), mean.shape)
    logits = z @ parameters.decoder
    return logits, Outputs(jax.nn.sigmoid(logits).reshape(x.shape), mean, logvar)


def theirs(code: Code, parameters: Net, x: jax.Array) -> Terms:
    _, out = outputs(parameters, x)
    shift, std = (0.5, code.loss.pixel_std) if code.loss.pixel_std != 1 else (0.0, 1.0)
    return code.terms(out._replace(y=(out.y - shift) / std), (x - shift) / std)


def lab(code: Code) -> tuple[Config, Knobs]:
    config = Config(
        image_shape=code.shape,
        latent_size=LATENT,
        likelihood="bernoulli" if code.loss.error == "bce" else "gaussian",
    )
    weights = lab_weights(code.loss, code.shape)
    return config, knobs(config, **weights._asdict())


def ours(code: Code, parameters: Net, x: jax.Array) -> Terms:
    """The terms of `loss.objective`, averaged over the batch."""
    config, lane = lab(code)
    logits, out = outputs(parameters, x)
    error = loss.reconstruction_error(config, logits, x.reshape(len(x), -1))
    kl = loss.kl_divergence(out.mean, out.logvar)
    none, step = jnp.zeros(()), jnp.int32(0)
    terms = [
        loss.objective(config, lane, *only, none, step).mean()
        for only in ((error, 0 * kl), (0 * error, kl))
    ]
    return terms[0], terms[1]


@pytest.mark.parametrize("name", CODES)
def test_a_loss_and_its_gradients_are_those_of_the_lab_by_one_factor(name) -> None:
    """Of both terms, of the error and of the KL alone, since one may be a millionth of the other.
    The batch is of no size that a loss has in it."""
    code = CODES[name]
    if code.loss.batch_size:
        code = code._replace(loss=replace(code.loss, batch_size=BATCH))
    factor = BATCH if code.over_batch else 1
    x = jnp.asarray(np.random.default_rng(10).uniform(0.01, 0.99, (BATCH, *code.shape)))

    @jax.jit
    def terms_and_gradients(net: Net) -> list[Any]:
        both = [partial(loss_of, code, x=x) for loss_of in (theirs, ours)]
        return [(*terms(net), *jax.jacrev(terms)(net)) for terms in both]

    for got, want in zip(*terms_and_gradients(net(code.shape, 0)), strict=True):
        their_leaves, our_leaves = jax.tree.leaves(got), jax.tree.leaves(want)
        assert float(jnp.abs(our_leaves[0]).max()) > 0
        for their_leaf, our_leaf in zip(their_leaves, our_leaves, strict=True):
            atol = 1e-5 * factor * float(jnp.abs(our_leaf).max())
            np.testing.assert_allclose(their_leaf, factor * our_leaf, rtol=1e-4, atol=atol)


def test_the_batch_size_is_a_weight_where_they_are_not() -> None:
    kl_summed = replace(ELBO, kl_batch="sum", batch_size=64)
    error_summed = replace(ELBO, error_batch="sum", batch_size=64)
    assert lab_weights(kl_summed, GREY).ratio == lab_weights(ELBO, GREY).ratio / 64
    assert lab_weights(error_summed, GREY).ratio == lab_weights(ELBO, GREY).ratio * 64


@pytest.mark.parametrize("name", CODES)
def test_the_weight_to_write_gives_the_balance_that_was_asked_for(name) -> None:
    code = CODES[name]
    weight = written_kl_weight(code.loss, code.shape, 123.0)
    changed = replace(code.loss, kl_weight=weight)
    np.testing.assert_allclose(lab_weights(changed, code.shape).ratio, 123, rtol=1e-12)


@pytest.mark.parametrize("name", CODES)
def test_beta_and_sigma_are_those_of_the_lab_in_the_pixel_range_of_the_loss(name) -> None:
    code = CODES[name]
    config, lane = lab(code)
    std, ratio = code.loss.pixel_std, lab_weights(code.loss, code.shape).ratio
    beta = elbo_ratio(code.loss, code.shape) / ratio
    np.testing.assert_allclose(beta * std**2, loss.effective_beta(config, lane), rtol=1e-6)
    sigma = written_sigma(code.loss, code.shape, ratio)
    want = float(loss.effective_sigma(config, lane)) / std
    np.testing.assert_allclose(np.nan if sigma is None else sigma, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"error": "l1"}, "median"),
        ({"error_weight": 0.0}, "error_weight=0"),
        ({"kl_weight": -1.0}, "kl_weight=-1"),
        ({"kl_weight": float("nan")}, "kl_weight=nan"),
        ({"error_weight": float("inf")}, "error_weight=inf"),
        ({"pixel_std": 0.0}, "pixel_std=0"),
        ({"pixel_std": 0.5}, "error='bce' needs pixels in"),
        ({"kl": "mean"}, "give latent_size"),
        ({"latent_size": 0}, "latent_size=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"kl_batch": "sum"}, "give batch_size"),
    ],
)
def test_what_is_no_loss_is_refused_in_one_line(changes, message) -> None:
    with pytest.raises(LabError, match=re.escape(message)) as refused:
        replace(ELBO, **changes)
    assert "\n" not in str(refused.value)


def rows() -> list[list[str]]:
    """Of the table of public code: name, flags, image shape, recon_scale, beta, sigma."""
    found = re.findall(r"^\| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return [cells for cells in (row.split(" | ") for row in found) if cells[1].startswith("`--")]


def test_every_row_of_the_page_is_checked_above() -> None:
    """The flags in it describe the loss whose terms are compared, but for the sizes of its own."""
    shown = {re.sub(r"^\[(.*?)\].*", r"\1", row[0]): row for row in rows()}
    assert shown.keys() == CODES.keys() - {"standardized pixels"}
    for name, (_, arguments, shape, ratio, beta, sigma) in shown.items():
        flags = parse("experiments.advise", arguments.strip("`").split())
        assert isinstance(flags, AdviseFlags)
        own = flags.written()
        tested = replace(CODES[name].loss, latent_size=own.latent_size, batch_size=own.batch_size)
        assert own == tested
        height, width, channels = map(int, shape.split(" x "))
        image_shape = height, width, channels
        found = lab_weights(own, image_shape).ratio
        assert ratio == f"{found:.6g}"
        assert beta == f"{elbo_ratio(own, image_shape) / found:.6g}"
        width_of_decoder = written_sigma(own, image_shape, found)
        assert sigma == ("-" if width_of_decoder is None else f"{width_of_decoder:.4g}")
