"""What the images of a study say before training: below which scale it must collapse, and how many
units pay above."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from vaejax import records, theory
from vaejax.config import Run


def first_thresholds(runs: Sequence[Run], images: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The first of `theory.thresholds` on the images that each run trains on, by its name; NaN for
    one of no lane that it holds for, whose images are not looked at."""
    moments: dict[str, theory.Moments] = {}
    found = {}
    for run in runs:
        lanes = [_charges(run, lane) for lane in range(len(run.seeds))]
        found[run.name] = math.nan
        if any(theory.has_threshold(run.config, *lane) for lane in lanes):
            if run.split not in moments:
                moments[run.split] = theory.moments(images[run.split])
            found[run.name] = float(theory.thresholds_of(run.config, moments[run.split], 1)[0])
    return found


def _charges(run: Run, lane: int) -> tuple[float, float, float]:
    """What decides on the price of the KL: its weight, free bits, and its cycle."""
    knobs = run.lane(lane)
    return knobs["kl_weight"], knobs["free_bits"], knobs["kl_cycle"]


def threshold_scale(run: Run, lane: int, first: float) -> float:
    """The scale below which the collapsed solution is stable in a lane; NaN if there is none."""
    weight, *others = _charges(run, lane)
    return weight * first if theory.has_threshold(run.config, weight, *others) else math.nan


def collapse_warnings(run: Run, first: float) -> list[str]:
    """A line for each threshold that lanes are below."""
    scales: dict[float, dict[float, None]] = {}
    for lane in range(len(run.seeds)):
        threshold, scale = threshold_scale(run, lane, first), run.lane(lane)["recon_scale"]
        if not math.isnan(threshold):
            scales.setdefault(threshold, {})[scale] = None
    lines = [theory.collapse_warning(run.config, list(of), at) for at, of in scales.items()]
    return [f"warning: {line}" for line in lines if line]


def predicted(relative: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """What the best linear VAE with squared error has, from the threshold [latent] of each of its
    units and from scales, both in multiples of the first threshold; its gain in the objective, in
    nats, is that over the collapsed solution."""
    ratios = np.maximum(times[:, None] / relative, 1)
    return {
        "predicted_units": theory.predicted_units(relative, times, 1.0, len(relative)),
        "predicted_kl_nats": theory.predicted_kl(relative, times, 1.0, len(relative)),
        "predicted_gain_nats": (ratios - 1 - np.log(ratios)).sum(-1) / 2,
    }


def units_off(
    relative: np.ndarray, times: np.ndarray, units: np.ndarray, margin: float
) -> np.ndarray:
    """How many units more or fewer than predicted there are at each scale, whether or not those
    pay whose threshold is closer to it than this factor."""
    fewest, most = (
        theory.predicted_units(relative, times * factor, 1.0, len(relative))
        for factor in (1 / margin, margin)
    )
    return np.maximum(np.maximum(fewest - units, units - most), 0)


def onset(rows: Sequence[records.Row], name: str) -> float:
    """Where the rows of one run and seed, by rising scale, wake, in multiples of the threshold: the
    geometric mean of the smallest scale from which on all have an active unit, or direction, and
    the one before (0, before the first). NaN if the last has none."""
    asleep = max((row["times"] for row in rows if not row[name]), default=0.0)
    awake = [row["times"] for row in rows if row["times"] > asleep]
    return math.sqrt(asleep * awake[0]) if awake else math.nan
