"""A VAE on very few images of CIFAR10: still blurry (C7), and of two images, their average (C8).

Runs: 200, 100 and 25 training images, and one batch of 2; squared error. The scales are lanes: the
smallest of --recon-scale is that of the claims, the others show when they stop being true (the
sizes take the smallest and the largest, the two images all). A run trains until each lane has
converged, at most 10,000 steps: the error, as a root mean square in units of the distance between
two images of the run, averaged over blocks of 1,000 steps, has moved by less than 0.02 twice in a
row. Counting steps instead would not do: at scale 1 an output bias may have to travel 2 units at a
learning rate of 1e-3.
Measurement, on the training images themselves, decoded from their posterior means: MSE beside that
of their mean, power above half of Nyquist left in the outputs. Of two images: the distance of each
output to the mean of both and to the nearer image, as fractions of the distance between the two
(the larger of the two outputs').
Figures: few_images.png, spectrum.png, two_images.png, distances.png (dashed: the threshold that the
two images predict; below it their average is the only stable solution).
Verdicts, at the smallest scale: C7 HELD if at every size every seed is left with under a tenth of
the power above half of Nyquist (a collapsed model outputs the mean image, and has none); C8 HELD if
every seed outputs the mean of both images to within a tenth of their distance; FAILED if reversed
for all seeds of a size; else, or if it did not converge, UNDECIDED.

Command: python -m experiments.few_images
Cost: CIFAR10, three seeds, 3072-64-10-64-3072: about 7 minutes on 2 cores.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from experiments.flags import Flags, failing_clearly, parse
from vaejax.config import Likelihood
from vaejax.errors import LabError

if TYPE_CHECKING:
    import numpy as np

    from experiments.report import Verdict
    from experiments.study import Data
    from vaejax.checkpoint import Saved
    from vaejax.config import Config, Run
    from vaejax.records import Row
    from vaejax.train import Trace

SIZES = (200, 100, 25)
QUICK_SIZES = (25,)
SCALES = (1.0, 30.0, 100.0, 300.0, 1000.0, 6000.0)
QUICK_SCALES = (1.0, 6000.0)
BATCH = 25
AVERAGE = 0.1
COLUMNS = {
    "steps": ".0f",
    "converged": "",
    "decoded_mean_mse": ".4f",
    "mean_image_mse": ".4f",
    "high_frequency_share": ".3f",
    "distance_to_mean": ".3f",
    "distance_to_nearer": ".3f",
    "kl_nats": ".2g",
    "collapse": "",
}
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class FewImagesFlags(Flags):
    """The shared flags, and this study's own."""

    steps: ClassVar[int] = 10_000
    dataset: str = "cifar10"
    likelihood: Likelihood = "gaussian"
    batch_size: int = BATCH
    widths: tuple[int, ...] = (64,)
    latent_size: int = 10
    images: tuple[int, ...] | None = None
    """How many training images. None: 200 100 25, or 25 with --quick; the two images come last."""
    recon_scale: tuple[float, ...] | None = None
    """Weights of the error averaged over pixels. None: 1 to 6000, or these two with --quick."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.scales)) < max(2, len(self.scales)):
            raise LabError(f"--recon-scale {self.scales}: give two or more, each once.")
        if len(set(self.sizes)) < len(self.sizes) or min(self.sizes, default=3) < 3:
            raise LabError(f"--images {self.sizes}: give numbers above 2, each once.")
        if self.likelihood != "gaussian" or self.kl_cycle:
            raise LabError(
                "This study measures distances of pixels until they rest: use --likelihood "
                "gaussian and no --kl-cycle."
            )

    @property
    def scales(self) -> tuple[float, ...]:
        chosen = QUICK_SCALES if self.quick else SCALES
        return chosen if self.recon_scale is None else tuple(sorted(self.recon_scale))

    @property
    def sizes(self) -> tuple[int, ...]:
        chosen = QUICK_SIZES if self.quick else SIZES
        return chosen if self.images is None else self.images


def runs(flags: FewImagesFlags, data: "Data") -> list["Run"]:
    def config(count: int) -> "Config":
        batch = min(flags.batch_size, count)
        return flags.config(data.shape, latent_size=flags.latent_size, batch_size=batch)

    ends = (flags.scales[0], flags.scales[-1])
    return [
        *(flags.run(f"n{n}", f"train[:{n}]", config(n), ends) for n in flags.sizes),
        flags.run("n2", "train[:2]", config(2), flags.scales),
    ]


def count_of(run: "Run") -> int:
    return int(run.name.removeprefix("n"))


def converged(data: "Data", run: "Run", trace: "Trace") -> "np.ndarray":
    """The rule that the page states, of each lane."""
    import jax
    import numpy as np

    from experiments.training import settled
    from vaejax import model

    n = count_of(run)
    x = model.to_pixels(run.config, jax.numpy.asarray(data.train[:n]), jax.random.key(0))
    apart = float(np.sqrt(2 * n / (n - 1) * np.asarray(x).var(0).mean()))
    warmup = int(run.lane(0)["kl_warmup"])
    return settled(np.asarray(trace.error)[:, warmup:], apart)


def measure(data: "Data", run: "Run", saved: "Saved") -> list["Row"]:
    from experiments import study, views

    images = data.train[: count_of(run)]
    inputs = views.unit_pixels(data, images)
    mean_image = inputs.mean(0)
    known = {"images": len(images), "mean_image_mse": views.error_of(mean_image, images)}
    unknown = {"distance_to_mean": None, "distance_to_nearer": None}
    settled, rows = converged(data, run, saved.trace), []
    for lane, row in enumerate(study.collapse_rows(run, saved, images)):
        row["converged"] = "yes" if settled[lane] else "no"
        outputs = views.outputs(data, run, saved, lane, images)
        pair = views.distances(outputs, inputs) if len(images) == 2 else unknown
        rows.append(row | known | views.sharpness(outputs, inputs, mean_image) | pair)
    return rows


def figure(rows: list["Row"], folder: Path, data: "Data") -> list[Path]:
    import numpy as np

    from experiments import report, views
    from vaejax import checkpoint, figures

    sizes = sorted({row["images"] for row in rows} - {2}, reverse=True)
    scales = sorted({row["recon_scale"] for row in rows})
    ends, name = (scales[0], scales[-1]), rows[0]["dataset"]

    def values(key: str, n: int, scale: float) -> list:
        return report.values(rows, key, images=n, recon_scale=scale)

    def outputs(n: int, scale: float) -> "np.ndarray":
        run, saved = checkpoint.restore(folder / f"n{n}")
        lane = views.lane_at(run, scale)
        return views.outputs(data, run, saved, lane, data.train[: min(n, SHOWN)])

    spectra = [
        views.spectrum_panel(
            f"{n} images",
            {f"scale {scale:g}": values("power_ratio", n, scale) for scale in ends},
            rows[0]["cycles_per_image"],
        )
        for n in sizes
    ]
    known = [scale for scale in scales if values("distance_to_mean", 2, scale)]
    lines = {
        f"to the {what}": figures.Line(known, [values(key, 2, scale) for scale in known])
        for what, key in (("average", "distance_to_mean"), ("nearer image", "distance_to_nearer"))
    }
    axis = "distance / distance of the two images"
    threshold = rows[-1]["threshold_scale"]
    mark = None if threshold is None else ("predicted threshold", threshold)
    pair = figures.Panel("", axis, lines, mark=mark)
    strips = {}
    for n in sizes:
        strips[f"{n} images"] = views.unit_pixels(data, data.train[: min(n, SHOWN)])
        strips |= {f"{n}, scale {scale:g}": outputs(n, scale) for scale in ends}
    both = views.unit_pixels(data, data.train[:2])
    two = {"images, average": np.concatenate([both, both.mean(0, keepdims=True)])}
    two |= {f"scale {scale:g}": outputs(2, scale) for scale in scales}
    seed = f"seed {rows[0]['seed']}"
    drawn = {
        "few_images": figures.strips(strips, f"{name}: training images and outputs, {seed}"),
        "spectrum": figures.curves(spectra, "cycles per image", f"{name}: power that is left"),
        "two_images": figures.strips(two, f"{name}: trained on two images, {seed}", side=1.0),
        "distances": figures.curves([pair], "recon_scale", f"{name}: outputs of two images"),
    }
    return [figures.save(drawing, folder / f"{file}.png") for file, drawing in drawn.items()]


def verdict(rows: list["Row"]) -> dict[str, "Verdict"]:
    from experiments import report
    from vaejax.spectrum import BLURRED

    first = min(row["recon_scale"] for row in rows)

    def of(name: str, images: int) -> list[float]:
        found = report.values(rows, name, images=images, recon_scale=first)
        done = report.values(rows, "converged", images=images, recon_scale=first)
        return [
            value if ok == "yes" else float("nan") for value, ok in zip(found, done, strict=True)
        ]

    sizes = sorted({row["images"] for row in rows} - {2})
    blurred = {f"{n} images": (of("high_frequency_share", n), [BLURRED]) for n in sizes}
    average = {"2 images": (of("distance_to_mean", 2), [AVERAGE])}
    at = f"at scale {first:g} every seed"
    share = f"on every number of images, keeps under {BLURRED} of the power above half of Nyquist"
    near = f"on two images, outputs their average to within {AVERAGE} of their distance"
    return {
        "C7": report.judge(f"{at}, {share}", blurred),
        "C8": report.judge(f"{at}, {near}", average),
    }


def main() -> None:
    with failing_clearly():
        flags = parse(FewImagesFlags, __doc__)
        from experiments import report, study

        study.set_up(flags)
        data = study.load_data(flags)
        folder = flags.folder / "few_images"
        measured, rule = partial(measure, data), partial(converged, data)
        rows, diverged = study.execute(flags, folder, runs(flags, data), measured, rule)
        if rows:
            written = figure(rows, folder, data)
            by = ("images", "recon_scale")
            report.show(folder, rows, COLUMNS, verdict(rows), written, by)
        study.refuse_divergence(diverged)


if __name__ == "__main__":
    main()
