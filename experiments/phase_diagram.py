"""How many units are awake at which scale, measured and predicted from the images alone (B1, B2).

Runs: a linear VAE and MLPs of one and two hidden layers, each with squared error (linear output)
and with a Bernoulli likelihood; scales (multiples of the predicted threshold, and the ELBO's) and
seeds are lanes. The weight of the KL grows over the first quarter of the steps: units start awake,
and those that do not pay go to sleep. (With --kl-warmup 1, that is without a warm-up, a deep net
may stay asleep far above the threshold.) The learning rate falls to 0.

Measurement, on the images that are trained on, since the prediction is about them: active units;
active_directions, which do not depend on the axes of the code; KL; what the objective gains over
the best constant image.

Figure: phase_diagram.png (directions, KL and gain against the scale in multiples of the threshold).

The onset of a run is the geometric mean of two scales: the smallest one from which on all have an
active unit, and the one before it. Units with a threshold within 10% of the scale may be awake or
not: units_off leaves them out. A claim is undecided if a seed never wakes.

Command: python -m experiments.phase_diagram; for CIFAR10 with --pixel-range signed and
--learning-rate 1e-3. Cost, 32 hidden and 16 latent units, three seeds, 3,500 steps of 64 images,
on 2 cores: digits 2 minutes, MNIST 7 to 14, CIFAR10 20 to 37.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal

import numpy as np

import vaejax as vj

NEAR = 1.5
"""Nets without a closed form are predicted up to this multiple of the threshold."""
MARGIN = 1.1
"""Within this factor of a threshold a unit may be awake or not."""
KL_SHARE, KL_NATS = 0.05, 0.05
"""The KL may be off by this share of the predicted one, or by so many nats."""
OUTPUTS = {"gaussian": "linear", "bernoulli": "sigmoid"}
"""Of each likelihood."""
EXACT = "linear-gaussian"
"""The run for which the prediction is a closed form."""
ONSET_OFF, DIRECTIONS_ONSET_OFF = (
    vj.study.column(name, "distance of the onset to the threshold", lambda at: abs(at - 1))
    for name in ("active_units_onset", "active_directions_onset")
)
UNITS_OFF = vj.study.column("units_off", "largest number of directions too many or too few")
KL_OFF = vj.study.column("kl_off", "largest deviation of the KL (as a share of the allowed one)")


def of_seeds(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    """For each run and seed its onsets, as multiples of the threshold, and how far it is from the
    prediction at worst."""

    def worst(name: str, reach: float) -> float:
        values = vj.study.values([row for row in own if row["times"] <= reach], name)
        return float(np.max(values)) if values else math.nan

    found = vj.study.onsets(rows, "run", "times", "active_units", "active_directions")
    for row in found:
        own = vj.study.matching(rows, run=row["run"], seed=row["seed"])
        row["units_off"] = worst("units_off", math.inf if row["run"] == EXACT else NEAR)
        row["kl_off"] = worst("kl_off", math.inf)
    return found


claim = partial(vj.study.Claim, rows=of_seeds)
CLAIMS = [
    claim(
        "B1",
        "Does the first latent unit wake at the threshold that the images predict?",
        vj.study.each("run", ONSET_OFF < MARGIN - 1),
    ),
    claim(
        "B1, directions",
        "Does the first direction of the code wake at the threshold that the images predict?",
        vj.study.each("run", DIRECTIONS_ONSET_OFF < MARGIN - 1),
    ),
    claim(
        "B2",
        "Near the threshold, are as many directions of the code active as the images predict?",
        vj.study.each("run", UNITS_OFF < 1.5),
    ),
    claim(
        "B2, KL",
        "Is the KL of a linear VAE with squared error the predicted one?",
        [KL_OFF.at(run=EXACT) < 1.0],
    ),
]
COLUMNS = (
    "predicted_units", "active_units", "active_directions", "predicted_kl_nats", "kl_nats",
    "gain_nats",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PhaseDiagramFlags(vj.study.NetFlags):
    train_images: int | None = 10_000
    """Use only the first so many training images; the threshold is predicted from them, too. None:
    all."""
    steps: int = 3500
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "bernoulli"
    output: vj.study.Fixed[vj.config.Output] = "sigmoid"
    batch_size: int = 64
    kl_warmup: float = 0.0
    """Steps over which the weight of the KL grows from 0. 0: a quarter of the run."""
    pixel_range: vj.config.PixelRange = "unit"
    """The pixel range for squared error. signed: [-1, 1], where bright images have a mean near
    0."""
    latent_size: int = 16
    """Number of latent units."""
    nets: tuple[Literal["linear", "mlp1", "mlp2"], ...] = ("linear", "mlp1", "mlp2")
    """Nets without hidden layers, and with one or two."""
    times: tuple[vj.Scale, ...] = (0.9, 0.96, 1.04, 1.1, 1.2, 1.5, 2.0, 3.0, "elbo")
    """Scales, as multiples of the predicted threshold; elbo: the scale of the ELBO."""


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    """Each net with each likelihood, at multiples of its threshold (to four digits), rising."""
    flags, planned = lab.flags, []
    for likelihood, net in product(OUTPUTS, flags.nets):
        pixel_range = flags.pixel_range if likelihood == "gaussian" else "unit"
        pixels = {"output": OUTPUTS[likelihood], "pixel_range": pixel_range}
        config = vj.study.net_config(
            lab, net, latent_size=flags.latent_size, likelihood=likelihood, **pixels
        )
        rate = vj.study.net_rate(flags, config)
        schedule = vj.study.falling(lab, config, warmup=True, learning_rate=rate)
        first = flags.kl_weight * lab.first_threshold(config)
        scales = {
            config.elbo_scale if time == "elbo" else float(f"{first * time:.4g}")
            for time in flags.times
        }
        planned.append(schedule.run(f"{net}-{likelihood}", lab.split, config, sorted(scales)))
    return planned


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    run, config = trained.run, trained.run.config
    found = vj.study.on_lanes(vj.measure.evaluate, trained, lab.train, vj.study.evaluation_key())
    scale, weight = np.asarray(run.knobs.recon_scale), np.asarray(run.knobs.kl_weight)
    thresholds = lab.thresholds(config)[: config.latent_size]
    times, relative = scale / weight / thresholds[0], thresholds / thresholds[0]
    directions = np.asarray(vj.measure.active_directions(found.mean))
    kl = found.kl.sum(-1).mean(-1)
    error = found.recon / config.pixels if config.likelihood == "bernoulli" else found.mse
    in_range = config.pixel_width**2  # both errors are for pixels in [0, 1]
    error_saved = in_range * (vj.theory.constant_error(config, lab.moments) - error.mean(-1))
    expected = vj.theory.predictions(relative, times, 1.0, len(relative))
    kl_allowed = np.maximum(KL_SHARE * expected["predicted_kl_nats"], KL_NATS)
    figures = {
        "times": np.round(times, 3),
        "threshold_times": [relative] * len(times),
        "active_units": np.asarray(vj.measure.active_units(found.mean)).sum(-1),
        "active_directions": directions,
        "units_off": vj.theory.units_off(relative, times, directions, MARGIN),
        "kl_nats": kl,
        "kl_off": np.abs(kl - expected["predicted_kl_nats"]) / kl_allowed,
        "gain_nats": scale / weight * error_saved - kl,
        **expected,
    }
    return vj.study.rows_of(trained, figures)


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    panels, mark = [], ("threshold", 1.0)
    for likelihood, error in vj.study.words.LIKELIHOODS.items():
        found = [
            row | {"net": row["run"].removesuffix(f"-{likelihood}")}
            for row in rows
            if row["config"]["likelihood"] == likelihood
        ]
        if found:
            relative = np.asarray(vj.study.fact(found, "threshold_times"), float)
            relative = np.nan_to_num(relative, nan=np.inf)
            panels += vj.study.predicted_panels(found, "times", relative, f"{error}: ", mark)
    title = f"{lab.dataset}, {lab.split}: mean and range over seeds"
    return {"phase_diagram": vj.show.curves(panels, "recon_scale / threshold", title)}


STUDY = vj.study.Study(
    "phase_diagram", __doc__, PhaseDiagramFlags, runs, measure, CLAIMS, figures, COLUMNS,
    by=["run", "times"], quick={"nets": ("linear",), "times": (0.9, 1.1, 2.0)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
