"""A whole study: models of several scales and seeds, from nothing to trained, compiling included.

The net and the schedules are those of the phase diagram: 784-32-16-32-784 with ELU, batches of 64
of 10,000 images of MNIST, a learning rate that falls to 0, and a weight of the KL that grows over
the first quarter of the steps."""

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import lazy_loader
import numpy as np

import vaejax as vj
from benchmarks.nets import SHAPES, Task

jax: Any = lazy_loader.load("jax")  # --help does not wait for it
RATE = 3e-3
"""The learning rate at the first step."""
WIDTH, LATENT, BATCH, IMAGES = 32, 16, 64, 10_000


class Study(NamedTuple):
    """What is trained."""

    task: Task
    """Its epochs are those of the whole study."""
    scales: tuple[float, ...]
    """The recon_scale of each model."""
    seeds: tuple[int, ...]
    """The seed of each model."""
    turns: int
    """Into how many equal shares the work is divided; loops take turns after each."""

    @property
    def warmup(self) -> int:
        """Steps over which the weight of the KL grows."""
        return self.task.steps // 4

    @property
    def rates(self) -> np.ndarray:
        """The learning rate of each step."""
        return RATE * (1 + np.cos(np.pi * np.arange(self.task.steps) / self.task.steps)) / 2

    @property
    def kl_weights(self) -> np.ndarray:
        """The weight of the KL at each step."""
        return np.minimum(np.arange(self.task.steps) / self.warmup, 1)


def study_of(
    images: np.ndarray, scales: int, seeds: int, epochs: int, turns: int, dataset: str = "mnist"
) -> Study:
    """`scales` scales from 20 to that of the ELBO, with `seeds` seeds of each. The turns divide
    the number of models, and that of epochs."""
    widths: dict[str, Any] = {"encoder_widths": (WIDTH,), "decoder_widths": (WIDTH,)}
    elu: dict[str, Any] = {"encoder_activation": "elu", "decoder_activation": "elu"}
    config = vj.Config(
        image_shape=SHAPES[dataset], latent_size=LATENT, batch_size=BATCH, **widths, **elu
    )
    count = min(IMAGES, len(images)) // BATCH * BATCH
    values = np.geomspace(20, config.elbo_scale, scales).repeat(seeds)
    task = Task(config, images[:count], epochs)
    return Study(task, tuple(values.tolist()), tuple(range(seeds)) * scales, turns)


def knobs_of(study: Study) -> vj.Knobs:
    """The schedules above, and the scale of each model, as knobs of the lab."""
    config, steps = study.task.config, study.task.steps
    schedule = {"learning_rate": RATE, "decay_steps": steps, "kl_warmup": study.warmup}
    return vj.stack([vj.knobs(config, recon_scale=scale, **schedule) for scale in study.scales])


def by_the_lab(study: Study) -> Iterator[float]:
    """All models as lanes of `parallel.advance`; gives the mean objective in the last epoch."""
    config, images, epochs = study.task
    placed, state = vj.parallel.replicate(images), vj.parallel.init(config, study.seeds)
    per_call, knobs = epochs // study.turns, knobs_of(study)
    for _, trace in vj.parallel.advance(config, knobs, state, placed, sys.maxsize, per_call):
        yield float(trace.objective[:, -(len(images) // config.batch_size) :].mean())
