"""The flags that every study shares, and the one way in which a command fails."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import tyro

from vaejax.config import (
    Config,
    DecoderVariance,
    Likelihood,
    Output,
    PixelRange,
    Run,
)
from vaejax.errors import LabError

QUICK_STEPS = 100
QUICK_TRAIN, QUICK_TEST = 10_000, 1_000
F = TypeVar("F")


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What every study takes."""

    steps: ClassVar[int] = 4680  # ten epochs of MNIST in batches of 128

    dataset: str = "mnist"
    """mnist, cifar10 or another TFDS image set; digits and patches need no network."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A model per seed, trained side by side."""
    epochs: int | None = None
    """Passes over the training images. None: as many as make the steps that the page states."""
    batch_size: int = 128
    learning_rate: float = 1e-3
    """Of Adam."""
    decay_steps: float = 0.0
    """Steps over which the learning rate falls to 0; 0: it does not fall."""
    kl_weight: float = 1.0
    """Weight of the KL in nats."""
    kl_warmup: float = 0.0
    """Steps over which the weight of the KL grows from 0."""
    kl_cycle: float = 0.0
    """Steps after which the warm-up starts again; 0: never."""
    free_bits: float = 0.0
    """Nats of KL that each latent unit has for free."""
    likelihood: Likelihood = "bernoulli"
    """bernoulli: cross entropy on logits; gaussian: squared error."""
    decoder_variance: DecoderVariance = "fixed"
    """learned: the standard deviation of a gaussian likelihood is trained too, which at the
    recon_scale of the ELBO, half the pixels, is the sigma-VAE."""
    output: Output = "sigmoid"
    """What turns logits into the mean image; a bernoulli likelihood has only sigmoid."""
    pixel_range: PixelRange = "unit"
    """unit: [0, 1]; signed: [-1, 1]."""
    binarize: bool = False
    """Draw each pixel anew from Bernoulli(pixel) at every use."""
    widths: tuple[int, ...] = (400,)
    """Hidden units of each layer of the encoder; the decoder has them in reverse."""
    quick: bool = False
    """A small subset, few steps, two seeds: a look at the study, not its result."""
    out: Path | None = None
    """Where to write. None: checkpoints/DATASET, or checkpoints/DATASET-quick."""
    resume: bool = False
    """Go on in a folder that holds results: finished runs are kept, interrupted ones continued."""
    checkpoint_every: int | None = None
    """Epochs between checkpoints. None: a tenth of the run."""
    chunk: int | None = None
    """Models trained at once. None: as many as fit in the memory of the devices."""
    batch_devices: int = 1
    """Devices that share each batch; along the others the models are divided."""
    distributed: bool = False
    """Run on several processes, each started with the same flags: found by JAX (SLURM, Open MPI,
    TPU pods), or as the next three say."""
    coordinator: str | None = None
    """HOST:PORT of the first process."""
    processes: int | None = None
    """How many there are."""
    process_id: int | None = None
    """Which one this is, from 0."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise LabError(f"--seeds {self.seeds} names no seed, or one twice.")
        if not self.distributed and (self.coordinator or self.processes or self.process_id):
            raise LabError("--coordinator, --processes and --process-id go with --distributed.")
        for name in ("epochs", "checkpoint_every", "chunk"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise LabError(f"--{name.replace('_', '-')} {value}: use a whole number above 0.")

    @property
    def run_seeds(self) -> tuple[int, ...]:
        return self.seeds[:2] if self.quick else self.seeds

    @property
    def folder(self) -> Path:
        return self.out or Path("checkpoints") / (self.dataset + "-quick" * self.quick)

    def run_epochs(self, steps_per_epoch: int) -> int:
        """Epochs to train a run whose epochs have so many steps."""
        steps = QUICK_STEPS if self.quick else self.steps
        return self.epochs or max(1, round(steps / steps_per_epoch))

    def config(self, image_shape: tuple[int, int, int], **choices: Any) -> Config:
        """The Config that these flags ask for, with a study's own choices."""
        common = {
            "image_shape": image_shape,
            "encoder_widths": self.widths,
            "decoder_widths": self.widths[::-1],
            "likelihood": self.likelihood,
            "decoder_variance": self.decoder_variance,
            "output": self.output,
            "pixel_range": self.pixel_range,
            "binarize": self.binarize,
            "batch_size": self.batch_size,
        }
        return Config(**(common | choices))

    def run(
        self,
        name: str,
        split: str,
        config: Config,
        recon_scales: Sequence[float | Literal["elbo"]],
    ) -> Run:
        """The run that these flags ask for: a lane for each scale and seed."""
        from vaejax import sweep

        names = ("learning_rate", "decay_steps", "kl_weight", "kl_warmup", "kl_cycle", "free_bits")
        common = {name: [getattr(self, name)] for name in names}
        knobs, seeds = sweep.grid(config, self.run_seeds, recon_scale=recon_scales, **common)
        return Run(name, self.dataset, split, config, knobs, seeds)


def parse(flags: type[F], description: str | None) -> F:
    """Flags from the command line, with the page's docstring as `--help`."""
    return tyro.cli(flags, description=description, config=(tyro.conf.FlagCreatePairsOff,))


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Turn an error that the user can mend into one message and exit status 1."""
    try:
        yield
    except LabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("\ninterrupted: a study continues with --resume", file=sys.stderr)
        sys.exit(130)
