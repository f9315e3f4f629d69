"""Posterior collapse on CIFAR10, and what is to blame (C9, C10, C11, C12).

Runs, squared error, with ten latent units: one net at the two scales of --recon-scale, the
collapsing one first; at the first scale 1 to 6 hidden layers in the decoder, and pixels in [-1, 1]
(tanh output). The same, but with two seeds, and with 1 and 6 hidden layers only, with as many
latent units as the images pay for (128): the number of units that pay for their KL at the second
scale, rounded up to a power of two.

Measurement, on the whole test set: how much outputs vary with the input, and between a real and a
random code; the change of the negative ELBO when codes are shuffled between images; distances of
sampled codes beside distances of posterior means; KL, active units, MSE beside the MSE of the mean
image; both loss terms at every training step from the first on.

Figures: strip.png (input, output, input, output, output of a random code), codes.png (C10 in one
picture), depth.png, terms.png, kl_per_unit.png.

Verdicts, for each latent size, at the first scale, for every seed. A model whose MSE is above 1.05
times the MSE of the mean image has not learned even the best constant image yet, and decides
nothing.

C9 (inputs and random codes give nearly one output) HELD if outputs and random outputs vary by under
0.01 of the images' variance, and shuffling codes costs under 0.01 of what it costs at the second.

C10 (sampled codes differ, so the encoder is fine) HELD if the posterior means of two images are at
least half as far apart as their sampled codes.

C11 (more layers in the decoder do not help) HELD if at every depth no unit is active and the MSE
stays above 0.99 of the MSE of the mean image.

C12 (loss balance is the cause) HELD if, in [-1, 1] at the first scale, the reconstruction term ends
within 10% of the term of a constant image and the KL ends under 2 nats; and if at the second scale
the term ends below half the term of a constant image. kl_first_nats and kl_peak_nats show how high
the KL was before it fell.

FAILED if any part is reversed for all seeds; else UNDECIDED.

Command: python -m experiments.collapse

Cost: full CIFAR10, three seeds, 3072-128-10-128-3072 and two, 3072-256-128-256-3072, four epochs:
about 10 minutes on 2 cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

import vaejax as vj

FAINT = 0.01
"""Variation below this share counts as none."""
LEARNED = 1.05
"""A model has learned the mean image if its MSE is below this multiple of the mean image's MSE."""
NO_BETTER = 0.99
"""A model is no better than the mean image if its MSE is above this share of that image's MSE."""
NEAR = 0.1
"""Within a tenth of the term of a constant image is near it."""
LITTLE_KL = 2.0
"""Nats."""
COLUMNS = (
    "kl_nats", "active_units", "mse", "output_variance_ratio", "random_output_ratio",
)  # fmt: skip
MORE_COLUMNS = (
    "shuffled_gap_nats", "code_distance", "mean_distance", "recon_last", "kl_first_nats",
    "kl_peak_nats", "collapse",
)  # fmt: skip
DEPTH_PANELS = {"mse": "mean squared error", "kl_nats": "KL, nats", "active_units": "active units"}


@dataclass(frozen=True, kw_only=True)
class CollapseFlags(vj.study.Flags):
    """The shared flags, and this study's own."""

    dataset: str = "cifar10"
    steps: int = 1560  # four epochs of CIFAR10
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    output: vj.study.Fixed[vj.config.Output] = "sigmoid"
    pixel_range: vj.study.Fixed[vj.config.PixelRange] = "unit"
    widths: tuple[int, ...] = (128,)
    """One width, for every hidden layer of the encoder and the decoders; with a larger code it
    is twice the latent size."""
    latent_sizes: tuple[vj.study.Size, ...] = (10, "enough")
    """Numbers of latent units; the first one has all depths and seeds. enough: as many as pay for
    their KL at the second scale, rounded up to a power of two."""
    recon_scale: tuple[float, float] = (1.0, 6000.0)
    """The collapsing scale, and a larger one that does not collapse."""
    depths: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    """Numbers of hidden layers of the decoder, 1 among them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.recon_scale[0] < self.recon_scale[1]:
            raise vj.LabError(f"--recon-scale {self.recon_scale}: give a small and a larger scale.")
        vj.study.each_once("--latent-sizes", self.latent_sizes)
        few = [size for size in self.latent_sizes if size != "enough" and size < 2]
        if few or len(self.widths) != 1:
            raise vj.LabError(
                f"--latent-sizes {self.latent_sizes}, --widths {self.widths}: use 2 latent units "
                "or more, to draw two, and one width, that of every hidden layer."
            )
        if 1 not in self.depths or min(self.depths) < 1:
            raise vj.LabError(f"--depths {self.depths}: give 1 and other numbers above it.")


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    flags = lab.flags
    first, *others = lab.latent_sizes(flags.latent_sizes, flags.recon_scale[1])
    fewer = replace(flags, seeds=flags.seeds[:2], depths=tuple({1, max(flags.depths)}))
    return [
        *runs_of_size(lab, flags, first),
        *(run for size in others for run in runs_of_size(lab, fewer, size)),
    ]


def runs_of_size(lab: vj.study.Lab, flags: CollapseFlags, size: int) -> list[vj.Run]:
    planned = []
    for depth in sorted(set(flags.depths)):
        deep = lab.sized(size)
        deep = replace(deep, decoder_widths=deep.decoder_widths * depth)
        scales = flags.recon_scale if depth == 1 else flags.recon_scale[:1]
        planned.append(flags.run(f"z{size}-depth{depth}", lab.split, deep, scales))
    signed = lab.sized(size, pixel_range="signed", output="tanh")
    return [*planned, flags.run(f"z{size}-signed", lab.split, signed, flags.recon_scale)]


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    config = trained.run.config
    in_range = config.pixel_width**2
    rows = vj.study.collapse_rows(trained, lab.test)  # before the training images take memory
    known = {
        "pixel_range": config.pixel_range,
        "depth": len(config.decoder_widths),
        "mean_image_mse": vj.measure.constant_mse(lab.mean_image, lab.test),
        # In the units of training, on the training images: what the loss term can be held against.
        "constant_recon": in_range * vj.measure.constant_mse(lab.mean_image, lab.train),
    }
    return [
        row | known | vj.measure.ends_of_training(vj.measure.lane_of(trained.trace, lane))
        for lane, row in enumerate(rows)
    ]


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    dataset, seed = lab.dataset, f"seed {lab.flags.seeds[0]}"
    two, scales = lab.test[:2], vj.study.distinct(rows, "recon_scale")
    strips, clouds, heat, terms = {}, {}, {}, []
    for size in vj.study.distinct(rows, "latent_size"):
        trained = lab.trained(f"z{size}-depth1")
        for scale in scales:
            name, lane = f"{size} units, scale {scale:g}", vj.study.lane_at(trained.run, scale)
            strips[name] = vj.study.strip(trained, lane, two)
            clouds[name] = vj.study.cloud(trained, lane, two)
            heat[name] = np.asarray(trained.trace.kl[lane])
        for run, pixels in (("depth1", "[0, 1]"), ("signed", "[-1, 1]")):
            name = f"z{size}-{run}"
            if constant := vj.study.values(rows, "constant_recon", run=name):
                title = f"{size} units, pixels in {pixels}"
                terms += vj.study.term_panels(lab.trained(name), title, constant[0])
    return {
        "strip": vj.show.strips(
            strips, f"{dataset}, {seed}: two inputs with outputs, output of a random code", 1.1
        ),
        "codes": vj.show.clouds(
            clouds, f"{dataset}, {seed}: codes of two images. Are they different, or only noisy?"
        ),
        "depth": vj.show.curves(
            depth_panels(rows, scales),
            "hidden layers of the decoder",
            f"{dataset}: deeper decoders",
            log_x=False,
        ),
        "terms": vj.show.curves(terms, "training step", f"{dataset}: both terms of the loss"),
        "kl_per_unit": vj.show.heatmaps(
            heat, "KL, nats", f"{dataset}, {seed}: KL of each latent unit", lowest=1e-6
        ),
    }


def depth_panels(rows: list[vj.store.Row], scales: list[float]) -> list[Any]:
    """Figures against the depth of the decoder, of the models with pixels in [0, 1]."""
    unit = vj.study.matching(rows, pixel_range="unit")
    floor = ("mean image", vj.study.fact(rows, "mean_image_mse"))
    chosen = list(product(vj.study.distinct(rows, "latent_size"), scales))
    return [
        vj.show.Panel(
            label,
            "",
            {
                f"{size} units, scale {scale:g}": vj.study.against(
                    unit, "depth", name, latent_size=size, recon_scale=scale
                )
                for size, scale in chosen
            },
            floor if name == "mse" else None,
            log_y=name == "kl_nats",
        )
        for name, label in DEPTH_PANELS.items()
    ]


def verdict(rows: list[vj.store.Row]) -> dict[str, vj.study.Verdict | None]:
    return vj.study.for_each_size(rows, verdict_on_size)


def verdict_on_size(rows: list[vj.store.Row]) -> dict[str, vj.study.Verdict | None]:
    scales = vj.study.distinct(rows, "recon_scale")
    shallow, signed = {"pixel_range": "unit", "depth": 1}, {"pixel_range": "signed"}

    def low(name: str, where: dict[str, Any] = shallow, times: float = 1) -> list[float]:
        """At the first scale; NaN, which decides nothing, for a model that has not learned."""
        chosen = vj.study.matching(rows, recon_scale=scales[0], **where)
        found, errors, constants = (
            vj.study.values(chosen, name) for name in (name, "mse", "mean_image_mse")
        )
        return [
            times * value if error <= LEARNED * constant else math.nan
            for value, error, constant in zip(found, errors, constants, strict=True)
        ]

    def high(name: str, where: dict[str, Any] = shallow, times: float = 1) -> list[float]:
        """At the second scale."""
        chosen = [row for row in vj.study.matching(rows, **where) if row["recon_scale"] > scales[0]]
        return [times * value for value in vj.study.values(chosen, name)]

    deeper = {}
    for depth in vj.study.distinct(vj.study.matching(rows, pixel_range="unit"), "depth"):
        deep = shallow | {"depth": depth}
        layers = f"at decoder depth {depth}"
        deeper[f"active units {layers}"] = vj.study.below(low("active_units", deep), 0.5)
        deeper[f"{NO_BETTER} of the mean image's MSE, and the MSE {layers}"] = vj.study.Comparison(
            low("mean_image_mse", deep, NO_BETTER), low("mse", deep)
        )
    gaps = [abs(gap) for gap in low("shuffled_gap_nats")]
    second = f"{scales[-1]:g}"
    independent = {
        "variance of outputs / of images": vj.study.below(low("output_variance_ratio"), FAINT),
        "variance of outputs of random codes / of images": vj.study.below(
            low("random_output_ratio"), FAINT
        ),
        f"nats lost when codes are exchanged, and {FAINT} of those at {second}": (
            vj.study.Comparison(gaps, high("shuffled_gap_nats", times=FAINT))
        ),
    }
    ends = low("recon_last", signed)
    constant = "of a constant image's"
    balance = {
        f"reconstruction term at the end, and {1 + NEAR:g} {constant}": vj.study.Comparison(
            ends, low("constant_recon", signed, 1 + NEAR)
        ),
        f"{1 - NEAR:g} {constant}, and the term at the end": vj.study.Comparison(
            low("constant_recon", signed, 1 - NEAR), ends
        ),
        "KL at the end, in nats": vj.study.below(low("kl_last_nats", signed), LITTLE_KL),
        f"the term at {second}, and half {constant}": vj.study.Comparison(
            high("recon_last", signed), high("constant_recon", signed, 0.5)
        ),
    }
    first = f"{scales[0]:g}"
    at = f"at scale {first} every seed: "
    return {
        "C9": vj.study.judge(
            f"At scale {first} different images, and random codes, give nearly the same output",
            f"{at}outputs, also of random codes, vary by under {FAINT} of the images' variance, "
            f"and shuffling codes costs under {FAINT} of what it costs at {second}",
            independent,
        ),
        "C10": vj.study.judge(
            f"At scale {first} sampled codes of two images differ, so the encoder tells them apart",
            f"{at}posterior means of two images are over half as far apart as sampled codes",
            {
                "half the distance of sampled codes, and the distance of posterior means": (
                    vj.study.Comparison(low("code_distance", times=0.5), low("mean_distance"))
                )
            },
        ),
        "C11": vj.study.judge(
            f"At scale {first} more hidden layers in the decoder do not help",
            f"{at}at every depth no unit is active and the MSE is over {NO_BETTER} of the mean "
            "image's",
            deeper,
        ),
        "C12": vj.study.judge(
            "The balance of the two loss terms is the cause of the collapse",
            f"{at}in [-1, 1] the reconstruction term ends within {NEAR} of a constant image's, KL "
            f"under {LITTLE_KL:g} nats; the same net at {second} halves that term",
            balance,
        ),
    }


STUDY = vj.study.Study(
    "collapse", __doc__, CollapseFlags, runs, measure, verdict, figures, COLUMNS,
    MORE_COLUMNS, by=["run", "recon_scale"], quick={"depths": (1,), "latent_sizes": (10,)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
