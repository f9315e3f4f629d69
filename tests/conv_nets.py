"""A small convolutional encoder and decoder, as nets of one's own: `Config(nets=CONV)`."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

import vaejax as vj

CHANNELS = 4


class Encoder(nn.Module):
    latent_size: int

    @nn.compact
    def __call__(self, images: Array) -> Array:
        hidden = nn.relu(nn.Conv(CHANNELS, (3, 3), (2, 2))(images))
        return nn.Dense(2 * self.latent_size)(hidden.reshape(len(images), -1))


class Decoder(nn.Module):
    image_shape: tuple[int, int, int]

    @nn.compact
    def __call__(self, codes: Array) -> Array:
        height, width, channels = self.image_shape
        small = (-1, height // 2, width // 2, CHANNELS)
        hidden = nn.relu(nn.Dense(height // 2 * (width // 2) * CHANNELS)(codes)).reshape(small)
        return nn.ConvTranspose(channels, (3, 3), (2, 2))(hidden).reshape(len(codes), -1)


def _nets(config: vj.Config) -> tuple[Any, Any]:
    return Encoder(config.latent_size), Decoder(config.image_shape)


def init(config: vj.Config, key: Array) -> dict[str, Any]:
    encoder, decoder = _nets(config)
    keys = jax.random.split(key)
    return {
        "encoder": encoder.init(keys[0], jnp.zeros((1, *config.image_shape))),
        "decoder": decoder.init(keys[1], jnp.zeros((1, config.latent_size))),
    }


def encode(config: vj.Config, params: dict[str, Any], x: Array) -> vj.Posterior:
    images = x.reshape(-1, *config.image_shape)
    return vj.Posterior(*jnp.split(_nets(config)[0].apply(params["encoder"], images), 2, axis=-1))


def decode(config: vj.Config, params: dict[str, Any], z: Array) -> Array:
    return _nets(config)[1].apply(params["decoder"], z)


CONV = vj.Nets("conv", init, encode, decode)
