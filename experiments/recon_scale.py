"""The weight of the reconstruction on CIFAR10: from collapse to discernible pictures (C13).

Runs: a VAE of ten latent units, trained with squared error at each scale, and one of as many units
as the images pay for (128): the number of units that pay for their KL at the largest scale, rounded
up to a power of two. The second has the smallest, the middle and the largest scale, and two seeds.
All scales and seeds of one latent size are lanes of one program. A scale s is a Gaussian decoder of
variance D / (2 s): its sigma is shown beside it.

The write-up has pixels in [-1, 1], where errors are four times as large: its 6000 is worth 24,000
in [0, 1]. So on CIFAR10 the smallest and the largest scale are trained in that range, too, with a
tanh output, ten units and as many as pay there (256).

What a scale allows shows only if the net learns it: hidden units are ELUs, the encoder sees pixels
less 1/2, and the learning rate falls to 0. How long to train was chosen on 5,000 held-out training
images: there 256 units in [-1, 1] keep 4.65 cycles per image at scale 6000 after four epochs of the
other 45,000, and 4.90 after six.

Measurement, on the whole test set: MSE beside the MSE of the mean image, KL, active units and
directions, mutual information, how much the outputs vary with the input (output_variance_ratio),
the verdict on collapse. On its first 2,000 images, of decoded posterior means: the spatial
frequency up to which half of the power is kept (half_power_cycles: f cycles per image are the
detail of a picture of 2 f by 2 f pixels), and the power above half of Nyquist that is left
(high_frequency_share); beside them what the best linear VAE keeps at the same scale (closed form)
and what as many principal components keep.

Figures: scales.png (each figure against the scale; dashed: the threshold predicted from the images
alone, below which the collapsed solution is stable), reconstructions.png (a row for each latent
size and scale, and for as many principal components).

Command: python -m experiments.recon_scale

Cost: full CIFAR10, four epochs of 18 models 3072-128-10-128-3072, six 3072-256-128-256-3072, and in
[-1, 1] six of the first net and four 3072-512-256-512-3072: about 8 minutes on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import vaejax as vj
from experiments import blur

COLUMNS = (
    "mse", "kl_nats", "active_directions", "units_that_pay", "half_power_cycles",
)  # fmt: skip
MORE_COLUMNS = (
    "mean_image_mse", "mi_nats", "active_units", "output_variance_ratio",
    "linear_half_power_cycles", "pca_half_power_cycles", "high_frequency_share", "collapse",
)  # fmt: skip
PANELS = {
    "mse": "mean squared error",
    "kl_nats": "KL, nats",
    "mi_nats": "mutual information, nats",
    "active_directions": "active directions",
    "output_variance_ratio": "variance of outputs / of images",
    "half_power_cycles": "cycles per image of half power",
}
SHOWN = 12
SIGNED = "-signed"
"""The end of the name of a run with pixels in [-1, 1]."""
LOW, HIGH = ({"recon_scale": end} for end in (vj.study.SMALLEST, vj.study.LARGEST))
MSE = vj.study.column("mse", "MSE")
CONSTANT_MSE = vj.study.column("mean_image_mse", "MSE of the mean image")
OUTPUTS_VARY = "variance of the outputs (as a share of that of the images)"
GROW = [
    vj.study.column("kl_nats", "KL in nats"),
    vj.study.column("active_units", "number of active units"),
    vj.study.column("output_variance_ratio", OUTPUTS_VARY),
]


def in_range(rows: list[vj.store.Row], signed: bool) -> list[vj.store.Row]:
    """The rows of the runs that are in [-1, 1] beside the others, or of the others."""
    return [row for row in rows if row["run"].endswith(SIGNED) == signed]


def claims(where: str, signed: bool) -> list[vj.study.Claim]:
    """The claims on one range of pixels."""
    inside = where.replace(",", "", 1)
    return [
        vj.study.Claim(
            f"C13{where}",
            f"Does {{largest}}{inside} bring pictures that can be told apart?",
            [
                *(column.at(**LOW) < column.at(**HIGH) for column in GROW),
                MSE.at(**HIGH) < 0.5 * CONSTANT_MSE.at(**HIGH),
            ],
            rows=lambda rows: in_range(rows, signed),
            by_size=True,
        ),
        vj.study.Claim(
            f"C13, slightly blurry{where}",
            f"At {{largest}}{inside}, are the pictures only slightly blurry?",
            [vj.study.KEPT_DETAIL.at(**HIGH) > vj.study.LEAST_DETAIL.at(**HIGH)],
            rows=lambda rows: vj.study.of_pictures(in_range(rows, signed)),
            by_size=True,
        ),
    ]


CLAIMS = [*claims(", in [-1, 1]", True), *claims("", False)]


@dataclass(frozen=True, kw_only=True)
class ReconScaleFlags(vj.study.FallingFlags):
    dataset: str = "cifar10"
    steps: int = 1560  # four epochs of CIFAR10
    likelihood: vj.config.Likelihood = "gaussian"
    widths: tuple[int, ...] = (128,)
    """Sizes of the hidden layers of the encoder; the decoder has them in reverse. None is narrower
    than twice the code."""
    centre_inputs: bool = True
    latent_sizes: tuple[vj.study.Size, ...] = (10, "enough")
    """Numbers of latent units; the first one has all scales and seeds. enough: as many as pay for
    their KL at the largest scale, rounded up to a power of two."""
    recon_scale: tuple[float, ...] = (1.0, 30.0, 100.0, 300.0, 1000.0, 6000.0)
    """Weights of the error averaged over pixels."""
    signed: bool | None = None
    """Train in [-1, 1] with a tanh output, too. None: on CIFAR10, as the write-up does."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.study.each_once("--recon-scale", self.recon_scale, least=2)


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    flags, scales = lab.flags, sorted(lab.flags.recon_scale)
    ends = [scales[0], scales[-1]]
    planned = in_one_range(lab, scales, sorted({*ends, scales[len(scales) // 2]}))
    on_cifar10 = lab.dataset == "cifar10" and flags.pixel_range == "unit"
    if flags.signed or (flags.signed is None and on_cifar10):
        planned += in_one_range(lab, ends, ends, SIGNED, pixel_range="signed", output="tanh")
    return planned


def in_one_range(
    lab: vj.study.Lab, scales: list[float], fewer: list[float], ending: str = "", **choices: Any
) -> list[vj.Run]:
    """Runs in one range of pixels: the first latent size has all `scales` and seeds, the others
    have `fewer` scales and two seeds."""
    flags, seeds, planned = lab.flags, lab.flags.seeds, []
    for size in lab.latent_sizes(flags.latent_sizes, scales[-1], **choices):
        config = lab.sized(size, **choices)
        schedule = vj.study.falling(lab, config, seeds=seeds)
        planned.append(schedule.run(f"z{size}{ending}", lab.split, config, scales))
        scales, seeds = fewer, seeds[:2]
    return planned


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    """What `blur` measures, and the detail that the best linear VAE keeps at the scale."""
    run, images = trained.run, lab.test[: blur.SPECTRUM_IMAGES]
    one_of_each = {lane["recon_scale"]: lane for lane in run.lanes} if has_closed_form(run) else {}
    of_linear = {
        scale: lab.sharpness(lab.best_linear(run.config, lane, images), images)["half_power_cycles"]
        for scale, lane in one_of_each.items()
    }
    return [
        row | {"linear_half_power_cycles": of_linear.get(lane["recon_scale"])}
        for row, lane in zip(blur.measure(lab, trained), run.lanes, strict=True)
    ]


def has_closed_form(run: vj.Run) -> bool:
    """Whether the best linear VAE of all lanes has one."""
    gaussian = (run.config.likelihood, run.config.decoder_variance) == ("gaussian", "fixed")
    return gaussian and bool(vj.theory.charged_lanes(run).all())


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    all_rows, rows = rows, in_range(rows, False) or rows
    last = max(row["recon_scale"] for row in rows)
    floors = {
        "mse": ("mean image", vj.study.fact(rows, "mean_image_mse")),
        "mi_nats": ("log n, the ceiling", vj.study.fact(rows, "mi_ceiling_nats")),
    }
    of_vectors = vj.study.fact(rows, "cycles_per_image") is None
    panels = vj.study.column_panels(
        rows, "recon_scale",
        {n: label for n, label in PANELS.items() if not (of_vectors and n == "half_power_cycles")},
        "latent_size", "{} units", floors=floors, mark=vj.study.threshold_mark(rows),
    )  # fmt: skip
    images = lab.test[:SHOWN]
    strips = {"input": lab.pictures(images)}
    for name in dict.fromkeys(row["run"] for row in all_rows):
        trained, of_run = lab.trained(name), vj.study.matching(all_rows, run=name)
        run, size = trained.run, vj.study.fact(of_run, "latent_size")
        where = ", [-1, 1]" if name.endswith(SIGNED) else ""
        for scale in vj.study.distinct(of_run, "recon_scale"):
            lane = vj.study.lane_at(run, scale)
            made = vj.study.outputs(trained, lane, images)
            strips[f"{size} units, scale {scale:g}{where}"] = made
            if scale == last and has_closed_form(run):
                best = lab.best_linear(run.config, run.lanes[lane], images)
                strips[f"best linear, {size} units{where}"] = best
        strips[f"PCA, {size} components"] = lab.compressed(images, size)
    about = f"{lab.dataset}, test set: mean and range over seeds"
    decoded = f"{lab.dataset}: reconstructions from the posterior mean, seed {lab.flags.seeds[0]}"
    return {
        "scales": vj.show.curves(panels, "recon_scale", about),
        "reconstructions": vj.show.strips(strips, decoded),
    }


STUDY = vj.study.Study(
    "recon_scale", __doc__, ReconScaleFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, by=["run", "recon_scale"],
    quick={"latent_sizes": (10,), "recon_scale": (1.0, 6000.0)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
