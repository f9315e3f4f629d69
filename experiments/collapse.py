"""Posterior collapse on CIFAR10, and what is to blame (C9, C10, C11, C12).

Runs, squared error: one net at the two scales of --recon-scale, the collapsing one first; at the
first scale 1 to 6 hidden layers in the decoder, and pixels in [-1, 1] (tanh output).
Measurement, on the whole test set: how much outputs vary with the input, and between a real and a
random code; the change of the negative ELBO when codes are shuffled between images; distances of
sampled codes beside distances of posterior means; KL, active units, MSE beside that of the mean
image; both loss terms at every training step from the first on.
Figures: strip.png (input, output, input, output, output of a random code), codes.png (C10 in one
picture), depth.png, terms.png, kl_per_unit.png.
Verdicts, at the first scale, for every seed (none for an MSE above 1.05 of the mean image's: it has
not learned even the best constant image yet):
C9 (inputs and random codes give nearly one output) HELD if outputs and random outputs vary by under
0.01 of the images' variance, and shuffling codes costs under 0.01 of what it costs at the second.
C10 (sampled codes differ, so the encoder is fine) HELD if the posterior means of two images are at
least half as far apart as their sampled codes.
C11 (more layers in the decoder do not help) HELD if at every depth no unit is active and the MSE
stays above 0.99 of the mean image's.
C12 (loss balance is the cause) HELD if in [-1, 1] the reconstruction term ends within a tenth of
that of a constant image ("near 0.2") while KL ends under 2 nats, and the same net at the second
scale halves that term; from where the KL falls, kl_first_nats and kl_peak_nats tell.
FAILED if any part is reversed for all seeds; else UNDECIDED.

Command: python -m experiments.collapse
Cost: full CIFAR10, three seeds, 3072-128-10-128-3072, four epochs: about 7 minutes on 2 cores.
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

DEPTHS = (1, 2, 3, 4, 5, 6)
SCALES = (1.0, 6000.0)
FAINT = 0.01
COLUMNS = {
    "kl_nats": ".1e",
    "active_units": ".1f",
    "mse": ".4f",
    "output_variance_ratio": ".1e",
    "random_output_ratio": ".1e",
    "shuffled_gap_nats": ".2f",
    "code_distance": ".2f",
    "mean_distance": ".3f",
    "recon_last": ".4f",
    "kl_first_nats": ".1f",
    "kl_peak_nats": ".1f",
    "collapse": "",
}
PAIR = [0, 1]  # the two test images of the strip and of the clouds


@dataclass(frozen=True, kw_only=True)
class CollapseFlags(Flags):
    """The shared flags, and this study's own."""

    steps: ClassVar[int] = 1560  # four epochs of CIFAR10
    dataset: str = "cifar10"
    likelihood: Likelihood = "gaussian"
    widths: tuple[int, ...] = (128,)
    latent_size: int = 10
    recon_scale: tuple[float, float] = SCALES
    """The collapsing scale, and one that is not."""
    depths: tuple[int, ...] | None = None
    """Hidden layers of the decoder. None: 1 to 6, or 1 with --quick."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.likelihood != "gaussian" or (self.output, self.pixel_range) != ("sigmoid", "unit"):
            raise LabError(
                "This study trains with squared error on both pixel ranges itself: leave "
                "--likelihood, --output and --pixel-range as they are."
            )
        if not 0 < self.recon_scale[0] < self.recon_scale[1]:
            raise LabError(f"--recon-scale {self.recon_scale}: give a small and a larger scale.")
        if self.latent_size < 2 or len(self.widths) != 1:
            raise LabError(
                f"--latent-size {self.latent_size}, --widths {self.widths}: use 2 latent units or "
                "more, to draw two, and one width, that of every layer of the decoders."
            )
        if 1 not in self.chosen_depths or min(self.chosen_depths) < 1:
            raise LabError(f"--depths {self.chosen_depths}: give 1 and other numbers above it.")

    @property
    def chosen_depths(self) -> tuple[int, ...]:
        return ((1,) if self.quick else DEPTHS) if self.depths is None else self.depths


def runs(flags: CollapseFlags, data: "Data") -> list["Run"]:
    config = partial(flags.config, data.shape, latent_size=flags.latent_size)
    low, width = flags.recon_scale[:1], flags.widths[0]
    found = []
    for depth in sorted(set(flags.chosen_depths)):
        deep = config(decoder_widths=(width,) * depth)
        scales = flags.recon_scale if depth == 1 else low
        found.append(flags.run(f"depth{depth}", data.split, deep, scales))
    signed = config(decoder_widths=(width,), pixel_range="signed", output="tanh")
    return [*found, flags.run("signed", data.split, signed, flags.recon_scale)]


def measure(data: "Data", run: "Run", saved: "Saved") -> list["Row"]:
    from experiments import study, views

    mean_image = views.mean_image(data)
    in_range = run.config.pixel_width**2
    known = {
        "depth": len(run.config.decoder_widths),
        "mean_image_mse": views.error_of(mean_image, data.test),
        "constant_recon": in_range * views.error_of(mean_image, data.train),  # as trained
    }
    return [
        row | known | views.ends_of_training(saved, lane)
        for lane, row in enumerate(study.collapse_rows(run, saved, data.test))
    ]


def figure(rows: list["Row"], folder: Path, data: "Data") -> list[Path]:
    import numpy as np

    from experiments import report, views
    from vaejax import charts, checkpoint, figures

    dataset, scales = rows[0]["dataset"], sorted({row["recon_scale"] for row in rows})
    depths = sorted({row["depth"] for row in rows})
    run, saved = checkpoint.restore(folder / "depth1")
    seed = f"seed {run.seeds[0]}"
    lanes = {f"scale {scale:g}": views.lane_at(run, scale) for scale in scales}

    two = data.test[PAIR]
    strips = {name: views.strip(data, run, saved, lane, two) for name, lane in lanes.items()}
    clouds = {name: views.cloud(run, saved, lane, two) for name, lane in lanes.items()}
    heat = {name: np.asarray(saved.trace.kl)[lane] for name, lane in lanes.items()}

    def depth_panel(name: str, label: str) -> figures.Panel:
        lines = {}
        for scale in scales:
            of_depth = partial(report.values, rows, name, recon_scale=scale)
            found = {depth: of_depth(run=f"depth{depth}") for depth in depths}
            trained = [depth for depth in depths if found[depth]]
            lines[f"scale {scale:g}"] = figures.Line(trained, [found[d] for d in trained])
        level = ("mean image", rows[0]["mean_image_mse"]) if name == "mse" else None
        return figures.Panel(label, "", lines, level, log_y=name == "kl_nats")

    labels = {"mse": "mean squared error", "kl_nats": "KL, nats", "active_units": "active units"}
    panels = [depth_panel(*pair) for pair in labels.items()]
    terms = []
    for name, pixels in (("depth1", "pixels in [0, 1]"), ("signed", "pixels in [-1, 1]")):
        if constant := report.values(rows, "constant_recon", run=name):
            terms += views.term_panels(*checkpoint.restore(folder / name), pixels, constant[0])
    drawn = {
        "strip": figures.strips(
            strips, f"{dataset}, {seed}: two inputs with outputs, output of a random code", 1.1
        ),
        "codes": charts.clouds(
            clouds, f"{dataset}, {seed}: codes of two images. Are they different, or only noisy?"
        ),
        "depth": figures.curves(
            panels, "hidden layers of the decoder", f"{dataset}: deeper decoders", log_x=False
        ),
        "terms": figures.curves(terms, "training step", f"{dataset}: both terms of the loss"),
        "kl_per_unit": charts.heatmaps(
            heat, "KL, nats", f"{dataset}, {seed}: KL of each latent unit", lowest=1e-6
        ),
    }
    return [figures.save(drawing, folder / f"{name}.png") for name, drawing in drawn.items()]


def verdict(rows: list["Row"]) -> dict[str, "Verdict"]:
    from experiments import report

    low_scale, high_scale = min(r["recon_scale"] for r in rows), max(r["recon_scale"] for r in rows)
    learned = [row for row in rows if row["mse"] <= 1.05 * row["mean_image_mse"]]
    low_rows = [row for row in learned if row["recon_scale"] == low_scale]
    high_rows = [row for row in rows if row["recon_scale"] > low_scale]

    def low(name: str, run: str = "depth1", times: float = 1) -> list[float]:
        return [times * value for value in report.values(low_rows, name, run=run)]

    def high(name: str, run: str = "depth1", times: float = 1) -> list[float]:
        return [times * value for value in report.values(high_rows, name, run=run)]

    deeper = {}
    for run in sorted({row["run"] for row in rows} - {"signed"}):
        deeper[f"{run}: active units"] = (low("active_units", run), [0.5])
        deeper[f"{run}: MSE"] = (low("mean_image_mse", run, 0.99), low("mse", run))
    gaps = [abs(gap) for gap in low("shuffled_gap_nats")]
    independent = {
        "output_variance_ratio": (low("output_variance_ratio"), [FAINT]),
        "random_output_ratio": (low("random_output_ratio"), [FAINT]),
        "shuffled_gap_nats": (gaps, high("shuffled_gap_nats", times=FAINT)),
    }
    means = {"distances": (low("code_distance", times=0.5), low("mean_distance"))}
    ends, constant = low("recon_last", "signed"), partial(low, "constant_recon", "signed")
    halved = (high("recon_last", "signed"), high("constant_recon", "signed", 0.5))
    balance = {
        "reconstruction ends near a constant image's, from above": (ends, constant(1.1)),
        "from below": (constant(0.9), ends),
        "KL ends under 2 nats": (low("kl_last_nats", "signed"), [2.0]),
        f"scale {high_scale:g} halves it": halved,
    }
    at = f"at scale {low_scale:g} every seed: "
    return {
        "C9": report.judge(
            f"{at}outputs, also of random codes, vary by under {FAINT} of the images' variance, "
            f"and shuffling codes costs under {FAINT} of what it costs at {high_scale:g}",
            independent,
        ),
        "C10": report.judge(
            f"{at}posterior means of two images are over half as far apart as sampled codes", means
        ),
        "C11": report.judge(
            f"{at}at every depth no unit is active and the MSE is over 0.99 of the mean image's",
            deeper,
        ),
        "C12": report.judge(
            f"{at}in [-1, 1] the reconstruction term ends within a tenth of a constant image's, KL "
            f"under 2 nats; the same net at {high_scale:g} halves that term",
            balance,
        ),
    }


def main() -> None:
    with failing_clearly():
        flags = parse(CollapseFlags, __doc__)
        from experiments import report, study

        study.set_up(flags)
        data = study.load_data(flags)
        folder = flags.folder / "collapse"
        rows, diverged = study.execute(flags, folder, runs(flags, data), partial(measure, data))
        if rows:
            written = figure(rows, folder, data)
            report.show(folder, rows, COLUMNS, verdict(rows), written, ("run", "recon_scale"))
        study.refuse_divergence(diverged)


if __name__ == "__main__":
    main()
