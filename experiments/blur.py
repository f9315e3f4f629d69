"""The recipe that works on MNIST, applied to CIFAR10, reconstructs only blur (C6).

Runs: the VAE of experiments.latent_size (Bernoulli likelihood at the scale of the true ELBO), all
seeds side by side in one program; --dataset mnist trains it on the data that it was made for.

Measurement, on the test set, spectra on its first 2,000 images: MSE beside the MSE of the mean
image; MSE of decoded posterior means beside the MSE of as many principal components; power of these
outputs over power of the images at each spatial frequency, averaged over directions, the mean image
subtracted from both. Two numbers summarize the power: the share left above half of Nyquist
(high_frequency_share), and the frequency at which half is lost (half_power_cycles).

Figures: spectrum.png, reconstructions.png.

Verdict: C6 HELD if every seed reconstructs something (its MSE is below the MSE of the mean image)
but only blur (under a tenth of the power above half of Nyquist is left); FAILED if either is
reversed for all seeds; else UNDECIDED.

Command: python -m experiments.blur

Cost: full CIFAR10, three seeds, 3072-400-10-400-3072, twelve epochs: about 5 minutes on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import vaejax as vj

COLUMNS = (
    "mse", "mean_image_mse", "decoded_mean_mse", "pca_decoded_mean_mse", "high_frequency_share",
    "pca_high_frequency_share", "half_power_cycles", "kl_nats", "neg_elbo_nats", "collapse",
)  # fmt: skip
SPECTRUM_IMAGES = 2000
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class BlurFlags(vj.lab.Flags):
    """The shared flags, and this study's own."""

    dataset: str = "cifar10"
    latent_sizes: tuple[int, ...] = (10,)
    """Numbers of latent units."""
    recon_scale: vj.Scale = "elbo"
    """Weight of the error averaged over pixels; elbo: the weight of the true ELBO."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.lab.each_once("--latent-sizes", self.latent_sizes)


def runs(lab: vj.lab.Lab) -> list[vj.Run]:
    return [
        lab.flags.run(f"z{size}", lab.split, lab.config(latent_size=size), [lab.flags.recon_scale])
        for size in lab.flags.latent_sizes
    ]


def compressed(lab: vj.lab.Lab, images: np.ndarray, size: int) -> np.ndarray:
    """Flat images, as `size` principal components keep them: the best that a linear code can."""
    space = lab.pca(max(lab.flags.latent_sizes))
    pixels = lab.pictures(images).reshape(len(images), -1)
    return vj.theory.compress(space, pixels, size).reshape(-1, *lab.shape)


def measure(lab: vj.lab.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    images = lab.test[:SPECTRUM_IMAGES]
    inputs = lab.pictures(images)
    linear = compressed(lab, images, trained.run.config.latent_size)
    of_pca = vj.measure.sharpness(linear, inputs, lab.mean_image)
    known = {f"pca_{name}": value for name, value in of_pca.items()}
    known["mean_image_mse"] = vj.measure.constant_mse(lab.mean_image, lab.test)
    return [
        row
        | known
        | vj.measure.sharpness(vj.lab.outputs(trained, lane, images), inputs, lab.mean_image)
        for lane, row in enumerate(vj.lab.collapse_rows(trained, lab.test))
    ]


def figures(lab: vj.lab.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    sizes = vj.lab.distinct(rows, "latent_size")
    lines = {}
    for size in sizes:
        for label, name in (
            (f"VAE, {size} units", "power_ratio"),
            (f"PCA, {size} components", "pca_power_ratio"),
        ):
            lines[label] = vj.lab.values(rows, name, latent_size=size)
    panel = vj.lab.spectrum_panel("", lines, vj.lab.fact(rows, "cycles_per_image"))
    images = lab.test[:SHOWN]
    strips = {"input": lab.pictures(images)}
    for size in sizes:
        strips[f"VAE, {size} units"] = vj.lab.outputs(lab.trained(f"z{size}"), 0, images)
        strips[f"PCA, {size} comp."] = compressed(lab, images, size)
    strips["mean image"] = np.broadcast_to(lab.mean_image, strips["input"].shape)
    about = f"{lab.flags.dataset}, {lab.flags.likelihood} likelihood"
    title = f"{about}: reconstructions, seed {lab.flags.seeds[0]}"
    return {
        "spectrum": vj.show.curves([panel], "cycles per image", f"{about}: power that is left"),
        "reconstructions": vj.show.strips(strips, title),
    }


def verdict(rows: list[vj.store.Row]) -> dict[str, vj.lab.Verdict | None]:
    limit, comparisons = vj.measure.BLURRED, {}
    for size in vj.lab.distinct(rows, "latent_size"):
        mse, constant, share = (
            vj.lab.values(rows, name, latent_size=size)
            for name in ("mse", "mean_image_mse", "high_frequency_share")
        )
        comparisons[f"{size} units: mse below the mean image's"] = (mse, constant)
        comparisons[f"{size} units: high_frequency_share under {limit}"] = vj.lab.below(
            share, limit
        )
    rule = (
        f"every seed has a lower MSE than the mean image, and under {limit} of the images' power "
        "above half of Nyquist"
    )
    return {"C6": vj.lab.judge(rule, comparisons)}


STUDY = vj.lab.Study("blur", __doc__, BlurFlags, runs, measure, verdict, figures, COLUMNS)

if __name__ == "__main__":
    vj.lab.run_study(STUDY)
