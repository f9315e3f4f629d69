"""Why is the ELBO below log p(x): the form of the posterior, or the encoder? (B7)

The inference gap in two parts (Cremer et al. 2018, "Inference Suboptimality in Variational
Autoencoders"), both in nats. The amortization gap is what the ELBO gains if the posterior of each
image is refined by gradient ascent: the encoder, one net for all images, misses that much. The
approximation gap is what the best Gaussian with independent units still lacks.

Runs: a VAE per latent size and length of training, all seeds side by side. The longest is as long
as --steps or --epochs say.

Measurement, on test images and on as many training images: the negative ELBO of the encoder's
posterior and of the refined one, and the NLL from a mixture of refined posteriors and the prior. On
test images also the NLL from the encoder's posterior alone, and for one and two latent units the
NLL on a grid (--all-columns). The NLL is an upper bound: where few of its samples count
(nll_refined_ess), the approximation gap is larger than measured.

Figures: gaps.png (both gaps against the latent size, training images beside test images),
training.png (the gaps against the length of training).

Command: python -m experiments.gaps

Cost: digits (--epochs 200) about 5 minutes on 2 cores, MNIST some ten times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import vaejax as vj

GAPS, SETS = ("amortization", "approximation"), {"train_": "training images", "": "test images"}
MEASURED = ("neg_elbo", "refined_neg_elbo", "nll_refined", *(f"{gap}_gap" for gap in GAPS))
ON_TEST = vj.study.column("amortization_gap_nats", "amortization gap on test images")
ON_TRAIN = vj.study.column("train_amortization_gap_nats", "gap on training images")
NLL = vj.study.column("nll_refined_nats", "refined NLL")


def longest(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    """The models that trained longest."""
    return vj.study.matching(rows, epochs=max((row["epochs"] for row in rows), default=0))


CLAIMS = [
    vj.study.Claim(
        "B7",
        "Does the encoder cost more on test images than on training images (amortization gap)?",
        vj.study.each("latent_size", ON_TEST - ON_TRAIN > 0),
        rows=longest,
    ),
    vj.study.Claim(
        "B7, without the encoder",
        "If the encoder does not count, is the NLL with 10 latent units better than with 4?",
        [NLL.at(latent_size=10) < NLL.at(latent_size=4)],
        rows=longest,
    ),
]
COLUMNS = (
    "neg_elbo_nats", "nll_refined_nats", "amortization_gap_nats", "approximation_gap_nats",
    "train_amortization_gap_nats", "train_approximation_gap_nats",
)  # fmt: skip
MORE_COLUMNS = (
    "refined_neg_elbo_nats", "nll_refined_ess", "nll_nats", "nll_ess", "nll_grid_nats",
    "train_neg_elbo_nats", "train_refined_neg_elbo_nats", "train_nll_refined_nats",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GapsFlags(vj.study.Flags):
    latent_sizes: tuple[int, ...] = (2, 4, 10, 20)
    """Numbers of latent units."""
    lengths: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Lengths of training, as shares of --steps or --epochs."""
    gap_images: int = 200
    """How many test images are measured, and how many training images: the first ones."""
    nll_samples: int = 200
    """Importance samples for each image."""
    ascent_steps: int = 200
    """Steps by which the posterior of an image is refined."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(0 < length <= 1 for length in self.lengths):
            raise vj.LabError(f"--lengths {self.lengths}: use shares above 0, up to 1.")
        for name in ("gap_images", "nll_samples", "ascent_steps"):
            vj.study.at_least(vj.study.flags.flag(name), 1, getattr(self, name))


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    found = {}
    for size in lab.flags.latent_sizes:
        config = lab.config(latent_size=size)
        whole = lab.flags.run_epochs(vj.train.steps_per_epoch(config, len(lab.train)))
        for length in lab.flags.lengths:
            epochs = max(1, round(length * whole))
            name = f"z{size}-{epochs}-epochs"
            lab.epochs[name] = epochs
            found[name] = lab.flags.run(name, lab.split, config, ["elbo"])
    return list(found.values())


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    flags, keys = lab.flags, vj.study.evaluation_keys(2)
    count = min(flags.gap_images, len(lab.train), len(lab.test))
    figures = {"nll_grid_nats": float("nan")}
    effort = flags.nll_samples, flags.ascent_steps
    for prefix, images, key in zip(SETS, (lab.train, lab.test), keys, strict=True):
        found = vj.study.on_lanes(vj.measure.refined_nll, trained, images[:count], key, *effort)
        elbo, refined, nll, ess = (each.mean(-1) for each in found)
        of_set = zip(MEASURED, (elbo, refined, nll, elbo - refined, refined - nll), strict=True)
        figures |= {f"{prefix}{name}_nats": figure for name, figure in of_set}
        figures[f"{prefix}nll_refined_ess"] = ess
    test = lab.test[:count]
    encoder = vj.study.on_lanes(vj.measure.importance_nll, trained, test, keys[1], effort[0])
    figures |= {"nll_nats": encoder.nll.mean(-1), "nll_ess": encoder.effective_samples.mean(-1)}
    if trained.run.config.latent_size <= vj.measure.grid.MOST_UNITS:
        grid = vj.study.on_lanes(vj.measure.grid_nll, trained, test, keys[1], 201)
        figures["nll_grid_nats"] = grid.nll.mean(-1)
    return vj.study.rows_of(trained, figures)


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    titles = {f"{of}{gap}_gap_nats": f"{gap}, {SETS[of]}" for gap in GAPS for of in SETS}
    last = longest(rows)
    sizes = vj.study.distinct(last, "latent_size")
    stacks = {
        words: {
            gap: [vj.study.values(last, f"{of}{gap}_gap_nats", latent_size=z) for z in sizes]
            for gap in GAPS
        }
        for of, words in SETS.items()
    }
    panels = vj.study.column_panels(rows, "epochs", titles, "latent_size", "{} latent units")
    about = f"{lab.dataset}: mean and range over {len(lab.flags.seeds)} seeds"
    return {
        "gaps": vj.show.stacks(sizes, stacks, "latent units", "gap, nats", about),
        "training": vj.show.curves(panels, "epochs", f"Gaps in nats, {about}"),
    }


STUDY = vj.study.Study(
    "gaps", __doc__, GapsFlags, runs, measure, CLAIMS, figures, COLUMNS, MORE_COLUMNS,
    by=["latent_size", "epochs"], quick={"lengths": (1.0,), "gap_images": 50},
    settings=["gap_images", "nll_samples", "ascent_steps"],
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
