"""The weight of the reconstruction on CIFAR10: from collapse to discernible pictures (C13).

Runs: one VAE trained with squared error at each scale; all scales and seeds are lanes of one
program. A scale s is a Gaussian decoder of variance D / (2 s): its sigma stands beside it.
Measurement, on the whole test set: MSE beside that of the mean image, KL, active units, mutual
information, how much the outputs vary with the input (output_variance_ratio), power above half of
Nyquist that is left in the outputs (high_frequency_share), the verdict on collapse.
Figures: scales.png (each figure against the scale; dashed: the threshold predicted from the images
alone, below which the collapsed solution is stable), reconstructions.png (a row per scale).
Verdicts, at the largest scale: C13 HELD if every seed has more KL, more active units and outputs
that vary more than at the smallest, and under half of the mean image's MSE (discernible); "C13,
slightly blurry" HELD if every seed keeps over a tenth of the power above half of Nyquist. FAILED if
any part is reversed for all seeds; else UNDECIDED.

Command: python -m experiments.recon_scale
Cost: full CIFAR10, six scales and three seeds, 3072-128-10-128-3072, six epochs: about 8 minutes on
2 cores.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from experiments.flags import Flags, failing_clearly, parse
from vaejax.config import Likelihood
from vaejax.errors import LabError

if TYPE_CHECKING:
    from experiments.report import Verdict
    from experiments.study import Data
    from vaejax.checkpoint import Saved
    from vaejax.config import Run
    from vaejax.records import Row

SCALES = (1.0, 30.0, 100.0, 300.0, 1000.0, 6000.0)
QUICK_SCALES = (1.0, 6000.0)
COLUMNS = {
    "effective_sigma": ".3g",
    "mse": ".4f",
    "mean_image_mse": ".4f",
    "kl_nats": ".3g",
    "mi_nats": ".2f",
    "mi_ceiling_nats": ".2f",
    "marginal_kl_nats": ".2f",
    "active_units": ".1f",
    "output_variance_ratio": ".3g",
    "high_frequency_share": ".3g",
    "collapse": "",
}
PANELS = {
    "mse": "mean squared error",
    "kl_nats": "KL, nats",
    "mi_nats": "mutual information, nats",
    "active_units": "active units",
    "output_variance_ratio": "variance of outputs / of images",
    "high_frequency_share": "high-frequency power left",
}
SPECTRUM_IMAGES = 2000
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class ReconScaleFlags(Flags):
    """The shared flags, and this study's own."""

    steps: ClassVar[int] = 2340  # six epochs of CIFAR10
    dataset: str = "cifar10"
    likelihood: Likelihood = "gaussian"
    widths: tuple[int, ...] = (128,)
    latent_size: int = 10
    recon_scale: tuple[float, ...] | None = None
    """Weights of the error averaged over pixels. None: 1 to 6000, or these two with --quick."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.scales)) < max(2, len(self.scales)):
            raise LabError(f"--recon-scale {self.scales}: give two or more, each once.")

    @property
    def scales(self) -> tuple[float, ...]:
        chosen = QUICK_SCALES if self.quick else SCALES
        return chosen if self.recon_scale is None else self.recon_scale


def runs(flags: ReconScaleFlags, data: "Data") -> list["Run"]:
    config = flags.config(data.shape, latent_size=flags.latent_size)
    return [flags.run("scales", data.split, config, flags.scales)]


def measure(data: "Data", run: "Run", saved: "Saved") -> list["Row"]:
    from experiments import study, views

    few = data.test[:SPECTRUM_IMAGES]
    inputs, mean_image = views.unit_pixels(data, few), views.mean_image(data)
    known = {"mean_image_mse": views.error_of(mean_image, data.test)}
    return [
        row
        | known
        | views.sharpness(views.outputs(data, run, saved, lane, few), inputs, mean_image)
        for lane, row in enumerate(study.collapse_rows(run, saved, data.test))
    ]


def figure(rows: list["Row"], folder: Path, data: "Data") -> list[Path]:
    from experiments import views
    from vaejax import checkpoint, figures

    scales = sorted({row["recon_scale"] for row in rows})
    seeds = len({row["seed"] for row in rows})
    threshold = rows[0]["threshold_scale"]
    mark = None if threshold is None else ("predicted threshold", threshold)
    panels = []
    for name, label in PANELS.items():
        line = views.against(rows, "recon_scale", name)
        level = {
            "mse": ("mean image", rows[0]["mean_image_mse"]),
            "mi_nats": ("log n, the ceiling", rows[0]["mi_ceiling_nats"]),
        }.get(name)
        panels.append(figures.Panel(label, "", {"VAE": line}, level, mark=mark))
    label = rows[0]["dataset"]
    title = f"{label}, test set: mean and range over {seeds} seeds"
    written = [figures.save(figures.curves(panels, "recon_scale", title), folder / "scales.png")]

    run, saved = checkpoint.restore(folder / "scales")
    images = data.test[:SHOWN]
    strips = {"input": views.unit_pixels(data, images)}
    for scale in scales:
        lane = views.lane_at(run, scale)
        (sigma,) = {row["effective_sigma"] for row in rows if row["recon_scale"] == scale}
        name = f"scale {scale:g}" + ("" if sigma is None else f", sigma {sigma:.2g}")
        strips[name] = views.outputs(data, run, saved, lane, images)
    title = f"{label}: reconstructions from the posterior mean, seed {run.seeds[0]}"
    strip = figures.strips(strips, title)
    return [*written, figures.save(strip, folder / "reconstructions.png")]


def verdict(rows: list["Row"]) -> dict[str, "Verdict"]:
    from experiments import report
    from vaejax.spectrum import BLURRED

    scales = sorted({row["recon_scale"] for row in rows})

    def low(name: str) -> list[float]:
        return report.values(rows, name, recon_scale=scales[0])

    def high(name: str) -> list[float]:
        return report.values(rows, name, recon_scale=scales[-1])

    at = f"at scale {scales[-1]:g} every seed has"
    half = [0.5 * error for error in high("mean_image_mse")]
    grows = ("kl_nats", "active_units", "output_variance_ratio")
    return {
        "C13": report.judge(
            f"{at} more KL, more active units and outputs that vary more than at {scales[0]:g}, "
            "and under half of the mean image's MSE",
            {name: (low(name), high(name)) for name in grows} | {"mse": (high("mse"), half)},
        ),
        "C13, slightly blurry": report.judge(
            f"{at} over {BLURRED} of the images' power above half of Nyquist",
            {"high_frequency_share": ([BLURRED] * len(half), high("high_frequency_share"))},
        ),
    }


def main() -> None:
    with failing_clearly():
        flags = parse(ReconScaleFlags, __doc__)
        from experiments import report, study

        study.set_up(flags)
        data = study.load_data(flags)
        folder = flags.folder / "recon_scale"
        rows, diverged = study.execute(flags, folder, runs(flags, data), partial(measure, data))
        if rows:
            written = figure(rows, folder, data)
            report.show(folder, rows, COLUMNS, verdict(rows), written, by=("recon_scale",))
        study.refuse_divergence(diverged)


if __name__ == "__main__":
    main()
