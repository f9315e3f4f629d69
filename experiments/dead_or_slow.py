"""Dead or only slow: how fast a latent unit wakes, and how it falls asleep again (B3).

Runs: a linear VAE and an MLP of one latent unit, which sleeps at half the predicted threshold, and
another that is awake at twice it (start). From there copies go on at scales around the threshold:
the sleeping ones are raised to them, the waking ones lowered. Scales and seeds are lanes.
The learning rate falls to 0, so that in the end nothing is awake by its noise alone.
Measurement: the growth rate of a raised unit, per 1,000 steps of the first learning rate, and where
a line through the rates is 0 (experiments.waking). At the end, on the images that are trained on:
KL, and active units; one that is not active is slow where the line is above 0, or dead.
Figures: waking.png (KL at every scale against the step), rates.png (growth rate against the scale,
and KL at the end of the raised and of the lowered).
Verdicts, for each net: "B3, NET" HELD if the line is 0 within 10% of the predicted threshold,
whichever seed is left out, and no unit raised to a scale further below is active. "B3, NET has a
loop" (hysteresis) HELD if for every seed there is a scale at which, after as many steps, the
lowered unit is active and the raised one is not. FAILED if for none; else UNDECIDED.

Command: python -m experiments.dead_or_slow
Cost, 32 hidden units, three seeds, 6,000 steps twice, on 2 cores: digits 2 minutes, MNIST 16.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from experiments.flags import Flags, failing_clearly, parse
from vaejax.config import Activation, Likelihood, Output
from vaejax.errors import LabError

if TYPE_CHECKING:
    from experiments.report import Verdict
    from experiments.study import Data
    from vaejax.checkpoint import Saved
    from vaejax.config import Run
    from vaejax.records import Row
    from vaejax.theory import Moments
    from vaejax.train import State

TIMES = (0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3, 1.4)
"""Scales, as multiples of the threshold."""
QUICK_TIMES = (0.9, 1.4)
STARTS = (0.5, 2.0)
"""Where units fall asleep, and where they are awake."""
NETS = {"linear": 0, "mlp1": 1}
"""Hidden layers of the encoder, and of the decoder."""
LINEAR_RATE = 5.0
"""Linear nets bear, and need, a learning rate so many times as high."""
LATER_RATE = 0.1
"""So much lower is that of the raised and the lowered, which noise would wake, too."""
MARGIN = 0.1
"""Of the threshold."""
COLUMNS = {
    "growth_per_1000_steps": ".2f",
    "kl_first_nats": ".1e",
    "kl_nats": ".4f",
    "predicted_kl_nats": ".4f",
    "active_units": ".1f",
    "state": "",
}


@dataclass(frozen=True, kw_only=True)
class DeadOrSlowFlags(Flags):
    """The shared flags, and this study's own."""

    steps: ClassVar[int] = 6000
    likelihood: Likelihood = "gaussian"
    output: Output = "linear"
    learning_rate: float = 1e-3
    """Of Adam at the start, for up to 784 pixels; with more it is lower in proportion."""
    widths: tuple[int, ...] = (32,)
    activation: Activation = "elu"
    """Of both nets. A ReLU may die while its latent unit sleeps, which then never wakes."""
    images: int = 10_000
    """The first so many training images: the threshold is predicted from the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.free_bits or self.kl_cycle or not self.kl_weight:
            raise LabError(
                "Where the KL costs nothing there is no threshold: leave out --free-bits and "
                "--kl-cycle, and use a positive --kl-weight."
            )


def runs(flags: DeadOrSlowFlags, data: "Data", moments: "Moments") -> list["Run"]:
    from experiments import training
    from vaejax import theory

    made = []
    for net, depth in NETS.items():
        config = flags.config(
            data.shape,
            latent_size=1,
            encoder_widths=flags.widths * depth,
            decoder_widths=flags.widths * depth,
            encoder_activation=flags.activation,
            decoder_activation=flags.activation,
        )
        first = flags.kl_weight * float(theory.thresholds_of(config, moments, 1)[0])
        rate = training.gentle_rate(flags, config.pixels) * (1 if depth else LINEAR_RATE)
        steps = training.run_steps(flags, config, len(data.train))
        decay, warmup = flags.decay_steps or steps, flags.kl_warmup or steps // 4
        start = replace(flags, learning_rate=rate, decay_steps=decay, kl_warmup=warmup)
        later = replace(start, learning_rate=LATER_RATE * rate, kl_warmup=0.0)
        around = QUICK_TIMES if flags.quick else TIMES
        plans = {"start": (start, STARTS), "raised": (later, around), "lowered": (later, around)}
        for name, (schedule, times) in plans.items():
            scales = [float(f"{first * time:.4g}") for time in times]
            made.append(schedule.run(f"{net}-{name}", data.split, config, scales))
    return made


def begin(folder: Path, run: "Run") -> "State | None":
    """Fresh weights for a start; for the others that of their seed, asleep or awake, with a fresh
    count of steps, and noise and orders of their own."""
    import jax
    import numpy as np

    from vaejax import checkpoint

    net, name = run.name.split("-")
    if name == "start":
        return None
    start, saved = checkpoint.restore(folder / f"{net}-start")
    per_scale = len(start.seeds) // len(STARTS)
    lanes = np.resize(np.arange(per_scale), len(run.seeds)) + per_scale * (name == "lowered")
    state = jax.tree.map(lambda leaf: leaf[lanes], saved.state)
    keys = jax.vmap(jax.random.fold_in, (0, None))(jax.random.wrap_key_data(state.key), 1)
    key = np.asarray(jax.random.key_data(keys))
    return state._replace(key=key, step=np.zeros_like(state.step))


def measure(data: "Data", moments: "Moments", run: "Run", saved: "Saved") -> list["Row"]:
    import jax
    import numpy as np

    from experiments import study, waking
    from vaejax import diagnostics, theory, train

    evaluate = diagnostics.over_lanes(diagnostics.evaluate, run.config)
    key = jax.random.key(study.EVALUATION_SEED)
    found = evaluate(saved.state.params, data.train, key)
    first = theory.thresholds_of(run.config, moments, 1)
    scale, weight = np.asarray(run.knobs.recon_scale), np.asarray(run.knobs.kl_weight)
    predicted = theory.predicted_kl(first, scale, weight, 1)
    kl = np.asarray(saved.trace.kl)[..., 0]
    rate_at = jax.vmap(jax.vmap(train.learning_rate, (0, None)), (None, 0), 1)
    rates = np.asarray(rate_at(run.knobs, np.arange(kl.shape[1])), float)
    clock = np.cumsum(rates / rates[:, :1], 1) / 1000
    net, name = run.name.split("-")
    expected = predicted if name == "raised" else np.zeros(len(kl))
    figures = {
        "net": [net] * len(kl),
        "from": [name] * len(kl),
        "times": np.round(scale / weight / first, 3),
        "growth_per_1000_steps": list(map(waking.growth, kl, clock, expected.tolist())),
        "kl_first_nats": kl[:, : waking.BLOCK].mean(-1),
        "kl_nats": found.kl.sum(-1).mean(-1),
        "predicted_kl_nats": predicted,
        "active_units": np.asarray(diagnostics.active_units(found.mean)).sum(-1),
        "kl_curve_nats": waking.curve(kl),
    }
    return study.rows_of(run, figures)


def of(rows: Sequence["Row"], net: str, name: str) -> list["Row"]:
    return [row for row in rows if (row["net"], row["from"]) == (net, name)]


def figure(rows: list["Row"], folder: Path) -> list[Path]:
    from experiments import waking
    from vaejax import figures

    pairs = [(net, of(rows, net, "raised"), of(rows, net, "lowered")) for net in NETS]
    panels = [waking.panels(*pair) for pair in pairs if all(pair)]
    if not panels:  # all have diverged
        return []
    curves, rates, loops = zip(*panels, strict=True)
    title = f"{rows[0]['dataset']}, {rows[0]['split']}: mean and range over seeds"
    first = figures.curves(
        curves, "training step", f"{title}, raised to multiples of the threshold", log_x=False
    )
    second = figures.curves(rates + loops, "recon_scale / threshold", title, log_x=False)
    return [
        figures.save(first, folder / "waking.png"),
        figures.save(second, folder / "rates.png"),
    ]


def verdict(rows: list["Row"]) -> dict[str, "Verdict"]:
    from experiments import report, waking

    verdicts = {}
    for net in NETS:
        raised, lowered = of(rows, net, "raised"), of(rows, net, "lowered")
        seeds = sorted({row["seed"] for row in raised})
        fits = [waking.line([row for row in raised if row["seed"] != seed]) for seed in seeds]
        zeros = [-offset / slope for slope, offset in fits]
        below = [row["active_units"] for row in raised if row["times"] <= 1 - MARGIN]
        verdicts[f"B3, {net}"] = report.judge(
            "growth is extrapolated to 0 within 10% of the threshold, whichever seed is left out, "
            "and no unit raised to a scale further below is active",
            {
                "zero, from above": (zeros, [1 + MARGIN]),
                "zero, from below": ([1 - MARGIN] * len(zeros), zeros),
                "active below": (below, [0.5]),
            },
        )
        awake, asleep = (
            {(row["seed"], row["times"]) for row in found if bool(row["active_units"]) == active}
            for found, active in ((lowered, True), (raised, False))
        )
        both = [seed for seed, _ in awake & asleep]
        wide = [both.count(seed) for seed in seeds]
        verdicts[f"B3, {net} has a loop"] = report.judge(
            "for every seed there is a scale at which only the lowered unit is active",
            {"scales": ([0.5] * len(wide), wide)},
        )
    return verdicts


def main() -> None:
    with failing_clearly():
        flags = parse(DeadOrSlowFlags, __doc__)
        from experiments import report, study, waking
        from vaejax import theory

        study.set_up(flags)
        data = study.first_images(study.load_data(flags), flags.images)
        moments = theory.moments(data.train)
        folder, planned = flags.folder / "dead_or_slow", runs(flags, data, moments)
        measured = partial(measure, data, moments)
        rows, diverged = study.execute(
            flags, folder, planned, measured, begin=partial(begin, folder)
        )
        if rows:
            written = figure(rows, folder)
            told = [waking.told_apart([row for row in rows if row["net"] == net]) for net in NETS]
            shown = [row for of_net in told for row in of_net]
            report.show(folder, shown, COLUMNS, verdict(rows), written, by=("run", "times"))
        study.refuse_divergence(diverged)


if __name__ == "__main__":
    main()
