"""An autoencoder compresses; does only the VAE generate (C1, C2, C3, B6)?

Runs: an AE and a VAE per code size, from the same initial weights, all seeds side by side, trained
as in experiments.latent_size.

Measurement, on the test set: reconstruction MSE, beside that of PCA with as many components (C1);
the Frechet distance of images decoded from codes of N(0, I) from the test images, whose floor is
that of the training images (C2); the squared 2-Wasserstein distance of the Gaussian with the mean
and covariance of all test codes from N(0, I) (C3). For B6, that an AE generates as well if codes
are drawn from where its codes lie (Ghosh et al. 2020): the Frechet distance with codes drawn from
one Gaussian, and from a mixture of ten, fitted to the codes of 10,000 training images.

The Frechet distance does not notice a model that repeats its training images. So the squared error
of 1,000 images from the mixture to the nearest training image is shown (nearest_mse): a copy would
have none. Beside it is that of as many reconstructed test images (nearest_recon_mse), which are no
copies.

Figures: mse.png, distances.png, samples.png (codes from N(0, I) and from the mixture), nearest.png
(images of the mixture above the nearest training image), codes.png (units 0 and 1 of the test codes
at the smallest size, if that has two).

Command: python -m experiments.autoencoder

Cost: full MNIST, four sizes and three seeds: about 3 minutes on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

import vaejax as vj
from experiments import latent_size

MODELS = ("ae", "vae")
DENSITIES = {
    "N(0, I)": "frechet",
    "one Gaussian": "frechet_gaussian",
    "mixture of ten": "frechet_mixture",
}
"""What codes are drawn from, and the column of the Frechet distance of what they decode to."""
COLUMNS = ("mse", "pca_mse", "frechet", "frechet_mixture", "code_distance_to_prior")
MORE_COLUMNS = (
    "frechet_gaussian", "frechet_floor", "nearest_mse", "nearest_recon_mse", "active_units",
    "kl_nats", "neg_elbo_nats",
)  # fmt: skip
MSE = vj.study.column("mse", "MSE")
PCA_MSE = vj.study.column("pca_mse", "MSE of PCA")
TO_PRIOR = vj.study.column("code_distance_to_prior", "distance of the codes to N(0, I)")
SAMPLES_OFF = vj.study.column("frechet", "Frechet distance of samples from N(0, I)")
MIXTURE_OFF = vj.study.column("frechet_mixture", "Frechet distance of samples from the mixture")
CLAIMS = [
    vj.study.Claim(
        "C1",
        "Does an autoencoder compress images through a small code better than PCA?",
        vj.study.each("latent_size", MSE.at(model="ae") < PCA_MSE.at(model="ae")),
    ),
    vj.study.Claim(
        "C2",
        "Are images decoded from Gaussian codes better with a VAE than with an AE?",
        vj.study.each("latent_size", SAMPLES_OFF.at(model="vae") < SAMPLES_OFF.at(model="ae")),
    ),
    vj.study.Claim(
        "C3",
        "Does the KL term pull the codes to N(0, I)?",
        vj.study.each("latent_size", TO_PRIOR.at(model="vae") < TO_PRIOR.at(model="ae")),
    ),
    vj.study.Claim(
        "B6",
        "Does an AE draw better images than a VAE, if its codes come from a mixture fitted to "
        "training codes?",
        vj.study.each("latent_size", MIXTURE_OFF.at(model="ae") < SAMPLES_OFF.at(model="vae")),
    ),
    vj.study.Claim(
        "B6, both fitted",
        "Does it still, if the codes of the VAE come from a mixture, too?",
        vj.study.each("latent_size", MIXTURE_OFF.at(model="ae") < MIXTURE_OFF.at(model="vae")),
    ),
]
PARTS = 10
"""Gaussians of the mixture that is fitted to codes."""
FITTED = 10_000
"""Training images whose codes it is fitted to."""
COMPARED = 1000
"""Images whose nearest training image is looked for."""
SAMPLES = 64
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class AutoencoderFlags(latent_size.RecipeFlags):
    latent_sizes: tuple[int, ...] = (2, 4, 10, 32)
    """Code sizes."""


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    planned = []
    for size, model in product(lab.flags.latent_sizes, MODELS):
        config = lab.config(latent_size=size, model=model)
        planned.append(latent_size.run(lab, f"{model}-z{size}", config, model=model))
    return planned


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    keys = vj.study.evaluation_keys(2)
    evaluation = vj.study.on_lanes(vj.measure.evaluate, trained, lab.test, keys[0])
    space = lab.pca(max(vj.measure.FEATURES, *lab.flags.latent_sizes))
    size = trained.run.config.latent_size
    figures = vj.measure.summary(evaluation) | {
        "pca_mse": vj.theory.reconstruction_mse(space, lab.test, size),
        "frechet": lab.distances(trained, keys[1]),
        "frechet_floor": lab.reference.floor,
    }
    rows = vj.study.rows_of(trained, figures)
    return [row | of_fitted(lab, trained, lane) for lane, row in enumerate(rows)]


def of_fitted(lab: vj.study.Lab, trained: vj.store.Trained, lane: int) -> vj.store.Row:
    """What one lane makes of codes from densities fitted to its training codes."""
    codes = drawn_codes(trained, lane, lab.train[:FITTED])
    gaussian, mixture = (
        vj.study.decoded(trained, lane, vj.measure.draw_from_mixture(codes, parts, len(lab.test)))
        for parts in (1, PARTS)
    )
    restored = vj.study.outputs(trained, lane, lab.test[:COMPARED])
    return {
        "frechet_gaussian": lab.reference.distance(gaussian),
        "frechet_mixture": lab.reference.distance(mixture),
        "nearest_mse": float(vj.measure.nearest(mixture[:COMPARED], lab.train)[1].mean()),
        "nearest_recon_mse": float(vj.measure.nearest(restored, lab.train)[1].mean()),
    }


def drawn_codes(trained: vj.store.Trained, lane: int, images: np.ndarray) -> np.ndarray:
    """One code, drawn from the posterior of one lane, for each image: [n, latent]."""
    key = vj.study.figure_key()
    one = vj.study.chosen_lane(trained, lane)
    return np.asarray(vj.study.on_lanes(vj.measure.evaluate, one, images, key).code)[0]


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    sizes, dataset, seeds = vj.study.distinct(rows, "latent_size"), lab.dataset, lab.flags.seeds
    grids, copies, codes = [], {}, {}
    for kind in MODELS:
        from_prior, from_mixture = {}, {}
        for size in sizes:
            trained, name = lab.trained(f"{kind}-z{size}"), f"{kind.upper()}, {size} units"
            fitted = drawn_codes(trained, 0, lab.train[:FITTED])
            new = vj.measure.draw_from_mixture(fitted, PARTS, len(lab.test))[:SAMPLES]
            from_prior[f"{name}, N(0, I)"] = vj.study.samples(trained, 0, SAMPLES)
            from_mixture[f"{name}, mixture"] = vj.study.decoded(trained, 0, new)
            if size == sizes[0]:
                codes[name] = drawn_codes(trained, 0, lab.test)[:, :2]
        grids += [from_prior, from_mixture]
        name, images = list(from_mixture.items())[-1]  # of the largest size
        copies[name] = images[:SHOWN]
        index, _ = vj.measure.nearest(images[:SHOWN], lab.train)
        copies[f"nearest training image, {kind.upper()}"] = lab.pictures(lab.train[index])
    title = f"{dataset}: mean and range over {len(seeds)} seeds"
    drawn = {
        "mse": vj.show.curves(error_panels(rows), "code size", title),
        "distances": vj.show.curves([sample_panel(rows)], "code size", title),
        "samples": vj.show.grids(grids, 8, f"Images decoded from drawn codes, seed {seeds[0]}"),
        "nearest": vj.show.strips(copies, f"{dataset}: are samples copies? Seed {seeds[0]}"),
    }
    if sizes[0] >= 2:
        title = "Codes of the test images; circles: 1, 2, 3 standard deviations of N(0, I)"
        drawn["codes"] = vj.show.codes(codes, lab.test_labels, title)
    return drawn


def error_panels(rows: list[vj.store.Row]) -> list[vj.show.Panel]:
    """The errors of reconstructions, and how far the test codes are from N(0, I)."""
    lines = partial(vj.study.against, rows, "latent_size")
    errors = lines("mse", "model") | lines("pca_mse", label="PCA", model="ae")
    codes_off = lines("code_distance_to_prior", "model")
    return [
        vj.show.Panel("reconstruction (C1)", "test MSE, pixel^2", errors, log_y=True),
        vj.show.Panel("all test codes (C3)", "distance to N(0, I), code^2", codes_off, log_y=True),
    ]


def sample_panel(rows: list[vj.store.Row]) -> vj.show.Panel:
    """Frechet distances of what each model makes of codes from each density."""
    lines = {}
    for kind, (density, name) in product(MODELS, DENSITIES.items()):
        label = f"{kind.upper()}, {density}"
        lines |= vj.study.against(rows, "latent_size", name, label=label, model=kind)
    title = "samples by what codes are drawn from (C2, B6)"
    floor = ("train against test", vj.study.fact(rows, "frechet_floor"))
    return vj.show.Panel(title, "Frechet distance, pixel^2", lines, floor, log_y=True)


STUDY = vj.study.Study(
    "autoencoder", __doc__, AutoencoderFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, quick={"latent_sizes": (2, 10)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
