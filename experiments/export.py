"""Write a trained model for other programs: its weights as npz, safetensors or ONNX, and the codes
of its images, or of any others, as npz or CSV.

Command: python -m experiments.export checkpoints/mnist/latent_size/z2 --format safetensors
    --codes test
Weights have the settings of the run beside them, as JSON. ONNX is two models, encoder and decoder.
`experiments.diagnose` reads the codes; they need the data set that the model was trained on.
`--new ./pictures` writes the codes, the reconstructions and the negative ELBO of images that the
model has not seen. The negative ELBO is a score of how unlike its training images each is.
safetensors and ONNX need a package more: python -m pip install safetensors onnx

Cost: seconds. The codes of 10,000 images of MNIST take 63 MB as npz, with the images and their
reconstructions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

import vaejax as vj


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """What to write."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of a run: the one that holds config.json."""
    format: Literal["npz", "safetensors", "onnx"] | None = None
    """How to write the weights. None: they are not written."""
    codes: tuple[Literal["train", "test"], ...] = ()
    """Write the codes of these images; train: those that the model was trained on."""
    new: str | None = None
    """Write the codes of these images, too: a path or the name of a data set, see --dataset of a
    study. They are resized and coloured as those of the run."""
    white: float | None = None
    """The number that stands for white in the images of --new. None: 255 of bytes, 1 of floats."""
    dataset: str | None = None
    """Where the images of the run are now, if they have moved since the training."""
    codes_format: Literal["npz", "csv"] = "npz"
    """npz: means, log variances, images, reconstructions, the negative ELBO of each image and its
    label; csv: a line for each image with its label, negative ELBO, means and log variances."""
    images: int | None = None
    """Codes of only so many images, from the first on. None: all."""
    lane: int = 0
    """Which of the models trained side by side: 0 is the one of the first seed."""
    nets: str | None = None
    """MODULE:NAME of the nets of the run, if they are your own: my_nets:CONV."""
    out: Path | None = None
    """The folder to write into. None: FOLDER itself."""

    def __post_init__(self) -> None:
        vj.study.at_least("--images", 1, self.images)
        if self.codes:
            vj.study.each_once("--codes", self.codes)
        if self.white is not None and self.new is None:
            raise vj.LabError("--white goes with --new.")
        if self.format is None and not self.codes and self.new is None:
            raise vj.LabError("Nothing to write: give --format, --codes or --new.")


def export(flags: ExportFlags) -> None:
    """Write what was asked for, and say where it is."""
    vj.study.environment.prepare()
    folder = vj.files.own_path(flags.folder)
    trained = vj.study.chosen_lane(vj.exchange.export.load(folder, flags.nets), flags.lane)
    start = f"{vj.files.own_path(flags.out or folder)}/lane{flags.lane}"
    written = []
    if flags.format is not None:
        written += vj.exchange.export.write_weights(trained, flags.format, start)
    for name, images in image_sets(flags, trained.run).items():
        found = vj.data.Dataset(*(part[: flags.images] for part in images))
        codes = vj.exchange.export.codes_of(trained, found)
        kinds = {"npz": vj.exchange.codes.npz, "csv": vj.exchange.export.csv}
        written.append(Path(f"{start}-{name}.{flags.codes_format}"))
        vj.files.write_bytes(written[-1], kinds[flags.codes_format](codes))
    out = vj.study.terminal.console()
    vj.study.terminal.show_paths(out, *written)
    if trained.state.diverged[0]:
        out.print("This lane diverged: written are the weights of its last good epoch.")


def image_sets(flags: ExportFlags, run: vj.Run) -> dict[str, vj.data.Dataset]:
    """The images whose codes were asked for, by the name of the set."""
    run = vj.study.laboratory.with_images_at(run, flags.dataset)
    sets = {split: vj.study.images_of(run, split) for split in flags.codes}
    if flags.new is None:
        return sets
    return {**sets, "new": vj.study.laboratory.images_like(run, flags.new, flags.white)}


def main() -> None:
    with vj.study.failing_clearly():
        export(vj.study.parse(ExportFlags, __doc__))


if __name__ == "__main__":
    main()
