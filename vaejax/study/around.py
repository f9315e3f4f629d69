"""What studies of the threshold share: nets with and without hidden layers, the schedule that
compares them, and the scale at which a net wakes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vaejax.config import Config
from vaejax.store.records import Row
from vaejax.study.rows import distinct, figure, matching
from vaejax.theory.threshold import onset

HIDDEN_LAYERS = {"linear": 0, "mlp1": 1, "mlp2": 2}
"""Of the encoder, and as many of the decoder."""
LINEAR_RATE = 5.0
"""Linear nets need, and tolerate, a learning rate that is this many times higher."""


def net_config(lab: Any, net: str, **choices: Any) -> Config:
    """The Config of a linear net or an MLP whose hidden layers are all as wide as `--widths`."""
    hidden = lab.flags.widths * HIDDEN_LAYERS[net]
    return lab.config(encoder_widths=hidden, decoder_widths=hidden, **choices)


def net_rate(flags: Any, config: Config) -> float:
    """The learning rate of an MLP; that of a linear net is higher, but lower for large images."""
    if config.encoder_widths:
        return flags.learning_rate
    return LINEAR_RATE * flags.gentle_rate(config.pixels)


def falling(lab: Any, config: Config, *, warmup: bool = False, **changes: Any) -> Any:
    """The flags, with a learning rate that falls over the whole run unless `--decay-steps` says
    otherwise.

    Args:
        warmup: the weight of the KL grows over a quarter of the run unless `--kl-warmup` says
            otherwise.
        changes: of the flags.
    """
    steps = lab.steps(config)
    found = replace(lab.flags, decay_steps=lab.flags.decay_steps or steps, **changes)
    return replace(found, kl_warmup=found.kl_warmup or steps // 4) if warmup else found


def onsets(rows: Sequence[Row], by: str, scale: str, *active: str) -> list[Row]:
    """A row for each value of `by` and each seed, with the scale at which it wakes
    (`theory.threshold.onset`), from columns with the scale and with the number of active units;
    NaN if it lacks a number. The onset of `active_units` is `active_units_onset`."""
    return [
        {by: value, "seed": seed}
        | {f"{n}_onset": _onset(matching(rows, **{by: value}, seed=seed), scale, n) for n in active}
        for value in distinct(rows, by)
        for seed in distinct(matching(rows, **{by: value}), "seed")
    ]


def _onset(rows: Sequence[Row], scale: str, active: str) -> float:
    pairs = sorted((figure(row, scale), figure(row, active)) for row in rows)
    lacking = any(math.isnan(value) for pair in pairs for value in pair)
    return math.nan if lacking else onset(*zip(*pairs, strict=True))
