"""The loss of a VAE as people write it, as the two weights of this lab, and back.

The lab minimizes, averaged over images, `recon_scale * E + kl_weight * K`: E is the error averaged
over D pixels in [0, 1], and K is the KL in nats, summed over latent units. Other code sums or
averages either term over other things, halves the squared error, weighs a term or has pixels of
another range. Each of these multiplies a term by a constant:

    error   half_mse: 1/2.  pixels: mean 1, sum D, positions D / channels.  pixel_std s: 1 / s^2.
    KL      kl: sum 1, mean 1 / latent_size, pixels 1 / D.

A common factor of both terms, such as the size of a batch that both are summed over, moves no
minimum, and Adam hardly sees it. So only the ratio `recon_scale / kl_weight` counts.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from vaejax.errors import LabError

Error = Literal["mse", "half_mse", "bce", "l1"]
OverPixels = Literal["mean", "sum", "positions"]
OverUnits = Literal["sum", "mean", "pixels"]
OverBatch = Literal["mean", "sum"]


@dataclass(frozen=True, kw_only=True)
class WrittenLoss:
    """How someone has written the loss of a VAE.

    Raises:
        LabError: a number is out of range, a number is missing, or a combination has no meaning.
    """

    error: Error
    """`mse`: squared error; `half_mse`: half of it; `bce`: cross entropy. `l1` is refused."""
    pixels: OverPixels
    """The error of an image is averaged (`mean`) or summed (`sum`) over pixels and channels, or
    averaged over channels and summed over `positions`, as a loss of Keras and a sum do."""
    kl: OverUnits
    """The KL of an image is summed over latent units (`sum`), averaged over them (`mean`), or
    summed and divided by the number of `pixels` and channels."""
    error_weight: float = 1.0
    kl_weight: float = 1.0
    pixel_std: float = 1.0
    """What pixels in [0, 1] were divided by, after a shift: 1/2 for [-1, 1]."""
    latent_size: int | None = None
    """Counts for `kl="mean"` only."""
    error_batch: OverBatch = "mean"
    kl_batch: OverBatch = "mean"
    batch_size: int | None = None
    """Counts only where one term is summed over the batch and the other one averaged."""

    def __post_init__(self) -> None:
        if self.error == "l1":
            raise LabError(
                "error='l1': what collapses then depends on the density of each pixel at its "
                "median, which no covariance tells: use mse, half_mse or bce."
            )
        for name in ("error_weight", "kl_weight", "pixel_std"):
            if not 0 < getattr(self, name) < math.inf:
                raise LabError(f"{name}={getattr(self, name):g}: use a positive, finite number.")
        for name in ("latent_size", "batch_size"):
            if (size := getattr(self, name)) is not None and size < 1:
                raise LabError(f"{name}={size}: use a whole number of 1 or more.")
        if self.error == "bce" and self.pixel_std != 1:
            raise LabError("error='bce' needs pixels in [0, 1]: use mse for other pixel ranges.")
        if self.kl == "mean" and self.latent_size is None:
            raise LabError("kl='mean' divides by the number of latent units: give latent_size.")
        if self.error_batch != self.kl_batch and self.batch_size is None:
            raise LabError(
                f"error_batch={self.error_batch!r}, kl_batch={self.kl_batch!r}: the size of the "
                "batch is then a weight: give batch_size."
            )


class Weights(NamedTuple):
    """The weights of the lab's objective, for pixels in [0, 1]."""

    recon_scale: float
    """Of the error averaged over pixels."""
    kl_weight: float
    """Of the KL in nats, summed over latent units."""

    @property
    def ratio(self) -> float:
        """The recon_scale of the same balance at kl_weight 1."""
        return self.recon_scale / self.kl_weight


def lab_weights(loss: WrittenLoss, image_shape: tuple[int, int, int]) -> Weights:
    """The weights with which the lab's objective is this loss, for images of height, width,
    channels. If both terms are summed over the batch, it is the loss over the batch size."""
    pixels = math.prod(image_shape)
    errors = {"mean": 1.0, "sum": float(pixels), "positions": pixels / image_shape[-1]}
    error = loss.error_weight * errors[loss.pixels] / loss.pixel_std**2
    if loss.error == "half_mse":
        error /= 2
    kl = loss.kl_weight / {"sum": 1, "mean": loss.latent_size or 1, "pixels": pixels}[loss.kl]
    if loss.error_batch != loss.kl_batch:
        if loss.error_batch == "sum":
            error *= loss.batch_size or 1
        else:
            kl *= loss.batch_size or 1
    return Weights(error, kl)


def written_kl_weight(loss: WrittenLoss, image_shape: tuple[int, int, int], ratio: float) -> float:
    """The `kl_weight` to write in this loss for a recon_scale of `ratio` at the lab's kl_weight 1,
    all else as it is."""
    return loss.kl_weight * lab_weights(loss, image_shape).ratio / ratio
