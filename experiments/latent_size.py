"""Latent size on MNIST: do 2 -> 4 -> 10 latent units improve what a VAE generates? (C5)

Runs: a VAE per latent size, all seeds side by side in one program, for five epochs at a learning
rate that falls from 6e-3 to 0. Trained on 54,000 images, for as many steps, ten units have a
negative ELBO of 110.7 and 111.8 nats on the other 6,000 (two seeds); after twice the steps at a
constant 1e-3, 112.4 and 112.5.

Measurement, on the whole test set: negative ELBO, importance-weighted NLL, mean squared error, and
the Frechet distance of prior samples in a PCA feature space (its floor is the distance of the
training images from the test images). For one and two latent units the NLL is also integrated on a
grid over all codes, which needs no encoder (--all-columns): importance samples miss the codes that
explain an image where the encoder points elsewhere.

Figures: curves.png (each figure against latent size, band over seeds, and active units beside the
number of units that pay for their KL by the linear theory), samples.png (prior samples
side by side), reconstructions.png.

Command: python -m experiments.latent_size

Cost: full MNIST, three sizes and three seeds: about a minute on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import vaejax as vj

SIZES = (2, 4, 10)
"""The latent sizes of the claim."""
BETTER = {
    "neg_elbo_nats": "negative ELBO, nats",
    "nll_nats": "importance-weighted NLL, nats",
    "mse": "mean squared error, pixel^2",
    "frechet": "Frechet distance of samples, pixel^2",
}
CLAIMS = [
    vj.study.Claim(
        "C5",
        "Does a VAE generate better images with 4 latent units than with 2, and 10 than 4?",
        [
            figure.at(latent_size=large) < figure.at(latent_size=small)
            for figure in (
                vj.study.column(name, words.partition(",")[0]) for name, words in BETTER.items()
            )
            for small, large in pairwise(SIZES)
        ],
    )
]
COLUMNS = ("neg_elbo_nats", "nll_nats", "mse", "frechet", "active_units")
MORE_COLUMNS = (
    "kl_nats", "nll_ess", "nll_grid_nats", "nll_grid_error_nats", "units_that_pay", "frechet_floor",
)  # fmt: skip
GRID_NODES = 201
"""Along each unit: enough for the mean over a test set."""
SAMPLES, RECONSTRUCTIONS = 64, 16


@dataclass(frozen=True, kw_only=True)
class RecipeFlags(vj.study.FallingFlags):
    """The recipe for MNIST."""

    steps: int = 2340  # five epochs of MNIST
    learning_rate: float = 6e-3
    """The learning rate of Adam for up to 784 pixels; with more it is lower in proportion."""
    activation: vj.config.Activation = "relu"
    recon_scale: vj.Scale = "elbo"
    """Weight of the error averaged over pixels; elbo: the weight of the true ELBO."""


@dataclass(frozen=True, kw_only=True)
class LatentSizeFlags(RecipeFlags):
    latent_sizes: tuple[int, ...] = SIZES
    """Numbers of latent units."""
    nll_samples: int = 100
    """Importance samples per test image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.study.at_least("--nll-samples", 1, self.nll_samples)


def run(lab: vj.study.Lab, name: str, config: vj.Config, **labels: str) -> vj.Run:
    """A run by the recipe."""
    flags = lab.flags
    schedule = vj.study.falling(lab, config, learning_rate=flags.gentle_rate(config.pixels))
    return schedule.run(name, lab.split, config, [flags.recon_scale], **labels)


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    sizes = lab.flags.latent_sizes
    return [run(lab, f"z{size}", lab.config(latent_size=size)) for size in sizes]


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    keys, samples = vj.study.evaluation_keys(3), lab.flags.nll_samples
    evaluation = vj.study.on_lanes(vj.measure.evaluate, trained, lab.test, keys[0])
    estimate = vj.study.on_lanes(vj.measure.importance_nll, trained, lab.test, keys[1], samples)
    figures = vj.measure.summary(evaluation) | {
        "nll_nats": estimate.nll.mean(-1),
        "nll_ess": estimate.effective_samples.mean(-1),
        "frechet": lab.distances(trained, keys[2]),
        "frechet_floor": lab.reference.floor,
        "nll_grid_nats": np.nan,
        "nll_grid_error_nats": np.nan,
    }
    if trained.run.config.latent_size <= vj.measure.grid.MOST_UNITS:
        grid = vj.study.on_lanes(vj.measure.grid_nll, trained, lab.test, keys[1], GRID_NODES)
        figures["nll_grid_nats"] = grid.nll.mean(-1)
        figures["nll_grid_error_nats"] = grid.error.mean(-1)
    return vj.study.rows_of(trained, figures)


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    floors = {
        "frechet": ("train against test", vj.study.fact(rows, "frechet_floor")),
        "active_units": ("units that pay for their KL", vj.study.fact(rows, "units_that_pay")),
    }
    titles = BETTER | {"active_units": "active units"}
    panels = vj.study.column_panels(rows, "latent_size", titles, label="VAE", floors=floors)
    samples = {"test images": lab.pictures(lab.test[:SAMPLES])}
    strips = {"input": samples["test images"][:RECONSTRUCTIONS]}
    for size in vj.study.distinct(rows, "latent_size"):
        trained = lab.trained(f"z{size}")
        samples[f"{size} latent units"] = vj.study.samples(trained, 0, SAMPLES)
        strips[f"{size} units"] = vj.study.outputs(trained, 0, lab.test[:RECONSTRUCTIONS])
    dataset, seeds = lab.dataset, lab.flags.seeds
    title = f"{dataset}, test set: mean over {len(seeds)} seeds"
    decoded = f"Reconstructions from the posterior mean, seed {seeds[0]}"
    return {
        "curves": vj.show.curves(panels, "latent units", title),
        "samples": vj.show.grids([samples], 8, f"Prior samples, seed {seeds[0]}"),
        "reconstructions": vj.show.strips(strips, decoded),
    }


STUDY = vj.study.Study(
    "latent_size", __doc__, LatentSizeFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, quick={"nll_samples": 20}, settings=["nll_samples"],
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
