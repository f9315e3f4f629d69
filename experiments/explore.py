"""One self-contained HTML page in which trained models run: encode test images or a digit that you
draw, move through the code, and, for a study of several recon_scales, watch a posterior collapse
and its units wake as a slider moves over the threshold that the images predict. Such a page also
shows one image at every scale, and what a model decodes on the way from one image to another.

Command: python -m experiments.explore checkpoints/mnist/recon_scale
FOLDER is that of a run (it holds config.json) or of a study (it holds the folders of runs). Needs
the data set that the models were trained on. The page needs no network and no server: open the
file. Its encoder and decoder are those of the checkpoint; where the page would be larger than 6 MB
their weights are rounded to float16 (--weights). Nets of your own run in Python only and are
refused.

Cost: seconds; half a minute for images of 3072 pixels. A model of 784-400-10-400-784 takes 3.4 MB
of the page, and 1.7 MB in float16; 400 test images of MNIST take 0.4 MB. All that recon_scale
trains on MNIST is 8 MB, its run z10 alone (--runs z10) 3.7 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

import vaejax as vj

FILE = "explore.html"


@dataclass(frozen=True, kw_only=True)
class ExploreFlags:
    """What to show."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder of a run, or of a study that holds runs."""
    seed: int | None = None
    """Show the models of this seed. None: the first seed of each run."""
    runs: tuple[str, ...] = ()
    """Show only the runs of these names, of those in the folder of a study. None named: all."""
    dataset: str | None = None
    """Where the images are now, if they have moved since the training."""
    images: int = 400
    """Test images on the page, from the first on."""
    weights: Literal["float16", "float32"] | None = None
    """How weights are stored. float32: exactly. float16: off by less than a 2000th of themselves.
    None: float32 if the page is then under 6 MB, else float16."""
    out: Path | None = None
    """The file to write, or a folder for it. None: explore.html in FOLDER."""

    def __post_init__(self) -> None:
        vj.study.at_least("--images", 2, self.images)


def explore(flags: ExploreFlags) -> None:
    """Write the page, and say how large it is and what it does not show."""
    vj.study.environment.prepare()
    folder = vj.files.own_path(flags.folder)
    chosen = vj.explorer.exploration.choose(folder, flags.seed, flags.runs)
    parts = [
        part._replace(run=vj.study.laboratory.with_images_at(part.run, flags.dataset))
        for part in chosen.parts
    ]
    chosen = chosen._replace(parts=parts)
    weights = flags.weights or vj.explorer.exploration.weights_that_fit(chosen.parts, flags.images)
    found = vj.explorer.exploration.explore(folder, chosen, flags.images, weights)
    path = vj.files.own_path(flags.out or folder)
    if path.is_dir():
        path /= FILE
    vj.show.save_page(vj.explorer.page.explorer_page(*found), path)

    out = vj.study.terminal.console()
    for line in found.page["left_out"]:
        out.print(f"left out: {line}", soft_wrap=True)
    models = sum(len(part["models"]) for part in found.page["parts"])
    size = path.stat().st_size / vj.explorer.exploration.MEGABYTE
    vj.study.terminal.show_paths(out, path)
    out.print(f"{size:.1f} MB, {models} model{'s' * (models > 1)}")


def main() -> None:
    with vj.study.failing_clearly():
        explore(vj.study.parse(ExploreFlags, __doc__))


if __name__ == "__main__":
    main()
