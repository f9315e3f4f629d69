"""What a run is: static choices in `Config`, numbers that one may sweep in `Knobs`. No I/O.

A `Config` fixes shapes and the traced program: two Configs are two compilations. `Knobs` are
arrays: any grid of them trains in one program (see `train.fit`).
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from vaejax.errors import LabError

if TYPE_CHECKING:  # jax is not needed to say what a run is, and slow to import
    from jax import Array

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"]
Model = Literal["vae", "ae"]
Likelihood = Literal["bernoulli", "gaussian"]
Output = Literal["sigmoid", "tanh", "linear"]
PixelRange = Literal["unit", "signed"]
DecoderVariance = Literal["fixed", "learned"]

CHOICES = {
    "model": Model,
    "encoder_activation": Activation,
    "decoder_activation": Activation,
    "likelihood": Likelihood,
    "output": Output,
    "pixel_range": PixelRange,
    "decoder_variance": DecoderVariance,
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The static choices of a run.

    Raises:
        LabError: a value out of range, or a combination that has no meaning.
    """

    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    model: Model = "vae"
    """`ae` is the same net with no sampling and no KL."""
    latent_size: int = 10
    encoder_widths: tuple[int, ...] = (400,)
    """Hidden units of each hidden layer, from the pixels on. Empty: a linear encoder."""
    decoder_widths: tuple[int, ...] = (400,)
    """Hidden units of each hidden layer, from the code on. Empty: a linear decoder."""
    encoder_activation: Activation = "relu"
    decoder_activation: Activation = "relu"
    likelihood: Likelihood = "bernoulli"
    output: Output = "sigmoid"
    """What turns logits into the mean image. A Bernoulli likelihood has only `sigmoid`."""
    pixel_range: PixelRange = "unit"
    """`unit` is [0, 1], `signed` is [-1, 1]."""
    binarize: bool = False
    """Draw each pixel anew from Bernoulli(pixel) whenever it is used: dynamic binarization."""
    decoder_variance: DecoderVariance = "fixed"
    """`learned`: the Gaussian decoder's standard deviation, one for all pixels, is a parameter
    (sigma-VAE, Rybkin et al. 2021)."""
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name, choice in CHOICES.items():
            if getattr(self, name) not in get_args(choice):
                raise LabError(
                    f"{name}={getattr(self, name)!r} is unknown: use one of {get_args(choice)}."
                )
        for name in ("image_shape", "encoder_widths", "decoder_widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a list has no hash
        if len(self.image_shape) != 3:
            raise LabError(f"image_shape={self.image_shape}: give height, width and channels.")
        sizes = {
            "image_shape": self.image_shape,
            "latent_size": (self.latent_size,),
            "encoder_widths": self.encoder_widths,
            "decoder_widths": self.decoder_widths,
            "batch_size": (self.batch_size,),
        }
        for name, values in sizes.items():
            if any(not isinstance(value, int) or value < 1 for value in values):
                raise LabError(f"{name}={getattr(self, name)}: use whole numbers of at least 1.")
        if self.likelihood == "bernoulli" and self.output != "sigmoid":
            raise LabError(
                f"output={self.output!r} is no Bernoulli mean: use output='sigmoid', or "
                "likelihood='gaussian'."
            )
        if self.pixel_range == "signed" and self.output == "sigmoid":
            raise LabError(
                "pixel_range='signed' reaches -1, where a sigmoid never goes: use "
                "likelihood='gaussian' with output='tanh' or 'linear'."
            )
        if self.binarize and self.likelihood != "bernoulli":
            raise LabError("binarize=True needs likelihood='bernoulli'.")
        if self.decoder_variance == "learned" and (
            self.likelihood != "gaussian" or self.model != "vae"
        ):
            raise LabError(
                "decoder_variance='learned' needs likelihood='gaussian' and model='vae': nothing "
                "else has a decoder variance."
            )

    @property
    def pixels(self) -> int:
        """`D`: numbers in an image."""
        return math.prod(self.image_shape)

    @property
    def elbo_scale(self) -> float:
        """The recon_scale of the negative ELBO: `D`, or `D / 2` for a unit-variance Gaussian."""
        return float(self.pixels) if self.likelihood == "bernoulli" else self.pixels / 2

    @property
    def pixel_width(self) -> int:
        """Of the pixel range: 2 from -1 to 1, 1 from 0 to 1."""
        return 2 if self.pixel_range == "signed" else 1


class Knobs(NamedTuple):
    """Numbers that may differ from lane to lane; arrays of shape [] (one model) or [lanes]."""

    learning_rate: "Float[Array | np.ndarray, '*lanes']"
    decay_steps: "Float[Array | np.ndarray, '*lanes']"
    """Steps over which the learning rate falls to 0, where it stays; 0: it does not fall."""
    recon_scale: "Float[Array | np.ndarray, '*lanes']"
    """Weight of the error averaged over pixels."""
    kl_weight: "Float[Array | np.ndarray, '*lanes']"
    """Weight of the KL summed over latent units, in nats."""
    kl_warmup: "Float[Array | np.ndarray, '*lanes']"
    """Steps over which the weight of the KL grows from 0 to kl_weight; 0: none."""
    kl_cycle: "Float[Array | np.ndarray, '*lanes']"
    """Steps after which the warm-up starts again; 0: never."""
    free_bits: "Float[Array | np.ndarray, '*lanes']"
    """Nats of KL that each latent unit has for free."""


def knobs(
    config: Config,
    *,
    learning_rate: float = 1e-3,
    decay_steps: float = 0.0,
    recon_scale: float | Literal["elbo"] = "elbo",
    kl_weight: float = 1.0,
    kl_warmup: float = 0.0,
    kl_cycle: float = 0.0,
    free_bits: float = 0.0,
) -> Knobs:
    """The knobs of one model, checked. `recon_scale="elbo"` is `config.elbo_scale`.

    Raises:
        LabError: a number out of its range.
    """
    if isinstance(recon_scale, str) and recon_scale != "elbo":
        raise LabError(f"recon_scale={recon_scale!r}: use a positive number or 'elbo'.")
    scale = config.elbo_scale if recon_scale == "elbo" else float(recon_scale)
    chosen = {
        "learning_rate": learning_rate,
        "decay_steps": decay_steps,
        "recon_scale": scale,
        "kl_weight": kl_weight,
        "kl_warmup": kl_warmup,
        "kl_cycle": kl_cycle,
        "free_bits": free_bits,
    }
    with np.errstate(over="ignore", under="ignore"):
        stored = {name: np.asarray(value, np.float32) for name, value in chosen.items()}
    for name, value in chosen.items():
        positive = name in ("learning_rate", "recon_scale")
        if not np.finfo(np.float32).tiny * positive <= stored[name] < np.inf:
            needed = "a positive number" if positive else "0 or a positive number"
            raise LabError(f"{name}={value}: use {needed} that a float32 can hold.")
    for name in ("decay_steps", "kl_warmup", "kl_cycle"):
        if chosen[name] != round(chosen[name]):
            raise LabError(f"{name}={chosen[name]:g}: use whole steps.")
    if kl_cycle and not 0 < kl_warmup <= kl_cycle:
        raise LabError(
            f"kl_cycle={kl_cycle:g} repeats a kl_warmup of 1 to as many steps, not of "
            f"{kl_warmup:g}: change either, or use 0 for no cycle."
        )
    return Knobs(**stored)


def stack(lanes: list[Knobs]) -> Knobs:
    """Knobs of single models as one `Knobs` with a leading lane axis."""
    return Knobs(*(np.stack(values) for values in zip(*lanes, strict=True)))


@dataclass(frozen=True)
class Run:
    """Models trained together: one Config, and for each lane its knobs and its seed.

    Raises:
        LabError: no seed, one out of range, or not as many knobs as seeds.
    """

    name: str
    dataset: str
    split: str
    """The training images, in TFDS syntax."""
    config: Config
    knobs: Knobs
    """Arrays [lanes]."""
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.seeds or not all(0 <= seed < 2**31 for seed in self.seeds):
            raise LabError(f"seeds={self.seeds}: use one or more whole numbers from 0 to 2^31 - 1.")
        if any(values.shape != (len(self.seeds),) for values in self.knobs):
            raise LabError(f"{len(self.seeds)} seeds need as many of each knob, one for each lane.")

    def lane(self, index: int) -> dict[str, int | float]:
        """Seed and knobs of one lane, by name; a knob as the shortest number of its float32."""
        values = {
            name: float(str(np.float32(value[index])))
            for name, value in self.knobs._asdict().items()
        }
        return {"seed": self.seeds[index], **values}

    def to_json(self) -> dict[str, Any]:
        config = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self.config).items()
        }
        lanes = [self.lane(index) for index in range(len(self.seeds))]
        identity = {"name": self.name, "dataset": self.dataset, "split": self.split}
        return identity | {"config": config, "lanes": lanes}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Run":
        lanes = fields["lanes"]
        choices: dict[str, Any] = {  # JSON has no tuples
            name: tuple(value) if isinstance(value, list) else value
            for name, value in fields["config"].items()
        }
        return cls(
            fields["name"],
            fields["dataset"],
            fields["split"],
            Config(**choices),
            Knobs(
                *(np.asarray([lane[name] for lane in lanes], np.float32) for name in Knobs._fields)
            ),
            tuple(lane["seed"] for lane in lanes),
        )
