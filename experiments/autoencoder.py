"""An autoencoder compresses; only the VAE generates (C1, C2, C3).

C1: an AE compresses images through a small code. Measured: test reconstruction MSE against code
size, beside PCA with the same number of components.

C2: a Gaussian code decodes to noise with an AE, and a VAE fixes that. Measured: Frechet distance
of prior samples from the test images (floor: training against test images).

C3: the KL term pulls the codes to N(0, I). Measured: the squared 2-Wasserstein distance of the
Gaussian with the mean and covariance of all test codes from N(0, I), with and without the term.

Runs: an AE and a VAE per code size, from the same initial weights, all seeds side by side.

Figures: mse.png, samples.png, codes.png (units 0 and 1 of the test codes at the smallest size, if
that has two).

Verdicts: C1 HELD if at every size every seed of the AE is below PCA; C2 and C3 HELD if at every
size every seed of the VAE is below every seed of the AE; FAILED if reversed at any size for all
seeds; else UNDECIDED.

Command: python -m experiments.autoencoder

Cost: full MNIST, four sizes and three seeds: about 7 minutes on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import vaejax as vj

MODELS = ("ae", "vae")
COLUMNS = ("mse", "pca_mse", "frechet", "code_distance_to_prior", "active_units")
MORE_COLUMNS = ("frechet_floor", "kl_nats", "neg_elbo_nats")
SAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class AutoencoderFlags(vj.lab.Flags):
    """The shared flags, and this study's own."""

    latent_sizes: tuple[int, ...] = (2, 4, 10, 32)
    """Code sizes."""
    recon_scale: vj.Scale = "elbo"
    """Weight of the error averaged over pixels; elbo: the weight of the true ELBO."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.lab.each_once("--latent-sizes", self.latent_sizes)


def runs(lab: vj.lab.Lab) -> list[vj.Run]:
    return [
        lab.flags.run(
            f"{model}-z{size}",
            lab.split,
            lab.config(latent_size=size, model=model),
            [lab.flags.recon_scale],
            model=model,
        )
        for size in lab.flags.latent_sizes
        for model in MODELS
    ]


def measure(lab: vj.lab.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    keys = vj.lab.evaluation_keys(2)
    evaluation = vj.lab.on_lanes(vj.measure.evaluate, trained, lab.test, keys[0])
    space = lab.pca(max(vj.measure.FEATURES, *lab.flags.latent_sizes))
    size = trained.run.config.latent_size
    figures = vj.measure.summary(evaluation) | {
        "pca_mse": vj.theory.reconstruction_mse(space, lab.test, size),
        "frechet": lab.distances(trained, keys[1]),
        "frechet_floor": lab.reference.floor,
    }
    return vj.lab.rows_of(trained, figures)


def figures(lab: vj.lab.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    def both(name: str) -> dict[str, Any]:
        return {
            kind.upper(): vj.lab.against(rows, "latent_size", name, model=kind) for kind in MODELS
        }

    pca = {"PCA": vj.lab.against(rows, "latent_size", "pca_mse", model="ae")}
    floor = ("train against test", vj.lab.fact(rows, "frechet_floor"))
    panels = [
        vj.show.Panel("reconstruction (C1)", "test MSE, pixel^2", both("mse") | pca, log_y=True),
        vj.show.Panel(
            "prior samples (C2)", "Frechet distance, pixel^2", both("frechet"), floor, log_y=True
        ),
        vj.show.Panel(
            "all test codes (C3)",
            "distance to N(0, I), code^2",
            both("code_distance_to_prior"),
            log_y=True,
        ),
    ]
    dataset, seeds = lab.dataset, lab.flags.seeds
    title = f"{dataset}: mean and range over {len(seeds)} seeds"
    sizes = vj.lab.distinct(rows, "latent_size")
    grids = [
        {
            f"{kind.upper()}, {size} units": vj.lab.samples(
                lab.trained(f"{kind}-z{size}"), 0, SAMPLES
            )
            for size in sizes
        }
        for kind in MODELS
    ]
    drawn = {
        "mse": vj.show.curves(panels, "code size", title),
        "samples": vj.show.grids(
            grids, 8, f"Images decoded from codes drawn from N(0, I), seed {seeds[0]}"
        ),
    }
    if sizes[0] >= 2:
        title = "Codes of the test images; circles: 1, 2, 3 standard deviations of N(0, I)"
        codes = {
            f"{kind.upper()}, {sizes[0]} units": test_codes(lab, f"{kind}-z{sizes[0]}")
            for kind in MODELS
        }
        drawn["codes"] = vj.show.codes(codes, lab.test_labels, title)
    return drawn


def test_codes(lab: vj.lab.Lab, run: str) -> np.ndarray:
    """Two units of one drawn code for each test image, from the first lane of a run."""
    key = vj.lab.figure_key()
    evaluation = vj.lab.on_lanes(vj.measure.evaluate, lab.trained(run), lab.test, key)
    return np.asarray(evaluation.code)[0, :, :2]


def verdict(rows: list[vj.store.Row]) -> dict[str, vj.lab.Verdict | None]:
    def compare(what: str, low: tuple[str, str], high: tuple[str, str]) -> dict[str, Any]:
        """At each size, a figure of one model should be below a figure of another one."""
        return {
            f"{what} with {size} units": vj.lab.Comparison(
                vj.lab.values(rows, low[0], latent_size=size, model=low[1]),
                vj.lab.values(rows, high[0], latent_size=size, model=high[1]),
            )
            for size in vj.lab.distinct(rows, "latent_size")
        }

    return {
        "C1": vj.lab.judge(
            "An autoencoder compresses images through a small code better than PCA",
            "at every code size, every seed of the AE has a lower test MSE than PCA",
            compare("MSE of the AE, and of PCA,", ("mse", "ae"), ("pca_mse", "ae")),
        ),
        "C2": vj.lab.judge(
            "Images decoded from Gaussian codes are better with a VAE than with an AE",
            "at every code size, samples of every VAE are closer to the test images than samples "
            "of any AE (Frechet distance)",
            compare(
                "Frechet distance of samples, VAE and AE,", ("frechet", "vae"), ("frechet", "ae")
            ),
        ),
        "C3": vj.lab.judge(
            "The KL term pulls the codes to N(0, I)",
            "at every code size, the codes of every VAE are closer to N(0, I) than those of any AE",
            compare(
                "distance of the codes to N(0, I), VAE and AE,",
                ("code_distance_to_prior", "vae"),
                ("code_distance_to_prior", "ae"),
            ),
        ),
    }


STUDY = vj.lab.Study(
    "autoencoder", __doc__, AutoencoderFlags, runs, measure, verdict, figures, COLUMNS,
    MORE_COLUMNS, quick={"latent_sizes": (2, 10)},
)  # fmt: skip

if __name__ == "__main__":
    vj.lab.run_study(STUDY)
