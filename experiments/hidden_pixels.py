"""An encoder that sees only part of the picture: does hiding pixels move the threshold of collapse?

The code can carry only what the visible pixels say about the whole picture. So the eigenvalues of
the pixel covariance C should give way to those of the covariance of the best linear prediction of
the picture x from its visible pixels v, which is C_xv C_vv^-1 C_vx.

Runs: VAEs of one latent unit with a linear encoder and decoder and squared error, whose encoders
see all columns of the picture or a few in its middle; scales and seeds are lanes.

Measurement, on the training images: active units. Figure: onset.png.

Command: python -m experiments.hidden_pixels --dataset digits

Cost: digits, a minute on 2 cores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import vaejax as vj

TIMES = (0.8, 0.9, 0.96, 1.04, 1.1, 1.2, 1.5)
"""Scales, as multiples of the predicted threshold."""
OFF = vj.study.column(
    "active_units_onset", "distance of the onset to the prediction", lambda onset: abs(onset - 1)
)


def onsets(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    """The scale at which each seed wakes, as a multiple of the predicted threshold."""
    return vj.study.onsets(rows, "columns", "times", "active_units")


CLAIMS = [
    vj.study.Claim(
        "hidden pixels",
        "Does hiding pixels from the encoder move the threshold to the predicted scale?",
        vj.study.each("columns", OFF < 0.1),
        rows=onsets,
    )
]


@dataclass(frozen=True, kw_only=True)
class HiddenPixelsFlags(vj.study.Flags):
    steps: int = 10_000
    batch_size: int = 64
    learning_rate: float = 1e-2
    likelihood: vj.study.Fixed[vj.config.Likelihood] = "gaussian"
    output: vj.study.Fixed[vj.config.Output] = "linear"
    widths: vj.study.Fixed[tuple[int, ...]] = ()
    decoder_variance: vj.study.Fixed[vj.config.DecoderVariance] = "fixed"
    pixel_range: vj.study.Fixed[vj.config.PixelRange] = "unit"
    decay_steps: vj.study.Fixed[float] = 0.0  # see `run_of`
    kl_weight: vj.study.Fixed[float] = 1.0
    kl_cycle: vj.study.Fixed[float] = 0.0
    free_bits: vj.study.Fixed[float] = 0.0
    columns: tuple[int, ...] = (1, 2, 4, 8)
    """How many columns, in the middle of the picture, the encoder sees."""


def visible(shape: tuple[int, int, int], columns: int) -> np.ndarray:
    """Which pixels [pixels] the encoder sees."""
    first = (shape[1] - columns) // 2
    return np.isin(np.indices(shape)[1], range(first, first + columns)).ravel()


def threshold(lab: vj.study.Lab, columns: int) -> float:
    """The predicted scale at which the unit wakes, at kl_weight 1.

    Raises:
        LabError: no visible pixel varies, so none says anything about the hidden ones.
    """
    seen, covariance = visible(lab.shape, columns), lab.moments.covariance
    if not covariance[np.ix_(seen, seen)].any():
        raise vj.LabError(f"--columns {columns}: no pixel of them varies: use more columns.")
    inverse = np.linalg.pinv(covariance[np.ix_(seen, seen)], rcond=1e-10, hermitian=True)
    predicted = covariance[:, seen] @ inverse @ covariance[seen]
    return len(seen) / 2 / float(np.linalg.eigvalsh(predicted)[-1])


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    width = lab.shape[1]
    if not all(1 <= columns <= width for columns in lab.flags.columns):
        raise vj.LabError(
            f"--columns {lab.flags.columns}: the pictures have {width} columns, use 1 to {width}."
        )
    return [run_of(lab, columns) for columns in lab.flags.columns]


def run_of(lab: vj.study.Lab, columns: int) -> vj.Run:
    seen, mlp = visible(lab.shape, columns), vj.MLP_NETS

    def encode(config: vj.Config, params: Any, x: Any) -> vj.Posterior:
        return mlp.encode(config, params, x * seen)

    nets = mlp._replace(name=f"mlp that sees {columns} columns", encode=encode)
    config = lab.config(latent_size=1, nets=nets)
    flags = replace(lab.flags, decay_steps=lab.steps(config))
    scales = [time * threshold(lab, columns) for time in TIMES]
    return flags.run(f"columns{columns}", lab.split, config, scales, columns=columns)


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    key = vj.study.evaluation_key()
    means = vj.study.on_lanes(vj.measure.evaluate, trained, lab.train, key).mean
    predicted = threshold(lab, trained.run.labels["columns"][0])
    figures = {
        "predicted_threshold": predicted,
        "times": np.round(trained.run.knobs.recon_scale / predicted, 3),
        "active_units": vj.measure.active_units(means).sum(-1),
    }
    return vj.study.rows_of(trained, figures)


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    columns = vj.study.distinct(rows, "columns")
    predicted = columns, [threshold(lab, count) for count in columns]
    found = vj.study.onsets(rows, "columns", "recon_scale", "active_units")
    panels = vj.study.column_panels(
        found,
        "columns",
        {"active_units_onset": "recon_scale at which the unit wakes"},
        label="measured",
        curves={"active_units_onset": predicted},
    )
    title = f"{lab.dataset}: mean and range over {len(lab.flags.seeds)} seeds"
    return {"onset": vj.show.curves(panels, "columns that the encoder sees", title)}


STUDY = vj.study.Study(
    "hidden_pixels", __doc__, HiddenPixelsFlags, runs, measure, CLAIMS, figures,
    ["predicted_threshold", "active_units"], by=["columns", "recon_scale"],
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
