"""How times of the lab grow: with the number of images, of models, and of latent units."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import vaejax as vj
from benchmarks.lab_loops import lanes
from benchmarks.nets import LARGE, SMALL, Task, config_of
from benchmarks.timing import Loop, take_turns


class Sizes(NamedTuple):
    """Which sizes are timed."""

    images: tuple[int, ...] = (1000, 2000, 5000, 10_000, 20_000, 40_000, 60_000)
    lanes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    latent: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256, 512)
    steps: int = 40
    """In a turn, for models and latent units."""


def epoch_of(images: np.ndarray, count: int) -> Task:
    return Task(config_of(SMALL), images[:count], 1)


def latent_task(images: np.ndarray, latent: int, steps: int) -> Task:
    return Task(config_of(LARGE._replace(latent=latent)), images[: steps * LARGE.batch], 1)


def measure(
    images: np.ndarray, sizes: Sizes, rounds: int, show: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Each growth: what grows, the sizes, and the timed turns of each size."""
    few = images[: sizes.steps * SMALL.batch]

    def over(title: str, values: Sequence[int], task: Any, models: Any) -> dict[str, Any]:
        loops = [Loop(f"{value:,}", models(value), lanes(task(value), models(value)))
                 for value in values]  # fmt: skip
        return {"title": title, "sizes": list(values), "loops": take_turns(loops, rounds, show)}

    small, large = (vj.study.provenance.layers(config_of(net)) for net in (SMALL, LARGE))
    large = large.replace(f"-{LARGE.latent}-", "-z-")
    return [
        over(f"images in an epoch ({small}, one model)", sizes.images,
             lambda count: epoch_of(images, count), lambda _: 1),
        over(f"models trained side by side, {sizes.steps} steps ({small})", sizes.lanes,
             lambda _: Task(config_of(SMALL), few, 1), lambda count: count),
        over(f"latent units z, {sizes.steps} steps ({large}, one model)", sizes.latent,
             lambda latent: latent_task(images, latent, sizes.steps), lambda _: 1),
    ]  # fmt: skip
