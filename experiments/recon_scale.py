"""The weight of the reconstruction on CIFAR10: from collapse to discernible pictures (C13).

Runs: one VAE trained with squared error at each scale; all scales and seeds are lanes of one
program. A scale s is a Gaussian decoder of variance D / (2 s): its sigma is shown beside it.

Measurement, on the whole test set: MSE beside the MSE of the mean image, KL, active units, mutual
information, how much the outputs vary with the input (output_variance_ratio), the power above half
of Nyquist that is left in the outputs (high_frequency_share, of the first 2,000 images), the
verdict on collapse.

Figures: scales.png (each figure against the scale; dashed: the threshold predicted from the images
alone, below which the collapsed solution is stable), reconstructions.png (a row per scale).

Verdicts, at the largest scale: C13 HELD if every seed has more KL, more active units and outputs
that vary more than at the smallest, and under half of the mean image's MSE (discernible); "C13,
slightly blurry" HELD if every seed keeps over a tenth of the power above half of Nyquist. FAILED if
any part is reversed for all seeds; else UNDECIDED.

Command: python -m experiments.recon_scale

Cost: full CIFAR10, six scales and three seeds, 3072-128-10-128-3072, six epochs: about 8 minutes on
2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import vaejax as vj

COLUMNS = (
    "effective_sigma", "mse", "mean_image_mse", "kl_nats", "mi_nats", "mi_ceiling_nats",
    "marginal_kl_nats", "active_units", "output_variance_ratio", "high_frequency_share",
    "collapse",
)  # fmt: skip
PANELS = {
    "mse": "mean squared error",
    "kl_nats": "KL, nats",
    "mi_nats": "mutual information, nats",
    "active_units": "active units",
    "output_variance_ratio": "variance of outputs / of images",
    "high_frequency_share": "high-frequency power left",
}
SPECTRUM_IMAGES = 2000
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class ReconScaleFlags(vj.lab.Flags):
    """The shared flags, and this study's own."""

    dataset: str = "cifar10"
    steps: int = 2340  # six epochs of CIFAR10
    likelihood: vj.config.Likelihood = "gaussian"
    widths: tuple[int, ...] = (128,)
    latent_size: int = 10
    """Number of latent units."""
    recon_scale: tuple[float, ...] = (1.0, 30.0, 100.0, 300.0, 1000.0, 6000.0)
    """Weights of the error averaged over pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.lab.each_once("--recon-scale", self.recon_scale, least=2)


def runs(lab: vj.lab.Lab) -> list[vj.Run]:
    config = lab.config(latent_size=lab.flags.latent_size)
    return [lab.flags.run("scales", lab.split, config, lab.flags.recon_scale)]


def measure(lab: vj.lab.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    images = lab.test[:SPECTRUM_IMAGES]
    inputs = lab.pictures(images)
    known = {"mean_image_mse": vj.measure.constant_mse(lab.mean_image, lab.test)}
    return [
        row
        | known
        | vj.measure.sharpness(vj.lab.outputs(trained, lane, images), inputs, lab.mean_image)
        for lane, row in enumerate(vj.lab.collapse_rows(trained, lab.test))
    ]


def figures(lab: vj.lab.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    dataset, seeds = lab.flags.dataset, lab.flags.seeds
    threshold = vj.lab.fact(rows, "threshold_scale")
    levels = {
        "mse": ("mean image", vj.lab.fact(rows, "mean_image_mse")),
        "mi_nats": ("log n, the ceiling", vj.lab.fact(rows, "mi_ceiling_nats")),
    }
    panels = [
        vj.show.Panel(
            label,
            "",
            {"VAE": vj.lab.against(rows, "recon_scale", name)},
            levels.get(name),
            mark=None if threshold is None else ("predicted threshold", threshold),
        )
        for name, label in PANELS.items()
    ]
    trained, images = lab.trained("scales"), lab.test[:SHOWN]
    strips = {"input": lab.pictures(images)}
    for scale in vj.lab.distinct(rows, "recon_scale"):
        lane = vj.lab.lane_at(trained.run, scale)
        (sigma,) = {row["effective_sigma"] for row in rows if row["recon_scale"] == scale}
        name = f"scale {scale:g}" + ("" if sigma is None else f", sigma {sigma:.2g}")
        strips[name] = vj.lab.outputs(trained, lane, images)
    curves_title = f"{dataset}, test set: mean and range over {len(seeds)} seeds"
    strips_title = f"{dataset}: reconstructions from the posterior mean, seed {seeds[0]}"
    return {
        "scales": vj.show.curves(panels, "recon_scale", curves_title),
        "reconstructions": vj.show.strips(strips, strips_title),
    }


def verdict(rows: list[vj.store.Row]) -> dict[str, vj.lab.Verdict | None]:
    scales, blurred = vj.lab.distinct(rows, "recon_scale"), vj.measure.BLURRED

    def low(name: str) -> list[float]:
        return vj.lab.values(rows, name, recon_scale=scales[0])

    def high(name: str) -> list[float]:
        return vj.lab.values(rows, name, recon_scale=scales[-1]) if len(scales) > 1 else []

    at = f"at scale {scales[-1]:g} every seed has"
    half = [0.5 * error for error in high("mean_image_mse")]
    grows = ("kl_nats", "active_units", "output_variance_ratio")
    return {
        "C13": vj.lab.judge(
            f"{at} more KL, more active units and outputs that vary more than at {scales[0]:g}, "
            "and under half of the mean image's MSE",
            {name: (low(name), high(name)) for name in grows} | {"mse": (high("mse"), half)},
        ),
        "C13, slightly blurry": vj.lab.judge(
            f"{at} over {blurred} of the images' power above half of Nyquist",
            {"high_frequency_share": vj.lab.above(high("high_frequency_share"), blurred)},
        ),
    }


STUDY = vj.lab.Study(
    "recon_scale", __doc__, ReconScaleFlags, runs, measure, verdict, figures, COLUMNS,
    by=["recon_scale"], quick={"recon_scale": (1.0, 6000.0)},
)  # fmt: skip

if __name__ == "__main__":
    vj.lab.run_study(STUDY)
