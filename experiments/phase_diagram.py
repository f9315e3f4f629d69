"""How many units are awake at which scale, measured and predicted from the images alone (B1, B2).

Runs: a linear VAE and MLPs of one and two hidden layers, each with squared error (linear output)
and with a Bernoulli likelihood; scales (multiples of the predicted threshold, and the ELBO's) and
seeds are lanes. The weight of the KL grows over the first quarter of the steps: units start awake,
and those that do not pay go to sleep. (Without, --kl-warmup 1, a deep net may sleep on far above
the threshold.) The learning rate falls to 0.
Measurement, on the images that are trained on, since it is of them that something is predicted:
active units; active_directions, the same whatever the axes of the code; KL; what the objective
gains over the best constant image.
Figure: phase_diagram.png (all three against the scale in multiples of the threshold).
Verdicts, for every seed: B1 HELD if in every run the onset (the geometric mean of the smallest
scale from which on all have an active unit, and the one before) is within 10% of the threshold;
"B1, directions" the same of active directions. B2 HELD if active directions are those predicted,
give or take one and those of a threshold within 10% of the scale: at every scale in a linear
VAE with squared error, else up to 1.5 times the threshold. "B2, KL" HELD if in a linear VAE with
squared error the KL is within 5% or 0.05 nats of the predicted at every scale. FAILED if a run is
out of bounds for all seeds; else UNDECIDED.

Command: python -m experiments.phase_diagram; for CIFAR10 with --pixel-range signed and
--learning-rate 1e-3. Cost, 32 hidden and 16 latent units, three seeds, 3,500 steps of 64 images,
on 2 cores: digits 2 minutes, MNIST 7 to 14, CIFAR10 20 to 37.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from experiments.flags import Flags, failing_clearly, parse
from vaejax.config import Activation, PixelRange
from vaejax.errors import LabError

if TYPE_CHECKING:
    from experiments.report import Verdict
    from experiments.study import Data
    from vaejax.checkpoint import Saved
    from vaejax.config import Config, Run
    from vaejax.records import Row
    from vaejax.theory import Moments

TIMES = (0.9, 0.96, 1.04, 1.1, 1.2, 1.5, 2.0, 3.0)
"""Scales, as multiples of the threshold, beside that of the ELBO."""
QUICK_TIMES = (0.9, 1.1, 2.0)
NEAR, MARGIN = 1.5, 1.1
LIKELIHOODS = {"gaussian": ("linear", "squared error"), "bernoulli": ("sigmoid", "Bernoulli")}
NETS = {"linear": 0, "mlp1": 1, "mlp2": 2}
"""Hidden layers of the encoder, and of the decoder."""
EXACT = "linear-gaussian"
LINEAR_RATE = 5.0
"""Linear nets need a learning rate so many times as high."""
COLUMNS = {
    "predicted_units": ".0f",
    "active_units": ".1f",
    "active_directions": ".1f",
    "predicted_kl_nats": ".3f",
    "kl_nats": ".3f",
    "gain_nats": ".3f",
}
PANELS = {
    "active_directions": ("predicted_units", "active directions"),
    "kl_nats": ("predicted_kl_nats", "KL, nats"),
    "gain_nats": ("predicted_gain_nats", "gain, nats"),
}


@dataclass(frozen=True, kw_only=True)
class PhaseDiagramFlags(Flags):
    """The shared flags, and this study's own."""

    steps: ClassVar[int] = 3500
    batch_size: int = 64
    learning_rate: float = 3e-3
    """Of Adam; of linear nets five times as much, for up to 784 pixels, with more in proportion."""
    pixel_range: PixelRange = "unit"
    """Of squared error alone. signed: [-1, 1], where bright images have a mean near 0."""
    widths: tuple[int, ...] = (32,)
    activation: Activation = "elu"
    """Of both nets. A ReLU may die while its latent unit sleeps, which then never wakes."""
    latent_size: int = 16
    images: int = 10_000
    """The first so many training images: the threshold is predicted from the same."""

    def __post_init__(self) -> None:
        super().__post_init__()
        other = (self.likelihood, self.output, len(self.widths)) != ("bernoulli", "sigmoid", 1)
        if other or self.free_bits or self.kl_cycle or not self.kl_weight:
            raise LabError(
                "This study sets likelihood and depth: use no --likelihood, --output, --free-bits "
                "or --kl-cycle, a single number of --widths, and a --kl-weight above 0."
            )


def runs(flags: PhaseDiagramFlags, data: "Data", moments: "Moments") -> list["Run"]:
    from experiments import training
    from vaejax import theory

    made = []
    for likelihood, (output, _) in LIKELIHOODS.items():
        for net, depth in NETS.items():
            config = flags.config(
                data.shape,
                pixel_range=flags.pixel_range if likelihood == "gaussian" else "unit",
                latent_size=flags.latent_size,
                likelihood=likelihood,
                output=output,
                encoder_widths=flags.widths * depth,
                decoder_widths=flags.widths * depth,
                encoder_activation=flags.activation,
                decoder_activation=flags.activation,
            )
            steps = training.run_steps(flags, config, len(data.train))
            linear = LINEAR_RATE * training.gentle_rate(flags, config.pixels)
            whole = replace(
                flags,
                learning_rate=flags.learning_rate if depth else linear,
                kl_warmup=flags.kl_warmup or steps // 4,
                decay_steps=flags.decay_steps or steps,
            )
            chosen = scales(flags, config, float(theory.thresholds_of(config, moments, 1)[0]))
            made.append(whole.run(f"{net}-{likelihood}", data.split, config, chosen))
    return made[:: len(NETS)] if flags.quick else made


def scales(flags: PhaseDiagramFlags, config: "Config", first: float) -> list[float]:
    """Multiples of the first threshold, to four digits, and the scale of the ELBO."""
    times = QUICK_TIMES if flags.quick else TIMES
    around = {float(f"{flags.kl_weight * first * time:.4g}") for time in times}
    return sorted(around if flags.quick else around | {config.elbo_scale})


def measure(data: "Data", moments: "Moments", run: "Run", saved: "Saved") -> list["Row"]:
    import jax
    import numpy as np

    from experiments import study, thresholds
    from vaejax import diagnostics, theory

    evaluate = diagnostics.over_lanes(diagnostics.evaluate, run.config)
    key = jax.random.key(study.EVALUATION_SEED)
    found = evaluate(saved.state.params, data.train, key)
    scale, weight = np.asarray(run.knobs.recon_scale), np.asarray(run.knobs.kl_weight)
    of_images = theory.thresholds_of(run.config, moments, run.config.latent_size)
    times = scale / weight / of_images[0]
    relative = of_images / of_images[0]
    directions = np.asarray(diagnostics.active_directions(found.mean))
    unit = found.recon / run.config.pixels if run.config.likelihood == "bernoulli" else found.mse
    kl = found.kl.sum(-1).mean(-1)
    in_range = run.config.pixel_width**2  # both errors are for [0, 1]
    less = in_range * (theory.constant_error(run.config, moments) - unit.mean(-1))
    expected = thresholds.predicted(relative, times)
    kl_allowed = np.maximum(0.05 * expected["predicted_kl_nats"], 0.05)
    figures = {
        "times": np.round(times, 3),
        "threshold_times": [relative] * len(times),
        "active_units": np.asarray(diagnostics.active_units(found.mean)).sum(-1),
        "active_directions": directions,
        "units_off": thresholds.units_off(relative, times, directions, MARGIN),
        "kl_nats": kl,
        "kl_off": np.abs(kl - expected["predicted_kl_nats"]) / kl_allowed,
        "gain_nats": scale / weight * less - kl,
        **expected,
    }
    return study.rows_of(run, figures)


def figure(rows: list["Row"], folder: Path) -> list[Path]:
    import numpy as np

    from experiments import thresholds, views
    from vaejax import figures

    panels = []
    for likelihood, (_, name) in LIKELIHOODS.items():
        found = [row for row in rows if row["config"]["likelihood"] == likelihood]
        if not found:
            continue
        reach = [row["times"] for row in found]
        grid = np.geomspace(min(reach), max(reach), 500)
        relative = np.asarray(found[0]["threshold_times"], float)
        curves = thresholds.predicted(np.nan_to_num(relative, nan=np.inf), grid)
        for measured, (expected, label) in PANELS.items():
            lines = {
                run.split("-")[0]: views.against(
                    [row for row in found if row["run"] == run], "times", measured
                )
                for run in dict.fromkeys(row["run"] for row in found)
            }
            drawn = {"mark": ("threshold", 1.0), "predicted": (grid, curves[expected])}
            panels.append(figures.Panel(f"{name}: {label}", "", lines, **drawn))
    title = f"{rows[0]['dataset']}, {rows[0]['split']}: mean and range over seeds"
    page = figures.curves(panels, "recon_scale / threshold", title)
    return [figures.save(page, folder / "phase_diagram.png")]


def verdict(rows: list["Row"]) -> dict[str, "Verdict"]:
    from experiments import report, thresholds

    runs: dict[str, dict[int, list[Row]]] = {}
    for row in sorted(rows, key=lambda row: (row["seed"], row["times"])):
        runs.setdefault(row["run"], {}).setdefault(row["seed"], []).append(row)

    def late(name: str) -> dict[str, tuple[list[float], list[float]]]:
        return {
            run: (
                [abs(thresholds.onset(of_seed, name) - 1) for of_seed in seeds.values()],
                [MARGIN - 1],
            )
            for run, seeds in runs.items()
        }

    def worst(run: str, name: str, reach: float) -> list[float]:
        near = ((r[name] for r in lane if r["times"] <= reach) for lane in runs[run].values())
        return [max(of_seed, default=math.nan) for of_seed in near]

    off = {
        run: (worst(run, "units_off", math.inf if run == EXACT else NEAR), [1.5]) for run in runs
    }
    kl_off = {run: (worst(run, "kl_off", math.inf), [1.0]) for run in runs if run == EXACT}
    margin = "active directions are those predicted, give or take one and those of thresholds near"
    return {
        "B1": report.judge(
            "the first unit of every run wakes within 10% of its threshold", late("active_units")
        ),
        "B1, directions": report.judge("the same of directions", late("active_directions")),
        "B2": report.judge(f"{margin}: in {EXACT} at all scales, else up to {NEAR:g} times", off),
        "B2, KL": report.judge(f"KL of {EXACT} within 5% or 0.05 nats (here 1)", kl_off),
    }


def main() -> None:
    with failing_clearly():
        flags = parse(PhaseDiagramFlags, __doc__)
        from experiments import report, study
        from vaejax import theory

        study.set_up(flags)
        data = study.first_images(study.load_data(flags), flags.images)
        moments = theory.moments(data.train)
        folder, planned = flags.folder / "phase_diagram", runs(flags, data, moments)
        rows, diverged = study.execute(flags, folder, planned, partial(measure, data, moments))
        if rows:
            written = figure(rows, folder)
            report.show(folder, rows, COLUMNS, verdict(rows), written, by=("run", "times"))
        study.refuse_divergence(diverged)


if __name__ == "__main__":
    main()
