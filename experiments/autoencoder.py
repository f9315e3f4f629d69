"""Autoencoders and VAEs of the same net on MNIST: compression, generation, the shape of the code.

C1: an AE compresses images through a small code. Measured: test MSE against PCA of equal size.
C2: decoding a Gaussian code gives noise with an AE, images with a VAE. Measured: Frechet distance
of prior samples from the test images (floor: training against test images).
C3: the KL term pulls the codes to N(0, I). Measured: the squared 2-Wasserstein distance of the
Gaussian with the mean and covariance of all test codes from N(0, I), with and without the term.

Runs: an AE and a VAE per code size, from the same initial weights, all seeds side by side.
Figures: mse.png, samples.png, codes.png (the test codes of 2 units, or of the smallest size).
Verdicts: C1 HELD if at every size every seed of the AE is below PCA; C2 and C3 HELD if at every
size every seed of the VAE is below every seed of the AE; FAILED if reversed at any size for all
seeds; else UNDECIDED.

Command: python -m experiments.autoencoder
Cost: full MNIST, four sizes and three seeds: about 7 minutes on 2 cores.
"""

from dataclasses import dataclass
from functools import partial
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
    from vaejax.theory import PCA

SIZES = (2, 4, 10, 32)
QUICK_SIZES = (2, 10)
MODELS = ("ae", "vae")
COLUMNS = {
    "mse": ".4f",
    "pca_mse": ".4f",
    "frechet": ".3f",
    "frechet_floor": ".3f",
    "code_distance_to_prior": ".2f",
    "kl_nats": ".2f",
    "neg_elbo_nats": ".2f",
    "active_units": ".1f",
}
SHOWN = 64


@dataclass(frozen=True, kw_only=True)
class AutoencoderFlags(Flags):
    """The shared flags, and this study's own."""

    latent_sizes: tuple[int, ...] | None = None
    """Code sizes. None: 2 4 10 32, or 2 10 with --quick."""
    recon_scale: float | Literal["elbo"] = "elbo"
    """Weight of the error averaged over pixels; elbo: that of the true ELBO."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sizes or len(set(self.sizes)) < len(self.sizes):
            raise LabError(f"--latent-sizes {self.sizes}: give one or more, each once.")

    @property
    def sizes(self) -> tuple[int, ...]:
        chosen = QUICK_SIZES if self.quick else SIZES
        return chosen if self.latent_sizes is None else self.latent_sizes


def runs(flags: AutoencoderFlags, data: "Data") -> list["Run"]:
    return [
        flags.run(
            f"{model}-z{size}",
            data.split,
            flags.config(data.shape, latent_size=size, model=model),
            (flags.recon_scale,),
        )
        for size in flags.sizes
        for model in MODELS
    ]


def measure(
    data: "Data", space: "PCA", target: "Reference", run: "Run", saved: "Saved"
) -> list["Row"]:
    import jax

    from experiments import study
    from vaejax import diagnostics, theory

    keys = jax.random.split(jax.random.key(study.EVALUATION_SEED))
    evaluation = diagnostics.over_lanes(diagnostics.evaluate, run.config)(
        saved.state.params, data.test, keys[0]
    )
    size = run.config.latent_size
    pca_mse = theory.reconstruction_mse(space, data.test, size)
    figures = diagnostics.summary(evaluation) | {
        "frechet": diagnostics.sample_distances(
            run.config, saved.state.params, target, len(data.test), keys[1]
        )
    }
    known = {"model": run.config.model, "pca_mse": pca_mse, "frechet_floor": target.floor}
    return [row | known for row in study.rows_of(run, figures)]


def figure(rows: list["Row"], folder: Path, data: "Data") -> list[Path]:
    import jax
    import numpy as np

    from experiments import report, study
    from vaejax import checkpoint, diagnostics, figures, model

    sizes = sorted({row["latent_size"] for row in rows})

    def line(name: str, kind: str) -> figures.Line:
        found = {size: report.values(rows, name, latent_size=size, model=kind) for size in sizes}
        trained = [size for size in sizes if found[size]]  # none where every lane diverged
        return figures.Line(trained, [found[size] for size in trained])

    def both(name: str) -> dict[str, figures.Line]:
        return {kind.upper(): line(name, kind) for kind in MODELS}

    floor = ("train against test", rows[0]["frechet_floor"])
    panels = [
        figures.Panel(
            "reconstruction (C1)",
            "test MSE, pixel^2",
            both("mse") | {"PCA": line("pca_mse", "ae")},
            log_y=True,
        ),
        figures.Panel(
            "prior samples (C2)", "Frechet distance, pixel^2", both("frechet"), floor, log_y=True
        ),
        figures.Panel(
            "all test codes (C3)",
            "distance to N(0, I), code^2",
            both("code_distance_to_prior"),
            log_y=True,
        ),
    ]
    seeds = sorted({row["seed"] for row in rows})
    curves = figures.curves(
        panels, "code size", f"{rows[0]['dataset']}: mean and range over {len(seeds)} seeds"
    )

    keys = jax.random.split(jax.random.key(study.FIGURE_SEED))
    grids, clouds = [], {}
    for kind in MODELS:
        grid = {}
        for size in sizes:
            run, saved = checkpoint.restore(folder / f"{kind}-z{size}")
            params = diagnostics.lane_of(saved.state.params, 0)
            drawn = model.sample(run.config, params, keys[0], SHOWN)
            grid[f"{kind.upper()}, {size} units"] = np.asarray(drawn).reshape(-1, *data.shape)
            if size == sizes[0]:
                evaluation = diagnostics.evaluate(run.config, params, data.test, keys[1])
                clouds[f"{kind.upper()}, {size} units"] = np.asarray(evaluation.code[:, :2])
        grids.append(grid)
    title = f"Images decoded from codes drawn from N(0, I), seed {rows[0]['seed']}"
    written = [
        figures.save(curves, folder / "mse.png"),
        figures.save(figures.grids(grids, 8, title), folder / "samples.png"),
    ]
    if sizes[0] >= 2:
        title = "Codes of the test images; circles: 1, 2, 3 standard deviations of N(0, I)"
        cloud = figures.codes(clouds, data.labels, title)
        written.append(figures.save(cloud, folder / "codes.png"))
    return written


def verdict(rows: list["Row"]) -> dict[str, "Verdict"]:
    from experiments import report

    sizes = sorted({row["latent_size"] for row in rows})

    def compare(name: str, low: str, other: str, high: str) -> dict[str, tuple]:
        return {
            f"{size} units": (
                report.values(rows, name, latent_size=size, model=low),
                report.values(rows, other, latent_size=size, model=high),
            )
            for size in sizes
        }

    return {
        "C1": report.judge(
            "at every code size, every seed of the AE has a lower test MSE than PCA",
            compare("mse", "ae", "pca_mse", "ae"),
        ),
        "C2": report.judge(
            "at every code size, samples of every VAE are closer to the test images than samples "
            "of any AE (Frechet distance)",
            compare("frechet", "vae", "frechet", "ae"),
        ),
        "C3": report.judge(
            "at every code size, the codes of every VAE are closer to N(0, I) than those of any AE",
            compare("code_distance_to_prior", "vae", "code_distance_to_prior", "ae"),
        ),
    }


def main() -> None:
    with failing_clearly():
        flags = parse(AutoencoderFlags, __doc__)
        from experiments import report, study
        from vaejax import frechet, theory

        study.set_up(flags)
        data = study.load_data(flags)
        folder = flags.folder / "autoencoder"
        features = min(frechet.FEATURES, data.train.shape[1])
        space = theory.pca(data.train, max(features, *flags.sizes))
        target = frechet.reference(space, data.train, data.test)
        measured = partial(measure, data, space, target)
        rows, diverged = study.execute(flags, folder, runs(flags, data), measured)
        if rows:
            report.show(folder, rows, COLUMNS, verdict(rows), figure(rows, folder, data))
        study.refuse_divergence(diverged)


if __name__ == "__main__":
    main()
