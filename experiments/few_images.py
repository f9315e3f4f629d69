"""A VAE on very few images of CIFAR10: still blurry (C7), and of two images, their average (C8).

Runs: 200, 100 and 25 training images, and one batch of 2; squared error; scales are lanes. The
claims are about the smallest of --recon-scale. The larger scales show when the claims stop holding:
the run on two images uses all scales, the others the smallest and the largest. A run trains until
each lane has converged, at most 10,000 steps: the error, as a root mean square in units of the
distance between two images of the run, averaged over blocks of 1,000 steps, has moved by less than
0.02 twice in a row. A fixed number of steps is not enough: at scale 1 an output bias may have to
change by 2, and at a learning rate of 1e-3 that takes at least about 2,000 steps.

Measurement, on the training images themselves, decoded from their posterior means: MSE beside the
MSE of their mean, power above half of Nyquist left in the outputs. Of two images: the distance of
each output to the mean of both and to the nearer image, as fractions of the distance between the
two (the larger of the two outputs').

Figures: few_images.png, spectrum.png, two_images.png, distances.png (dashed: the threshold that the
two images predict; below it their average is a stable solution).

Verdicts, at the smallest scale: C7 HELD if at every size every seed is left with under a tenth of
the power above half of Nyquist (a collapsed model outputs the mean image, and has none); C8 HELD if
every seed outputs the mean of both images to within a tenth of their distance; FAILED if reversed
for all seeds of a size; else, or if it did not converge, UNDECIDED.

Command: python -m experiments.few_images

Cost: CIFAR10, three seeds, 3072-64-10-64-3072: about 7 minutes on 2 cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import vaejax as vj

AVERAGE = 0.1
"""An output closer to the average than this share of the images' distance is the average."""
COLUMNS = (
    "steps", "converged", "decoded_mean_mse", "mean_image_mse", "high_frequency_share",
    "distance_to_mean", "distance_to_nearer", "kl_nats", "collapse",
)  # fmt: skip
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class FewImagesFlags(vj.lab.Flags):
    """The shared flags, and this study's own."""

    dataset: str = "cifar10"
    steps: int = 10_000
    """The most training steps; a run ends once it has converged."""
    likelihood: vj.lab.Fixed[vj.config.Likelihood] = "gaussian"
    kl_cycle: vj.lab.Fixed[float] = 0.0  # with it nothing converges
    batch_size: int = 25
    widths: tuple[int, ...] = (64,)
    latent_size: int = 10
    """Number of latent units."""
    images: tuple[int, ...] = (200, 100, 25)
    """Numbers of training images; a run on two images comes last."""
    recon_scale: tuple[float, ...] = (1.0, 30.0, 100.0, 300.0, 1000.0, 6000.0)
    """Weights of the error averaged over pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.lab.each_once("--recon-scale", self.recon_scale, least=2)
        if len(set(self.images)) < len(self.images) or min(self.images, default=3) < 3:
            raise vj.LabError(f"--images {self.images}: give numbers above 2, each once.")


def runs(lab: vj.lab.Lab) -> list[vj.Run]:
    scales = sorted(lab.flags.recon_scale)

    def run(count: int, scales: list[float]) -> vj.Run:
        batch_size = min(lab.flags.batch_size, count)
        config = lab.config(latent_size=lab.flags.latent_size, batch_size=batch_size)
        return lab.flags.run(f"n{count}", f"train[:{count}]", config, scales)

    ends = [scales[0], scales[-1]]
    return [*(run(count, ends) for count in lab.flags.images), run(2, scales)]


def converged(lab: vj.lab.Lab, run: vj.Run, error: np.ndarray) -> np.ndarray:
    """Which lanes have converged, by the rule at the top of the page."""
    images = lab.images(run)
    variance = (images.astype(np.float32) / 255).var(0).mean()
    apart = math.sqrt(2 * len(images) / (len(images) - 1) * variance) * run.config.pixel_width
    after_warmup = error[:, int(run.lanes[0]["kl_warmup"]) :]
    return vj.measure.at_rest(after_warmup, apart, vj.lab.training.BLOCK)


def distances(outputs: np.ndarray, images: np.ndarray) -> vj.store.Row:
    """How far two outputs are from the mean of the two images, and from the nearer image, as
    fractions of the distance between the images; the larger of the two outputs'."""
    apart = np.linalg.norm(images[0] - images[1])
    to_mean = [np.linalg.norm(output - images.mean(0)) for output in outputs]
    to_nearer = [min(np.linalg.norm(output - image) for image in images) for output in outputs]
    return {
        "distance_to_mean": float(max(to_mean) / apart),
        "distance_to_nearer": float(max(to_nearer) / apart),
    }


def measure(lab: vj.lab.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    images = lab.images(trained.run)
    inputs = lab.pictures(images)
    mean_image = inputs.mean(0)
    done = converged(lab, trained.run, np.ascontiguousarray(trained.trace.error))
    rows = []
    for lane, row in enumerate(vj.lab.collapse_rows(trained, images)):
        outputs = vj.lab.outputs(trained, lane, images)
        pair = {"distance_to_mean": None, "distance_to_nearer": None}
        rows.append(
            row
            | {
                "images": len(images),
                "converged": "yes" if done[lane] else "no",
                "mean_image_mse": vj.measure.constant_mse(mean_image, images),
            }
            | vj.measure.sharpness(outputs, inputs, mean_image)
            | (distances(outputs, inputs) if len(images) == 2 else pair)
        )
    return rows


def figures(lab: vj.lab.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    scales = vj.lab.distinct(rows, "recon_scale")
    ends = (scales[0], scales[-1])
    sizes = [count for count in reversed(vj.lab.distinct(rows, "images")) if count > 2]

    def outputs(count: int, scale: float) -> np.ndarray:
        trained = lab.trained(f"n{count}")
        return vj.lab.outputs(
            trained, vj.lab.lane_at(trained.run, scale), lab.train[: min(count, SHOWN)]
        )

    strips = {}
    for count in sizes:
        strips[f"{count} images"] = lab.pictures(lab.train[: min(count, SHOWN)])
        strips |= {f"{count}, scale {scale:g}": outputs(count, scale) for scale in ends}
    both = lab.pictures(lab.train[:2])
    two = {"images, average": np.concatenate([both, both.mean(0, keepdims=True)])}
    two |= {f"scale {scale:g}": outputs(2, scale) for scale in scales}
    name, seed = lab.flags.dataset, f"seed {lab.flags.seeds[0]}"
    return {
        "few_images": vj.show.strips(strips, f"{name}: training images and outputs, {seed}"),
        "spectrum": vj.show.curves(
            spectra(rows, sizes, ends), "cycles per image", f"{name}: power that is left"
        ),
        "two_images": vj.show.strips(two, f"{name}: trained on two images, {seed}", side=1.0),
        "distances": vj.show.curves(
            [distance_panel(rows)], "recon_scale", f"{name}: outputs of two images"
        ),
    }


def spectra(rows: list[vj.store.Row], sizes: list[int], scales: tuple[float, float]) -> list[Any]:
    """The power that is left at each spatial frequency, a panel for each number of images."""
    cycles = vj.lab.fact(rows, "cycles_per_image")
    return [
        vj.lab.spectrum_panel(
            f"{count} images",
            {
                f"scale {scale:g}": vj.lab.values(
                    rows, "power_ratio", images=count, recon_scale=scale
                )
                for scale in scales
            },
            cycles,
        )
        for count in sizes
    ]


def distance_panel(rows: list[vj.store.Row]) -> Any:
    """Distances of the outputs of two images against the scale."""
    two = [row for row in rows if row["images"] == 2]
    threshold = vj.lab.fact(two, "threshold_scale") if two else None
    return vj.show.Panel(
        "",
        "distance / distance of the two images",
        {
            f"to the {what}": vj.lab.against(two, "recon_scale", name)
            for what, name in (
                ("average", "distance_to_mean"), ("nearer image", "distance_to_nearer")
            )
        },
        mark=None if threshold is None else ("predicted threshold", threshold),
    )  # fmt: skip


def verdict(rows: list[vj.store.Row]) -> dict[str, vj.lab.Verdict | None]:
    first, blurred = min(row["recon_scale"] for row in rows), vj.measure.BLURRED

    def converged_values(name: str, images: int) -> list[float]:
        """At the first scale; NaN, which decides nothing, for a model that has not converged."""
        chosen = {"images": images, "recon_scale": first}
        done = vj.lab.values(rows, "converged", **chosen)
        found = vj.lab.values(rows, name, **chosen)
        return [value if ok == "yes" else math.nan for value, ok in zip(found, done, strict=True)]

    shares = {
        f"{count} images": vj.lab.below(converged_values("high_frequency_share", count), blurred)
        for count in vj.lab.distinct(rows, "images")
        if count > 2
    }
    average = {"2 images": vj.lab.below(converged_values("distance_to_mean", 2), AVERAGE)}
    at = f"at scale {first:g} every seed"
    return {
        "C7": vj.lab.judge(
            f"{at}, on every number of images, keeps under {blurred} of the power above half of "
            "Nyquist",
            shares,
        ),
        "C8": vj.lab.judge(
            f"{at}, on two images, outputs their average to within {AVERAGE} of their distance",
            average,
        ),
    }


STUDY = vj.lab.Study(
    "few_images", __doc__, FewImagesFlags, runs, measure, verdict, figures, COLUMNS,
    by=["images", "recon_scale"], quick={"images": (25,), "recon_scale": (1.0, 6000.0)},
    converged=converged,
)  # fmt: skip

if __name__ == "__main__":
    vj.lab.run_study(STUDY)
