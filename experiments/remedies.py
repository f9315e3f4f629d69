"""Remedies for posterior collapse, at equal budget (B4).

Runs, squared error: one net; steps, rate, batches and seeds alike. At the collapsing recon_scale 1:
nothing (baseline); a KL whose weight grows to the full one over half of the run (warm-up: Sonderby
et al. 2016), or anew in each quarter (cyclical: Fu et al. 2019); half a nat of KL free for each
unit (free bits: Kingma et al. 2016). At other scales: the true ELBO, and 6000. All these are lanes
of one program; in a second the decoder's variance is learned (sigma-VAE: Rybkin et al. 2021).
Measurement, on the whole test set: active units, KL, mutual information, MSE, Frechet distance of
prior samples, verdict on collapse, importance-weighted NLL in nats of pixel densities (which may be
below 0): nll_nats at variance 1, or the learned one. NLLs at different variances do not compare, so
each model is judged as the best Gaussian decoder it can be: nll_fitted_nats is at the variance that
is its mean squared error on the training images, a code drawn for each (the optimum of Rybkin et
al.). An upper bound, loose where posteriors are far wider than that asks for (nll_fitted_ess).
Figures: remedies.png (each figure, a dot per seed), samples.png, reconstructions.png.
Verdicts: "B4, REMEDY" HELD if it helps: every seed has an active unit, and less MSE and
nll_fitted_nats than every seed of the baseline, by how much says the table. "B4, learned variance
has the least ..." HELD if every seed of it has less than every seed of any other remedy. FAILED if
any part is reversed for all seeds; else, or if a seed of the baseline is active, UNDECIDED.

Command: python -m experiments.remedies
Cost: full MNIST, three seeds, 784-200-10-200-784, ten epochs: about 9 minutes on 2 cores.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.flags import Flags, failing_clearly, parse
from vaejax.config import Config, Likelihood, Run, knobs, stack
from vaejax.errors import LabError

if TYPE_CHECKING:
    from experiments.report import Verdict
    from experiments.study import Data
    from vaejax.checkpoint import Saved
    from vaejax.frechet import Reference
    from vaejax.records import Row

BASELINE, LEARNED = "baseline", "learned variance"
FIXED = (BASELINE, "warm-up", "cyclical", "free bits", "true ELBO", "scale 6000")
ALL = (*FIXED, LEARNED)
CYCLES = 4
NLL = "nll_fitted_nats"
COLUMNS = {
    NLL: ".1f",
    "fitted_sigma": ".3f",
    "nll_fitted_ess": ".1f",
    "nll_nats": ".1f",
    "mse": ".4f",
    "kl_nats": ".2f",
    "mi_nats": ".2f",
    "marginal_kl_nats": ".2f",
    "active_units": ".1f",
    "frechet": ".2f",
    "collapse": "",
}
PANELS = (NLL, "mse", "frechet", "active_units", "kl_nats", "mi_nats")
SHOWN = 64


@dataclass(frozen=True, kw_only=True)
class RemediesFlags(Flags):
    """The shared flags, and this study's own."""

    likelihood: Likelihood = "gaussian"
    widths: tuple[int, ...] = (200,)
    latent_size: int = 10
    recon_scale: float = 1.0
    """The collapsing scale: of the baseline, the warm-ups and the free bits."""
    free_bits: float = 0.5
    """Nats of KL that each latent unit has for free, in the remedy of that name."""
    nll_samples: int = 100
    """Importance samples per test image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        own = (self.likelihood, self.decoder_variance, self.kl_warmup, self.kl_cycle)
        if own != ("gaussian", "fixed", 0, 0) or not self.free_bits:
            raise LabError(
                "This study needs squared error and free bits, and sets variance and warm-ups: use "
                "no --likelihood, --decoder-variance, --kl-warmup, --kl-cycle or --free-bits 0."
            )
        if self.nll_samples < 1:
            raise LabError(f"--nll-samples {self.nll_samples}: use 1 or more.")


def choices(flags: RemediesFlags, steps: int) -> list[dict[str, Any]]:
    """The knobs in which the remedies of a fixed variance differ, for a run of so many steps: at
    the last one (of 29 or more) the KL has its full weight."""
    cycle = -(-steps // CYCLES)
    at: dict[str, Any] = {"recon_scale": flags.recon_scale}
    return [
        at,
        at | {"kl_warmup": float(steps // 2)},
        at | {"kl_warmup": float(-(-cycle // 2)), "kl_cycle": float(cycle)},
        at | {"free_bits": flags.free_bits},
        {"recon_scale": "elbo"},
        {"recon_scale": 6000.0},
    ]


def runs(flags: RemediesFlags, data: "Data") -> list[Run]:
    from experiments import training

    fixed = flags.config(data.shape, latent_size=flags.latent_size)
    of_fixed = choices(flags, int(training.run_steps(flags, fixed, len(data.train))))
    common = {name: getattr(flags, name) for name in ("learning_rate", "decay_steps", "kl_weight")}

    def run(name: str, config: Config, chosen: list[dict[str, Any]]) -> Run:
        lanes = [knobs(config, **common, **choice) for choice in chosen for _ in flags.run_seeds]
        seeds = flags.run_seeds * len(chosen)
        return Run(name, flags.dataset, data.split, config, stack(lanes), seeds)

    learned = replace(fixed, decoder_variance="learned")
    return [run("fixed", fixed, of_fixed), run("learned", learned, [{}])]


def best_log_sigma(config: Config, params: Any, images: Any, key: Any) -> Any:
    """The decoder's standard deviation, as its log, at which each lane has its highest ELBO on some
    images: its square is the mean squared error, one code drawn for each (Rybkin et al. 2021)."""
    import jax.numpy as jnp

    from vaejax import diagnostics

    evaluation = diagnostics.over_lanes(diagnostics.evaluate, config)(params, images, key)
    # mse is for pixels in [0, 1]
    return jnp.log(config.pixel_width * jnp.sqrt(evaluation.mse.mean(-1)))


def measure(
    flags: RemediesFlags, data: "Data", target: "Reference", run: Run, saved: "Saved"
) -> list["Row"]:
    import jax
    import jax.numpy as jnp

    from experiments import study
    from vaejax import diagnostics

    params, found = saved.state.params, FIXED if run.name == "fixed" else (LEARNED,)
    # The first two are of `collapse_rows`.
    keys = jax.random.split(jax.random.key(study.EVALUATION_SEED), 5)[2:]
    best = best_log_sigma(run.config, params, data.train, keys[0])
    of_sigma = replace(run.config, decoder_variance="learned")
    nll = diagnostics.over_lanes(diagnostics.importance_nll, of_sigma, flags.nll_samples)
    declared = nll({"log_sigma": jnp.zeros_like(best)} | params, data.test, keys[1])
    fitted = nll(params | {"log_sigma": best}, data.test, keys[1])
    distances = diagnostics.sample_distances(run.config, params, target, len(data.test), keys[2])
    figures = {
        "remedy": [name for name in found for _ in range(len(run.seeds) // len(found))],
        "nll_nats": declared.nll.mean(-1),
        NLL: fitted.nll.mean(-1),
        "nll_fitted_ess": fitted.effective_samples.mean(-1),
        "fitted_sigma": jnp.exp(best),
        "frechet": distances,
        "frechet_floor": [target.floor] * len(distances),
    }
    of_collapse, rows = study.collapse_rows(run, saved, data.test), study.rows_of(run, figures)
    return [one | row for one, row in zip(of_collapse, rows, strict=True)]


def by_remedy(rows: list["Row"], name: str) -> dict[str, list[float]]:
    """One figure of all seeds, for each remedy; of one that has diverged, nothing."""
    from experiments import report

    return {remedy: report.values(rows, name, remedy=remedy) for remedy in ALL}


def figure(rows: list["Row"], folder: Path, data: "Data") -> list[Path]:
    import jax
    import numpy as np

    from experiments import study, views
    from vaejax import charts, checkpoint, diagnostics, figures, model

    marks = {
        "frechet": ("training against test images", rows[0]["frechet_floor"]),
        "mi_nats": ("log n, the ceiling", rows[0]["mi_ceiling_nats"]),
    }
    panels = [charts.Dots(name, by_remedy(rows, name), marks.get(name)) for name in PANELS]
    dots = charts.dots(panels, f"{rows[0]['dataset']}, test set: a dot per seed")

    images = views.unit_pixels(data, data.test[:SHOWN])
    samples, strips = [("test images", images)], {"input": images[:16]}
    restored = {run: checkpoint.restore(folder / run) for run in {row["run"] for row in rows}}
    for row in (row for row in rows if row["seed"] == rows[0]["seed"]):
        remedy, (run, saved) = row["remedy"], restored[row["run"]]
        params = diagnostics.lane_of(saved.state.params, row["lane"])
        prior = model.sample(run.config, params, jax.random.key(study.FIGURE_SEED), SHOWN)
        samples.append((remedy, np.asarray(prior).reshape(-1, *data.shape)))
        strips[remedy] = views.outputs(data, run, saved, row["lane"], data.test[:16])
    seed = f"seed {rows[0]['seed']}"
    grids = figures.grids([dict(samples[:4]), dict(samples[4:])], 8, f"Prior samples, {seed}")
    strip = figures.strips(strips, f"Reconstructions from the posterior mean, {seed}")
    return [
        figures.save(dots, folder / "remedies.png"),
        figures.save(grids, folder / "samples.png"),
        figures.save(strip, folder / "reconstructions.png"),
    ]


def verdict(rows: list["Row"]) -> dict[str, "Verdict"]:
    from experiments import report

    active, mse, nll, frechet = (
        by_remedy(rows, name) for name in ("active_units", "mse", NLL, "frechet")
    )
    verdicts = {}
    for remedy in ALL[1:]:
        comparisons = {
            "active_units": ([0.5] * len(active[remedy]), active[remedy]),
            "mse": (mse[remedy], mse[BASELINE]),
            NLL: (nll[remedy], nll[BASELINE]),
        }
        verdicts[f"B4, {remedy}"] = report.judge(
            f"every seed has an active unit, and less MSE and {NLL} than the collapsed baseline",
            {} if any(active[BASELINE]) else comparisons,
        )
    for name, found in ((NLL, nll), ("frechet", frechet)):
        verdicts[f"B4, {LEARNED} has the least {name}"] = report.judge(
            f"with it every seed has less {name} than with any other remedy",
            {remedy: (found[LEARNED], found[remedy]) for remedy in FIXED[1:]},
        )
    return verdicts


def main() -> None:
    with failing_clearly():
        flags = parse(RemediesFlags, __doc__)
        from experiments import report, study
        from vaejax import frechet, theory

        study.set_up(flags)
        data = study.load_data(flags)
        folder = flags.folder / "remedies"
        space = theory.pca(data.train, min(frechet.FEATURES, data.train.shape[1]))
        target = frechet.reference(space, data.train, data.test)
        measured = partial(measure, flags, data, target)
        rows, diverged = study.execute(
            flags, folder, runs(flags, data), measured, nll_samples=flags.nll_samples
        )
        if rows:
            written = figure(rows, folder, data)
            report.show(folder, rows, COLUMNS, verdict(rows), written, ("remedy", "recon_scale"))
        study.refuse_divergence(diverged)


if __name__ == "__main__":
    main()
