"""Draw the two pictures of README from studies that have run:

python -m experiments.recon_scale
python -m experiments.recon_scale --dataset digits
python docs/pictures.py

The second one is of the explorer's page in a Chromium without a window.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

import vaejax as vj
from experiments.explore import FILE, ExploreFlags, explore

FIGURES = Path(__file__).resolve().parent / "figures"
SHOWN = 10
WHAT = (
    "Scale: recon_scale, the weight of the error. [-1, 1]: the range of the pixels, in which an "
    "error is four times as large.\nThe codes are the posterior means."
)


@dataclass(frozen=True, kw_only=True)
class PictureFlags:
    checkpoints: Path = Path("checkpoints")
    """The folder with a folder for each data set."""


def is_signed(run: vj.Run) -> bool:
    return run.config.pixel_range == "signed"


def collapse_and_cure(study: Path) -> Any:
    """Inputs and outputs of recon_scale at the smallest and largest scale: of both latent sizes
    with pixels in [0, 1], and of the larger one in [-1, 1], which is the write-up's range."""
    trained = [vj.store.restore(folder.parent) for folder in study.glob("z*/config.json")]
    trained.sort(key=lambda one: (is_signed(one.run), one.run.config.latent_size))
    chosen = [one for one in trained if not is_signed(one.run)] + trained[-1:]
    images = vj.study.images_of(chosen[0].run, "test").images[:SHOWN]
    flat = images.reshape(SHOWN, -1)
    strips = {"input": vj.study.unit_pixels(flat, chosen[0].run.config.image_shape)}
    for end, shown in ((min, chosen[:1] + chosen[-1:]), (max, chosen)):
        for one in shown:
            scale = end(lane["recon_scale"] for lane in one.run.lanes)
            where = "[-1, 1]" if is_signed(one.run) else "[0, 1]"
            label = f"scale {scale:g}, {where}\n{one.run.config.latent_size} latent units"
            strips[label] = vj.study.outputs(one, vj.study.lane_at(one.run, scale), flat)
    return vj.show.strips(strips, "CIFAR-10 (JPEG copy): collapse, and what ends it", 0.7)


def photograph(study: Path, target: Path) -> None:
    """The explorer's page of recon_scale on the digits, with its slider above the threshold: from
    the curves to the codes of two images."""
    explore(ExploreFlags(folder=study))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        page.goto((study / FILE).resolve().as_uri())
        page.press("#scale", "ArrowRight")
        page.locator("#scale").blur()
        top, end = (page.locator(name).bounding_box() for name in (".card >> nth=0", ".pair"))
        assert top
        assert end
        clip = {**top, "height": end["y"] + end["height"] - top["y"]}
        page.screenshot(path=target, full_page=True, animations="disabled", clip=clip)
        chromium.close()


def main() -> None:
    with vj.study.failing_clearly():
        folder = vj.study.parse(PictureFlags, __doc__).checkpoints
        study = folder / "cifar10" / "recon_scale"
        ran = vj.store.findings.read_about(study)["invocations"][0]["command"]
        caption = f"{ran}, seed 0\n{WHAT}"
        vj.show.save(collapse_and_cure(study), FIGURES, "collapse_and_cure", caption=caption)
        photograph(folder / "digits" / "recon_scale", FIGURES / "explorer.png")


if __name__ == "__main__":
    main()
