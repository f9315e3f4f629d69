"""Latent size on MNIST: do 2 -> 4 -> 10 latent units improve what a VAE generates? (C5)

Runs: a VAE per latent size, all seeds side by side in one program.
Measurement, on the whole test set: negative ELBO, importance-weighted NLL, mean squared error,
Frechet distance of prior samples in a PCA feature space (floor: training against test images).
Figures: curves.png (each figure against latent size, band over seeds), samples.png (prior samples
side by side), reconstructions.png.
Verdict: C5 HELD if every seed of a larger size beats every seed of the next smaller one of
2, 4, 10, in all four figures; FAILED if any step is reversed for all seeds; else UNDECIDED.

Command: python -m experiments.latent_size
Cost: full MNIST, three sizes and three seeds: about 4 minutes on 2 cores.
"""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.flags import Flags, failing_clearly, parse
from vaejax.errors import LabError

if TYPE_CHECKING:
    from experiments.report import Verdict
    from experiments.study import Data
    from vaejax.checkpoint import Saved
    from vaejax.config import Run
    from vaejax.frechet import Reference
    from vaejax.records import Row

SIZES = (2, 4, 10)  # of the claim
BETTER = {
    "neg_elbo_nats": "negative ELBO",
    "nll_nats": "importance-weighted NLL",
    "mse": "mean squared error",
    "frechet": "Frechet distance of samples",
}
UNITS = {"neg_elbo_nats": "nats", "nll_nats": "nats", "mse": "pixel^2", "frechet": "pixel^2"}
COLUMNS = {
    "neg_elbo_nats": ".2f",
    "nll_nats": ".2f",
    "nll_ess": ".1f",
    "kl_nats": ".2f",
    "mse": ".4f",
    "active_units": ".1f",
    "frechet": ".3f",
    "frechet_floor": ".3f",
}
SHOWN = 64


@dataclass(frozen=True, kw_only=True)
class LatentSizeFlags(Flags):
    """The shared flags, and this study's own."""

    latent_sizes: tuple[int, ...] = SIZES
    recon_scale: float | Literal["elbo"] = "elbo"
    """Weight of the error averaged over pixels; elbo: that of the true ELBO."""
    nll_samples: int | None = None
    """Importance samples per test image. None: 100, or 20 with --quick."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.latent_sizes or len(set(self.latent_sizes)) < len(self.latent_sizes):
            raise LabError(f"--latent-sizes {self.latent_sizes}: give one or more, each once.")
        if self.samples < 1:
            raise LabError(f"--nll-samples {self.samples}: use 1 or more.")

    @property
    def samples(self) -> int:
        return (20 if self.quick else 100) if self.nll_samples is None else self.nll_samples


def runs(flags: LatentSizeFlags, data: "Data") -> list["Run"]:
    return [
        flags.run(
            f"z{size}", data.split, flags.config(data.shape, latent_size=size), (flags.recon_scale,)
        )
        for size in flags.latent_sizes
    ]


def measure(
    flags: LatentSizeFlags, data: "Data", target: "Reference", run: "Run", saved: "Saved"
) -> list["Row"]:
    import jax

    from experiments import study
    from vaejax import diagnostics

    keys = jax.random.split(jax.random.key(study.EVALUATION_SEED), 3)
    evaluation = diagnostics.over_lanes(diagnostics.evaluate, run.config)(
        saved.state.params, data.test, keys[0]
    )
    estimate = diagnostics.over_lanes(diagnostics.importance_nll, run.config, flags.samples)(
        saved.state.params, data.test, keys[1]
    )
    figures = diagnostics.summary(evaluation) | {
        "nll_nats": estimate.nll.mean(-1),
        "nll_ess": estimate.effective_samples.mean(-1),
        "frechet": diagnostics.sample_distances(
            run.config, saved.state.params, target, len(data.test), keys[2]
        ),
    }
    return [row | {"frechet_floor": target.floor} for row in study.rows_of(run, figures)]


def figure(rows: list["Row"], folder: Path, data: "Data") -> list[Path]:
    import jax
    import numpy as np

    from experiments import study, views
    from vaejax import checkpoint, diagnostics, figures, model

    sizes = sorted({row["latent_size"] for row in rows})
    panels = []
    for name, title in BETTER.items():
        line = views.against(rows, "latent_size", name)
        floor = ("train against test", rows[0]["frechet_floor"]) if name == "frechet" else None
        panels.append(figures.Panel(title, UNITS[name], {"VAE": line}, floor))
    title = f"{rows[0]['dataset']}, test set: mean over {len(panels[0].lines['VAE'].y[0])} seeds"
    curves = figures.curves(panels, "latent units", title)

    originals = views.unit_pixels(data, data.test[:SHOWN])
    key = jax.random.key(study.FIGURE_SEED)
    samples, strips = {"test images": originals}, {"input": originals[:16]}
    for size in sizes:
        run, saved = checkpoint.restore(folder / f"z{size}")
        params = diagnostics.lane_of(saved.state.params, 0)
        drawn = model.sample(run.config, params, key, SHOWN)
        samples[f"{size} latent units"] = np.asarray(drawn).reshape(-1, *data.shape)
        strips[f"{size} units"] = views.outputs(data, run, saved, 0, data.test[:16])
    seed = f"seed {rows[0]['seed']}"
    return [
        figures.save(curves, folder / "curves.png"),
        figures.save(figures.grids([samples], 8, f"Prior samples, {seed}"), folder / "samples.png"),
        figures.save(
            figures.strips(strips, f"Reconstructions from the posterior mean, {seed}"),
            folder / "reconstructions.png",
        ),
    ]


def verdict(rows: list["Row"]) -> dict[str, "Verdict"]:
    from experiments import report

    comparisons = {
        f"{name}: {large} units below {small}": (
            report.values(rows, name, latent_size=large),
            report.values(rows, name, latent_size=small),
        )
        for name in BETTER
        for small, large in pairwise(SIZES)
    }
    rule = (
        "from 2 to 4 to 10 latent units, every seed of the larger size is below every seed of the "
        "smaller in negative ELBO, NLL, MSE and Frechet distance"
    )
    return {"C5": report.judge(rule, comparisons)}


def main() -> None:
    with failing_clearly():
        flags = parse(LatentSizeFlags, __doc__)
        from experiments import report, study
        from vaejax import frechet, theory

        study.set_up(flags)
        data = study.load_data(flags)
        folder = flags.folder / "latent_size"
        space = theory.pca(data.train, min(frechet.FEATURES, data.train.shape[1]))
        target = frechet.reference(space, data.train, data.test)
        measured = partial(measure, flags, data, target)
        rows, diverged = study.execute(
            flags, folder, runs(flags, data), measured, nll_samples=flags.samples
        )
        if rows:
            report.show(folder, rows, COLUMNS, verdict(rows), figure(rows, folder, data))
        study.refuse_divergence(diverged)


if __name__ == "__main__":
    main()
