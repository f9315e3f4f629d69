"""The flags that every study shares, and the one way in which a command fails."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro

from vaejax.config import Config, Knobs, Likelihood, knobs, stack
from vaejax.errors import LabError

STEPS = 4680  # ten epochs of MNIST in batches of 128
QUICK_STEPS = 100
QUICK_TRAIN, QUICK_TEST = 10_000, 1_000
F = TypeVar("F")


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What every study takes."""

    dataset: str = "mnist"
    """mnist, cifar10 or another TFDS image set; digits and patches need no network."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A model per seed, trained side by side."""
    epochs: int | None = None
    """Passes over the training images. None: about 4,680 steps, ten epochs of MNIST."""
    batch_size: int = 128
    learning_rate: float = 1e-3
    """Of Adam."""
    recon_scale: float | Literal["elbo"] = "elbo"
    """Weight of the error averaged over pixels; elbo: that of the true ELBO."""
    kl_weight: float = 1.0
    """Weight of the KL in nats."""
    likelihood: Likelihood = "bernoulli"
    """bernoulli: cross entropy on logits; gaussian: squared error."""
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

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < len(self.seeds):
            raise LabError(f"--seeds {self.seeds} names a seed twice.")
        for name in ("epochs", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise LabError(f"--{name.replace('_', '-')} {value}: use a whole number above 0.")

    @property
    def run_seeds(self) -> tuple[int, ...]:
        return self.seeds[:2] if self.quick else self.seeds

    @property
    def folder(self) -> Path:
        return self.out or Path("checkpoints") / (self.dataset + "-quick" * self.quick)

    def run_epochs(self, images: int) -> int:
        """Epochs to train on so many images."""
        steps = max(1, images // self.batch_size)
        return self.epochs or max(1, round((QUICK_STEPS if self.quick else STEPS) / steps))

    def config(self, image_shape: tuple[int, int, int], **choices: Any) -> Config:
        """The Config that these flags ask for, with a study's own choices."""
        common = {
            "image_shape": image_shape,
            "encoder_widths": self.widths,
            "decoder_widths": self.widths[::-1],
            "likelihood": self.likelihood,
            "binarize": self.binarize,
            "batch_size": self.batch_size,
        }
        return Config(**(common | choices))

    def knobs(self, config: Config) -> Knobs:
        """The knobs that these flags ask for, a lane per seed."""
        lane = knobs(
            config,
            learning_rate=self.learning_rate,
            recon_scale=self.recon_scale,
            kl_weight=self.kl_weight,
        )
        return stack([lane] * len(self.run_seeds))


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
