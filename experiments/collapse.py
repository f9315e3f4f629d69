"""Posterior collapse on CIFAR10, and what is to blame (C9, C10, C11, C12).

Runs, squared error, with ten latent units: one net at the two scales of --recon-scale, the
collapsing one first; at the first scale 1 to 6 hidden layers in the decoder, and pixels in [-1, 1]
(tanh output). The same, but with two seeds, and with 1 and 6 hidden layers only, with as many
latent units as the images pay for (128): the number of units that pay for their KL at the second
scale, rounded up to a power of two. Hidden units are ELUs, the encoder sees pixels less 1/2, and
the learning rate falls to 0. How long to train was chosen on 5,000 held-out images of CIFAR10:
after two epochs of the other 45,000 the variance of the outputs of random codes is 0.006 to 0.007
of that of the images, and C9 asks for less than 0.01.

Measurement, on the whole test set: how much outputs vary with the input, and between a real and a
random code; the change of the negative ELBO when codes are shuffled between images; distances of
sampled codes beside distances of posterior means; KL, active units, MSE beside the MSE of the mean
image; both loss terms at every training step from the first on.

Figures: strip.png (input, output, input, output, output of a random code), codes.png (C10 in one
picture), depth.png, terms.png, kl_per_unit.png.

At the first scale a model may not have learned even the best constant image yet; it then decides
nothing. kl_first_nats and kl_peak_nats show how high the KL was before it fell.

Command: python -m experiments.collapse

Cost: full CIFAR10, three seeds, 3072-128-10-128-3072 and two, 3072-256-128-256-3072, two epochs:
about 2 minutes on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import vaejax as vj

FAINT = 0.01
"""Variation below this share counts as none."""
LOW, HIGH = ({"recon_scale": end} for end in (vj.study.SMALLEST, vj.study.LARGEST))
MSE = vj.study.column("mse", "MSE")
CONSTANT_MSE = vj.study.column("mean_image_mse", "MSE of the mean image")
LEARNED = MSE < 1.05 * CONSTANT_MSE
OUTPUTS_VARY = vj.study.column(
    "output_variance_ratio", "variance of the outputs (as a share of that of the images)"
)
RANDOM_VARY = vj.study.column(
    "random_output_ratio", "variance of outputs of random codes (as a share of that of the images)"
)
GAP = vj.study.column("shuffled_gap_nats", "loss in nats when codes are exchanged", abs)
CODES_APART = vj.study.column("code_distance", "distance of the sampled codes of two images")
MEANS_APART = vj.study.column("mean_distance", "distance of the posterior means of two images")
ACTIVE = vj.study.column("active_units", "number of active units")
RECON = vj.study.column("recon_last", "reconstruction term at the end")
CONSTANT_RECON = vj.study.column("constant_recon", "term of a constant image")
KL = vj.study.column("kl_last_nats", "KL in nats at the end")
UNIT = partial(vj.study.matching, pixel_range="unit")
"""The rows of the models with pixels in [0, 1], of any depth."""
SHALLOW = partial(UNIT, depth=1)
SIGNED = partial(vj.study.matching, pixel_range="signed")
claim = partial(vj.study.Claim, counts_if=LEARNED, by_size=True)
CLAIMS = [
    claim(
        "C9",
        "At {smallest}, do different images, and random codes, give nearly the same output?",
        [
            OUTPUTS_VARY.at(**LOW) < FAINT,
            RANDOM_VARY.at(**LOW) < FAINT,
            GAP.at(**LOW) < FAINT * GAP.at(**HIGH),
        ],
        SHALLOW,
    ),
    claim(
        "C10",
        "At {smallest}, do sampled codes differ because the encoder tells images apart?",
        [MEANS_APART.at(**LOW) > 0.5 * CODES_APART.at(**LOW)],
        SHALLOW,
    ),
    claim(
        "C11",
        "At {smallest}, does a VAE with a deeper decoder collapse all the same?",
        vj.study.each(
            "depth", ACTIVE.at(**LOW) < 0.5, MSE.at(**LOW) > 0.99 * CONSTANT_MSE.at(**LOW)
        ),
        UNIT,
    ),
    claim(
        "C12",
        "Is the balance of the two loss terms the cause of the collapse?",
        [
            *vj.study.within(RECON.at(**LOW), CONSTANT_RECON.at(**LOW), 0.1),
            KL.at(**LOW) < 2.0,
            RECON.at(**HIGH) < 0.5 * CONSTANT_RECON.at(**HIGH),
        ],
        SIGNED,
    ),
]
COLUMNS = (
    "kl_nats", "active_units", "mse", "output_variance_ratio", "random_output_ratio",
)  # fmt: skip
MORE_COLUMNS = (
    "shuffled_gap_nats", "code_distance", "mean_distance", "recon_last", "kl_first_nats",
    "kl_peak_nats", "collapse",
)  # fmt: skip
DEPTH_PANELS = {"mse": "mean squared error", "kl_nats": "KL, nats", "active_units": "active units"}


@dataclass(frozen=True, kw_only=True)
class CollapseFlags(vj.study.FallingFlags):
    dataset: str = "cifar10"
    steps: int = 780  # two epochs of CIFAR10
    centre_inputs: bool = True
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
        few = [size for size in self.latent_sizes if size != "enough" and size < 2]
        if few or len(self.widths) != 1:
            raise vj.LabError(
                f"--latent-sizes {self.latent_sizes}, --widths {self.widths}: use 2 latent units "
                "or more, to draw two, and one width, that of every hidden layer."
            )
        if 1 not in self.depths or min(self.depths) < 1:
            raise vj.LabError(f"--depths {self.depths}: give 1 and other numbers above it.")


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    flags, planned = vj.study.falling(lab, lab.config()), []
    for size in lab.latent_sizes(flags.latent_sizes, flags.recon_scale[1]):
        config = lab.sized(size)
        for depth in sorted(flags.depths):
            deep = replace(config, decoder_widths=config.decoder_widths * depth)
            scales = flags.recon_scale if depth == 1 else flags.recon_scale[:1]
            planned.append(flags.run(f"z{size}-depth{depth}", lab.split, deep, scales))
        signed = lab.sized(size, pixel_range="signed", output="tanh")
        planned.append(flags.run(f"z{size}-signed", lab.split, signed, flags.recon_scale))
        # All latent sizes but the first have two seeds, and the ends of the depths.
        flags = replace(flags, seeds=flags.seeds[:2], depths=tuple(sorted({1, max(flags.depths)})))
    return planned


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
    strips, clouds, heat, terms = {}, {}, {}, []
    for size in vj.study.distinct(rows, "latent_size"):
        trained = lab.trained(f"z{size}-depth1")
        for scale in vj.study.distinct(rows, "recon_scale"):
            name, lane = f"{size} units, scale {scale:g}", vj.study.lane_at(trained.run, scale)
            strips[name] = vj.study.strip(trained, lane, lab.test[:2])
            clouds[name] = vj.study.cloud(trained, lane, lab.test[:2])
            heat[name] = np.asarray(trained.trace.kl[lane])
        for run, pixels in (("depth1", "[0, 1]"), ("signed", "[-1, 1]")):
            name = f"z{size}-{run}"
            if constant := vj.study.values(rows, "constant_recon", run=name):
                title = f"{size} units, pixels in {pixels}"
                terms += vj.study.term_panels(lab.trained(name), title, constant[0])
    depths = vj.study.column_panels(
        UNIT(rows), "depth", DEPTH_PANELS, ("latent_size", "recon_scale"), "{} units, scale {:g}",
        floors={"mse": ("mean image", vj.study.fact(rows, "mean_image_mse"))}, log_y=["kl_nats"],
    )  # fmt: skip
    dataset, seed = lab.dataset, f"{lab.dataset}, seed {lab.flags.seeds[0]}"
    seen = f"{seed}: two inputs with outputs, output of a random code"
    apart = f"{seed}: codes of two images. Are they different, or only noisy?"
    of_units = f"{seed}: KL of each latent unit"
    layers, deeper = "hidden layers of the decoder", f"{dataset}: deeper decoders"
    return {
        "strip": vj.show.strips(strips, seen, 1.1),
        "codes": vj.show.clouds(clouds, apart),
        "depth": vj.show.curves(depths, layers, deeper, log_x=False),
        "terms": vj.show.curves(terms, "training step", f"{dataset}: both terms of the loss"),
        "kl_per_unit": vj.show.heatmaps(heat, "KL, nats", of_units, lowest=1e-6),
    }


STUDY = vj.study.Study(
    "collapse", __doc__, CollapseFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, by=["run", "recon_scale"], quick={"depths": (1,), "latent_sizes": (10,)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
