"""Training speed of one VAE: the lab's compiled epoch beside three common ways to write the loop.

Four loops train a Bernoulli VAE, D-400-20-400-D, on the whole training split, in batches of 128
with Adam at 1e-3:

- compiled epoch: `train.fit`, one call per epoch.
- call per step: `train.step`, called from Python with each batch of a shuffled NumPy array.
- torch loader: PyTorch, with batches from a `DataLoader`.
- torch tensor: PyTorch, with batches that `randperm` takes from one tensor.

First every loop trains one epoch, which compiles. Then come --repeats rounds. In each round the
loops take turns and train --epochs epochs each, so a busy machine slows all of them alike.

The columns, with a median over rounds above and the range below:

- thousand per s: training images.
- time: of an epoch, relative to the first row; the ratio of medians.
- fastest: the same, the ratio of the fastest rounds.
- within rounds: the same, the ratio in each round.
- start: how many seconds longer the first epoch took.
- loss: in nats per image, in the last epoch.

Command: python -m benchmarks.throughput     (needs pip install -e '.[bench]')

Cost: 2 minutes on 2 cores. There a call per step takes 1.0 times as long as a compiled epoch, and
PyTorch 1.4 to 1.5 times.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import lazy_loader
import numpy as np
from rich.console import Console
from rich.table import Table

import vaejax as vj

jax: Any = lazy_loader.load("jax")  # --help does not wait for it
BATCH, WIDTH, LATENT, LEARNING_RATE = 128, 400, 20, 1e-3


@dataclass(frozen=True, kw_only=True)
class ThroughputFlags:
    """What to measure, and how often."""

    dataset: str = "mnist"
    """mnist, cifar10 or another TFDS image set; digits and patches need no network."""
    epochs: int = 3
    """Epochs in one measurement."""
    repeats: int = 3
    """Rounds, in each of which every loop is measured once."""

    def __post_init__(self) -> None:
        if min(self.epochs, self.repeats) < 1:
            raise vj.LabError("--epochs and --repeats: use whole numbers above 0.")


class Loop(NamedTuple):
    """A way to train."""

    name: str
    epochs: Iterator[float]
    """Each `next` trains one epoch and gives its mean loss; the first one also compiles."""


def compiled_epochs(config: vj.Config, images: np.ndarray, models: int) -> Iterator[float]:
    """The lab's loop, for some number of models at once."""
    lanes = vj.stack([vj.knobs(config, learning_rate=LEARNING_RATE)] * models)
    state = vj.train.init_lanes(config, np.arange(models, dtype=np.uint32))
    for _, trace in vj.train.fit(config, lanes, state, images, sys.maxsize):
        yield float(trace.objective.mean())


def calls_per_step(config: vj.Config, images: np.ndarray) -> Iterator[float]:
    """The lab's step, called from Python for each batch; the images stay on the host."""
    lane = jax.device_put(vj.knobs(config, learning_rate=LEARNING_RATE))
    state = vj.train.init(config, jax.numpy.uint32(0))
    generator = np.random.default_rng(0)
    while True:
        losses = []
        for batch in generator.permutation(len(images)).reshape(-1, BATCH):
            state, trace = vj.train.step(config, lane, state, images[batch])
            losses.append(trace.objective)
        yield float(np.mean(jax.device_get(losses)))


def torch_epochs(images: np.ndarray, device: str, in_memory: bool) -> Iterator[float]:
    """The same model in PyTorch, its batches from a tensor in memory or from a DataLoader."""
    import torch  # pyright: ignore[reportMissingImports]
    from torch import nn, utils  # pyright: ignore[reportMissingImports]

    def mlp(inputs: int, outputs: int) -> Any:
        return nn.Sequential(nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs))

    class VAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = mlp(images.shape[1], 2 * LATENT)
            self.decoder = mlp(LATENT, images.shape[1])

        def forward(self, x: Any) -> Any:
            """Negative ELBO summed over a batch."""
            mean, logvar = self.encoder(x).chunk(2, dim=1)
            logits = self.decoder(mean + torch.exp(logvar / 2) * torch.randn_like(mean))
            bce = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            return bce + (mean**2 + logvar.exp() - 1 - logvar).sum() / 2

    def batches() -> Iterator[Any]:
        if not in_memory:
            return (x.to(device) for (x,) in loader)
        return (pixels[rows] for rows in torch.randperm(len(images), device=device).split(BATCH))

    torch.manual_seed(0)
    model = VAE().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    pixels = (torch.from_numpy(images).float() / 255).to(device if in_memory else "cpu")
    loader = utils.data.DataLoader(utils.data.TensorDataset(pixels), batch_size=BATCH, shuffle=True)
    while True:
        total = torch.zeros((), device=device)
        for x in batches():
            optimizer.zero_grad()
            loss = model(x)
            loss.backward()
            optimizer.step()
            total += loss.detach()
        yield total.item() / len(images)


def measure(loops: Sequence[Loop], flags: ThroughputFlags) -> list[list[tuple[float, float]]]:
    """Seconds per epoch and last loss of each loop: of its first epoch, then of each round."""
    timings: list[list[tuple[float, float]]] = [[] for _ in loops]
    with Console(stderr=True).status("") as status:
        for turn, epochs in enumerate([1] + [flags.epochs] * flags.repeats):
            for loop, results in zip(loops, timings, strict=True):
                status.update(f"round {turn} of {flags.repeats}: {loop.name}")
                start = perf_counter()
                losses = [next(loop.epochs) for _ in range(epochs)]
                results.append(((perf_counter() - start) / epochs, losses[-1]))
    return timings


def tabulate(title: str, loops: Sequence[Loop], timings: Sequence[Any], images: int) -> Table:
    """A row for each loop, see the columns above."""
    headers = ("thousand\nper s", "time", "fastest", "within\nrounds", "start, s", "loss")
    table = Table("", *headers, title=title)
    base = [seconds for seconds, _ in timings[0][1:]]
    for loop, ((first, _), *rounds) in zip(loops, timings, strict=True):
        times = [seconds for seconds, _ in rounds]
        table.add_row(
            loop.name,
            spread([images / time / 1000 for time in times], ".1f"),
            f"{median(times) / median(base):.2f}",
            f"{min(times) / min(base):.2f}",
            spread([time / other for time, other in zip(times, base, strict=True)], ".2f"),
            "" if loop.name.startswith("torch") else f"{first - median(times):.1f}",
            f"{rounds[-1][1]:.1f}",
        )
    return table


def spread(values: Sequence[float], spec: str) -> str:
    """The median, and below it the range."""
    return f"{median(values):{spec}}\n{min(values):{spec}}-{max(values):{spec}}"


def benchmark(flags: ThroughputFlags) -> None:
    """Load, measure, print."""
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise vj.LabError(
            "PyTorch, to compare with, is missing: pip install -e '.[bench]'"
        ) from None
    backend = jax.default_backend()
    device = "cuda" if backend == "gpu" and torch.cuda.is_available() else "cpu"
    data = vj.data.load(flags.dataset).images
    count = len(data) // BATCH * BATCH  # whole batches only, so that every loop sees every image
    images = np.array(data[:count]).reshape(count, -1)
    widths: dict[str, Any] = {"encoder_widths": (WIDTH,), "decoder_widths": (WIDTH,)}
    config = vj.Config(image_shape=data.shape[1:], latent_size=LATENT, batch_size=BATCH, **widths)
    loops = [
        Loop("compiled epoch", compiled_epochs(config, images, 1)),
        Loop("call per step", calls_per_step(config, images)),
        Loop("torch loader", torch_epochs(images, device, in_memory=False)),
        Loop("torch tensor", torch_epochs(images, device, in_memory=True)),
    ]
    title = f"{flags.dataset}, {count:,} images, {flags.repeats} rounds of {flags.epochs} epochs\n"
    title += f"jax {jax.__version__} on {backend}, torch {torch.__version__} on {device}"
    Console().print(tabulate(title, loops, measure(loops, flags), count))
    print("Absolute times are not stable: they change with the machine and with what else it does.")


def main() -> None:
    with vj.lab.failing_clearly():
        benchmark(vj.lab.parse(ThroughputFlags, __doc__))


if __name__ == "__main__":
    main()
