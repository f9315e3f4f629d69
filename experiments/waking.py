"""How a sleeping latent unit wakes: measured from its KL at every step of training, and drawn."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import theilslopes

from experiments import report, thresholds, views
from vaejax import figures, records

BLOCK = 5
"""Steps over which the KL, that of a batch, is averaged."""
CURVE = 60
DRAWN = (0.9, 0.95, 1.05, 1.1, 1.2, 1.4)
"""Multiples of the threshold whose curves are drawn."""


def growth(kl: np.ndarray, clock: np.ndarray, expected: float) -> float:
    """Growth rate of a waking unit, from its KL [steps] in nats, the time on any clock at each step
    [steps], and the KL that it is expected to reach.

    Near the collapsed solution the signal grows by a factor at each step, the KL by its square, and
    both saturate: half the slope of log(KL / (expected - KL)), from where the KL is last under a
    tenth of the expected, or three times what it was at first, to where it is first above half.
    NaN if it does not come there, or within three blocks of steps.
    """
    whole = len(kl) // BLOCK * BLOCK
    blocks, times = (of[:whole].reshape(-1, BLOCK).mean(-1) for of in (kl, clock))
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


def line(rows: Sequence[records.Row]) -> tuple[float, float]:
    """Slope and offset of the line through growth rates against scales in multiples of the
    threshold; the slope is the median of those of all pairs (Theil 1950, Sen 1968), since near the
    threshold the rates are mostly noise. NaN from fewer than three scales."""
    times, rates = (
        np.asarray(report.values(rows, name)) for name in ("times", "growth_per_1000_steps")
    )
    known = np.isfinite(rates)
    if len(np.unique(times[known])) < 3:
        return math.nan, math.nan
    slope, offset, *_ = map(float, tuple(theilslopes(rates[known], times[known], method="joint")))
    return slope, offset


def told_apart(rows: Sequence[records.Row]) -> list[records.Row]:
    """The rows of one net with the state of their unit: awake, if it is active; else slow, if the
    line through growth rates is above 0 at its scale, or dead."""
    slope, offset = line(rows)

    def state(row: records.Row) -> str:
        rate = slope * row["times"] + offset
        asleep = "asleep" if math.isnan(rate) else "slow" if rate > 0 else "dead"
        return "awake" if row["active_units"] else asleep

    return [row | {"state": state(row)} for row in rows]


def curve(kl: np.ndarray) -> np.ndarray:
    """KL [lanes, steps], averaged to `CURVE` points of a curve, or as many as there are steps."""
    parts = np.array_split(kl, min(CURVE, kl.shape[1]), 1)
    return np.stack([part.mean(-1) for part in parts], 1)


def panels(
    net: str, raised: Sequence[records.Row], lowered: Sequence[records.Row]
) -> tuple[figures.Panel, figures.Panel, figures.Panel]:
    """KL of the raised units against the step, their growth rate against the scale, and KL at the
    end of the raised and of the lowered."""
    times = sorted({row["times"] for row in raised})
    points = len(raised[0]["kl_curve_nats"])
    steps = ((np.arange(points) + 0.5) * raised[0]["steps"] / points).tolist()
    curves = {}
    for time in [time for time in times if time in DRAWN] or times:
        of_seeds = [row["kl_curve_nats"] for row in raised if row["times"] == time]
        curves[f"{time:g}"] = figures.Line(steps, np.transpose(of_seeds).tolist())
    waking = figures.Panel(f"{net}: KL, nats", "", curves, log_y=True)

    mark, grid = ("threshold", 1.0), np.linspace(min(times[0], 1.0), times[-1], 50)
    slope, offset = line(raised)
    drawn = {
        "line": figures.Line(grid.tolist(), (slope * grid + offset)[:, None].tolist()),
        "measured": views.against(raised, "times", "growth_per_1000_steps"),
    }
    rates = figures.Panel(f"{net}: growth per 1,000 steps", "", drawn, mark=mark)
    both = {
        "raised": views.against(raised, "times", "kl_nats"),
        "lowered": views.against(lowered, "times", "kl_nats"),
    }
    best = thresholds.predicted(np.ones(1), grid)  # of one unit
    predicted = grid.tolist(), best["predicted_kl_nats"].tolist()
    loop = figures.Panel(f"{net}: KL, nats", "", both, mark=mark, predicted=predicted)
    return waking, rates, loop
