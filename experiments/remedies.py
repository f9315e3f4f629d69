"""Remedies for posterior collapse, at equal budget (B4).

Runs, squared error: one net; steps, rate, batches and seeds alike. At the collapsing recon_scale 1,
and at the scale of the ELBO: nothing (baseline, true ELBO); a KL whose weight grows to the full one
over half of the run (warm-up: Sonderby et al. 2016), or anew in each quarter (cyclical: Fu et al.
2019); half a nat of KL free for each unit (free bits: Kingma et al. 2016). At scale 6000: nothing.
All these are lanes of one program; in a second the decoder's variance is learned (sigma-VAE: Rybkin
et al. 2021).

Measurement, on the whole test set: active units, KL, mutual information, MSE, Frechet distance of
prior samples, verdict on collapse, importance-weighted NLL in nats (of pixel densities, so it may
be below 0): nll_nats at variance 1, or at the learned one. NLLs at different variances do not
compare, so each model is judged as the best Gaussian decoder it can be: nll_fitted_nats is at the
variance that equals its mean squared error on the training images, a code drawn for each (the
optimum of Rybkin et al.). It is an upper bound. It is loose if the posteriors are much wider than
the best ones at that variance; a small nll_fitted_ess shows this.

Figures: remedies.png (each figure, a dot per seed), samples.png, reconstructions.png.

A baseline that has not collapsed cannot be cured: a claim of a cure is then undecided.

Command: python -m experiments.remedies

Cost: full MNIST, three seeds, 784-200-10-200-784, ten epochs: about 13 minutes on 2 cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import vaejax as vj

BASELINE, ELBO, LEARNED = "baseline", "true ELBO", "learned variance"
SCHEDULES = ("warm-up", "cyclical", "free bits")
"""Remedies that leave the scale as it is."""
AT_ELBO = tuple(f"{remedy} at the ELBO" for remedy in SCHEDULES)
ALL = (BASELINE, *SCHEDULES, ELBO, *AT_ELBO, "scale 6000", LEARNED)
CYCLES = 4
"""Warm-ups of the cyclical remedy."""
NLL = "nll_fitted_nats"
ACTIVE = vj.study.column("active_units", "number of active units")
MSE = vj.study.column("mse", "MSE")
FITTED_NLL = vj.study.column(NLL, "NLL in nats")
SAMPLES_OFF = vj.study.column("frechet", "Frechet distance of samples")


def cure(remedy: str) -> vj.study.Claim:
    """At a scale that collapses without it."""
    return vj.study.Claim(
        f"B4, {remedy}",
        f"{remedy[0].upper()}{remedy[1:]}: a cure of the collapse?",
        [ACTIVE.at(remedy=remedy) > 0.5, *less(FITTED_NLL, remedy), *less(MSE, remedy)],
        counts_if=vj.study.Condition(
            "it is a remedy, or has no active unit",
            lambda row: row["remedy"] != BASELINE or row["active_units"] == 0,
        ),
    )


def improvement(remedy: str) -> vj.study.Claim:
    """At the scale of the ELBO."""
    return vj.study.Claim(
        f"B4, {remedy}",
        f"{remedy[0].upper()}{remedy[1:]}: better than the ELBO alone?",
        [ACTIVE.at(remedy=remedy) > 0.5, *less(FITTED_NLL, remedy, ELBO)],
    )


def least(column: vj.study.Column, name: str, label: str) -> vj.study.Claim:
    return vj.study.Claim(
        f"B4, {LEARNED} has the least {name}",
        f"Has a learned variance the least {label} of all remedies?",
        less(column, LEARNED, *ALL[1:-1]),
    )


def less(column: vj.study.Column, remedy: str, *others: str) -> list[vj.study.Comparison]:
    """A remedy has less of a figure than others, or than the baseline."""
    own = column.at(remedy=remedy)
    return [own < column.at(remedy=other) for other in others or (BASELINE,)]


CLAIMS = [
    *(improvement(remedy) if remedy in AT_ELBO else cure(remedy) for remedy in ALL[1:]),
    least(FITTED_NLL, NLL, "NLL"),
    least(SAMPLES_OFF, "frechet", "Frechet distance"),
]
COLUMNS = (NLL, "mse", "active_units", "kl_nats", "frechet")
MORE_COLUMNS = (
    "fitted_sigma", "nll_fitted_ess", "nll_nats", "mi_nats", "marginal_kl_nats", "frechet_floor",
    "collapse",
)  # fmt: skip
PANELS = (NLL, "mse", "frechet", "active_units", "kl_nats", "mi_nats")
SAMPLES, RECONSTRUCTIONS = 64, 16


@dataclass(frozen=True, kw_only=True)
class RemediesFlags(vj.study.Flags):
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    decoder_variance: vj.study.Fixed[vj.config.DecoderVariance] = "fixed"
    kl_warmup: vj.study.Fixed[float] = 0.0
    kl_cycle: vj.study.Fixed[float] = 0.0
    widths: tuple[int, ...] = (200,)
    latent_size: int = 10
    """Number of latent units."""
    recon_scale: float = 1.0
    """The collapsing scale: of the baseline, and of the warm-ups and free bits beside it."""
    free_bits: float = 0.5
    """Nats of KL that each latent unit has for free, in the remedy of that name."""
    nll_samples: int = 100
    """Importance samples per test image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.free_bits:
            raise vj.LabError("--free-bits 0: give the nats that the remedy of that name has.")
        vj.study.at_least("--nll-samples", 1, self.nll_samples)


def remedies(flags: RemediesFlags, steps: int) -> dict[str, dict[str, Any]]:
    """The knobs of each remedy of a fixed variance, for a run of so many steps. At the last step
    (of 29 or more) the KL has its full weight."""
    cycle = math.ceil(steps / CYCLES)
    schedules: list[dict[str, Any]] = [
        {"kl_warmup": float(steps // 2)},
        {"kl_warmup": float(math.ceil(cycle / 2)), "kl_cycle": float(cycle)},
        {"free_bits": flags.free_bits},
    ]
    knobs = [{}, *schedules]
    low = [{"recon_scale": flags.recon_scale} | own for own in knobs]
    elbo = [{"recon_scale": "elbo"} | own for own in knobs]
    return dict(zip(ALL[:-1], [*low, *elbo, {"recon_scale": 6000.0}], strict=True))


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    fixed = lab.config(latent_size=lab.flags.latent_size)
    learned = replace(fixed, decoder_variance="learned")
    return [
        run_of(lab, "fixed", fixed, remedies(lab.flags, int(lab.steps(fixed)))),
        run_of(lab, "learned", learned, {LEARNED: {}}),
    ]


def run_of(
    lab: vj.study.Lab, name: str, config: vj.Config, chosen: dict[str, dict[str, Any]]
) -> vj.Run:
    """A lane for each remedy and seed."""
    flags = lab.flags
    common = {name: getattr(flags, name) for name in ("learning_rate", "decay_steps", "kl_weight")}
    labels = tuple(label for label in chosen for _ in flags.seeds)
    knobs = vj.stack([vj.knobs(config, **common, **chosen[label]) for label in labels])
    seeds = flags.seeds * len(chosen)
    return flags.run_of(name, lab.split, config, knobs, seeds, {"remedy": labels})


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    config, params = trained.run.config, trained.state.params
    keys = vj.study.evaluation_keys(5)[2:]  # collapse_rows draws with the first two
    fitted = vj.measure.fitted_variance(config, params, lab.train, keys[0])
    nll = vj.measure.over_lanes(vj.measure.importance_nll, fitted.config, lab.flags.nll_samples)
    variance_1 = {"log_sigma": np.zeros(len(fitted.sigma), np.float32)}
    at_declared = nll(variance_1 | params, lab.test, keys[1])  # a learned variance stays
    at_fitted = nll(fitted.params, lab.test, keys[1])
    figures = {
        "nll_nats": at_declared.nll.mean(-1),
        NLL: at_fitted.nll.mean(-1),
        "nll_fitted_ess": at_fitted.effective_samples.mean(-1),
        "fitted_sigma": fitted.sigma,
        "frechet": lab.distances(trained, keys[2]),
        "frechet_floor": lab.reference.floor,
    }
    both = vj.study.collapse_rows(trained, lab.test), vj.study.rows_of(trained, figures)
    return [one | other for one, other in zip(*both, strict=True)]


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    marks = {
        "frechet": ("training against test images", vj.study.fact(rows, "frechet_floor")),
        "mi_nats": ("log n, the ceiling", vj.study.fact(rows, "mi_ceiling_nats")),
    }
    dots = []
    for name in PANELS:
        found = {remedy: vj.study.values(rows, name, remedy=remedy) for remedy in ALL}
        dots.append(vj.show.Dots(name, found, marks.get(name)))
    images = lab.pictures(lab.test[:SAMPLES])
    samples, strips = {"test images": images}, {"input": images[:RECONSTRUCTIONS]}
    restored = {run: lab.trained(run) for run in vj.study.distinct(rows, "run")}
    for row in vj.study.matching(rows, seed=lab.flags.seeds[0]):
        trained, lane = restored[row["run"]], row["lane"]
        samples[row["remedy"]] = vj.study.samples(trained, lane, SAMPLES)
        strips[row["remedy"]] = vj.study.outputs(trained, lane, lab.test[:RECONSTRUCTIONS])
    named, seed = list(samples.items()), f"seed {lab.flags.seeds[0]}"
    grids = [dict(named[start : start + 4]) for start in range(0, len(named), 4)]
    decoded = f"Reconstructions from the posterior mean, {seed}"
    return {
        "remedies": vj.show.dots(dots, f"{lab.dataset}, test set: a dot per seed"),
        "samples": vj.show.grids(grids, 8, f"Prior samples, {seed}"),
        "reconstructions": vj.show.strips(strips, decoded),
    }


STUDY = vj.study.Study(
    "remedies", __doc__, RemediesFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, by=["remedy", "recon_scale"], settings=["nll_samples"],
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
