"""The encoder and the decoder as pure functions of parameters: Flax MLPs, or nets of your own.

Images are flat here: `x` is [batch, D] in the pixel range of the config, `z` is [batch, latent].
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from vaejax.config import Config, Nets, Posterior
from vaejax.errors import LabError

Params = dict[str, Any]


class MLP(nn.Module):
    """Dense layers with an activation between them; the last layer is linear."""

    widths: tuple[int, ...]
    activation: str
    outputs: int

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        hidden = inputs
        for width in self.widths:
            hidden = getattr(nn, self.activation)(nn.Dense(width)(hidden))
        return nn.Dense(self.outputs)(hidden)


def _encoder(config: Config) -> MLP:
    return MLP(config.encoder_widths, config.encoder_activation, 2 * config.latent_size)


def _decoder(config: Config) -> MLP:
    return MLP(config.decoder_widths, config.decoder_activation, config.pixels)


def _init_mlps(config: Config, key: Key[Array, ""]) -> Params:
    encoder_key, decoder_key = jax.random.split(key)
    return {
        "encoder": _encoder(config).init(encoder_key, jnp.zeros(config.pixels)),
        "decoder": _decoder(config).init(decoder_key, jnp.zeros(config.latent_size)),
    }


def _encode_mlp(config: Config, params: Params, x: Float[Array, "batch pixels"]) -> Posterior:
    outputs: Any = _encoder(config).apply(params["encoder"], x)
    return Posterior(*jnp.split(outputs, 2, axis=-1))


def _decode_mlp(
    config: Config, params: Params, z: Float[Array, "batch latent"]
) -> Float[Array, "batch pixels"]:
    logits: Any = _decoder(config).apply(params["decoder"], z)
    return logits


MLP_NETS = Nets("mlp", _init_mlps, _encode_mlp, _decode_mlp)
"""The nets of a Config that names none."""


def init(config: Config, key: Key[Array, ""]) -> Params:
    """Fresh parameters. An AE and a VAE of one key start from the same ones."""
    params = (config.nets or MLP_NETS).init(config, key)
    if config.decoder_variance == "learned":
        params = {**params, "log_sigma": jnp.zeros(())}
    return params


def encode(config: Config, params: Params, x: Float[Array, "*batch pixels"]) -> Posterior:
    """The posterior q(z | x) of each image. Whatever the leading axes, the nets see one: the
    batch."""
    if config.centre_inputs and config.pixel_range == "unit":
        x = x - 0.5
    parts = (config.nets or MLP_NETS).encode(config, params, x.reshape(-1, config.pixels))
    return Posterior(*(part.reshape(*x.shape[:-1], config.latent_size) for part in parts))


def decode(
    config: Config, params: Params, z: Float[Array, "*batch latent"]
) -> Float[Array, "*batch pixels"]:
    """Logits; `mean_image` turns them into pixels."""
    logits = (config.nets or MLP_NETS).decode(config, params, z.reshape(-1, config.latent_size))
    return logits.reshape(*z.shape[:-1], config.pixels)


def to_pixels(
    config: Config, images: UInt8[Array, "*batch pixels"], key: Key[Array, ""]
) -> Float[Array, "*batch pixels"]:
    """Bytes to model input in the pixel range; `key` draws the pixels if the config binarizes.

    Raises:
        LabError: pixels of another type, which would be divided by 255 once more.
    """
    if images.dtype != jnp.uint8:
        raise LabError(f"The images are {images.dtype}: give uint8, from 0 to 255.")
    unit = images.astype(jnp.float32) / 255
    if config.binarize:
        return jax.random.bernoulli(key, unit).astype(jnp.float32)
    return 2 * unit - 1 if config.pixel_range == "signed" else unit


def to_unit(config: Config, x: Float[Array, "*batch pixels"]) -> Float[Array, "*batch pixels"]:
    """Pixels of the config's range as pixels in [0, 1]."""
    return (x + 1) / 2 if config.pixel_range == "signed" else x


def draw_code(
    config: Config, posterior: Posterior, key: Key[Array, ""]
) -> Float[Array, "*batch latent"]:
    """One code per image: a reparameterized sample (Kingma and Welling 2014); of an AE the mean."""
    if config.model == "ae":
        return posterior.mean
    noise = standard_normal(key, posterior.mean.shape)
    return posterior.mean + jnp.exp(posterior.logvar / 2) * noise


def draw_codes(
    posterior: Posterior, key: Key[Array, ""], count: int
) -> tuple[Float[Array, "count *batch latent"], Float[Array, "count *batch"]]:
    """So many codes per image, with `log q(z | x) - log p(z)` of each, in nats."""
    noise = standard_normal(key, (count, *posterior.mean.shape))
    z = posterior.mean + jnp.exp(posterior.logvar / 2) * noise
    return z, (jnp.square(z) - jnp.square(noise) - posterior.logvar).sum(-1) / 2


def standard_normal(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """What `jax.random.normal` draws, drawn as one row: XLA unrolls a loop over short rows, such as
    the codes of a batch, and takes four times as long to compile it on a CPU."""
    return jax.random.normal(key, (math.prod(shape),)).reshape(shape)


def log_sigma(config: Config, params: Params) -> Float[Array, ""]:
    """Log of the decoder's standard deviation, in units of the pixel range: 0 unless learned."""
    return params["log_sigma"] if config.decoder_variance == "learned" else jnp.zeros(())


def mean_image(
    config: Config, logits: Float[Array, "*batch pixels"]
) -> Float[Array, "*batch pixels"]:
    """The mean of p(x | z), in the pixel range."""
    outputs = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "linear": lambda logits: logits}
    return outputs[config.output](logits)


def images_of(
    config: Config, params: Params, z: Float[Array, "*batch latent"]
) -> Float[Array, "*batch pixels"]:
    """The mean images of codes, pixels in [0, 1]."""
    return to_unit(config, mean_image(config, decode(config, params, z)))


def sample(
    config: Config, params: Params, key: Key[Array, ""], count: int
) -> Float[Array, "count pixels"]:
    """Mean images, pixels in [0, 1], of codes drawn from the prior N(0, I)."""
    return images_of(config, params, standard_normal(key, (count, config.latent_size)))
