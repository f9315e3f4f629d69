"""What a data set predicts before any training (B5): the recon_scale below which the collapsed
solution of a VAE is stable, the scales at which k units are active, and what a given scale amounts
to.

For each likelihood: the threshold, and on which side of it the scale of the ELBO is; how many units
pay for their KL at some scales, and the KL in nats that they then have; between which scales k
units pay. This is exact for a linear VAE with squared error, and near the threshold for any net
that sees all pixels: below it the collapsed solution is stable whatever the encoder and decoder
(see vaejax.theory.threshold). Prints only.

With `--loss` it takes the loss of your own code as you wrote it. It says what that is in the terms
of this lab, on which side of the threshold it is, and which weight to write: docs/your_loss.md.
`--numbers` takes vectors that are no pixels as they are: standardized tables, embeddings, log
counts.

Commands: python -m experiments.advise --dataset mnist
    python -m experiments.advise --dataset mnist --loss mse --pixels mean --kl sum --kl-weight 1

Cost: seconds; a minute for 3072 or more images of 3072 pixels.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.table import Table

import vaejax as vj

SCALES: tuple[vj.Scale, ...] = (1.0, "elbo", 6000.0)
MANY_PIXELS = 2048
"""A covariance of more pixels takes long; where images are fewer only drawn pixels need it."""
NO_THRESHOLD = (
    "no threshold: the images are all equal, so no latent unit pays for its KL at any recon_scale"
)
UNITS = (1, 2, 4, 10, 20, 32, 64)
WITH_LOSS = (
    "pixels", "kl", "error_weight", "pixel_std", "error_batch", "kl_batch", "batch_size"
)  # fmt: skip
"""Flags that say how a loss is written."""
OF_PIXELS = ("resize", "grey", "rgb", "white", "pixel_range", "pixel_std")
"""Flags that have no place beside `--numbers`."""


@dataclass(frozen=True, kw_only=True)
class AdviseFlags(vj.study.DataFlags):
    """What to say something about."""

    split: str = "train"
    """The images to train on, in TFDS syntax."""
    numbers: bool = False
    """The .npy or .npz file of --dataset holds vectors that are no pixels, [n, d]: they are taken
    as they are, for squared error."""
    likelihood: vj.config.Likelihood | None = None
    """bernoulli: cross entropy on logits; gaussian: squared error. None: both."""
    pixel_range: vj.config.PixelRange = "unit"
    """unit: [0, 1]; signed: [-1, 1], for squared error only."""
    kl_weight: Annotated[float, tyro.conf.arg(aliases=("--kld-weight",))] = 1.0
    """Weight of the KL in nats; with --loss, of the KL as you reduce it."""
    latent_size: int | None = None
    """The number of latent units. None: as many as pixels."""
    recon_scale: tuple[vj.Scale, ...] = ()
    """Weights of the error averaged over pixels, beside 1, elbo and 6000."""
    units: tuple[int, ...] | None = None
    """Numbers of units to keep. None: 1, 2, 4, 10, 20, 32, 64."""
    loss: vj.theory.weighting.Error | None = None
    """The error in a loss of your own. mse: squared error; half_mse: half of it; bce: cross
    entropy. --pixels and --kl say how it goes on. None: the loss of this lab."""
    pixels: vj.theory.weighting.OverPixels | None = None
    """Your error is averaged (mean) or summed (sum) over pixels and channels, or summed over
    positions and averaged over channels (positions; keras.losses)."""
    kl: vj.theory.weighting.OverUnits | None = None
    """Your KL is summed over latent units (sum), averaged over them (mean), or summed and divided
    by the number of pixels and channels (pixels)."""
    error_weight: float = 1.0
    """Your weight of the error."""
    pixel_std: float | None = None
    """The standard deviation by which you divide pixels in [0, 1]; the mean, if channels differ."""
    error_batch: vj.theory.weighting.OverBatch = "mean"
    """Your error is averaged or summed over the batch."""
    kl_batch: vj.theory.weighting.OverBatch = "mean"
    """Your KL is averaged or summed over the batch."""
    batch_size: int | None = None
    """Counts only where one of the two is averaged over the batch, and the other one summed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.study.flags.at_least("--latent-size", 1, self.latent_size)
        if not 0 < self.kl_weight < math.inf:
            raise vj.LabError(
                f"--kl-weight {self.kl_weight:g}: use a positive and finite weight; without one "
                "there is no threshold."
            )
        for out_of_place, names, why in (
            (self.loss, ("likelihood", "recon_scale"), "does not go with --loss"),
            (not self.loss, WITH_LOSS, "goes with --loss"),
            (self.numbers, OF_PIXELS, "does not go with --numbers"),
        ):
            for name in names:
                if out_of_place and getattr(self, name) != getattr(AdviseFlags, name):
                    raise vj.LabError(f"{vj.study.flags.flag(name)} {why}.")
        entropy = self.loss == "bce" or self.likelihood == "bernoulli"
        if self.numbers and (entropy or self.source.path is None):
            raise vj.LabError(
                "--numbers are for squared error, and for an .npy or .npz file: "
                "--dataset FILE, with --loss mse or half_mse, or --likelihood gaussian."
            )
        if self.loss:
            self.written()

    def written(self) -> vj.theory.WrittenLoss:
        """The loss that the flags describe."""
        if not (self.pixels and self.kl):
            raise vj.LabError(
                "--loss needs --pixels and --kl: how your error is reduced over pixels, and your "
                "KL over latent units."
            )
        signed = self.pixel_range == "signed"
        if signed and self.pixel_std is not None:
            raise vj.LabError(
                "--pixel-range signed is a --pixel-std of 0.5: give one of them, not both."
            )
        std = 0.5 if signed else 1.0 if self.pixel_std is None else self.pixel_std
        known = vars(self) | {"error": self.loss, "pixel_std": std}
        try:
            return vj.theory.WrittenLoss(
                **{field.name: known[field.name] for field in fields(vj.theory.WrittenLoss)}
            )
        except vj.LabError as error:
            raise vj.LabError(with_flags(str(error))) from None


def with_flags(message: str) -> str:
    """A message of the library, in which arguments have names of Python, with those of flags."""
    message = re.sub(r"\berror='", "loss='", message)
    message = re.sub(r"(\w+)='?([\w.+-]+)'?", r"--\1 \2", message)
    message = re.sub(r"give (\w+)", r"give --\1", message)
    return re.sub(r"--\w+", lambda found: found[0].replace("_", "-"), message)


def configs(flags: AdviseFlags, image_shape: tuple[int, int, int]) -> dict[str, vj.Config]:
    """The likelihoods asked for, by name."""
    common: dict[str, Any] = {"image_shape": image_shape, "pixel_range": flags.pixel_range}
    found = {}
    if flags.likelihood != "bernoulli":
        found["squared error"] = vj.Config(likelihood="gaussian", output="linear", **common)
    unit = flags.pixel_range == "unit" and not flags.numbers
    if flags.likelihood == "bernoulli" or (not flags.likelihood and unit):
        found["Bernoulli"] = vj.Config(**common)
        found["Bernoulli, binarized"] = vj.Config(binarize=True, **common)
    return found


def scale_of(config: vj.Config, flags: AdviseFlags, scale: vj.Scale) -> float:
    """A recon_scale as a number."""
    return float(vj.knobs(config, recon_scale=scale, kl_weight=flags.kl_weight).recon_scale)


def units_to_keep(flags: AdviseFlags, thresholds: np.ndarray) -> list[int]:
    """The numbers of units that the table is about."""
    most = min(int(np.isfinite(thresholds).sum()), flags.latent_size or len(thresholds))
    for units in flags.units or ():
        if not 1 <= units <= most:
            raise vj.LabError(f"--units {units}: 1 to {most} units can be kept of these images.")
    return [units for units in flags.units or UNITS if units <= most]


def sigma(config: vj.Config, scale: float, kl_weight: float) -> str:
    """The standard deviation of a Gaussian decoder that a scale amounts to."""
    if config.likelihood == "bernoulli":
        return "-"
    return f"{vj.theory.decoder_variance(scale, config.pixels, kl_weight) ** 0.5:.4g}"


def scales_table(flags: AdviseFlags, name: str, config: vj.Config, thresholds: np.ndarray) -> Table:
    """Predictions for the default scales and those of --recon-scale."""
    headings = ("recon_scale", "sigma", "units that pay for their KL", "KL, nats")
    table = Table(*headings, title=f"{name}: what a scale does")
    for scale in sorted({scale_of(config, flags, s) for s in (*SCALES, *flags.recon_scale)}):
        where = thresholds, scale, flags.kl_weight, flags.latent_size or len(thresholds)
        table.add_row(
            f"{scale:.6g}{' (elbo)' if scale == config.elbo_scale else ''}",
            sigma(config, scale, flags.kl_weight),
            f"{int(vj.theory.predicted_units(*where))}",
            f"{float(vj.theory.predicted_kl(*where)):.4g}",
        )
    return table


def units_table(flags: AdviseFlags, name: str, config: vj.Config, thresholds: np.ndarray) -> Table:
    """Between which scales so many units pay."""
    title = f"{name}: scales for units"
    table = Table("units", "recon_scale above", "up to", "sigma below", title=title)
    for units in units_to_keep(flags, thresholds):
        above, *beyond = flags.kl_weight * thresholds[units - 1 : units + 1]
        last = units == flags.latent_size or not beyond or np.isinf(beyond[0])
        upto = "any" if last else f"{beyond[0]:.6g}"
        table.add_row(str(units), f"{above:.6g}", upto, sigma(config, above, flags.kl_weight))
    return table


def summary(
    flags: AdviseFlags, config: vj.Config, thresholds: np.ndarray, moments: vj.theory.Moments
) -> str:
    """The threshold, and on which side of it the scale of the ELBO is."""

    def side(threshold: float) -> str:
        if np.isclose(config.elbo_scale, threshold, rtol=1e-9, atol=0):  # but for rounding
            return "at"
        return "above" if config.elbo_scale > threshold else "BELOW"

    first = flags.kl_weight * thresholds[0]
    elbo = f"elbo: recon_scale {config.elbo_scale:g}, {side(first)} the threshold"
    if config.likelihood == "bernoulli":
        return f"threshold: recon_scale {first:.4g}\n{elbo}"
    learned = replace(config, decoder_variance="learned")
    own = flags.kl_weight * float(vj.theory.thresholds_of(learned, moments, 1)[0])
    return (
        f"threshold: recon_scale {first:.4g}, a Gaussian decoder of sigma "
        f"{sigma(config, first, flags.kl_weight)}\n{elbo}\n"
        f"with a learned variance: threshold {own:.4g}, elbo is {side(own)} it; each unit that "
        "wakes lowers the variance and helps the next"
    )


def load(flags: AdviseFlags) -> tuple[tuple[int, int, int], np.ndarray, str]:
    """The shape of an image; the images, uint8 [n, pixels], or numbers that are no pixels, float
    [n, d]; and what they are, in words."""
    if flags.numbers:
        flat = vj.data.arrays.numbers(Path(flags.source.path or ""), flags.split)
        shape, what = (1, flat.shape[1], 1), "vectors"
    else:
        opened = vj.data.dataset.open_source(flags.source)
        vj.study.laboratory.say(*opened.notes)
        images = vj.data.dataset.take(opened, flags.split).images
        shape, flat, what = images.shape[1:], images.reshape(len(images), -1), "images"
    told = f"{flags.source.name}, {flags.split}: {len(flat)} {what} of D = {flat.shape[1]}"
    return shape, flat, told


def advise_on_loss(flags: AdviseFlags) -> None:
    """Print what the images say about the loss that `--loss` describes: a paragraph, and below
    which weight of its KL so many units pay."""
    loss, (shape, flat, told) = flags.written(), load(flags)
    config = vj.Config(image_shape=shape)
    if loss.error != "bce":
        config = replace(config, likelihood="gaussian", output="linear")
    thresholds = vj.theory.thresholds(config, flat, config.pixels)
    table = Table("units", "KL weight below", title="the weight of your KL for units")
    for units in units_to_keep(flags, thresholds):
        weight = vj.theory.written_kl_weight(loss, shape, thresholds[units - 1])
        table.add_row(str(units), f"{weight:.4g}")
    of = "numbers as they are" if flags.numbers else "pixels in [0, 1]"
    out = vj.study.terminal.console()
    out.print(f"{told}\n")
    out.print(vj.theory.advice.advice(loss, shape, thresholds, of), markup=False)
    out.print(table)


def advise(flags: AdviseFlags) -> None:
    """Print what the images say."""
    shape, flat, told = load(flags)
    asked = configs(flags, shape)
    scales = {  # checked before what takes time
        name: [scale_of(config, flags, scale) for scale in flags.recon_scale]
        for name, config in asked.items()
    }
    moments, found = vj.theory.moments(flat), {}
    for name, config in asked.items():
        if moments.images is None or config.pixels <= MANY_PIXELS or not config.binarize:
            found[name] = vj.theory.thresholds_of(config, moments, config.pixels)
            if np.isfinite(found[name][0]):
                units_to_keep(flags, found[name])  # checked before anything is printed
    out = vj.study.terminal.console()
    out.print(told)
    for name, config in asked.items():
        out.print(f"\n[bold]{name}[/bold]")
        if name not in found:
            out.print(
                "left out, since pixels that are drawn vary each on its own, and the covariance "
                f"of all {config.pixels} takes long"
            )
            continue
        thresholds = found[name]
        known = np.isfinite(thresholds[0])
        out.print(summary(flags, config, thresholds, moments) if known else NO_THRESHOLD)
        out.print(scales_table(flags, name, config, thresholds))
        if known:
            out.print(units_table(flags, name, config, thresholds))
            first = flags.kl_weight * float(thresholds[0])
            if warning := vj.theory.collapse_warning(config, scales[name], first):
                out.print(f"warning: {warning}", soft_wrap=True)


def main() -> None:
    with vj.study.failing_clearly():
        flags = vj.study.parse(AdviseFlags, __doc__)
        (advise_on_loss if flags.loss else advise)(flags)


if __name__ == "__main__":
    main()
