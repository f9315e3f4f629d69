"""What a model costs as one of many that train side by side in a program.

Bernoulli VAEs of two sizes (--large, --small) train in batches of 128 with Adam at 1e-3, each
number of models (--lanes) in a `train.fit` of its own.

First each of these trains one epoch, of up to --steps steps, which compiles. Then come --repeats
rounds. In each round they take turns and train one epoch each, so a busy machine slows all of them
alike.

The columns, with a median over rounds above and the range below:

- lanes: the number of models.
- ms: milliseconds of one step of all models.
- program: this time relative to the first row, in each round.
- model: this time per model, relative to the first row, in each round.
- start: how many seconds longer the first epoch took.

Command: python -m benchmarks.lanes [--lanes 1 64]

Cost: some minutes on 2 cores. There each of 32 models takes 0.9 times as long as one that trains
alone, at either size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import lazy_loader
import numpy as np
from rich.console import Console
from rich.table import Table

import vaejax as vj
from benchmarks.throughput import BATCH, compiled_epochs, spread

jax: Any = lazy_loader.load("jax")  # --help does not wait for it


@dataclass(frozen=True, kw_only=True)
class LanesFlags:
    """What to measure, and how often."""

    dataset: str = "mnist"
    """mnist, cifar10 or another TFDS image set; digits and patches need no network."""
    lanes: tuple[int, ...] = (1, 8, 32)
    """Numbers of models that train side by side. The others are compared with the first one."""
    large: tuple[int, int] = (400, 20)
    """Width of the one hidden layer of encoder and decoder, and latent size."""
    small: tuple[int, int] = (32, 4)
    """Another width and latent size."""
    steps: int = 100
    """Steps in an epoch, at most."""
    repeats: int = 5
    """Rounds, in each of which every number of models is measured once."""

    def __post_init__(self) -> None:
        sizes = (*self.lanes, *self.large, *self.small, self.steps, self.repeats)
        if not self.lanes or min(sizes) < 1:
            raise vj.LabError("--lanes, --large, --small, --steps, --repeats: use numbers above 0.")


def measure(
    config: vj.Config, images: np.ndarray, counts: Sequence[int], repeats: int
) -> list[list[float]]:
    """Seconds per epoch of each number of models: of its first epoch, then of each round."""
    loops = [compiled_epochs(config, images, count) for count in counts]
    seconds: list[list[float]] = [[] for _ in loops]
    for _ in range(1 + repeats):
        for loop, measured in zip(loops, seconds, strict=True):
            start = perf_counter()
            next(loop)
            measured.append(perf_counter() - start)
    return seconds


def tabulate(
    title: str, counts: Sequence[int], seconds: Sequence[list[float]], steps: int
) -> Table:
    """A row for each number of models, see the columns above."""
    table = Table("lanes", "ms", "program", "model", "start, s", title=title)
    for count, (first, *rounds) in zip(counts, seconds, strict=True):
        slower = [time / alone for time, alone in zip(rounds, seconds[0][1:], strict=True)]
        table.add_row(
            str(count),
            spread([1000 * time / steps for time in rounds], ".3g"),
            spread(slower, ".2f"),
            spread([ratio * counts[0] / count for ratio in slower], ".3f"),
            f"{first - median(rounds):.1f}",
        )
    return table


def benchmark(flags: LanesFlags) -> None:
    """Load, measure, print."""
    images = vj.data.load(flags.dataset).images
    count = min(flags.steps, len(images) // BATCH) * BATCH
    flat = images[:count].reshape(count, -1)
    console = Console()
    devices = [f"{device.platform} {device.device_kind}" for device in jax.devices()]
    console.print(f"jax {jax.__version__} on {len(devices)} device(s): {', '.join(devices)}")
    for width, latent in (flags.large, flags.small):
        widths: dict[str, Any] = {"encoder_widths": (width,), "decoder_widths": (width,)}
        shape = images.shape[1:]
        config = vj.Config(image_shape=shape, latent_size=latent, batch_size=BATCH, **widths)
        title = f"{flags.dataset}, {config.pixels}-{width}-{latent}-{width}-{config.pixels}"
        title += f": {flags.repeats} epochs of {count // BATCH} steps"
        with console.status(title):
            seconds = measure(config, flat, flags.lanes, flags.repeats)
        console.print(tabulate(title, flags.lanes, seconds, count // BATCH))


def main() -> None:
    with vj.lab.failing_clearly():
        benchmark(vj.lab.parse(LanesFlags, __doc__))


if __name__ == "__main__":
    main()
