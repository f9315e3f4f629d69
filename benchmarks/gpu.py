"""Speed of the lab on an accelerator. It needs no network, and PyTorch only to compare with.

- Training steps of four Bernoulli VAEs, as in benchmarks.speed: 1, 8, 32 and 64 models of the lab
  in one program, a jitted Flax step, and the bare matrix products. PyTorch takes part where it is
  installed and has CUDA. On an accelerator the goal is that a step of 64 models takes at most twice
  the time of a step of one: 0.03 of it per model.
- ELBO and NLL (100 importance samples) of the 10,000 test images of MNIST.
- A study: 32 models of a phase diagram on MNIST, from first weights to trained, compiling included.

Loops of a table take turns, see benchmarks.speed. It runs on whatever device JAX finds.

MNIST and CIFAR-10 are looked for in TFDS_DATA_DIR. Where they are missing, --random-images takes
random bytes of the same sizes instead: times mean the same, losses mean nothing.

Command: python -m benchmarks.gpu [--json FILE]

It was never run on a GPU: there its cost is not known. --quick is for a CPU.
"""

from dataclasses import dataclass

import vaejax as vj
from benchmarks import speed
from benchmarks.nets import COLOUR, DIGITS, LARGE, SMALL

PLAN = speed.Plan(
    nets=(DIGITS, *(net._replace(steps=390) for net in (SMALL, LARGE, COLOUR))),
    lanes=(1, 8, 32, 64), vmapped=(8, 64), test_images=(10_000, 10_000),
)  # fmt: skip
QUICK = speed.Plan(
    nets=(DIGITS._replace(steps=44),), lanes=(1, 64), vmapped=(), rounds=2, compiled=False,
    evaluated=DIGITS, test_images=(100, 20), samples=5, study=(DIGITS._replace(steps=66), 3, 2),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GpuFlags(speed.SpeedFlags):
    parts: tuple[speed.Part, ...] = ("steps", "evaluation", "study")
    """Which tables."""
    quick: bool = False
    """A look at the embedded digits, two rounds."""


def benchmark(flags: GpuFlags) -> None:
    """PyTorch takes part if it has an accelerator."""
    device = speed.torch_device()
    speed.measure(flags, QUICK if flags.quick else PLAN, None if device == "cpu" else device)


def main() -> None:
    with vj.study.failing_clearly():
        benchmark(vj.study.parse(GpuFlags, __doc__))


if __name__ == "__main__":
    main()
