"""The recipe that works on MNIST, on CIFAR10: it reconstructs only blur (C6).

Runs: the VAE of experiments.latent_size (Bernoulli likelihood at the scale of the true ELBO), all
seeds side by side in one program; --dataset mnist is the same recipe at home.
Measurement, on the test set: MSE beside that of the mean image; MSE of decoded posterior means
beside that of as many principal components; power of these outputs over power of the images at
each spatial frequency, averaged over directions, the mean image taken out of both; from it, as
numbers, what is left above half of Nyquist (high_frequency_share) and the frequency at which half
is lost (half_power_cycles).
Figures: spectrum.png, reconstructions.png.
Verdict: C6 HELD if every seed reconstructs something (its MSE is below that of the mean image) but
only blur (under a tenth of the power above half of Nyquist is left); FAILED if either is reversed
for all seeds; else UNDECIDED.

Command: python -m experiments.blur
Cost: full CIFAR10, three seeds, 3072-400-10-400-3072, twelve epochs: about 5 minutes on 2 cores.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.flags import Flags, failing_clearly, parse
from vaejax.errors import LabError

if TYPE_CHECKING:
    import numpy as np

    from experiments.report import Verdict
    from experiments.study import Data
    from vaejax.checkpoint import Saved
    from vaejax.config import Run
    from vaejax.records import Row
    from vaejax.theory import PCA

COLUMNS = {
    "mse": ".4f",
    "mean_image_mse": ".4f",
    "decoded_mean_mse": ".4f",
    "pca_decoded_mean_mse": ".4f",
    "high_frequency_share": ".4f",
    "pca_high_frequency_share": ".4f",
    "half_power_cycles": ".2f",
    "kl_nats": ".2f",
    "neg_elbo_nats": ".1f",
    "collapse": "",
}
SPECTRUM_IMAGES = 2000
SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class BlurFlags(Flags):
    """The shared flags, and this study's own."""

    dataset: str = "cifar10"
    latent_sizes: tuple[int, ...] = (10,)
    recon_scale: float | Literal["elbo"] = "elbo"
    """Weight of the error averaged over pixels; elbo: that of the true ELBO."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.latent_sizes or len(set(self.latent_sizes)) < len(self.latent_sizes):
            raise LabError(f"--latent-sizes {self.latent_sizes}: give one or more, each once.")


def runs(flags: BlurFlags, data: "Data") -> list["Run"]:
    return [
        flags.run(
            f"z{size}", data.split, flags.config(data.shape, latent_size=size), (flags.recon_scale,)
        )
        for size in flags.latent_sizes
    ]


def components(data: "Data", space: "PCA", images: "np.ndarray", size: int) -> "np.ndarray":
    """Flat images, compressed to `size` principal components: what the best linear code keeps."""
    from experiments import views
    from vaejax import theory

    pixels = views.unit_pixels(data, images).reshape(len(images), -1)
    return theory.compress(space, pixels, size).reshape(-1, *data.shape)


def measure(data: "Data", space: "PCA", run: "Run", saved: "Saved") -> list["Row"]:
    from experiments import study, views

    size, few = run.config.latent_size, data.test[:SPECTRUM_IMAGES]
    inputs, mean_image = views.unit_pixels(data, few), views.mean_image(data)
    linear = views.sharpness(components(data, space, few, size), inputs, mean_image)
    reference = {f"pca_{name}": value for name, value in linear.items()} | {
        "mean_image_mse": views.error_of(mean_image, data.test),
    }
    return [
        row
        | reference
        | views.sharpness(views.outputs(data, run, saved, lane, few), inputs, mean_image)
        for lane, row in enumerate(study.collapse_rows(run, saved, data.test))
    ]


def figure(rows: list["Row"], folder: Path, data: "Data", space: "PCA") -> list[Path]:
    import numpy as np

    from experiments import report, views
    from vaejax import checkpoint, figures

    sizes = sorted({row["latent_size"] for row in rows})

    def ratios(name: str, size: int) -> list:
        return report.values(rows, name, latent_size=size)

    lines = {f"VAE, {size} units": ratios("power_ratio", size) for size in sizes}
    lines |= {f"PCA, {size} components": ratios("pca_power_ratio", size) for size in sizes}
    panel = views.spectrum_panel("", lines, rows[0]["cycles_per_image"])
    about = f"{rows[0]['dataset']}, {rows[0]['config']['likelihood']} likelihood"
    curve = figures.curves([panel], "cycles per image", f"{about}: power that is left")

    images = data.test[:SHOWN]
    strips = {"input": views.unit_pixels(data, images)}
    for size in sizes:
        run, saved = checkpoint.restore(folder / f"z{size}")
        strips[f"VAE, {size} units"] = views.outputs(data, run, saved, 0, images)
        strips[f"PCA, {size} comp."] = components(data, space, images, size)
    strips["mean image"] = np.broadcast_to(views.mean_image(data), (SHOWN, *data.shape))
    title = f"{about}: reconstructions, seed {rows[0]['seed']}"
    return [
        figures.save(curve, folder / "spectrum.png"),
        figures.save(figures.strips(strips, title), folder / "reconstructions.png"),
    ]


def verdict(rows: list["Row"]) -> dict[str, "Verdict"]:
    from experiments import report
    from vaejax.spectrum import BLURRED

    comparisons = {}
    for size in sorted({row["latent_size"] for row in rows}):

        def of(name: str, size: int = size) -> list[float]:
            return report.values(rows, name, latent_size=size)

        comparisons[f"{size} units: mse below the mean image's"] = (of("mse"), of("mean_image_mse"))
        share = of("high_frequency_share")
        comparisons[f"{size} units: high_frequency_share under {BLURRED}"] = (share, [BLURRED])
    rule = (
        "every seed has a lower MSE than the mean image, and under a tenth of the images' power "
        "above half of Nyquist"
    )
    return {"C6": report.judge(rule, comparisons)}


def main() -> None:
    with failing_clearly():
        flags = parse(BlurFlags, __doc__)
        from experiments import report, study
        from vaejax import theory

        study.set_up(flags)
        data = study.load_data(flags)
        folder = flags.folder / "blur"
        space = theory.pca(data.train, max(flags.latent_sizes))
        measured = partial(measure, data, space)
        rows, diverged = study.execute(flags, folder, runs(flags, data), measured)
        if rows:
            report.show(folder, rows, COLUMNS, verdict(rows), figure(rows, folder, data, space))
        study.refuse_divergence(diverged)


if __name__ == "__main__":
    main()
