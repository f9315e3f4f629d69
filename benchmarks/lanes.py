"""What a model costs as one of many lanes of a program, against a program of its own.

What: Bernoulli VAEs of a large and a small net, batches of 128, Adam at 1e-3: N models (--lanes)
side by side in one `train.fit`, an epoch of --steps batches a measurement. After a first epoch
each, the counts of a net take turns, so that a busy machine slows them alike. `ms`: of one step of
all lanes. `program`: time relative to the first count, within each round; `model`: the same, of one
lane. `start`: first epoch, which compiles, less a median one. Medians, with the range below.

Command: python -m benchmarks.lanes [--lanes 1 64]
Expect: on 2 cores, one model of 32 costs 0.9 of one alone, large or small; some minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.throughput import BATCH, command, compiled_epochs, spread
from vaejax.config import Config
from vaejax.data import load
from vaejax.errors import LabError


@dataclass(frozen=True, kw_only=True)
class LanesFlags:
    """What to measure, and how often."""

    dataset: str = "mnist"
    """mnist, cifar10 or another TFDS image set; digits and patches need no network."""
    lanes: tuple[int, ...] = (1, 8, 32)
    """Models side by side; the first count is what the others are held against."""
    large: tuple[int, int] = (400, 20)
    """Width of the one hidden layer of encoder and decoder, and latent size."""
    small: tuple[int, int] = (32, 4)
    steps: int = 100
    """Steps in an epoch, at most."""
    repeats: int = 5
    """Rounds, in each of which every count is measured once."""

    def __post_init__(self) -> None:
        sizes = (*self.lanes, *self.large, *self.small, self.steps, self.repeats)
        if not self.lanes or min(sizes) < 1:
            raise LabError("--lanes, --large, --small, --steps, --repeats: use numbers above 0.")


def measure(
    config: Config, images: np.ndarray, counts: Sequence[int], repeats: int
) -> list[list[float]]:
    """Seconds per epoch of each count of lanes, the first time and then in each round."""
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
    """A row for each count of lanes."""
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
    images = load(flags.dataset).images
    count = min(flags.steps, len(images) // BATCH) * BATCH
    flat = images[:count].reshape(count, -1)
    console = Console()
    devices = [f"{device.platform} {device.device_kind}" for device in jax.devices()]
    console.print(f"jax {jax.__version__} on {len(devices)} device(s): {', '.join(devices)}")
    for width, latent in (flags.large, flags.small):
        widths: dict[str, Any] = {"encoder_widths": (width,), "decoder_widths": (width,)}
        shape = images.shape[1:]
        config = Config(image_shape=shape, latent_size=latent, batch_size=BATCH, **widths)
        title = f"{flags.dataset}, {config.pixels}-{width}-{latent}-{width}-{config.pixels}"
        title += f": {flags.repeats} epochs of {count // BATCH} steps"
        with console.status(title):
            seconds = measure(config, flat, flags.lanes, flags.repeats)
        console.print(tabulate(title, flags.lanes, seconds, count // BATCH))


def main() -> None:
    command(LanesFlags, __doc__, benchmark)


if __name__ == "__main__":
    main()
