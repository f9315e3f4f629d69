"""A linear VAE against the best linear VAE, which has a closed form, at every scale (B1).

Runs: one VAE without hidden layers, trained with squared error at scales below and above the
threshold that the images predict, at the scale of the ELBO and at 6000; all scales and seeds are
lanes of one program, and their learning rate falls to 0. A scale s is a Gaussian decoder of
variance D / (2 s), for which the best linear VAE has a closed form: probabilistic PCA
(vaejax.theory.linear).

Measurement, on the training images, which are the ones that the closed form is about:
- gap_nats: how far the negative ELBO at that variance is above the best one. It is exact: the
  expectation over codes of a linear decoder has a closed form, too.
- gain_nats: how far the best one is below the collapsed solution.
- units_off: active units too many or too few; eigenvalues within 10% of the variance count either
  way.
- angle_degrees: the largest angle between the decoder and the principal components that it must
  span. Components whose eigenvalue is within 10% of the variance, or of the first eigenvalue that
  is not used, are not counted.

Figure: linear_vae.png (units, KL and gap against the scale, with the predicted curves).

Verdict: "B1, linear" HELD if at every scale every seed is within 0.1 nats of the oracle, or 1% of
its gain over the collapsed solution, and has as many active units as predicted. FAILED if at some
scale every seed misses the gap, or every seed misses the number of units. Else UNDECIDED.

Command: python -m experiments.linear_vae; for CIFAR10 with --pixel-range signed: pixels with a mean
far from 0 are learned slowly. Cost: digits 1 minute, MNIST 3, CIFAR10 about 10 on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

import vaejax as vj

TIMES = (0.5, 0.9, 1.2, 2.0, 4.0, 20.0)
"""Scales, as multiples of the threshold."""
MORE_SCALES = ("elbo", 6000.0)
MOST_GAP, MOST_SHARE = 0.1, 0.01
"""The gap that is allowed: nats, or the share of the gain if that is more."""
MARGIN = 1.1
"""Eigenvalues closer to each other, or to the variance, than this factor are not told apart."""
COLUMNS = ("predicted_units", "active_units", "gain_nats", "gap_nats", "angle_degrees")
MORE_COLUMNS = (
    "predicted_neg_elbo_nats", "sigma_neg_elbo_nats", "predicted_kl_nats", "kl_nats",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LinearVaeFlags(vj.study.Flags):
    """The shared flags, and this study's own."""

    steps: int = 10_000
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    output: vj.study.Fixed[vj.config.Output] = "linear"
    decoder_variance: vj.study.Fixed[vj.config.DecoderVariance] = "fixed"
    widths: vj.study.Fixed[tuple[int, ...]] = ()
    kl_cycle: vj.study.Fixed[float] = 0.0
    free_bits: vj.study.Fixed[float] = 0.0
    decay_steps: float = 0.0
    """Steps over which the learning rate falls to 0. 0: the whole run."""
    learning_rate: float = 1e-2
    """The learning rate of Adam for up to 784 pixels; with more it is lower in proportion."""
    latent_size: int = 8
    """Number of latent units."""
    recon_scale: tuple[vj.Scale, ...] | None = None
    """Weights of the error averaged over pixels. None: around the threshold, elbo and 6000."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kl_weight:
            raise vj.LabError("--kl-weight 0: the closed form needs a positive weight.")


class Oracle(NamedTuple):
    """What the training images say about linear VAEs."""

    space: vj.theory.PCA
    total_variance: float
    """The variance of all pixels together."""
    thresholds: np.ndarray
    """The threshold of each unit at kl_weight 1, and of the next component if there is one."""


def oracle_of(lab: vj.study.Lab, config: vj.Config) -> Oracle:
    count = min(config.latent_size + 1, config.pixels)
    total = float(np.trace(lab.moments.products))
    return Oracle(lab.pca(count), total, lab.thresholds(config)[:count])


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    flags, config = lab.flags, lab.config(latent_size=lab.flags.latent_size)
    scales = flags.recon_scale or default_scales(lab, config)
    schedule = replace(
        flags,
        learning_rate=flags.gentle_rate(config.pixels),
        decay_steps=flags.decay_steps or lab.steps(config),
    )
    return [schedule.run("linear", lab.split, config, scales)]


def default_scales(lab: vj.study.Lab, config: vj.Config) -> tuple[vj.Scale, ...]:
    first = lab.flags.kl_weight * lab.first_threshold(config)
    return (*(times * first for times in TIMES), *MORE_SCALES)


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    config, key = trained.run.config, vj.study.evaluation_key()
    error, kl, mean = vj.study.on_lanes(vj.measure.linear_decoder_terms, trained, lab.train, key)
    active = np.asarray(vj.measure.active_units(mean))
    kernel = vj.measure.decoder_kernel(trained.state.params)
    oracle = oracle_of(lab, config)
    return [
        beside_the_oracle(
            oracle,
            config,
            settings["recon_scale"],
            settings["kl_weight"],
            error=np.asarray(error[lane], float).mean(),
            kl=np.asarray(kl[lane], float).mean(),
            decoder=kernel[lane][active[lane]],
        )
        for lane, settings in enumerate(trained.run.lanes)
    ]


def beside_the_oracle(
    oracle: Oracle,
    config: vj.Config,
    recon_scale: float,
    kl_weight: float,
    *,
    error: float,
    kl: float,
    decoder: np.ndarray,
) -> vj.store.Row:
    """The figures of one model, from the squared error of an image, the KL in nats, and the decoder
    rows [active units, pixels]."""
    variance = vj.theory.decoder_variance(recon_scale, config.pixels, kl_weight)
    best = vj.theory.linear_optimum(config, oracle.space, oracle.total_variance, variance)
    constant = config.pixels * np.log(2 * np.pi * variance)
    neg_elbo = (constant + error / variance) / 2 + kl

    scale = np.float32(recon_scale).astype(float) / np.float32(kl_weight).astype(float)
    own = oracle.thresholds[: config.latent_size]
    fewest, likely = vj.theory.predicted_units(
        own, scale * np.array([1 / MARGIN, 1]), 1.0, len(own)
    ).tolist()
    off = vj.theory.units_off(own, np.array([scale]), np.array([len(decoder)]), MARGIN)
    # A decoder must span the components that are clearly above the variance, and clearly apart from
    # the first one that is left out.
    left_out = min(oracle.thresholds[likely:], default=np.inf)
    clear = oracle.thresholds[:fewest] * MARGIN < left_out
    return {
        "predicted_units": likely,
        "active_units": len(decoder),
        "units_off": off[0],
        "predicted_kl_nats": best.kl,
        "kl_nats": kl,
        "predicted_neg_elbo_nats": best.neg_elbo,
        "sigma_neg_elbo_nats": neg_elbo,
        "gain_nats": best.gain,
        "gap_nats": neg_elbo - best.neg_elbo,
        "angle_degrees": vj.theory.largest_angle(oracle.space.components[:fewest][clear], decoder),
    }


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    threshold = vj.study.fact(rows, "threshold_scale")
    mark = None if threshold is None else ("predicted threshold", threshold)
    panels = []
    for measured, predicted in (
        ("active_units", "predicted_units"),
        ("kl_nats", "predicted_kl_nats"),
    ):
        line = vj.study.against(rows, "recon_scale", measured)
        scales, values = vj.study.against(rows, "recon_scale", predicted)
        curve = scales, [seeds[0] for seeds in values]
        title = measured.replace("_", " ")
        panels.append(vj.show.Panel(title, "", {"linear VAE": line}, mark=mark, predicted=curve))
    gap = {"linear VAE": vj.study.against(rows, "recon_scale", "gap_nats")}
    floor = (f"{MOST_GAP} nats", MOST_GAP)
    panels.append(vj.show.Panel("nats above the oracle", "", gap, floor, log_y=True, mark=mark))
    title = f"{lab.dataset}, training images: mean and range over seeds"
    return {"linear_vae": vj.show.curves(panels, "recon_scale", title)}


def verdict(rows: list[vj.store.Row]) -> dict[str, vj.study.Verdict | None]:
    comparisons = {}
    for scale in vj.study.distinct(rows, "recon_scale"):
        gap, gain, off = (
            vj.study.values(rows, name, recon_scale=scale)
            for name in ("gap_nats", "gain_nats", "units_off")
        )
        allowed = np.maximum(MOST_GAP, MOST_SHARE * gain[0])  # the gain is the same for all seeds
        comparisons[f"nats from the best at scale {scale:.4g}"] = vj.study.below(
            gap, float(allowed)
        )
        comparisons[f"units too many or too few at {scale:.4g}"] = vj.study.below(off, 0.5)
    rule = (
        f"at every scale every seed is within {MOST_GAP} nats of the oracle, or {MOST_SHARE:.0%} "
        "of its gain over the collapsed solution, and has as many active units as predicted"
    )
    claim = "A linear VAE reaches its closed form: as many active units, and as good an ELBO"
    return {"B1, linear": vj.study.judge(claim, rule, comparisons)}


STUDY = vj.study.Study(
    "linear_vae", __doc__, LinearVaeFlags, runs, measure, verdict, figures, COLUMNS,
    MORE_COLUMNS, by=["recon_scale"],
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
