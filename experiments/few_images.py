"""A VAE on very few images of CIFAR10: are even they reconstructed as blur, or not at all (C7)?

Runs: 200, 100 and 25 training images, at each scale of --recon-scale; squared error; ten latent
units, and, with two seeds, as many as the largest number of images pays for (128): the units that
pay for their KL at the largest scale, rounded up to a power of two. Scales are lanes. The claim is
about the smallest scale; the largest shows that it stops holding.

A run trains until each lane has converged, at most 10,000 steps: the error, as a root mean square
in units of the distance between two images of the run, averaged over blocks of 1,000 steps, has
moved by less than 0.02 twice in a row. A fixed number of steps is not enough: at scale 1 an output
bias may have to change by 2, and at a learning rate of 1e-3 that takes at least about 2,000 steps.

Measurement, on the training images themselves: MSE beside the MSE of their mean; of the outputs
decoded from posterior means, the spatial frequency up to which half of the power is kept
(half_power_cycles), and the power above half of Nyquist that is left (high_frequency_share).

Figures: few_images.png, spectrum.png.

Command: python -m experiments.few_images

Cost: CIFAR10, three seeds of 3072-64-10-64-3072 and two of 3072-256-128-256-3072: about
12 minutes on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

import vaejax as vj

LOW = {"recon_scale": vj.study.SMALLEST}
CONVERGED = vj.study.Condition("it has converged", lambda row: row["converged"] == "yes")
CLAIMS = [
    vj.study.Claim(
        "C7",
        "At {smallest}, are even a few training images reconstructed as blur, or not at all?",
        vj.study.each("images", vj.study.KEPT_DETAIL.at(**LOW) < vj.study.LEAST_DETAIL.at(**LOW)),
        rows=vj.study.of_pictures,
        counts_if=CONVERGED,
        by_size=True,
    )
]
COLUMNS = ("converged", "half_power_cycles", "mse", "mean_image_mse", "kl_nats")
MORE_COLUMNS = (
    "steps", "decoded_mean_mse", "high_frequency_share", "units_that_pay", "collapse",
)  # fmt: skip
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class ConvergingFlags(vj.study.Flags):
    """The shared flags, and those of studies that train until they have converged."""

    dataset: str = "cifar10"
    steps: int = 10_000
    """The most training steps; a run ends once it has converged."""
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    kl_cycle: vj.study.Fixed[float] = 0.0  # with it nothing converges
    widths: tuple[int, ...] = (64,)
    """Sizes of the hidden layers of the encoder; the decoder has them in reverse. None is narrower
    than twice the code."""
    latent_sizes: tuple[vj.study.Size, ...] = (10, "enough")
    """Numbers of latent units; the first one has all seeds. enough: as many as pay for their KL at
    the largest scale, rounded up to a power of two."""
    recon_scale: tuple[float, ...] = (1.0, 6000.0)
    """Weights of the error averaged over pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.study.each_once("--recon-scale", self.recon_scale, least=2)


@dataclass(frozen=True, kw_only=True)
class FewImagesFlags(ConvergingFlags):
    batch_size: int = 25
    images: tuple[int, ...] = (200, 100, 25)
    """Numbers of training images."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.study.at_least("--images", 2, *self.images)


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    scales, counts = sorted(lab.flags.recon_scale), lab.flags.images
    sizes = lab.latent_sizes(lab.flags.latent_sizes, scales[-1], lab.first(max(counts)))
    fewer = replace(lab.flags, seeds=lab.flags.seeds[:2])
    planned = []
    for size, count in product(sizes, counts):
        flags = lab.flags if size == sizes[0] else fewer
        config = lab.sized(size, batch_size=min(flags.batch_size, count))
        planned.append(flags.run(f"z{size}-n{count}", lab.first(count), config, scales))
    return planned


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    images = lab.images(trained.run.images.train)
    inputs = lab.pictures(images)
    mean_image = inputs.mean(0)
    done = vj.study.converged(lab, trained.run, np.ascontiguousarray(trained.trace.error))
    return [
        row
        | {
            "images": len(images),
            "converged": "yes" if done[lane] else "no",
            "mean_image_mse": vj.measure.constant_mse(mean_image, images),
        }
        | vj.measure.sharpness(vj.study.outputs(trained, lane, images), inputs, mean_image)
        for lane, row in enumerate(vj.study.collapse_rows(trained, images))
    ]


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    sizes, scales = (vj.study.distinct(rows, name) for name in ("latent_size", "recon_scale"))
    cycles = vj.study.fact(rows, "cycles_per_image")
    strips, panels = {}, []
    for count in reversed(vj.study.distinct(rows, "images")):
        images, powers = lab.train[: min(count, SHOWN)], {}
        strips[f"{count} images"] = lab.pictures(images)
        for size, scale in product(sizes, scales):
            model, trained = f"{size} units, scale {scale:g}", lab.trained(f"z{size}-n{count}")
            lane = vj.study.lane_at(trained.run, scale)
            strips[f"{count}: {model}"] = vj.study.outputs(trained, lane, images)
            powers[model] = vj.study.values(
                rows, "power_ratio", images=count, latent_size=size, recon_scale=scale
            )
        if cycles is not None:  # vectors have none
            panels.append(vj.study.spectrum_panel(f"{count} images", powers, cycles))
    title = f"{lab.dataset}: training images and outputs, seed {lab.flags.seeds[0]}"
    drawn = {"few_images": vj.show.strips(strips, title)}
    if panels:
        title = f"{lab.dataset}: power that is left"
        drawn["spectrum"] = vj.show.curves(panels, "cycles per image", title)
    return drawn


STUDY = vj.study.Study(
    "few_images", __doc__, FewImagesFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, by=["run", "recon_scale"], converged=vj.study.at_end,
    quick={"images": (25,), "latent_sizes": (10,)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
