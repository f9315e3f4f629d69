"""Far above the threshold: how many units does an MLP use where the images pay for dozens? (B1)

Runs: a linear VAE, and an MLP of one hidden layer with a sigmoid output, squared error, with more
latent units than pay; the scale of the ELBO, 6000 and 20,000, and all seeds, are lanes. The encoder
sees pixels less 1/2, without which the nets learn too slowly to be compared with anything; the
learning rate falls to 0.

Prediction, from the training images alone: the active units, the KL, and the gain (how far below
the collapsed solution the objective is, in nats) of the best linear VAE. It is exact for the linear
net, whose units and KL test the training; of an MLP it is known to be exact near the threshold
only.

Measurement, on the training images, which the prediction is about: active directions (a wide code
spreads a direction over many units, so that active_units says little), KL, gain. A larger gain than
predicted says that the net found something better than any linear VAE: a different number of
directions is then its choice. A smaller one says that training is not over.

Figures: many_units.png (directions, KL and gain against the scale, with the predicted curves),
directions.png (the variance of the posterior means along each direction, predicted and measured),
training.png (KL at each training step, beside the predicted KL: does it still grow?).

Verdicts on the MLP, for every seed at every scale: "B1, many units" HELD if the number of active
directions is within 10% of the prediction, or one; "B1, many units, KL" HELD if the KL is within
10%, or 0.1 nats; "B1, many units, gain" HELD if the gain is at least 99% of the prediction. FAILED
if a scale is out of bounds for all seeds, else UNDECIDED.

Command: python -m experiments.many_units

Cost, 200 latent and 512 hidden units, two seeds, on 2 cores: digits (--epochs 400) 2 minutes, MNIST
6, CIFAR10 25 to 50, and with --nets mlp1 --epochs 4 5 minutes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

import vaejax as vj

SHARE = 0.1
"""The share of the prediction by which directions and KL may differ from it."""
UNITS, NATS = 1.5, 0.1
"""What they may differ by if that is more: one direction, but not two."""
LEAST_GAIN = 0.99
"""The least share of the predicted gain."""
DEPTHS = {"linear": 0, "mlp1": 1}
"""Hidden layers of the encoder, and as many of the decoder."""
LINEAR_RATE = 5.0
"""Linear nets need a learning rate that is this many times higher."""
COLUMNS = (
    "predicted_units", "active_directions", "directions_ratio", "kl_ratio", "gain_ratio",
)  # fmt: skip
MORE_COLUMNS = (
    "active_units", "predicted_kl_nats", "kl_nats", "predicted_gain_nats", "gain_nats",
)  # fmt: skip
PANELS = {
    "active_directions": ("predicted_units", "active directions"),
    "kl_nats": ("predicted_kl_nats", "KL, nats"),
    "gain_nats": ("predicted_gain_nats", "gain, nats"),
}


@dataclass(frozen=True, kw_only=True)
class ManyUnitsFlags(vj.study.Flags):
    """The shared flags, and this study's own."""

    seeds: tuple[int, ...] = (0, 1)
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    decoder_variance: vj.study.Fixed[vj.config.DecoderVariance] = "fixed"
    pixel_range: vj.study.Fixed[vj.config.PixelRange] = "unit"
    output: vj.study.Fixed[vj.config.Output] = "sigmoid"  # of the MLP
    kl_cycle: vj.study.Fixed[float] = 0.0
    free_bits: vj.study.Fixed[float] = 0.0
    decay_steps: float = 0.0
    """Steps over which the learning rate falls to 0. 0: the whole run."""
    learning_rate: float = 2e-3
    """The learning rate of Adam; of linear nets five times as much, for up to 784 pixels, and with
    more lower in proportion."""
    centre_inputs: bool = True
    """The encoder sees pixels less 1/2."""
    widths: tuple[int, ...] = (512,)
    """The width of the hidden layer of encoder and decoder of the MLP."""
    activation: vj.config.Activation = "elu"
    """The activation of the MLP. With relu it uses fewer directions: hidden units die."""
    latent_size: int = 200
    """Number of latent units."""
    nets: tuple[Literal["linear", "mlp1"], ...] = ("linear", "mlp1")
    """Nets without hidden layers, and with one."""
    recon_scale: tuple[vj.Scale, ...] = ("elbo", 6000.0, 20_000.0)
    """Weights of the error averaged over pixels; elbo: the weight of the true ELBO."""

    def __post_init__(self) -> None:
        super().__post_init__()
        vj.study.each_once("--nets", self.nets)
        vj.study.each_once("--recon-scale", self.recon_scale)
        if len(self.widths) != 1 or not self.kl_weight:
            raise vj.LabError(
                f"--widths {self.widths}, --kl-weight {self.kl_weight:g}: use one width, and a "
                "positive weight."
            )


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    return [planned(lab, net) for net in lab.flags.nets]


def planned(lab: vj.study.Lab, net: str) -> vj.Run:
    flags, hidden = lab.flags, lab.flags.widths * DEPTHS[net]
    config = lab.config(
        latent_size=flags.latent_size,
        encoder_widths=hidden,
        decoder_widths=hidden,
        encoder_activation=flags.activation,
        decoder_activation=flags.activation,
        output="sigmoid" if hidden else "linear",
    )
    rate = flags.learning_rate if hidden else LINEAR_RATE * flags.gentle_rate(config.pixels)
    decay = flags.decay_steps or lab.steps(config)
    schedule = replace(flags, learning_rate=rate, decay_steps=decay)
    return schedule.run(net, lab.split, config, flags.recon_scale, net=net)


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    run, config = trained.run, trained.run.config
    found = vj.study.on_lanes(vj.measure.evaluate, trained, lab.train, vj.study.evaluation_key())
    scale, weight = (
        np.asarray(knob, float) for knob in (run.knobs.recon_scale, run.knobs.kl_weight)
    )
    expected = vj.theory.predictions(lab.thresholds(config), scale, weight, config.latent_size)
    variances = np.asarray(vj.measure.direction_variances(found.mean))
    directions = (variances > vj.measure.ACTIVE_VARIANCE).sum(-1)
    kl = np.asarray(found.kl.sum(-1).mean(-1), float)
    error_saved = vj.theory.constant_error(config, lab.moments) - np.asarray(found.mse.mean(-1))
    gain = scale / weight * error_saved - kl
    measured = {"directions": directions, "kl": kl, "gain": gain}
    ratios = {
        f"{name}_ratio": np.where(
            predicted > 0, value / np.where(predicted > 0, predicted, 1), np.nan
        )
        for (name, value), predicted in zip(measured.items(), expected.values(), strict=True)
    }
    figures = {
        "active_units": np.asarray(vj.measure.active_units(found.mean)).sum(-1),
        "active_directions": directions,
        "direction_variances": variances,
        "kl_nats": kl,
        "gain_nats": gain,
        **expected,
        **ratios,
    }
    return vj.study.rows_of(trained, figures)


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    about = f"{lab.dataset}, training images: mean and range over seeds"
    return {
        "many_units": vj.show.curves(against_scale(lab, rows), "recon_scale", about),
        "directions": vj.show.curves(
            variance_panels(lab, rows), "direction of the code", about, log_x=False
        ),
        "training": vj.show.curves(training_panels(lab, rows), "epoch", about, log_x=False),
    }


def thresholds_of(lab: vj.study.Lab) -> np.ndarray:
    """The thresholds of the directions, at the kl_weight of the study."""
    run = next(iter(lab.runs.values()))
    return lab.flags.kl_weight * lab.thresholds(run.config)


def against_scale(lab: vj.study.Lab, rows: list[vj.store.Row]) -> list[Any]:
    scales = vj.study.distinct(rows, "recon_scale")
    grid = np.geomspace(scales[0], scales[-1], 200)
    curves = vj.theory.predictions(thresholds_of(lab), grid, 1.0, lab.flags.latent_size)
    return [
        vj.show.Panel(
            label,
            "",
            {
                net: vj.study.against(rows, "recon_scale", name, net=net)
                for net in vj.study.distinct(rows, "net")
            },
            predicted=(grid.tolist(), curves[expected].tolist()),
        )
        for name, (expected, label) in PANELS.items()
    ]


def variance_panels(lab: vj.study.Lab, rows: list[vj.store.Row]) -> list[Any]:
    """The best linear VAE has the variance `1 - threshold / recon_scale` along a direction."""
    size, panels = lab.flags.latent_size, []
    numbers = list(range(1, size + 1))
    thresholds = np.pad(thresholds_of(lab)[:size], (0, size), constant_values=np.inf)[:size]
    for scale in vj.study.distinct(rows, "recon_scale"):
        lines = {}
        for net in vj.study.distinct(rows, "net"):
            found = vj.study.values(rows, "direction_variances", net=net, recon_scale=scale)
            if found:
                lines[net] = vj.show.Line(numbers, np.asarray(found).T.tolist())
        predicted = (numbers, np.maximum(1 - thresholds / scale, 0).tolist())
        panels.append(
            vj.show.Panel(f"scale {scale:g}", "variance of means", lines, predicted=predicted)
        )
    return panels


def training_panels(lab: vj.study.Lab, rows: list[vj.store.Row]) -> list[Any]:
    """The KL, averaged over each epoch."""
    panels = []
    for scale in vj.study.distinct(rows, "recon_scale"):
        lines = {}
        for net in vj.study.distinct(rows, "net"):
            trained = lab.trained(net)
            lanes = [lane["recon_scale"] == scale for lane in trained.run.lanes]
            per_epoch = vj.train.steps_per_epoch(trained.run.config, len(lab.train))
            kl = np.ascontiguousarray(trained.trace.kl[lanes]).sum(-1)
            kl = kl.reshape(len(kl), -1, per_epoch).mean(-1)
            lines[net] = vj.show.Line(list(range(1, kl.shape[1] + 1)), kl.T.tolist())
        predicted = vj.study.fact(vj.study.matching(rows, recon_scale=scale), "predicted_kl_nats")
        level = ("predicted", predicted) if predicted else None  # 0 is on no logarithmic axis
        panels.append(vj.show.Panel(f"scale {scale:g}", "KL, nats", lines, level, log_y=True))
    return panels


def verdict(rows: list[vj.store.Row]) -> dict[str, vj.study.Verdict | None]:
    mlp = vj.study.matching(rows, net="mlp1")
    units, kl, gain = {}, {}, {}
    for scale in vj.study.distinct(mlp, "recon_scale"):
        at = f"at scale {scale:g}"
        units |= near(
            mlp, scale, "active directions", "active_directions", "predicted_units", UNITS
        )
        kl |= near(mlp, scale, "KL in nats", "kl_nats", "predicted_kl_nats", NATS)
        predicted = vj.study.values(mlp, "predicted_gain_nats", recon_scale=scale)
        if not np.min(predicted) <= 0:  # a missing number is compared, and decides nothing
            least = [LEAST_GAIN * value for value in predicted]
            gain[f"{LEAST_GAIN} of the predicted gain, and the gain, in nats {at}"] = (
                vj.study.Comparison(least, vj.study.values(mlp, "gain_nats", recon_scale=scale))
            )
    within = (
        f"at every scale every MLP has {{}} within {SHARE:.0%} of the best linear VAE's, or {{}}"
    )
    return {
        "B1, many units": vj.study.judge(
            "Far above the threshold an MLP has as many active directions as predicted",
            within.format("a number of active directions", "one direction"),
            units,
        ),
        "B1, many units, KL": vj.study.judge(
            "Far above the threshold the KL of an MLP is the predicted one",
            within.format("a KL", f"{NATS:g} nats"),
            kl,
        ),
        "B1, many units, gain": vj.study.judge(
            "Far above the threshold an MLP gains at least what the best linear VAE does",
            f"at every scale every MLP gains at least {LEAST_GAIN} of what the best linear VAE "
            "gains over the collapsed solution",
            gain,
        ),
    }


def near(
    rows: list[vj.store.Row], scale: float, label: str, name: str, expected: str, least: float
) -> dict[str, vj.study.Comparison]:
    """Neither much less nor much more than predicted."""
    found, predicted = (vj.study.values(rows, key, recon_scale=scale) for key in (name, expected))
    room = [max(SHARE * value, least) for value in predicted]
    lower = [value - allowed for value, allowed in zip(predicted, room, strict=True)]
    upper = [value + allowed for value, allowed in zip(predicted, room, strict=True)]
    return {
        f"the least {label} allowed at scale {scale:g}, and measured": (
            vj.study.Comparison(lower, found)
        ),
        f"{label} measured at scale {scale:g}, and the most allowed": (
            vj.study.Comparison(found, upper)
        ),
    }


STUDY = vj.study.Study(
    "many_units", __doc__, ManyUnitsFlags, runs, measure, verdict, figures, COLUMNS,
    MORE_COLUMNS, by=["net", "recon_scale"], quick={"nets": ("mlp1",)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
