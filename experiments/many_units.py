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

Command: python -m experiments.many_units

Cost, 200 latent and 512 hidden units, two seeds, on 2 cores: digits (--epochs 400) 2 minutes, MNIST
6, CIFAR10 25 to 50, and with --nets mlp1 --epochs 4 5 minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import vaejax as vj

SHARE = 0.1
"""The share of the prediction by which directions and KL may differ from it."""
UNITS, NATS = 1.5, 0.1
"""What they may differ by if that is more: one direction, but not two."""
DIRECTIONS = vj.study.column("active_directions", "number of active directions")
PREDICTED = vj.study.column("predicted_units", "number that is predicted")
KL = vj.study.column("kl_nats", "KL in nats")
PREDICTED_KL = vj.study.column("predicted_kl_nats", "predicted KL")
GAIN = vj.study.column("gain_nats", "gain in nats")
PREDICTED_GAIN = vj.study.column("predicted_gain_nats", "predicted gain")


def of_mlp(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    return vj.study.matching(rows, net="mlp1")


def of_mlp_with_gain(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    """At the scales at which a gain is predicted; one that is missing decides nothing."""
    gains = ((row, vj.study.values([row], "predicted_gain_nats")[0]) for row in of_mlp(rows))
    return [row for row, gain in gains if not gain <= 0]


CLAIMS = [
    vj.study.Claim(
        "B1, many units",
        "Far above the threshold, has an MLP as many active directions as predicted?",
        vj.study.each("recon_scale", *vj.study.within(DIRECTIONS, PREDICTED, SHARE, UNITS)),
        rows=of_mlp,
    ),
    vj.study.Claim(
        "B1, many units, KL",
        "Far above the threshold, is the KL of an MLP the predicted one?",
        vj.study.each("recon_scale", *vj.study.within(KL, PREDICTED_KL, SHARE, NATS)),
        rows=of_mlp,
    ),
    vj.study.Claim(
        "B1, many units, gain",
        "Far above the threshold, does an MLP gain at least what the best linear VAE does?",
        vj.study.each("recon_scale", GAIN > 0.99 * PREDICTED_GAIN),
        rows=of_mlp_with_gain,
    ),
]
COLUMNS = (
    "predicted_units", "active_directions", "directions_ratio", "kl_ratio", "gain_ratio",
)  # fmt: skip
MORE_COLUMNS = (
    "active_units", "predicted_kl_nats", "kl_nats", "predicted_gain_nats", "gain_nats",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ManyUnitsFlags(vj.study.NetFlags):
    seeds: tuple[int, ...] = (0, 1)
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    decoder_variance: vj.study.Fixed[vj.config.DecoderVariance] = "fixed"
    pixel_range: vj.study.Fixed[vj.config.PixelRange] = "unit"
    output: vj.study.Fixed[vj.config.Output] = "sigmoid"  # of the MLP
    learning_rate: float = 2e-3
    centre_inputs: bool = True
    widths: tuple[int, ...] = (512,)
    activation: vj.config.Activation = "elu"
    """The activation of the MLP. With relu it uses fewer directions: hidden units die."""
    latent_size: int = 200
    """Number of latent units."""
    nets: tuple[Literal["linear", "mlp1"], ...] = ("linear", "mlp1")
    """Nets without hidden layers, and with one."""
    recon_scale: tuple[vj.Scale, ...] = ("elbo", 6000.0, 20_000.0)
    """Weights of the error averaged over pixels; elbo: the weight of the true ELBO."""


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    flags, planned = lab.flags, []
    for net in flags.nets:
        output = "linear" if net == "linear" else "sigmoid"
        config = vj.study.net_config(lab, net, latent_size=flags.latent_size, output=output)
        schedule = vj.study.falling(lab, config, learning_rate=vj.study.net_rate(flags, config))
        planned.append(schedule.run(net, lab.split, config, flags.recon_scale, net=net))
    return planned


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
        f"{name}_ratio": np.where(wanted > 0, value / np.where(wanted > 0, wanted, 1), np.nan)
        for (name, value), wanted in zip(measured.items(), expected.values(), strict=True)
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
    found = vj.study.predicted_panels(rows, "recon_scale", thresholds_of(lab))
    scales = vj.study.distinct(rows, "recon_scale")
    variances = [variance_panel(lab, rows, scale) for scale in scales]
    training = [training_panel(lab, rows, scale) for scale in scales]
    return {
        "many_units": vj.show.curves(found, "recon_scale", about),
        "directions": vj.show.curves(variances, "direction of the code", about, log_x=False),
        "training": vj.show.curves(training, "epoch", about, log_x=False),
    }


def thresholds_of(lab: vj.study.Lab) -> np.ndarray:
    """The thresholds of the directions of the code, at the kl_weight of the study; infinite for
    those that the images do not have."""
    run, size = next(iter(lab.runs.values())), lab.flags.latent_size
    known = lab.flags.kl_weight * lab.thresholds(run.config)[:size]
    return np.pad(known, (0, size - len(known)), constant_values=np.inf)


def variance_panel(lab: vj.study.Lab, rows: list[vj.store.Row], scale: float) -> vj.show.Panel:
    """The best linear VAE has the variance `1 - threshold / recon_scale` along a direction."""
    numbers, lines = list(range(1, lab.flags.latent_size + 1)), {}
    for net in vj.study.distinct(rows, "net"):
        found = vj.study.values(rows, "direction_variances", net=net, recon_scale=scale)
        if found:
            lines[vj.study.words.NETS[net]] = vj.show.Line(numbers, np.asarray(found).T.tolist())
    predicted = numbers, np.maximum(1 - thresholds_of(lab) / scale, 0).tolist()
    floor = ("active above", vj.measure.ACTIVE_VARIANCE)
    title = f"scale {scale:g}"
    return vj.show.Panel(title, "variance of means", lines, floor, log_y=True, predicted=predicted)


def training_panel(lab: vj.study.Lab, rows: list[vj.store.Row], scale: float) -> vj.show.Panel:
    """The KL, averaged over each epoch."""
    lines = {}
    for net in vj.study.distinct(rows, "net"):
        trained = lab.trained(net)
        lanes = [lane["recon_scale"] == scale for lane in trained.run.lanes]
        per_epoch = vj.train.steps_per_epoch(trained.run.config, len(lab.train))
        kl = np.ascontiguousarray(trained.trace.kl[lanes]).sum(-1)
        kl = kl.reshape(len(kl), -1, per_epoch).mean(-1)
        epochs = list(range(1, kl.shape[1] + 1))
        lines[vj.study.words.NETS[net]] = vj.show.Line(epochs, kl.T.tolist())
    predicted = vj.study.fact(vj.study.matching(rows, recon_scale=scale), "predicted_kl_nats")
    floor = ("predicted", predicted) if predicted else None  # 0 is on no logarithmic axis
    return vj.show.Panel(f"scale {scale:g}", "KL, nats", lines, floor, log_y=True)


STUDY = vj.study.Study(
    "many_units", __doc__, ManyUnitsFlags, runs, measure, CLAIMS, figures, COLUMNS,
    MORE_COLUMNS, by=["net", "recon_scale"], quick={"nets": ("mlp1",)},
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
