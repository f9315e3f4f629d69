"""Speed of the lab on an accelerator. It needs no network, and PyTorch only to compare with.

- Training steps of four Bernoulli VAEs, as in benchmarks.speed: 1, 8, 32 and 64 models of the lab
  in one program, a jitted Flax step, and the bare matrix products. PyTorch takes part where it is
  installed and has CUDA.
- A step of 64 models beside a step of one. On an accelerator the goal is at most twice the time.
- ELBO and NLL (100 importance samples) of the 10,000 test images of MNIST.
- Training, and the ELBO of the test images, of a study of latent sizes: 2, 4 and 10 units on MNIST
  and on CIFAR-10, three seeds side by side, ten epochs, compiling included.

Loops of a table take turns, see benchmarks.speed. It runs on whatever device JAX finds.

MNIST and CIFAR-10 are looked for in TFDS_DATA_DIR. Where they are missing, --random-images takes
random bytes of the same sizes instead: times mean the same, losses mean nothing.

Command: python -m benchmarks.gpu [--json FILE]

It was never run on a GPU: there its cost is not known. --quick is for a CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import lazy_loader
from rich.console import Console

import vaejax as vj
from benchmarks import speed, tables
from benchmarks.nets import COLOUR, DIGITS, LARGE, SMALL, Net, config_of, load

jax: Any = lazy_loader.load("jax")  # --help does not wait for it
GOAL = 2.0
"""A step of the most models should take at most this many times a step of one."""
PLAN = speed.Plan(
    nets=(DIGITS, *(net._replace(steps=390) for net in (SMALL, LARGE, COLOUR))),
    lanes=(1, 8, 32, 64), vmapped=(8, 64), test_images=(10_000, 10_000),
)  # fmt: skip
QUICK = speed.Plan(
    nets=(DIGITS._replace(steps=44),), lanes=(1, 64), vmapped=(), rounds=2, compiled=False,
    evaluated=DIGITS, test_images=(100, 20), samples=5,
)  # fmt: skip
LATENT_SIZES, SEEDS = (2, 4, 10), (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class GpuFlags:
    """What to measure, and how often."""

    rounds: int | None = None
    """Rounds, in each of which every loop takes a turn. None: 5, or 2 with --quick."""
    random_images: bool = False
    """Random bytes instead of MNIST and CIFAR-10."""
    quick: bool = False
    """A look at the embedded digits alone, two rounds."""
    json: Path | None = None
    """Write all that was measured to this file."""

    def __post_init__(self) -> None:
        vj.study.at_least("--rounds", 1, self.rounds)


def check_images(datasets: Sequence[str], random: bool) -> None:
    """Load the images before anything is measured.

    Raises:
        LabError: some are missing.
    """
    for dataset in datasets:
        for split in ("train", "test"):
            try:
                load(dataset, split, random)
            except vj.LabError as error:
                raise vj.LabError(f"{error} Or use --random-images.") from error


def train(net: Net, epochs: int, random: bool) -> dict[str, Any]:
    """Train three seeds of a net and evaluate them; the time includes compiling."""
    start = perf_counter()
    config = config_of(net)
    images, test = (load(net.dataset, split, random) for split in ("train", "test"))
    knobs, seeds = vj.grid(config, SEEDS, learning_rate=(1e-3,))
    params = vj.fit(config, knobs, seeds, images, epochs).state.params
    evaluate = vj.measure.over_lanes(vj.measure.evaluate, config)
    neg_elbo = float(evaluate(params, test, jax.random.key(0)).neg_elbo.mean())
    seconds = perf_counter() - start
    about = {"dataset": net.dataset, "net": vj.study.provenance.layers(config)}
    sizes = {"models": len(SEEDS), "epochs": epochs}
    return {**about, **sizes, "seconds": seconds, "neg_elbo": neg_elbo}


def training(nets: Sequence[Net], epochs: int, plan: speed.Plan) -> list[dict[str, Any]]:
    """Each latent size of each net."""
    with Console(stderr=True).status("training"):
        return [
            train(net._replace(latent=size), epochs, plan.random)
            for net in nets
            for size in LATENT_SIZES
        ]


def torch_device() -> str | None:
    """PyTorch's device if it has an accelerator; else PyTorch takes no part."""
    try:
        device = speed.torch_device()
    except vj.LabError:
        return None
    return None if device == "cpu" else device


def benchmark(flags: GpuFlags) -> None:
    """Measure, print, write."""
    path = speed.target(flags.json)
    plan = QUICK if flags.quick else PLAN
    plan = plan._replace(rounds=flags.rounds or plan.rounds, random=flags.random_images)
    plan = plan._replace(torch=torch_device())
    trained = (DIGITS,) if flags.quick else (LARGE, COLOUR._replace(width=400, batch=128))
    check_images([net.dataset for net in (*plan.nets, *trained)], plan.random)
    with speed.compiling_anew():
        found = speed.measure(plan, ("steps", "evaluation"), path)
        found["training"] = training(trained, 1 if flags.quick else 10, plan)
    found["goal"] = GOAL
    found["about"]["seconds"] += sum(part["seconds"] for part in found["training"])
    speed.write(found, path)
    tables.show(found)


def main() -> None:
    with vj.study.failing_clearly():
        benchmark(vj.study.parse(GpuFlags, __doc__))


if __name__ == "__main__":
    main()
