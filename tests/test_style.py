"""vaejax.show.style: every figure becomes the same file each time, nothing in it lies on anything
else, its panels lie in rows, and there is no pyplot."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from tests.test_charts import LONG as MANY_STEPS
from tests.test_latent import CLOUDS, LABELS, POINTS
from tests.test_lines import LINE, LONG
from tests.test_pictures import GREY, RGB
from vaejax import show
from vaejax.show import Dots, Panel

FIGURES: dict[str, Callable[[], Figure]] = {
    "grids, grey": lambda: show.grids([{"a": GREY}], 3, "title"),
    "grids, rgb": lambda: show.grids([{"a": RGB, "b": RGB[:2]}, {"c": RGB}], 2, "title"),
    "strips, grey": lambda: show.strips({"input": GREY}, "title"),
    "strips, rgb": lambda: show.strips({"input": RGB, "output": RGB[:3]}, "title"),
    "curves": lambda: show.curves([Panel("a", "nats", {"vae": LINE})], "latent size", "title"),
    "curves, many": lambda: show.curves(
        [
            Panel("a", "nats", {"vae": LINE, "ae": LINE}, floor=("floor", 0.2)),
            Panel("b", "mse", {"vae": LINE}, log_y=True),
        ],
        "latent size",
        "title",
    ),
    "curves, long": lambda: show.curves(
        [Panel("a", "nats", {"vae": LONG}, mark=("warm", 100.0))] * 2, "step", "title"
    ),
    "codes": lambda: show.codes({"vae": POINTS}, LABELS, "title"),
    "codes, many": lambda: show.codes({"vae": POINTS, "ae": POINTS}, LABELS, "title"),
    "codes, 30 classes": lambda: show.codes({"vae": POINTS}, np.arange(30), "title"),
    **{
        f"heat maps, {count}": lambda count=count: show.heatmaps(
            dict.fromkeys("abcd"[:count], MANY_STEPS[:, :8]), "KL, nats", "title", 1e-3
        )
        for count in (1, 2, 4)
    },
    **{
        f"clouds, {count}": lambda count=count: show.clouds(
            dict.fromkeys("abcd"[:count], CLOUDS["healthy"]), "title"
        )
        for count in (1, 2, 4)
    },
    "dots": lambda: show.dots([Dots("a", {"one": [1.0, 2.0], "two": [3.0]})], "title"),
    "dots, marked": lambda: show.dots(
        [
            Dots(name, {"one": [1.0, 2.0], "two": [3.0]}, (f"mark {name}", 1.5))
            for name in ("a", "b")
        ],
        "title",
    ),
}
KINDS = (
    "grids, grey", "strips, rgb", "curves, many", "codes", "heat maps, 1", "clouds, 2",
    "dots, marked",
)  # fmt: skip
"""One figure of each kind, which is saved in all formats."""
FORMATS = ("png", "svg", "pdf")
CAPTION = (
    f"python -m experiments.blur --dataset digits{' --latent-sizes 2 enough' * 9}\nSeeds 0, 1."
)

MATPLOTLIBRC = """
font.size: 25
font.family: monospace
text.color: red
lines.linewidth: 9
axes.facecolor: yellow
figure.dpi: 37
figure.constrained_layout.h_pad: 1
savefig.dpi: 20
savefig.facecolor: red
savefig.transparent: True
savefig.pad_inches: 2
svg.fonttype: none
pdf.fonttype: 42
path.simplify: False
backend: nonsense
"""
"""Settings of a user, none of which counts."""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], list[str]]:
    """The folder of each figure, saved by a process of its own for a user who likes other figures,
    and all modules of that process."""
    root = tmp_path_factory.mktemp("figures")
    (root / "matplotlibrc").write_text(MATPLOTLIBRC)
    folders = {name: root / str(index) for index, name in enumerate(FIGURES)}
    code = f"""
import sys
import tests.conftest
from pathlib import Path
from tests.test_style import CAPTION, FIGURES, FORMATS, KINDS
from vaejax import show
for index, (name, draw) in enumerate(FIGURES.items()):
    folder, formats = Path({str(root)!r}, str(index)), FORMATS if name in KINDS else ["png"]
    paths = show.save(draw(), folder, "drawn", formats, CAPTION)
    assert paths == [folder / f"drawn.{{kind}}" for kind in formats]
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"MATPLOTLIBRC": str(root / "matplotlibrc")},
        capture_output=True,
        text=True,
        check=True,
    )
    return folders, done.stdout.split()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_becomes_a_png(saved: tuple[dict[str, Path], list[str]], name: str) -> None:
    folder = saved[0][name]
    assert FIGURES[name]().get_suptitle() == "title"
    with Image.open(folder / "drawn.png") as image:
        assert image.format == "PNG"
        assert np.ptp(np.asarray(image.convert("L"))) > 200  # ink on paper
    written = FORMATS if name in KINDS else ["png"]
    assert {path.name for path in folder.iterdir()} == {f"drawn.{kind}" for kind in written}


class Witness(Artist):
    """A part of a figure that shows nothing and notes where the others were drawn last."""

    def __init__(self, figure: Figure) -> None:
        super().__init__()
        self.set_in_layout(False)
        self.set_zorder(math.inf)
        self.legends: list[Bbox] = []
        self.axes_: list[Bbox] = []
        self.caption = Bbox.null()
        figure.add_artist(self)

    def draw(self, renderer: Any) -> None:
        figure = self.get_figure()
        assert isinstance(figure, Figure)
        self.legends = [legend.get_window_extent(renderer) for legend in figure.legends]
        self.axes_ = [axes.get_tightbbox(renderer) or Bbox.null() for axes in figure.axes]
        self.caption = figure.texts[-1].get_window_extent(renderer)


@pytest.mark.parametrize("name", KINDS)
def test_a_figure_that_is_drawn_again_is_the_same_bytes_and_nothing_lies_on_anything_else(
    name: str, saved: tuple[dict[str, Path], list[str]], tmp_path: Path
) -> None:
    """In another process, with other hashes of words and with a matplotlibrc of the user."""
    figure = FIGURES[name]()
    witness = Witness(figure)
    for path in show.save(figure, tmp_path, "drawn", FORMATS, CAPTION):
        assert path.read_bytes() == (saved[0][name] / path.name).read_bytes(), path.suffix
    assert figure.texts[-1].get_text().strip() == CAPTION
    apart = [*witness.legends, *witness.axes_]
    assert all(witness.caption.y1 < part.y0 for part in apart)
    for legend in witness.legends:
        inside = legend.padded(-1)  # pixels are round
        assert not any(inside.overlaps(axes) for axes in witness.axes_)
    has_legend = name.split(",")[0] in ("curves", "clouds", "dots")
    assert len(witness.legends) == has_legend
    assert not any(axes.get_legend() for axes in figure.axes)


@pytest.mark.parametrize("name", KINDS)
def test_the_caption_is_text_of_the_svg(
    name: str, saved: tuple[dict[str, Path], list[str]]
) -> None:
    """Two dashes cannot stand in a comment, which is where matplotlib has the text of its paths."""
    text = (saved[0][name] / "drawn.svg").read_text().replace("- -", "--")
    assert [line for line in CAPTION.splitlines() if line not in text] == []


def test_a_figure_needs_no_caption(tmp_path: Path) -> None:
    figure = FIGURES["curves"]()
    assert show.save(figure, tmp_path, "drawn") == [tmp_path / "drawn.png"]
    assert [text.get_text() for text in figure.texts] == ["title"]


def test_drawing_and_saving_leave_pyplot_unloaded(
    saved: tuple[dict[str, Path], list[str]],
) -> None:
    assert "matplotlib.figure" in saved[1]
    assert "matplotlib.pyplot" not in saved[1]


@pytest.mark.parametrize(
    ("panels", "rows"),
    [(1, [1]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (6, [3, 3]), (8, [2, 2, 2, 2])],
)
def test_panels_lie_in_rows_of_axes(panels: int, rows: list[int]) -> None:
    names = "abcdefgh"[:panels]
    figure = show.curves([Panel(name, "", {"vae": LINE}) for name in names], "x", "title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(names)
    figure.draw_without_rendering()
    corners = [(-round(axes.get_position().y1, 3), axes.get_position().x0) for axes in figure.axes]
    assert corners == sorted(corners)
    tops = [top for top, _ in corners]
    assert [tops.count(top) for top in dict.fromkeys(tops)] == rows
