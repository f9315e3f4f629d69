"""The flags that every study shares, and those of studies that compare nets; what they make of a
Config and of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro

from vaejax.config import (
    Activation,
    Config,
    DecoderVariance,
    Knobs,
    KnobValues,
    Likelihood,
    Output,
    PixelRange,
    Scale,
    grid,
)
from vaejax.data.names import Source, source
from vaejax.errors import LabError
from vaejax.files import own_path
from vaejax.run import Images, Run

T = TypeVar("T")
Fixed = tyro.conf.Suppress[tyro.conf.Fixed[T]]
"""`likelihood: Fixed[Likelihood] = "gaussian"`: a shared flag that a study sets itself, and which
its command line therefore does not have."""

Size = int | Literal["enough"]
"""A latent size; `enough` stands for one that does not bind, see `Lab.latent_sizes`."""

Format = Literal["png", "svg", "pdf"]
"""File formats of figures."""

LogFormat = Literal["jsonl", "tensorboard"]
"""What a run may log its training to."""

QUICK: dict[str, Any] = {
    "steps": 100,
    "seeds": (0, 1),
    "train_images": 10_000,
    "test_images": 1_000,
}
"""What `--quick` changes in the shared flags."""
RATE_PIXELS = 784


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Which images."""

    dataset: str = "mnist"
    """mnist, cifar10 or another TFDS image set; digits and patches need no network; or the path of
    your own images, a folder or an .npy or .npz file."""
    resize: int | None = None
    """Scale the largest centred square of each image to RESIZE x RESIZE pixels. None: no."""
    grey: bool = False
    """Turn colour images into grey ones."""
    rgb: bool = False
    """Turn grey images into ones of three equal channels."""
    white: float | None = None
    """The number that stands for white in your own images. None: 255 of bytes, 1 of floats."""

    def __post_init__(self) -> None:
        at_least("--resize", 1, self.resize)
        if self.grey and self.rgb:
            raise LabError("--grey and --rgb exclude each other: give one.")

    @property
    def source(self) -> Source:
        """Where the images come from, and what is done to them."""
        colour = "grey" if self.grey else "rgb" if self.rgb else None
        return source(self.dataset, self.resize, colour, self.white)


@dataclass(frozen=True, kw_only=True)
class ExecutionFlags:
    """Where and how a study runs, not what it finds."""

    out: Path | None = None
    """Results go to OUT/STUDY. None: OUT is checkpoints/DATASET, or checkpoints/DATASET-quick."""
    resume: bool = False
    """Go on in a folder that holds results: finished runs are kept, interrupted ones continued."""
    all_columns: bool = False
    """The table at the end shows everything that was measured, not only what decides."""
    format: tuple[Format, ...] = ("png",)
    """File formats of the figures."""
    checkpoint_every: int | None = None
    """Epochs between checkpoints. None: a tenth of the run, at least one, or a block of a run that
    trains until it has converged."""
    log: tuple[LogFormat, ...] = ()
    """At each checkpoint, write the loss terms of every epoch to RUN/log. jsonl: lines of JSON;
    tensorboard: files for TensorBoard, with pictures. No result depends on it."""
    chunk: int | None = None
    """Models trained at once. None: as many as fit in the memory of the devices."""
    batch_devices: int = 1
    """Devices that share each batch; the models are divided among the groups of devices."""
    distributed: bool = False
    """Run on several processes, each started with the same flags. JAX finds the others (SLURM, Open
    MPI, TPU pods), or the next three flags name them."""
    coordinator: str | None = None
    """HOST:PORT of the first process."""
    processes: int | None = None
    """The number of processes."""
    process_id: int | None = None
    """The number of this process, from 0."""
    connect_timeout: int = 300
    """Seconds to wait for the other processes at the start."""


@dataclass(frozen=True, kw_only=True)
class Flags(ExecutionFlags, KnobValues, DataFlags):
    """What every study takes."""

    train: str = "train"
    """The training images, in TFDS syntax."""
    test: str = "test"
    """The test images. --train 'train[:90%]' --test 'train[90%:]' divide a set of one split."""
    train_images: int | None = None
    """Use at most this many training images, the first ones. None: all."""
    test_images: int | None = None
    """Use at most this many test images, the first ones. None: all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A model per seed; all are trained side by side."""
    steps: int = 4680
    """Training steps, rounded to whole epochs."""
    epochs: int | None = None
    """Passes over the training images, instead of --steps."""
    batch_size: int = 128
    likelihood: Likelihood = "bernoulli"
    """bernoulli: cross entropy on logits; gaussian: squared error."""
    decoder_variance: DecoderVariance = "fixed"
    """learned: the standard deviation of a gaussian likelihood is trained too. At the recon_scale
    of the ELBO, half the number of pixels, that is the sigma-VAE."""
    output: Output = "sigmoid"
    """The function from logits to the mean image; a bernoulli likelihood has only sigmoid."""
    pixel_range: PixelRange = "unit"
    """unit: [0, 1]; signed: [-1, 1]."""
    centre_inputs: bool = False
    """The encoder sees pixels in [0, 1] less 1/2. Large nets then learn much faster."""
    binarize: bool = False
    """Draw each pixel anew from Bernoulli(pixel) at every use."""
    widths: tuple[int, ...] = (400,)
    """Sizes of the hidden layers of the encoder; the decoder has them in reverse."""
    start: Path | None = None
    """Begin from the weights of a trained run: its folder, or that of a study that has runs of the
    same names. It needs the same net, and one model, or one for each that is trained. The optimizer
    begins anew."""
    quick: bool = False
    """A look at the study within a minute or two: few steps, few images, two seeds. Its verdicts
    do not count."""
    keep_best: bool = False
    """Keep, beside the newest state, the one of least negative ELBO of each model among the states
    at checkpoints. It is measured on the last tenth of the training images, which no model is then
    trained on: results are others than without this flag."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in vars(self).items():
            if isinstance(value, tuple) and name != "widths":  # layers may be equally wide
                each_once(flag(name), value, least=0 if name == "log" else 1)
        if (
            not self.distributed
            and (self.coordinator, self.processes, self.process_id) != (None,) * 3
        ):
            raise LabError("--coordinator, --processes and --process-id go with --distributed.")
        if "tensorboard" in self.log and find_spec("tensorboardX") is None:
            raise LabError("--log tensorboard needs a package: pip install tensorboardX")
        if self.output == "tanh" and self.pixel_range == "unit":
            raise LabError(
                "--output tanh reaches -1, and pixels of --pixel-range unit are in [0, 1]: use "
                "--pixel-range signed, or another output."
            )
        for name in ("steps", "epochs", "checkpoint_every", "chunk", "connect_timeout"):
            at_least(flag(name), 1, getattr(self, name))
        for name in ("train_images", "test_images"):
            at_least(flag(name), 2, getattr(self, name))  # one image has no variance

    @property
    def folder(self) -> Path:
        """The folder of all studies of this data set."""
        if self.out:
            return own_path(self.out)
        name = self.source.name
        return Path("checkpoints") / (f"{name}-quick" if self.quick else name)

    def run_epochs(self, steps_per_epoch: int) -> int:
        """How many epochs to train a run whose epochs have so many steps."""
        return self.epochs or max(1, round(self.steps / steps_per_epoch))

    def gentle_rate(self, pixels: int) -> float:
        """`--learning-rate` for images of up to 784 pixels, and lower in proportion for larger
        ones. Adam moves each weight by about the learning rate, so the input of a hidden unit moves
        in proportion to the number of pixels."""
        return self.learning_rate * min(1, RATE_PIXELS / pixels)

    def config(self, image_shape: tuple[int, int, int], **choices: Any) -> Config:
        """The Config that these flags ask for, with a study's own choices on top."""
        both = {field.name for field in fields(Config)} & {field.name for field in fields(Flags)}
        common = {name: getattr(self, name) for name in both} | {
            "image_shape": image_shape,
            "encoder_widths": self.widths,
            "decoder_widths": self.widths[::-1],
        }
        return Config(**(common | choices))

    def run(
        self, name: str, split: str, config: Config, recon_scales: Sequence[Scale], **labels: Any
    ) -> Run:
        """The run that these flags ask for: a lane for each scale and seed. Each of `labels` is
        the same for all lanes."""
        common = {name: [getattr(self, name)] for name in KnobValues.__annotations__}
        knobs, seeds = grid(config, self.seeds, recon_scale=recon_scales, **common)
        of_lanes = {label: (value,) * len(seeds) for label, value in labels.items()}
        return self.run_of(name, split, config, knobs, seeds, of_lanes)

    def run_of(
        self,
        name: str,
        split: str,
        config: Config,
        knobs: Knobs,
        seeds: tuple[int, ...],
        labels: Mapping[str, Sequence[Any]],
    ) -> Run:
        """A run on the images of these flags, with lanes of a study's own."""
        source = self.source
        images = Images(source.name, split, self.test, *source[1:])
        return Run(name, images, config, knobs, seeds, labels)


@dataclass(frozen=True, kw_only=True)
class FallingFlags(Flags):
    """The shared flags, and those of studies whose learning rate falls over the whole run (see
    `falling`)."""

    decay_steps: float = 0.0
    """Steps over which the learning rate falls to 0. 0: the whole run."""
    activation: Activation = "elu"
    """The activation of encoder and decoder. A ReLU may die while its latent unit sleeps, and the
    unit then never wakes."""

    def config(self, image_shape: tuple[int, int, int], **choices: Any) -> Config:
        both = {"encoder_activation": self.activation, "decoder_activation": self.activation}
        return super().config(image_shape, **(both | choices))


@dataclass(frozen=True, kw_only=True)
class NetFlags(FallingFlags):
    """The flags of studies that compare nets with and without hidden layers."""

    kl_cycle: Fixed[float] = 0.0
    free_bits: Fixed[float] = 0.0
    learning_rate: float = 3e-3
    """The learning rate of Adam; of linear nets five times as much, for up to 784 pixels, and with
    more lower in proportion."""
    widths: tuple[int, ...] = (32,)
    """One width, for every hidden layer of encoder and decoder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.widths) != 1 or not self.kl_weight:
            raise LabError(
                f"--widths {self.widths}, --kl-weight {self.kl_weight:g}: use one width, that of "
                "every hidden layer, and a positive weight: a KL that costs nothing has no "
                "threshold."
            )


def flag(name: str) -> str:
    """The name of a field as a flag."""
    return f"--{name.replace('_', '-')}"


def each_once(flag: str, values: Sequence[Any], least: int = 1) -> None:
    """Refuse too few values, or the same one twice.

    Raises:
        LabError: names the flag.
    """
    if len(set(values)) < max(least, len(values)):
        count = {0: "none or more", 1: "one or more", 2: "two or more"}[least]
        raise LabError(f"{flag} {values}: give {count}, each once.")


def at_least(flag: str, least: int, *values: int | None) -> None:
    """Refuse numbers that are too small; None stands for no number.

    Raises:
        LabError: names the flag.
    """
    for value in values:
        if value is not None and value < least:
            raise LabError(f"{flag} {value}: use a whole number of {least} or more.")
