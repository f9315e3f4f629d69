"""The settings of a model: static choices in `Config`, numbers that may be swept in `Knobs`.

A `Config` fixes the shapes and the traced program: two different Configs are two compilations.
`Knobs` are arrays: any grid of them trains in one program (see `vaejax.fit`).
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args, get_origin

import numpy as np
from jaxtyping import Float, Key

from vaejax.errors import LabError

if TYPE_CHECKING:  # describing a run must not cost the second that importing jax takes
    from jax import Array

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"]
Model = Literal["vae", "ae"]
Likelihood = Literal["bernoulli", "gaussian"]
Output = Literal["sigmoid", "tanh", "linear"]
PixelRange = Literal["unit", "signed"]
DecoderVariance = Literal["fixed", "learned"]
Optimizer = Literal["adam", "rmsprop"]
Scale = float | Literal["elbo"]
"""A recon_scale; `elbo` stands for `Config.elbo_scale`."""


class Posterior(NamedTuple):
    """The Gaussian q(z | x) with a diagonal covariance, a row per image."""

    mean: "Float[Array, '*batch latent']"
    logvar: "Float[Array, '*batch latent']"


class Nets(NamedTuple):
    """An encoder and a decoder, as pure functions of parameters; use it as `Config(nets=...)`.

    The functions see flat images, [batch, pixels], in the pixel range of the Config, and reshape
    them to `config.image_shape` themselves. They may use or ignore the widths and activations of
    the Config. `vaejax.model.MLP_NETS` is the default and an example.
    """

    name: str
    """Names the nets in `config.json`, in rows and in messages."""
    init: "Callable[[Config, Key[Array, '']], dict[str, Any]]"
    """`init(config, key)`: fresh parameters, a dict. The key `log_sigma` is reserved."""
    encode: "Callable[[Config, dict[str, Any], Float[Array, 'batch pixels']], Posterior]"
    """`encode(config, params, x)`: the posterior's mean and log variance, each [batch, latent]."""
    decode: "Callable[[Config, dict[str, Any], Float[Array, 'batch latent']], Array]"
    """`decode(config, params, z)`: logits [batch, pixels]."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The static choices of a model.

    Raises:
        LabError: a value is out of range, or a combination has no meaning.
    """

    image_shape: tuple[int, int, int]
    """Height, width, channels."""
    model: Model = "vae"
    """`ae` is the same net without sampling and without KL."""
    latent_size: int = 10
    encoder_widths: tuple[int, ...] = (400,)
    """Sizes of the hidden layers, from the pixels on. Empty: a linear encoder."""
    decoder_widths: tuple[int, ...] = (400,)
    """Sizes of the hidden layers, from the code on. Empty: a linear decoder."""
    encoder_activation: Activation = "relu"
    decoder_activation: Activation = "relu"
    likelihood: Likelihood = "bernoulli"
    output: Output = "sigmoid"
    """The function from logits to the mean image. A Bernoulli likelihood has only `sigmoid`."""
    pixel_range: PixelRange = "unit"
    """`unit` is [0, 1], `signed` is [-1, 1]."""
    centre_inputs: bool = False
    """The encoder sees pixels less the middle of the pixel range: `x - 1/2` for `unit`; for
    `signed`, whose middle is 0, it changes nothing. Inputs that are all positive push all weights
    of a hidden unit the same way, and large nets then learn slowly (LeCun et al. 1998, "Efficient
    BackProp", section 4.3)."""
    binarize: bool = False
    """Draw each pixel anew from Bernoulli(pixel) whenever it is used: dynamic binarization."""
    decoder_variance: DecoderVariance = "fixed"
    """`learned`: the standard deviation of the Gaussian decoder, one for all pixels, is a
    parameter (sigma-VAE, Rybkin et al. 2021)."""
    importance_samples: int = 0
    """Of a VAE: train the importance-weighted bound with so many codes for each image (IWAE, Burda
    et al. 2016). 0: the ELBO, with the KL in closed form."""
    batch_size: int = 128
    optimizer: Optimizer = "adam"
    """Adam (Kingma and Ba 2015) or RMSprop (Hinton 2012), with the constants of optax but for the
    two below."""
    beta1: float = 0.9
    """How much of its mean gradient Adam keeps at each step. RMSprop has no such mean."""
    epsilon: float = 1e-8
    """What is added to the root mean square of a gradient before the division by it."""
    nets: Nets | None = None
    """An encoder and a decoder of your own. None: the MLPs of `vaejax.model`."""

    def __post_init__(self) -> None:
        for name in ("image_shape", "encoder_widths", "decoder_widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a list has no hash
        for choice in fields(self):
            known, value = get_args(choice.type), getattr(self, choice.name)
            if get_origin(choice.type) is Literal and value not in known:
                raise LabError(f"{choice.name}={value!r} is unknown: use one of {known}.")
        self._check_sizes()
        self._check_combinations()

    def _check_sizes(self) -> None:
        if len(self.image_shape) != 3:
            raise LabError(f"image_shape={self.image_shape}: give height, width and channels.")
        for name in (
            "image_shape",
            "latent_size",
            "encoder_widths",
            "decoder_widths",
            "batch_size",
        ):
            value = getattr(self, name)
            sizes = value if isinstance(value, tuple) else (value,)
            if any(not isinstance(size, int) or size < 1 for size in sizes):
                raise LabError(f"{name}={value}: use whole numbers of at least 1.")

    def _check_combinations(self) -> None:
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
        if self.importance_samples < 0 or (self.importance_samples and self.model == "ae"):
            raise LabError(
                f"importance_samples={self.importance_samples}: use 1 or more of a VAE, or 0 for "
                "the ELBO."
            )
        if not (0 <= self.beta1 < 1 and 0 < self.epsilon < math.inf):
            raise LabError(
                f"beta1={self.beta1!r}, epsilon={self.epsilon!r}: use a beta1 of at least 0 and "
                "below 1, and a positive epsilon."
            )
        if self.optimizer == "rmsprop" and self.beta1 != Config.beta1:
            raise LabError("beta1 is a constant of Adam: leave it out, or use optimizer='adam'.")
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
        """`D`: height * width * channels. Wherever "pixels" are counted, every channel counts: an
        image of CIFAR-10 has 3072."""
        return math.prod(self.image_shape)

    @property
    def elbo_scale(self) -> float:
        """The recon_scale at which the objective is the negative ELBO: `D` for a Bernoulli
        likelihood, `D / 2` for a unit-variance Gaussian."""
        return float(self.pixels) if self.likelihood == "bernoulli" else self.pixels / 2

    @property
    def pixel_width(self) -> int:
        """The width of the pixel range: 2 for [-1, 1], 1 for [0, 1]."""
        return 2 if self.pixel_range == "signed" else 1


Positive = Annotated[float, "more than 0"]
Steps = Annotated[float, "a whole number, 0 or more"]


@dataclass(frozen=True, kw_only=True)
class KnobValues:
    """The knobs of one model, but for its recon_scale, as plain numbers: what they mean, their
    defaults, and by their types their ranges. All are 0 or more. They are flags of every study."""

    learning_rate: Positive = 1e-3
    """The learning rate of the optimizer."""
    decay_steps: Steps = 0.0
    """Steps over which the learning rate falls to 0 as half a cosine. 0: it is constant."""
    kl_weight: float = 1.0
    """Weight of the KL summed over latent units, in nats."""
    kl_warmup: Steps = 0.0
    """Steps over which the weight of the KL grows from 0 to kl_weight. 0: no warm-up."""
    kl_cycle: Steps = 0.0
    """Steps after which the warm-up starts again. 0: never."""
    free_bits: float = 0.0
    """Nats of KL that each latent unit has for free."""
    clip_norm: float = 0.0
    """The largest norm of a gradient, over all parameters: a longer one is scaled down to it. 0: no
    gradient is."""


class Knobs(NamedTuple):
    """The knobs of models, see `KnobValues`: arrays of shape [] (one model) or [lanes]."""

    learning_rate: "Float[Array | np.ndarray, '*lanes']"
    decay_steps: "Float[Array | np.ndarray, '*lanes']"
    recon_scale: "Float[Array | np.ndarray, '*lanes']"
    """Weight of the error averaged over pixels."""
    kl_weight: "Float[Array | np.ndarray, '*lanes']"
    kl_warmup: "Float[Array | np.ndarray, '*lanes']"
    kl_cycle: "Float[Array | np.ndarray, '*lanes']"
    free_bits: "Float[Array | np.ndarray, '*lanes']"
    clip_norm: "Float[Array | np.ndarray, '*lanes']"


KINDS = {"recon_scale": Positive} | {knob.name: knob.type for knob in fields(KnobValues)}


def knobs(config: Config, *, recon_scale: Scale = "elbo", **others: float) -> Knobs:
    """The knobs of one model, checked: `others` are fields of `KnobValues`. The recon_scale `elbo`
    is `config.elbo_scale`.

    Raises:
        LabError: a number is out of its range.
    """
    if isinstance(recon_scale, str) and recon_scale != "elbo":
        raise LabError(f"recon_scale={recon_scale!r}: use a positive number or 'elbo'.")
    scale = config.elbo_scale if recon_scale == "elbo" else float(recon_scale)
    chosen = {"recon_scale": scale, **asdict(KnobValues(**others))}
    with np.errstate(over="ignore", under="ignore"):
        stored = Knobs(**{name: np.asarray(value, np.float32) for name, value in chosen.items()})
    for name, value in chosen.items():
        smallest = np.finfo(np.float32).tiny if KINDS[name] is Positive else 0
        number = getattr(stored, name)
        if not (smallest <= number and np.isfinite(number)):
            needed = "a positive number" if smallest else "0 or a positive number"
            raise LabError(f"{name}={value}: use {needed} that a float32 can hold.")
        if KINDS[name] is Steps and value != round(value):
            raise LabError(f"{name}={value:g}: use whole steps.")
    if config.importance_samples and chosen["free_bits"]:
        raise LabError("free_bits are for the KL in closed form: use importance_samples=0.")
    warmup, cycle = chosen["kl_warmup"], chosen["kl_cycle"]
    if cycle and not 0 < warmup <= cycle:
        raise LabError(
            f"kl_cycle={cycle:g} needs a kl_warmup from 1 to {cycle:g} steps, but kl_warmup "
            f"is {warmup:g}: change one of them, or use kl_cycle=0 for no cycle."
        )
    return stored


def stack(lanes: Sequence[Knobs]) -> Knobs:
    """The knobs of single models as one `Knobs` with a leading lane axis."""
    return Knobs(*(np.stack(values) for values in zip(*lanes, strict=True)))


def grid(
    config: Config, seeds: Sequence[int], **values: Sequence[Any]
) -> tuple[Knobs, tuple[int, ...]]:
    """A lane for every combination of the given knob values and seeds; seeds vary fastest.

    Returns the knobs, arrays [lanes], and the seed of each lane.

    Raises:
        LabError: a number is out of its range.
    """
    choices = itertools.product(*values.values())
    settings = [knobs(config, **dict(zip(values, choice, strict=True))) for choice in choices]
    return stack([one for one in settings for _ in seeds]), tuple(seeds) * len(settings)
