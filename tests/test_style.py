"""vaejax.show.style: every figure becomes a PNG, its panels lie in rows, and there is no pyplot."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
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
        [Panel("a", "nats", {"vae": LONG}, mark=("warm", 100.0))] * 5, "step", "title"
    ),
    "codes": lambda: show.codes({"vae": POINTS}, LABELS, "title"),
    "codes, many": lambda: show.codes({"vae": POINTS, "ae": POINTS}, LABELS, "title"),
    "codes, 30 classes": lambda: show.codes({"vae": POINTS}, np.arange(30), "title"),
    **{
        f"heat maps, {count}": lambda count=count: show.heatmaps(
            dict.fromkeys("abcd"[:count], MANY_STEPS), "KL, nats", "title", 1e-3
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
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], list[str]]:
    """The path of each figure, saved by a process of its own, and all modules of that process."""
    folder = tmp_path_factory.mktemp("figures")
    paths = {name: folder / str(index) / "figure.png" for index, name in enumerate(FIGURES)}
    code = f"""
import sys
import tests.conftest
from pathlib import Path
from tests.test_style import FIGURES
from vaejax import show
for name, draw in FIGURES.items():
    path = Path({str(folder)!r}) / str(list(FIGURES).index(name)) / "figure.png"
    assert show.save(draw(), path) == path
print(*sys.modules)
"""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    return paths, done.stdout.split()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_becomes_a_png(saved: tuple[dict[str, Path], list[str]], name: str) -> None:
    path = saved[0][name]
    assert FIGURES[name]().get_suptitle() == "title"
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.ptp(np.asarray(image.convert("L"))) > 200  # ink on paper
    assert list(path.parent.iterdir()) == [path]


def test_drawing_and_saving_leave_pyplot_unloaded(
    saved: tuple[dict[str, Path], list[str]],
) -> None:
    assert "matplotlib.figure" in saved[1]
    assert "matplotlib.pyplot" not in saved[1]


@pytest.mark.parametrize(
    ("panels", "rows"), [(1, [1]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (6, [3, 3])]
)
def test_panels_lie_in_rows_of_axes(panels: int, rows: list[int]) -> None:
    names = "abcdef"[:panels]
    figure = show.curves([Panel(name, "", {"vae": LINE}) for name in names], "x", "title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(names)
    figure.draw_without_rendering()
    corners = [(-round(axes.get_position().y1, 3), axes.get_position().x0) for axes in figure.axes]
    assert corners == sorted(corners)
    tops = [top for top, _ in corners]
    assert [tops.count(top) for top in dict.fromkeys(tops)] == rows
