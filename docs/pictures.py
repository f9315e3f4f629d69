"""Draw the three pictures of README from studies that have run:

python -m experiments.latent_size
python -m experiments.recon_scale --dataset cifar10
python -m experiments.phase_diagram --dataset mnist
python docs/pictures.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vaejax as vj
from experiments import phase_diagram

FIGURES = Path(__file__).resolve().parent / "figures"
SAMPLES, ACROSS, SHOWN = 36, 6, 10


@dataclass(frozen=True, kw_only=True)
class PictureFlags:
    checkpoints: Path = Path("checkpoints")
    """The folder with a folder for each data set."""


def test_images(run: vj.Run, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first test images of the data set of a run: flat bytes, and pictures."""
    images = vj.lab.images_of(run, "test").images[:count]
    flat = images.reshape(count, -1)
    return flat, vj.lab.unit_pixels(flat, run.config.image_shape)


def collapse_and_cure(study: Path) -> Any:
    """Inputs and outputs of recon_scale, of both latent sizes, at the smallest and largest
    scale."""
    folders = sorted(study.glob("z*"), key=lambda path: int(path.name[1:]))
    models = [vj.store.restore(folder) for folder in folders]
    flat, pictures = test_images(models[0].run, SHOWN)
    strips = {"input": pictures}
    for end in (min, max):
        for trained in models:
            scale = end(lane["recon_scale"] for lane in trained.run.lanes)
            label = f"recon_scale {scale:g}\n{trained.run.config.latent_size} latent units"
            lane = vj.lab.lane_at(trained.run, scale)
            strips[label] = vj.lab.outputs(trained, lane, flat)
    return vj.show.strips(strips, "CIFAR-10 (JPEG copy): collapse, and its cure", 0.7)


def latent_sizes(study: Path) -> Any:
    """Prior samples of 2, 4 and 10 latent units beside test images."""
    panels: dict[str, np.ndarray] = {}
    for size in (2, 4, 10):
        trained = vj.store.restore(study / f"z{size}")
        panels |= {} if panels else {"test images": test_images(trained.run, SAMPLES)[1]}
        panels[f"{size} latent units"] = vj.lab.samples(trained, 0, SAMPLES)
    return vj.show.grids([panels], ACROSS, "MNIST: images that VAEs generate")


def predicted_and_measured(study: Path) -> Any:
    """Active directions and KL with squared error, and the predicted curves."""
    rows = vj.store.records.read(study / vj.lab.recording.RESULTS)
    panels = phase_diagram.panels(rows, "gaussian")[:2]
    return vj.show.curves(
        panels, "recon_scale / predicted threshold", "MNIST: predicted from the images, measured"
    )


def is_gaussian(row: vj.store.Row) -> bool:
    return row["config"]["likelihood"] == "gaussian"


def main() -> None:
    with vj.lab.failing_clearly():
        folder = vj.lab.parse(PictureFlags, __doc__).checkpoints
        for name, draw, study in (
            ("collapse_and_cure", collapse_and_cure, "cifar10/recon_scale"),
            ("latent_sizes", latent_sizes, "mnist/latent_size"),
            ("phase_diagram", predicted_and_measured, "mnist/phase_diagram"),
        ):
            ran = vj.lab.findings.read_about(folder / study)["invocations"][0]["command"]
            rows = vj.store.records.read(folder / study / vj.lab.recording.RESULTS)
            rows = [row for row in rows if name != "phase_diagram" or is_gaussian(row)]
            caption = vj.lab.about.caption(ran, rows)
            (path,) = vj.show.save(draw(folder / study), FIGURES, name, caption=caption)
            print(f"wrote {path.relative_to(FIGURES.parents[1])}")


if __name__ == "__main__":
    main()
