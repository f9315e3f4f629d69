"""Dead or only slow: how fast a latent unit wakes, and how it falls asleep again (B3).

Runs: a linear VAE and an MLP of one latent unit, trained at half the predicted threshold, where the
unit sleeps, and at twice the threshold, where it is awake (start). Copies of both go on at scales
around the threshold: the sleeping ones are raised to them, the waking ones lowered. Scales and
seeds are lanes. The learning rate falls to 0, so that noise keeps no unit awake.

Measurement: the growth rate of a raised unit, per 1,000 steps of the first learning rate, and the
scale at which a line through the rates is 0 (in the claim, through those of all seeds but one,
whichever is left out). At the end, on the images that are trained on: KL, and active units. A unit
that is not active is slow where the line is above 0, else dead.

Figures: waking.png (KL at every scale against the step), rates.png (growth rate against the scale),
loop.png (KL at the end against the scale, of raised and of lowered units).

Command: python -m experiments.dead_or_slow

Cost, 32 hidden units, three seeds, 6,000 steps twice, on 2 cores: digits 2 minutes, MNIST 16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import vaejax as vj

START_TIMES = {"raised": 0.5, "lowered": 2.0}
"""The scale of the start, in multiples of the threshold: "raised" starts asleep, "lowered"
awake."""
NETS = {"linear": "linear VAE", "mlp1": "MLP"}
LATER_RATE = 0.1
"""After the start the learning rate is lower by this factor: the noise of a higher one wakes units
below the threshold."""
ZERO = vj.study.column("zero", "scale at which growth is 0 (in thresholds)")
ACTIVE = vj.study.column(
    "active_units", "number of active units, raised to 0.9 times the threshold or less,"
)
ACTIVE_AT = "times", "active_units"
LOOPS = vj.study.column("loops", "number of scales at which only the lowered unit is active")
CURVE = 60
"""Points of a curve of KL over training; of fewer steps it has all."""
THRESHOLD = ("threshold", 1.0)
DRAWN = (0.9, 0.95, 1.05, 1.1, 1.2, 1.4)
"""Multiples of the threshold whose curves are drawn."""
COLUMNS = (
    "growth_per_1000_steps", "kl_first_nats", "kl_nats", "predicted_kl_nats", "active_units",
    "state",
)  # fmt: skip


def raised_and_lowered(rows: list[vj.store.Row], net: str) -> list[list[vj.store.Row]]:
    return [vj.study.matching(rows, **{"net": net, "from": part}) for part in START_TIMES]


def line_through(rows: list[vj.store.Row]) -> vj.measure.GrowthLine:
    """The line through the growth rates of raised units against the scale."""
    times, rates = (vj.study.values(rows, name) for name in ("times", "growth_per_1000_steps"))
    return vj.measure.growth_line(times, rates)


def far_below(rows: list[vj.store.Row], net: str) -> list[vj.store.Row]:
    """The raised units at 0.9 times the threshold or less, each with the scale at which the line
    through the growth rates of the other seeds is 0."""
    raised, _ = raised_and_lowered(rows, net)
    zeros = {
        seed: line_through([row for row in raised if row["seed"] != seed]).zero
        for seed in vj.study.distinct(raised, "seed")
    }
    return [row | {"zero": zeros[row["seed"]]} for row in raised if row["times"] <= 0.9]


def looping(rows: list[vj.store.Row], net: str) -> list[vj.store.Row]:
    """For each seed at how many scales its unit is active if it was lowered there, and not if it
    was raised; NaN if a number is missing."""
    parts = raised_and_lowered(rows, net)
    found = []
    for seed in vj.study.distinct(parts[0], "seed"):
        raised, lowered = (
            dict(zip(*(vj.study.values(part, name, seed=seed) for name in ACTIVE_AT), strict=True))
            for part in parts
        )
        loops = [np.maximum(lowered[time] - raised[time], 0) for time in raised if time in lowered]
        found.append({"seed": seed, "loops": float(np.sum(loops))})
    return found


def claims(net: str, name: str) -> list[vj.study.Claim]:
    return [
        vj.study.Claim(
            f"B3, {net}",
            f"Does a sleeping unit of the {name} grow above the threshold, and die below it?",
            [ZERO < 1.1, ZERO > 0.9, ACTIVE < 0.5],
            rows=lambda rows: far_below(rows, net),
        ),
        vj.study.Claim(
            f"B3, {net} has a loop",
            f"Does the {name} stay awake where in as many steps it would not wake (hysteresis)?",
            [LOOPS > 0.5],
            rows=lambda rows: looping(rows, net),
        ),
    ]


CLAIMS = [claim for net, name in NETS.items() for claim in claims(net, name)]


@dataclass(frozen=True, kw_only=True)
class DeadOrSlowFlags(vj.study.NetFlags):
    train_images: int | None = 10_000
    """Use only the first so many training images; the threshold is predicted from them, too. None:
    all."""
    steps: int = 6000
    start: vj.study.Fixed[Path | None] = None
    kl_warmup: float = 0.0
    """Steps at the start over which the weight of the KL grows from 0. 0: a quarter of the run."""
    likelihood: vj.config.Likelihood = "gaussian"
    output: vj.config.Output = "linear"
    learning_rate: float = 1e-3
    """The learning rate of Adam at the start, for up to 784 pixels; with more it is lower in
    proportion. Linear nets have five times as much, raised and lowered units a tenth."""
    times: tuple[float, ...] = (0.8, 0.9, 0.95, 1.05, 1.1, 1.2, 1.3, 1.4)
    """Scales, as multiples of the predicted threshold."""


def runs(lab: vj.study.Lab) -> list[vj.Run]:
    """The start of each net, and its raised and lowered copies."""
    flags, planned = lab.flags, []
    for net in NETS:
        config = vj.study.net_config(lab, net, latent_size=1)
        first = flags.kl_weight * lab.first_threshold(config)
        rate = flags.gentle_rate(config.pixels) * (vj.study.LINEAR_RATE if net == "linear" else 1)
        start = vj.study.falling(lab, config, warmup=True, learning_rate=rate)
        later = replace(start, learning_rate=LATER_RATE * rate, kl_warmup=0.0)
        parts = {"start": (start, START_TIMES.values())}
        parts |= {part: (later, flags.times) for part in START_TIMES}
        for part, (schedule, times) in parts.items():
            scales = [float(f"{first * time:.4g}") for time in times]
            labels = {"net": net, "from": part}
            planned.append(schedule.run(f"{net}-{part}", lab.split, config, scales, **labels))
    return planned


def initial_state(lab: vj.study.Lab, run: vj.Run) -> vj.train.State | None:
    """A start has fresh weights. The others go on from the start of their seed, asleep or awake,
    with noise and orders of their own."""
    net, part = run.labels["net"][0], run.labels["from"][0]
    if part == "start":
        return None
    start = vj.store.restore(lab.folder / f"{net}-start")
    scale = list(START_TIMES).index(part)
    per_scale = len(start.run.seeds) // len(START_TIMES)
    lanes = [per_scale * scale + index % per_scale for index in range(len(run.seeds))]
    return vj.train.branch(start.state, lanes)


def measure(lab: vj.study.Lab, trained: vj.store.Trained) -> list[vj.store.Row]:
    run, config = trained.run, trained.run.config
    found = vj.study.on_lanes(vj.measure.evaluate, trained, lab.train, vj.study.evaluation_key())
    first = lab.thresholds(config)[:1]
    scale, weight = np.asarray(run.knobs.recon_scale), np.asarray(run.knobs.kl_weight)
    predicted = vj.theory.predicted_kl(first, scale, weight, 1)
    kl = np.ascontiguousarray(trained.trace.kl[..., 0])  # [lanes, steps]
    parts = np.array_split(kl, min(CURVE, kl.shape[1]), 1)
    rates = vj.train.learning_rates(run.knobs, kl.shape[1])
    clock = np.cumsum(rates / rates[:, :1], 1) / 1000
    raised = run.labels["from"][0] == "raised"
    growth = [
        vj.measure.growth_rate(of_lane, times, expected if raised else 0.0)
        for of_lane, times, expected in zip(kl, clock, predicted.tolist(), strict=True)
    ]
    figures = {
        "times": np.round(scale / weight / first, 3),
        "growth_per_1000_steps": growth,
        "kl_first_nats": kl[:, : vj.measure.trace.WAKING_BLOCK].mean(-1),
        "kl_nats": found.kl.sum(-1).mean(-1),
        "predicted_kl_nats": predicted,
        "active_units": np.asarray(vj.measure.active_units(found.mean)).sum(-1),
        "kl_curve_nats": np.stack([part.mean(-1) for part in parts], 1),
    }
    return vj.study.rows_of(trained, figures)


def with_state(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    """The rows, with the state of each unit: awake; or not active, and then slow if the line
    through the growth rates of its net is above 0, else dead."""
    lines = {net: line_through(vj.study.matching(rows, net=net)) for net in NETS}

    def state(row: vj.store.Row) -> str:
        rate = lines[row["net"]].at(row["times"])
        asleep = "asleep" if math.isnan(rate) else "slow" if rate > 0 else "dead"
        unknown = row["active_units"] is None
        return "unknown" if unknown else "awake" if row["active_units"] else asleep

    return [row | {"state": state(row)} for row in rows]


def figures(lab: vj.study.Lab, rows: list[vj.store.Row]) -> dict[str, Any]:
    waking, rates, loops = [], [], []
    for net in NETS:
        raised, lowered = raised_and_lowered(rows, net)
        if raised and lowered:  # not if all have diverged
            waking.append(waking_panel(net, raised))
            rates.append(rate_panel(net, raised))
            loops += loop_panels(net, raised + lowered)
    if not waking:
        return {}
    title = f"{lab.dataset}, {lab.split}: mean and range over seeds"
    of_raised, axis = f"{title}, raised to multiples of the threshold", "recon_scale / threshold"
    return {
        "waking": vj.show.curves(waking, "training step", of_raised, log_x=False),
        "rates": vj.show.curves(rates, axis, of_raised, log_x=False),
        "loop": vj.show.curves(loops, axis, title, log_x=False),
    }


def waking_panel(net: str, raised: list[vj.store.Row]) -> Any:
    """KL of the raised units against the step, a curve for each scale."""
    points, times = len(raised[0]["kl_curve_nats"]), vj.study.distinct(raised, "times")
    steps = (np.arange(points) + 0.5) * vj.study.fact(raised, "steps") / points
    lines = {}
    for time in [time for time in times if time in DRAWN] or times:
        of_seeds = vj.study.values(raised, "kl_curve_nats", times=time)
        lines[f"{time:g}"] = vj.show.Line(steps.tolist(), np.transpose(of_seeds).tolist())
    return vj.show.Panel(f"{NETS[net]}: KL, nats", "", lines, log_y=True)


def scale_grid(rows: list[vj.store.Row]) -> list[float]:
    times = vj.study.distinct(rows, "times")
    return np.linspace(min(times[0], 1.0), times[-1], 50).tolist()


def rate_panel(net: str, raised: list[vj.store.Row]) -> Any:
    """Growth rates against the scale, and the line through them."""
    line, grid = line_through(raised), scale_grid(raised)
    fitted = {"fitted line": vj.show.Line(grid, [[line.at(scale)] for scale in grid])}
    lines = fitted | vj.study.against(raised, "times", "growth_per_1000_steps", label="measured")
    return vj.show.Panel(f"{NETS[net]}: growth per 1,000 steps", "", lines, mark=THRESHOLD)


def loop_panels(net: str, rows: list[vj.store.Row]) -> list[vj.show.Panel]:
    """KL at the end against the scale, of units that were asleep and of units that were awake."""
    grid = scale_grid(rows)
    predicted = vj.theory.predicted_kl(np.ones(1), np.asarray(grid), 1.0, 1).tolist()
    title, curves = {"kl_nats": f"{NETS[net]}: KL, nats"}, {"kl_nats": (grid, predicted)}
    return vj.study.column_panels(rows, "times", title, "from", mark=THRESHOLD, curves=curves)


STUDY = vj.study.Study(
    "dead_or_slow", __doc__, DeadOrSlowFlags, runs, measure, CLAIMS, figures, COLUMNS,
    by=["run", "times"], quick={"times": (0.9, 1.4)}, initial_state=initial_state,
    shown=with_state,
)  # fmt: skip

if __name__ == "__main__":
    vj.study.run_study(STUDY)
