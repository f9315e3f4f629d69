"""The nets that are timed, and what every loop is given: images, models, schedules."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

import vaejax as vj

SHAPES = {"digits": (8, 8, 1), "mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
COUNTS = {"train": 50_000, "test": 10_000}
"""How many random images there are."""


class Net(NamedTuple):
    """A Bernoulli VAE with one hidden layer in the encoder and one in the decoder."""

    dataset: str
    width: int
    latent: int
    batch: int
    steps: int
    """Training steps in a turn."""
    activation: str = "relu"


DIGITS = Net("digits", 32, 4, 32, 660)
SMALL = Net("mnist", 32, 4, 64, 400)
LARGE = Net("mnist", 400, 20, 128, 30)
COLOUR = Net("cifar10", 512, 64, 128, 10)
PHASES = Net("mnist", 32, 16, 64, 468, "elu")
"""The net of a phase diagram. A turn is three epochs of 10,000 images."""


class Task(NamedTuple):
    """What a loop does in each turn: `epochs` more passes over the images, with Adam."""

    config: vj.Config
    images: np.ndarray
    """Bytes [n, pixels]; n is a whole number of batches, so that every loop sees every image."""
    epochs: int
    scales: tuple[float, ...] = (1.0,)
    """The recon_scale of each model, in units of that of the ELBO."""
    rate: float = 1e-3
    decay: int = 0
    """Steps over which the rate falls to 0, as half a cosine; over the first quarter of them the
    weight of the KL grows to 1. 0: neither."""

    @property
    def steps(self) -> int:
        """Steps in a turn."""
        return self.epochs * len(self.images) // self.config.batch_size

    def at(self, step: int) -> tuple[float, float]:
        """The learning rate and the weight of the KL at a step."""
        if not self.decay:
            return self.rate, 1.0
        rate = self.rate * (1 + math.cos(math.pi * step / self.decay)) / 2
        return rate, min(step / (self.decay // 4), 1.0)

    @property
    def knobs(self) -> vj.Knobs:
        """The same, as knobs [models] of the lab."""
        schedule: Any = {"decay_steps": self.decay, "kl_warmup": self.decay // 4}
        scales = [scale * self.config.elbo_scale for scale in self.scales]
        return vj.stack([
            vj.knobs(self.config, recon_scale=scale, learning_rate=self.rate, **schedule)
            for scale in scales
        ])  # fmt: skip


@functools.cache
def load(dataset: str, split: str, random: bool = False) -> np.ndarray:
    """The images [n, pixels] of a data set, or random bytes of their size.

    Raises:
        LabError: the data set is missing.
    """
    if random:
        shape = (COUNTS[split], math.prod(SHAPES[dataset]))
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    images = vj.data.load(dataset, split).images
    return np.ascontiguousarray(images.reshape(len(images), -1))


def config_of(net: Net) -> vj.Config:
    same: dict[str, Any] = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("widths", (net.width,)), ("activation", net.activation))
    }
    shape = SHAPES[net.dataset]
    return vj.Config(image_shape=shape, latent_size=net.latent, batch_size=net.batch, **same)


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
