"""The nets that are timed, and the images that they train on."""

import functools
from typing import Any, NamedTuple

import numpy as np

import vaejax as vj

RATE = 1e-3
"""The learning rate of Adam, in every loop."""
SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
COUNTS = {"train": 50_000, "test": 10_000}
"""How many images `random_images` makes."""


class Net(NamedTuple):
    """A Bernoulli VAE with one hidden layer in the encoder and one in the decoder."""

    dataset: str
    width: int
    latent: int
    batch: int
    steps: int
    """Training steps in a turn."""


DIGITS = Net("digits", 32, 4, 32, 660)
SMALL = Net("mnist", 32, 4, 64, 400)
LARGE = Net("mnist", 400, 20, 128, 30)
COLOUR = Net("cifar10", 512, 64, 128, 10)
NETS = (DIGITS, SMALL, LARGE, COLOUR)


class Task(NamedTuple):
    """What every loop of a net gets."""

    config: vj.Config
    images: np.ndarray
    """Bytes [n, pixels]; n is a whole number of batches, so that every loop sees every image."""
    epochs: int
    """Passes over the images in a turn."""

    @property
    def steps(self) -> int:
        """Steps in a turn."""
        return self.epochs * len(self.images) // self.config.batch_size


@functools.cache
def load(dataset: str, split: str, random: bool = False) -> np.ndarray:
    """The images [n, pixels] of a data set, or random bytes of their size."""
    if random:
        shape = (COUNTS[split], int(np.prod(SHAPES[dataset])))
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images = vj.data.load(dataset, split).images
    return np.ascontiguousarray(images.reshape(len(images), -1))


def config_of(net: Net) -> vj.Config:
    widths: dict[str, Any] = {"encoder_widths": (net.width,), "decoder_widths": (net.width,)}
    shape = SHAPES[net.dataset]
    return vj.Config(image_shape=shape, latent_size=net.latent, batch_size=net.batch, **widths)


def task_of(net: Net, images: np.ndarray) -> Task:
    """A turn of `net.steps` steps: a part of the images once, or all of them several times."""
    steps = min(net.steps, len(images) // net.batch)
    return Task(config_of(net), images[: steps * net.batch], max(1, net.steps // steps))


def product_flops(config: vj.Config) -> int:
    """Floating-point operations in the matrix products of a step: outputs, gradients of the
    weights, and gradients of the inputs of all layers but the first."""
    width, latent = config.encoder_widths[0], config.latent_size
    first = config.pixels * width
    weights = first + width * 2 * latent + latent * width + width * config.pixels
    return 2 * config.batch_size * (3 * weights - first)
