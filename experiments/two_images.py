"""A VAE on two images of CIFAR10: is their average all that it outputs, and why (C8)?

The write-up explains the average by the gradient, which a batch averages over its images. If so, a
batch of a single image would not average. So two images are also trained with batches of 1, with as
many steps, and with as many passes over the images, as with batches of 2.

Runs, on the first two training images, with squared error. One batch of both, until each lane has
converged by the rule of experiments.few_images: ten latent units at all scales, which are lanes;
and, with two seeds, at the smallest and the largest scale as many units as 200 images pay for (128,
see there). The runs that compare batches, of ten units at both scales, train for 10,000 steps (and
20,000 of 1 image, which are as many passes as 10,000 of 2) at a rate that falls to 0: at a constant
rate a model that sees one image at a time wobbles between the two.

Measurement: that of experiments.few_images, and, decoded from 64 drawn codes for each image, the
mean distance of an output to the mean of both images and to the nearer image (the larger of the two
images'), and that between the outputs of the two, as fractions of the distance between the images.
Drawn codes are what the decoder was trained on; in a wide collapsed code the posterior mean is
unlike any of them.

Figures: two_images.png, distances.png (dashed: the threshold that the two images predict; below it
their average is a stable solution).

Command: python -m experiments.two_images

Cost: CIFAR10, the nets and seeds of experiments.few_images: about 8 minutes on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import vaejax as vj
from experiments import few_images

BATCHES = "-batch"
"""In the names of the runs that compare batches of two sizes."""
ONE_PICTURE = 0.5
"""Outputs closer together than this share of the images' distance are rather one than two."""
AVERAGE = 0.1
"""An output closer to the average than this share of the images' distance is the average."""
LOW, HIGH = ({"recon_scale": end} for end in (vj.study.SMALLEST, vj.study.LARGEST))
TO_MEAN = vj.study.column(
    "distance_to_mean",
    "distance of an output to the average (as a share of that between the images)",
)
APART = vj.study.column(
    "outputs_apart", "distance between the two outputs (as a share of that between the images)"
)


def until_converged(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    """The rows of the runs that train until they have converged."""
    return [row for row in rows if BATCHES not in row["run"]]


def by_batch(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    """The rows of the runs that compare batches, with what these differ in."""
    return [
        row | {"batch_size": row["config"]["batch_size"], "passes": row["epochs"]}
        for row in rows
        if BATCHES in row["run"]
    ]


CLAIMS = [
    vj.study.Claim(
        "C8",
        "At {smallest}, does a model of two images output their average?",
        [TO_MEAN.at(**LOW) < AVERAGE],
        rows=until_converged,
        counts_if=few_images.CONVERGED,
        by_size=True,
    ),
    vj.study.Claim(
        "C8, by averaged gradients",
        "Are two images averaged because a batch averages their gradients?",
        [
            *vj.study.each("passes", TO_MEAN.at(batch_size=2, **LOW) < AVERAGE),
            *vj.study.each("passes", TO_MEAN.at(batch_size=1, **LOW) > AVERAGE),
        ],
        rows=by_batch,
        counts_if=few_images.CONVERGED,
    ),
    vj.study.Claim(
        "C8, by the scale",
        "Does the scale, not the batch, decide whether two images come out as one picture?",
        vj.study.each(
            ("batch_size", "passes"),
            APART.at(**LOW) < ONE_PICTURE,
            APART.at(**HIGH) > ONE_PICTURE,
        ),
        rows=by_batch,
        counts_if=few_images.CONVERGED,
    ),
]
ENOUGH_FOR = 200
"""The units that so many training images pay for, or all if there are fewer, are `enough`."""
DRAWS = 64
"""Codes drawn for each of two images."""
COLUMNS = (
    "converged", "half_power_cycles", "distance_to_mean", "distance_to_nearer", "kl_nats",
)  # fmt: skip
MORE_COLUMNS = ("outputs_apart", "mean_image_mse", *few_images.MORE_COLUMNS)
PANELS = {
    "distance_to_mean": "of an output to the average",
    "distance_to_nearer": "of an output to the nearer image",
    "outputs_apart": "between the outputs of the two",
}


@dataclass(frozen=True, kw_only=True)
class TwoImagesFlags(few_images.ConvergingFlags):
    batch_size: vj.study.Fixed[int] = 2
    recon_scale: tuple[float, ...] = (1.0, 30.0, 100.0, 300.0, 1000.0, 6000.0)
    """Weights of the error averaged over pixels."""


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    if np.array_equal(*lab.train[:2]):
        raise vj.LabError(
            f"The first two training images of {lab.dataset} are equal: nothing could tell "
            "them apart, nor from their average. Use a data set that begins otherwise."
        )
    scales, two = sorted(lab.flags.recon_scale), lab.first(2)
    paying = lab.first(min(ENOUGH_FOR, len(lab.train)))
    first, *others = lab.latent_sizes(lab.flags.latent_sizes, scales[-1], paying)
    fewer, ends = replace(lab.flags, seeds=lab.flags.seeds[:2]), [scales[0], scales[-1]]
    return [
        lab.flags.run(f"z{first}-n2", two, lab.sized(first), scales),
        *(fewer.run(f"z{size}-n2", two, lab.sized(size), ends) for size in others),
        *runs_of_batches(lab, first, ends),
    ]


def runs_of_batches(lab: vj.study.Lab, size: int, scales: list[float]) -> list[vj.Run]:
    """Two images, in batches of 2 and of 1, at a rate that falls to 0 as they end."""
    passes = lab.flags.run_epochs(1)
    planned = []
    for batch, epochs in ((2, passes), (1, max(1, passes // 2)), (1, passes)):
        name = f"z{size}-n2{BATCHES}{batch}-{epochs}-passes"
        lab.epochs[name] = epochs
        config = lab.sized(size, batch_size=batch)
        flags = replace(lab.flags, decay_steps=float(epochs * 2 // batch))
        planned.append(flags.run(name, lab.first(2), config, scales))
    return planned


def distances(outputs: np.ndarray, images: np.ndarray) -> vj.store.Row:
    """How far the outputs [draws, 2, ...] of two images are from the mean of both, and from the
    nearer image (the larger of the two images'), and from each other, as fractions of the distance
    between the images; averaged over draws."""

    def length(differences: np.ndarray) -> np.ndarray:
        return np.linalg.norm(differences.reshape(*differences.shape[:2], -1), axis=-1)

    apart = np.linalg.norm(images[0] - images[1])
    to_both = [length(outputs - image) for image in images]
    return {
        "distance_to_mean": float(length(outputs - images.mean(0)).mean(0).max() / apart),
        "distance_to_nearer": float(np.minimum(*to_both).mean(0).max() / apart),
        "outputs_apart": float(length(outputs[:, :1] - outputs[:, 1:]).mean() / apart),
    }


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    two = lab.train[:2]
    return [
        row | distances(vj.study.drawn_outputs(trained, lane, two, DRAWS), lab.pictures(two))
        for lane, row in enumerate(few_images.measure(lab, trained))
    ]


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    compared, rows = by_batch(rows), until_converged(rows)
    models = {f"{row['latent_size']} units, scale {row['recon_scale']:g}": row for row in rows}
    for row in compared:
        batches = f"batches of {row['batch_size']}, {row['passes']:,} passes"
        models[f"scale {row['recon_scale']:g}, {batches}"] = row
    both = lab.pictures(lab.train[:2])
    strips = {"images, average": np.concatenate([both, both.mean(0, keepdims=True)])}
    for name, row in models.items():
        trained = lab.trained(row["run"])
        lane = vj.study.lane_at(trained.run, row["recon_scale"])
        (strips[name],) = vj.study.drawn_outputs(trained, lane, lab.train[:2], 1)
    panels = vj.study.column_panels(
        rows, "recon_scale", PANELS, "latent_size", "{} units", mark=vj.study.threshold_mark(rows)
    )
    shown = f"{lab.dataset}: trained on two images, seed {lab.flags.seeds[0]}"
    title = f"{lab.dataset}: distances, as shares of that between the two images"
    return {
        "two_images": vj.show.strips(strips, shown, side=1.0),
        "distances": vj.show.curves(panels, "recon_scale", title),
    }


STUDY = vj.study.Study(
    "two_images", __doc__, TwoImagesFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, by=["run", "recon_scale"], converged=vj.study.at_end,
    quick={"latent_sizes": (10,), "recon_scale": (1.0, 6000.0)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
