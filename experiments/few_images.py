"""A VAE on very few images of CIFAR10: still blurry (C7), and of two images, their average (C8).

The write-up explains the average by the gradient, which a batch averages over its images. If so, a
batch of a single image would not average. So two images are also trained with batches of 1, with as
many steps, and with as many passes over the images, as with batches of 2.

Runs: 200, 100 and 25 training images, and one batch of 2; squared error; ten latent units, and,
with two seeds, as many as the largest number of images pays for (128): the units that pay for their
KL at the largest scale, rounded up to a power of two. Scales are lanes. The claims are about the
smallest of --recon-scale. The larger scales show when the claims stop holding: ten units on two
images use all scales, the other runs the smallest and the largest. A run trains until each lane has
converged, at most 10,000 steps: the error, as a root mean square in units of the distance between
two images of the run, averaged over blocks of 1,000 steps, has moved by less than 0.02 twice in a
row. A fixed number of steps is not enough: at scale 1 an output bias may have to change by 2, and
at a learning rate of 1e-3 that takes at least about 2,000 steps. The runs that compare batches,
with ten units and three seeds, train for 10,000 steps (and 20,000 of 1 image, which are as many
passes as 10,000 of 2) at a rate that falls to 0: at a constant rate a model that sees one image at
a time wobbles between the two.

Measurement, on the training images themselves, decoded from their posterior means: MSE beside the
MSE of their mean, the spatial frequency up to which half of the power is kept (half_power_cycles),
power above half of Nyquist left in the outputs (high_frequency_share). Of two images, decoded from
64 drawn codes each: the mean distance of an output to the mean of both and to the nearer image (the
larger of the two images'), and that between the outputs of the two, as fractions of the distance
between the images. Drawn codes are what the
decoder was trained on; in a wide collapsed code the posterior mean is unlike any of them.

Figures: few_images.png, spectrum.png, two_images.png, distances.png (dashed: the threshold that the
two images predict; below it their average is a stable solution).

Command: python -m experiments.few_images

Cost: CIFAR10, three seeds of 3072-64-10-64-3072 and two of 3072-256-128-256-3072: about 20 minutes
on 2 cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

import vaejax as vj

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
CONVERGED = vj.study.Condition("it has converged", lambda row: row["converged"] == "yes")


def of_batches(rows: list[vj.store.Row], chosen: bool) -> list[vj.store.Row]:
    """The rows of the runs that compare batches, or of all others."""
    return [row for row in rows if (BATCHES in row["run"]) == chosen]


def of_batch(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    """The rows of the runs that compare batches, with what these differ in."""
    return [
        row | {"batch_size": row["config"]["batch_size"], "passes": row["epochs"]}
        for row in of_batches(rows, True)
    ]


CLAIMS = [
    vj.study.Claim(
        "C7",
        "At {smallest}, are even a few training images reconstructed as blur, or not at all?",
        vj.study.each("images", vj.study.KEPT_DETAIL.at(**LOW) < vj.study.LEAST_DETAIL.at(**LOW)),
        rows=lambda rows: [
            row for row in vj.study.of_pictures(of_batches(rows, False)) if row["images"] > 2
        ],
        counts_if=CONVERGED,
        by_size=True,
    ),
    vj.study.Claim(
        "C8",
        "At {smallest}, does a model of two images output their average?",
        [TO_MEAN.at(**LOW) < AVERAGE],
        rows=lambda rows: vj.study.matching(of_batches(rows, False), images=2),
        counts_if=CONVERGED,
        by_size=True,
    ),
    vj.study.Claim(
        "C8, by averaged gradients",
        "Are two images averaged because a batch averages their gradients?",
        [
            *vj.study.each("passes", TO_MEAN.at(batch_size=2, **LOW) < AVERAGE),
            *vj.study.each("passes", TO_MEAN.at(batch_size=1, **LOW) > AVERAGE),
        ],
        rows=of_batch,
        counts_if=CONVERGED,
    ),
    vj.study.Claim(
        "C8, by the scale",
        "Does the scale, not the batch, decide whether two images come out as one picture?",
        vj.study.each(
            ("batch_size", "passes"),
            APART.at(**LOW) < ONE_PICTURE,
            APART.at(**HIGH) > ONE_PICTURE,
        ),
        rows=of_batch,
        counts_if=CONVERGED,
    ),
]
DRAWS = 64
"""Codes drawn for each of two images."""
COLUMNS = (
    "converged", "half_power_cycles", "distance_to_mean", "distance_to_nearer", "kl_nats",
)  # fmt: skip
MORE_COLUMNS = (
    "steps", "outputs_apart", "decoded_mean_mse", "mean_image_mse", "high_frequency_share",
    "units_that_pay", "collapse",
)  # fmt: skip
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class FewImagesFlags(vj.study.Flags):
    """The shared flags, and this study's own."""

    dataset: str = "cifar10"
    steps: int = 10_000
    """The most training steps; a run ends once it has converged."""
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    kl_cycle: vj.study.Fixed[float] = 0.0  # with it nothing converges
    batch_size: int = 25
    widths: tuple[int, ...] = (64,)
    """Sizes of the hidden layers of the encoder; the decoder has them in reverse. None is narrower
    than twice the code."""
    latent_sizes: tuple[vj.study.Size, ...] = (10, "enough")
    """Numbers of latent units; the first one has all seeds. enough: as many as pay for their KL at
    the largest scale, rounded up to a power of two."""
    images: tuple[int, ...] = (200, 100, 25)
    """Numbers of training images; a run on two images comes last."""
    recon_scale: tuple[float, ...] = (1.0, 30.0, 100.0, 300.0, 1000.0, 6000.0)
    """Weights of the error averaged over pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.study.each_once("--latent-sizes", self.latent_sizes)
        vj.study.each_once("--recon-scale", self.recon_scale, least=2)
        if len(set(self.images)) < len(self.images) or min(self.images, default=3) < 3:
            raise vj.LabError(f"--images {self.images}: give numbers above 2, each once.")


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    if np.array_equal(*lab.train[:2]):
        raise vj.LabError(
            f"The first two training images of {lab.dataset} are equal: nothing could tell "
            "them apart, nor from their average. Use a data set that begins otherwise."
        )
    scales, counts = sorted(lab.flags.recon_scale), lab.flags.images
    if max(counts, default=2) > len(lab.train):
        raise vj.LabError(
            f"--images {counts}: there are {len(lab.train)} training images, use as many or fewer."
        )
    most = max(counts, default=2)
    sizes = lab.latent_sizes(lab.flags.latent_sizes, scales[-1], lab.first(most))

    fewer, ends = replace(lab.flags, seeds=lab.flags.seeds[:2]), [scales[0], scales[-1]]

    def run(size: int, count: int) -> vj.Run:
        first = size == sizes[0]
        config = lab.sized(size, batch_size=min(lab.flags.batch_size, count))
        own_scales = scales if first and count == 2 else ends
        flags = lab.flags if first else fewer
        return flags.run(name_of(size, count), lab.first(count), config, own_scales)

    return [
        *(run(size, count) for size in sizes for count in (*counts, 2)),
        *runs_of_batches(lab, sizes[0], ends),
    ]


def runs_of_batches(lab: vj.study.Lab, size: int, scales: list[float]) -> list[vj.Run]:
    """Two images, in batches of 2 and of 1, at a rate that falls to 0 as they end."""
    passes = lab.flags.run_epochs(1)
    fewer = max(1, passes // 2)
    planned = []
    for batch, epochs in ((2, passes), (1, fewer), (1, passes)):
        name = f"{name_of(size, 2)}{BATCHES}{batch}-{epochs}-passes"
        lab.epochs[name] = epochs
        config = lab.sized(size, batch_size=batch)
        flags = replace(lab.flags, decay_steps=float(epochs * 2 // batch))
        planned.append(flags.run(name, lab.first(2), config, scales))
    return planned


def name_of(size: int, count: int) -> str:
    return f"z{size}-n{count}"


def at_end(lab: vj.study.Lab, run: vj.Run, error: np.ndarray) -> np.ndarray:
    """Which lanes need no more training: those that have converged, unless their rate falls."""
    falls = np.array([lane["decay_steps"] > 0 for lane in run.lanes])
    return converged(lab, run, error) & ~falls


def converged(lab: vj.study.Lab, run: vj.Run, error: np.ndarray) -> np.ndarray:
    """Which lanes have converged, by the rule at the top of the page."""
    images = lab.images(run.images.train)
    variance = (images.astype(np.float32) / 255).var(0).mean()
    apart = math.sqrt(2 * len(images) / (len(images) - 1) * variance) * run.config.pixel_width
    after_warmup = error[:, int(run.lanes[0]["kl_warmup"]) :]
    return vj.measure.at_rest(after_warmup, apart, vj.study.plans.BLOCK)


def distances(outputs: np.ndarray, images: np.ndarray) -> vj.store.Row:
    """How far the outputs [draws, 2, ...] of two images are from the mean of both, and from the
    nearer image (the larger of the two images'), and from each other, as fractions of the distance
    between the images; averaged over draws."""

    def length(differences: np.ndarray) -> np.ndarray:
        return np.linalg.norm(differences.reshape(*differences.shape[:2], -1), axis=-1)

    def from_image(image: np.ndarray) -> np.ndarray:
        return length(outputs - image)

    apart = np.linalg.norm(images[0] - images[1])
    to_nearer = np.minimum(from_image(images[0]), from_image(images[1]))
    return {
        "distance_to_mean": float(from_image(images.mean(0)).mean(0).max() / apart),
        "distance_to_nearer": float(to_nearer.mean(0).max() / apart),
        "outputs_apart": float(length(outputs[:, :1] - outputs[:, 1:]).mean() / apart),
    }


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    images = lab.images(trained.run.images.train)
    inputs = lab.pictures(images)
    mean_image = inputs.mean(0)
    done = converged(lab, trained.run, np.ascontiguousarray(trained.trace.error))

    def distances_of(lane: int) -> vj.store.Row:
        return distances(vj.study.drawn_outputs(trained, lane, images, DRAWS), inputs)

    rows = []
    for lane, row in enumerate(vj.study.collapse_rows(trained, images)):
        outputs = vj.study.outputs(trained, lane, images)
        pair = dict.fromkeys(("distance_to_mean", "distance_to_nearer", "outputs_apart"))
        rows.append(
            row
            | {
                "images": len(images),
                "converged": "yes" if done[lane] else "no",
                "mean_image_mse": vj.measure.constant_mse(mean_image, images),
            }
            | vj.measure.sharpness(outputs, inputs, mean_image)
            | (distances_of(lane) if len(images) == 2 else pair)
        )
    return rows


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    comparing, rows = of_batches(rows, True), of_batches(rows, False)
    name, seed = lab.dataset, f"seed {lab.flags.seeds[0]}"
    scales = vj.study.distinct(rows, "recon_scale")
    ends = (scales[0], scales[-1])
    counts = [count for count in reversed(vj.study.distinct(rows, "images")) if count > 2]
    models = list(product(vj.study.distinct(rows, "latent_size"), ends))
    both = lab.pictures(lab.train[:2])
    strips, two = {}, {"images, average": np.concatenate([both, both.mean(0, keepdims=True)])}
    for count in counts:
        images = lab.train[: min(count, SHOWN)]
        strips[f"{count} images"] = lab.pictures(images)
        for size, scale in models:
            trained = lab.trained(name_of(size, count))
            strips[f"{count}: {size} units, scale {scale:g}"] = vj.study.outputs(
                trained, vj.study.lane_at(trained.run, scale), images
            )
    of_two = vj.study.matching(rows, images=2)
    for size, scale in sorted({(row["latent_size"], row["recon_scale"]) for row in of_two}):
        two[f"{size} units, scale {scale:g}"] = pair_of(lab, name_of(size, 2), scale)
    for run, scale in dict.fromkeys((row["run"], row["recon_scale"]) for row in comparing):
        batch, passes = lab.runs[run].config.batch_size, lab.epochs[run]
        two[f"scale {scale:g}, batches of {batch}, {passes:,} passes"] = pair_of(lab, run, scale)
    distances = [
        distance_panel(vj.study.matching(of_two, latent_size=size), size)
        for size in vj.study.distinct(rows, "latent_size")
    ]
    drawn = {
        "few_images": vj.show.strips(strips, f"{name}: training images and outputs, {seed}"),
        "two_images": vj.show.strips(two, f"{name}: trained on two images, {seed}", side=1.0),
        "distances": vj.show.curves(distances, "recon_scale", f"{name}: outputs of two images"),
    }
    if (cycles := vj.study.fact(rows, "cycles_per_image")) is None:  # of vectors
        return drawn
    spectra = []
    for count in counts:
        powers = {
            f"{size} units, scale {scale:g}": vj.study.values(
                rows, "power_ratio", images=count, latent_size=size, recon_scale=scale
            )
            for size, scale in models
        }
        spectra.append(vj.study.spectrum_panel(f"{count} images", powers, cycles))
    title = f"{name}: power that is left"
    return {"spectrum": vj.show.curves(spectra, "cycles per image", title)} | drawn


def pair_of(lab: vj.study.Lab, run: str, scale: float) -> np.ndarray:
    """What the first seed of a run makes of two images, from one drawn code each."""
    trained = lab.trained(run)
    lane = vj.study.lane_at(trained.run, scale)
    (drawn,) = vj.study.drawn_outputs(trained, lane, lab.train[:2], 1)
    return drawn


def distance_panel(two: list[vj.store.Row], size: int) -> vj.show.Panel:
    """Distances of the outputs of two images against the scale."""
    lines = {}
    for name, label in (
        ("distance_to_mean", "to the average"), ("distance_to_nearer", "to the nearer image")
    ):  # fmt: skip
        lines |= vj.study.against(two, "recon_scale", name, label=label)
    mark = vj.study.level(*vj.study.threshold_mark(two))
    return vj.show.Panel(f"{size} units", "distance / distance of the two images", lines, mark=mark)


STUDY = vj.study.Study(
    "few_images", __doc__, FewImagesFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, by=["run", "recon_scale"], converged=at_end,
    quick={"images": (25,), "latent_sizes": (10,), "recon_scale": (1.0, 6000.0)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
