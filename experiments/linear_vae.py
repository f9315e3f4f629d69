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

Command: python -m experiments.linear_vae; for CIFAR10 with --pixel-range signed: pixels with a mean
far from 0 are learned slowly. Cost: digits 1 minute, MNIST 3, CIFAR10 about 10 on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import vaejax as vj

TIMES = (0.5, 0.9, 1.2, 2.0, 4.0, 20.0)
"""Scales beside elbo and 6000, as multiples of the threshold."""
MOST_GAP = 0.1
"""The gap that is allowed in nats, or 1% of the gain if that is more."""
ALLOWED_GAP = vj.study.column(
    "gain_nats", f"{MOST_GAP} nats or 1% of the gain", lambda gain: max(0.01 * gain, MOST_GAP)
)
CLAIMS = [
    vj.study.Claim(
        "B1, linear",
        "Does a linear VAE reach its closed form: as many active units, and as good an ELBO?",
        vj.study.each(
            "recon_scale",
            vj.study.column("gap_nats", "distance from the best ELBO in nats") < ALLOWED_GAP,
            vj.study.column("units_off", "number of units too many or too few") < 0.5,
        ),
    )
]
COLUMNS = ("predicted_units", "active_units", "gain_nats", "gap_nats", "angle_degrees")
MORE_COLUMNS = (
    "predicted_neg_elbo_nats", "sigma_neg_elbo_nats", "predicted_kl_nats", "kl_nats",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LinearVaeFlags(vj.study.FallingFlags):
    steps: int = 10_000
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    output: vj.study.Fixed[vj.config.Output] = "linear"
    decoder_variance: vj.study.Fixed[vj.config.DecoderVariance] = "fixed"
    widths: vj.study.Fixed[tuple[int, ...]] = ()
    kl_cycle: vj.study.Fixed[float] = 0.0
    free_bits: vj.study.Fixed[float] = 0.0
    activation: vj.study.Fixed[vj.config.Activation] = "relu"  # there is no hidden layer
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


def oracle_of(lab: vj.study.Lab, config: vj.Config) -> vj.theory.Oracle:
    count = min(config.latent_size + 1, config.pixels)
    total = float(np.trace(lab.moments.products))
    return vj.theory.Oracle(lab.pca(count), total, lab.thresholds(config)[:count])


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    flags, config = lab.flags, lab.config(latent_size=lab.flags.latent_size)
    scales = flags.recon_scale
    if not scales:
        first = flags.kl_weight * lab.first_threshold(config)
        scales = (*(times * first for times in TIMES), "elbo", 6000.0)
    schedule = vj.study.falling(lab, config, learning_rate=flags.gentle_rate(config.pixels))
    return [schedule.run("linear", lab.split, config, scales)]


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    config, key = trained.run.config, vj.study.evaluation_key()
    error, kl, mean = vj.study.on_lanes(vj.measure.linear_decoder_terms, trained, lab.train, key)
    active = np.asarray(vj.measure.active_units(mean))
    kernel = vj.measure.decoder_kernel(trained.state.params)
    oracle = oracle_of(lab, config)
    return [
        vj.theory.beside_the_oracle(
            oracle,
            config,
            settings,
            error=np.asarray(error[lane], float).mean(),
            kl=np.asarray(kl[lane], float).mean(),
            decoder=kernel[lane][active[lane]],
        )
        for lane, settings in enumerate(trained.run.lanes)
    ]


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    def curve(predicted: str) -> tuple[Any, Any]:
        (line,) = vj.study.against(rows, "recon_scale", predicted).values()
        return line.x, [seeds[0] for seeds in line.y]

    titles = {
        "active_units": "active units",
        "kl_nats": "KL, nats",
        "gap_nats": "nats above the best linear VAE",
    }
    panels = vj.study.column_panels(
        rows, "recon_scale", titles, label="linear VAE",
        floors={"gap_nats": (f"{MOST_GAP} nats", MOST_GAP)},
        mark=vj.study.threshold_mark(rows),
        curves={"active_units": curve("predicted_units"), "kl_nats": curve("predicted_kl_nats")},
        log_y=["gap_nats"],
    )  # fmt: skip
    title = f"{lab.dataset}, training images: mean and range over seeds"
    return {"linear_vae": vj.show.curves(panels, "recon_scale", title)}


STUDY = vj.study.Study(
    "linear_vae", __doc__, LinearVaeFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, by=["recon_scale"],
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
