"""What the loss terms of every training step say: how training began and ended, whether it has
come to rest, and how fast a sleeping latent unit wakes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import theilslopes

from vaejax.train import Trace

MOVED = 0.02
"""A lane is at rest if it changes by less than this many units from block to block."""
WAKING_BLOCK = 5
"""The KL of a step comes from one batch only: `growth_rate` averages it over this many steps."""
LAST = 100
"""The end of training is the mean over this many last steps."""


def ends_of_training(trace: Trace) -> dict[str, Any]:
    """The loss terms of one model, from a trace [steps]: at the first step and averaged over the
    last hundred, and the peak of the KL. KL in nats, the error averaged over pixels."""
    kl = np.ascontiguousarray(trace.kl).sum(-1)
    error = np.ascontiguousarray(trace.error)
    return {
        "kl_first_nats": kl[0],
        "kl_peak_nats": kl.max(),
        "kl_last_nats": kl[-LAST:].mean(),
        "recon_first": error[0],
        "recon_last": error[-LAST:].mean(),
    }


def at_rest(
    error: Float[np.ndarray, "lanes steps"], unit: float, block: int
) -> Bool[np.ndarray, "lanes"]:
    """Which lanes are at rest: the square root of the squared error, averaged over blocks of
    `block` steps, has changed by less than `MOVED * unit` between the last three blocks. With fewer
    than three blocks no lane is at rest; after that, a lane that diverged is."""
    blocks = error.shape[1] // block
    if blocks < 3:
        return np.zeros(len(error), bool)
    finite = np.isfinite(error).all(1, keepdims=True)
    # Contiguous: sums are then the same to the bit, whether the error was mapped from disk or not.
    error = np.ascontiguousarray(np.where(finite, error[:, : blocks * block], 0))
    averages = error.reshape(len(error), blocks, block).mean(-1)
    moved = np.abs(np.diff(np.sqrt(averages[:, -3:]), axis=1))
    return (moved < MOVED * unit).all(1)


def growth_rate(
    kl: Float[np.ndarray, "steps"], clock: Float[np.ndarray, "steps"], expected: float
) -> float:
    """The growth rate of a waking unit, per unit of the clock.

    Near the collapsed solution the signal grows by a constant factor per step and the KL by its
    square, and both saturate: the rate is half the slope of log(KL / (expected - KL)). The line is
    fitted from the block of steps where the KL is last below a tenth of `expected`, or below three
    times its first value, up to the block where it is first above half of `expected`.

    Args:
        kl: KL of the unit at each step, in nats.
        clock: the time at each step, in any unit.
        expected: the KL, in nats, that the unit is expected to reach.

    Returns:
        The rate; NaN if the KL does not come that far, or does so within three blocks.
    """
    whole = len(kl) // WAKING_BLOCK * WAKING_BLOCK
    blocks, times = (values[:whole].reshape(-1, WAKING_BLOCK).mean(-1) for values in (kl, clock))
    above = blocks > expected / 2
    if not expected > 0 or not above.any():
        return math.nan
    end = int(np.argmax(above))
    low = np.flatnonzero(blocks[:end] < max(expected / 10, 3 * blocks[0]))
    if not len(low) or end - low[-1] < 3:
        return math.nan
    part = slice(low[-1], end)
    logit = np.log(blocks[part] / (expected - blocks[part]))
    return float(np.polyfit(times[part], logit, 1)[0] / 2)


class GrowthLine(NamedTuple):
    """A straight line through growth rates: `slope * scale + offset`."""

    slope: float
    offset: float

    def at(self, scale: float) -> float:
        return self.slope * scale + self.offset

    @property
    def zero(self) -> float:
        """The scale at which growth is extrapolated to 0; NaN for a level line."""
        return -self.offset / self.slope if self.slope else math.nan


def growth_line(scales: Sequence[float], rates: Sequence[float]) -> GrowthLine:
    """The line through growth rates against scales; rates that are NaN are left out.

    Its slope is the median of the slopes of all pairs (Theil 1950, Sen 1968), since near the
    threshold the rates are mostly noise. NaN with rates at fewer than three scales.
    """
    x, y = np.asarray(scales, float), np.asarray(rates, float)
    known = np.isfinite(y)
    if len(np.unique(x[known])) < 3:
        return GrowthLine(math.nan, math.nan)
    slope, offset, *_ = map(float, tuple(theilslopes(y[known], x[known], method="joint")))
    return GrowthLine(slope, offset)
