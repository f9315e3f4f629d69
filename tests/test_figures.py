"""vaejax.figures: what is drawn is what was given."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from vaejax import figures
from vaejax.figures import Line, Panel

RNG = np.random.default_rng(0)
GREY = RNG.random((5, 4, 3, 1))
RGB = RNG.random((5, 4, 3, 3))
LINE = Line([2, 4, 10], [[3.0, 1.0], [5.0], [0.5, 0.7, 0.9]])
LONG = Line(range(1, 4001), [[4000.0 - step] for step in range(4000)])
POINTS, LABELS = RNG.normal(size=(30, 2)), RNG.permutation(30) % 10

FIGURES: dict[str, Callable[[], Figure]] = {
    "grids, grey": lambda: figures.grids([{"a": GREY}], 3, "title"),
    "grids, rgb": lambda: figures.grids([{"a": RGB, "b": RGB[:2]}, {"c": RGB}], 2, "title"),
    "strips, grey": lambda: figures.strips({"input": GREY}, "title"),
    "strips, rgb": lambda: figures.strips({"input": RGB, "output": RGB[:3]}, "title"),
    "curves": lambda: figures.curves([Panel("a", "nats", {"vae": LINE})], "latent size", "title"),
    "curves, many": lambda: figures.curves(
        [
            Panel("a", "nats", {"vae": LINE, "ae": LINE}, floor=("floor", 0.2)),
            Panel("b", "mse", {"vae": LINE}, log_y=True),
        ],
        "latent size",
        "title",
    ),
    "curves, long": lambda: figures.curves(
        [Panel("a", "nats", {"vae": LONG}, mark=("warm", 100.0))] * 5, "step", "title"
    ),
    "codes": lambda: figures.codes({"vae": POINTS}, LABELS, "title"),
    "codes, many": lambda: figures.codes({"vae": POINTS, "ae": POINTS}, LABELS, "title"),
    "codes, 30 classes": lambda: figures.codes({"vae": POINTS}, np.arange(30), "title"),
}


def legends(figure: Figure) -> list[list[str]]:
    """What each says, those of the axes after those of the figure."""
    own = [axes.get_legend() for axes in figure.axes]
    found = [*figure.legends, *(legend for legend in own if legend)]
    return [[text.get_text() for text in legend.get_texts()] for legend in found]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_becomes_a_png(tmp_path: Path, name: str) -> None:
    figure = FIGURES[name]()
    assert figure.get_suptitle() == "title"
    path = figures.save(figure, tmp_path / "new" / "figure.png")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.ptp(np.asarray(image.convert("L"))) > 200  # ink on paper
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("images", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("columns", [1, 2, 3, 5, 7])
def test_tiles_lie_in_reading_order_with_a_white_pixel_between(images, columns) -> None:
    canvas = figures.tile(images, columns)
    framed = np.pad(images, ((0, -5 % columns), (0, 1), (0, 1), (0, 0)), constant_values=1)
    framed[5:] = 1
    rows = [np.concatenate(list(row), 1) for row in framed.reshape(-1, columns, *framed.shape[1:])]
    np.testing.assert_array_equal(canvas, np.concatenate(rows)[:-1, :-1].astype(np.float32))


def test_tiles_are_clipped_to_black_and_white() -> None:
    pixels = np.array([-0.5, 0, 0.25, 1, 1.5]).reshape(1, 1, 5, 1)
    np.testing.assert_array_equal(figures.tile(pixels, 1).ravel(), [0, 0, 0.25, 1, 1])


def test_grids_show_every_image_unscaled_under_its_name() -> None:
    dim = RGB / 2
    figure = figures.grids([{"a": dim, "b": dim[:2]}, {"c": RGB}], 2, "title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b", "c"]
    for axes, images in zip(figure.axes, (dim, dim[:2], RGB), strict=True):
        (shown,) = axes.images
        assert shown.get_clim() == (0, 1)
        np.testing.assert_array_equal(shown.get_array(), figures.tile(images, 2))


def test_strips_show_their_rows_in_order() -> None:
    figure = figures.strips({"input": RGB, "output": RGB[:3]}, "title")
    assert [axes.get_ylabel() for axes in figure.axes] == ["input", "output"]
    for axes, images in zip(figure.axes, (RGB, RGB[:3]), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), figures.tile(images, len(images)))


def test_curves_are_means_in_a_band_from_least_to_most() -> None:
    panel = Panel("a", "nats", {"vae": LINE}, floor=("floor", 0.2))
    figure = figures.curves([panel], "latent size", "title")
    (axes,) = figure.axes
    curve, floor = axes.lines
    np.testing.assert_allclose(np.asarray(curve.get_xydata()), [[2, 2], [4, 5], [10, 0.7]])
    np.testing.assert_allclose(np.asarray(floor.get_ydata(), float), 0.2)
    (band,) = axes.collections
    assert isinstance(band, PolyCollection)
    corners = {(float(x), float(y)) for x, y in np.asarray(band.get_paths()[0].vertices)}
    assert corners == {(2, 1), (2, 3), (4, 5), (10, 0.5), (10, 0.9)}
    assert legends(figure) == [["vae", "floor"]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("latent size", "nats")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "4", "10"]


def test_many_points_are_a_curve_without_markers_on_ticks_of_its_own() -> None:
    few, long = figures.curves(
        [Panel("a", "nats", {"vae": LINE}), Panel("b", "nats", {"vae": LONG})], "step", "title"
    ).axes
    assert (few.lines[0].get_marker(), long.lines[0].get_marker()) == ("o", "")
    np.testing.assert_array_equal(long.lines[0].get_xdata(), LONG.x)
    np.testing.assert_array_equal(few.get_xticks(), [2, 4, 10])
    assert {1, 10, 100, 1000} <= set(long.get_xticks())
    assert len(long.get_xticks()) < 10
    assert (few.get_legend(), long.get_legend()) == (None, None)


@pytest.mark.parametrize("values", [3, 10, 11, 30])
def test_a_linear_axis_has_a_tick_for_each_of_ten_values_at_most(values: int) -> None:
    line = Line(range(1, values + 1), [[1.0]] * values)
    panel = Panel("a", "ratio", {"vae": line})
    (axes,) = figures.curves([panel], "cycles", "title", log_x=False).axes
    assert axes.get_xscale() == "linear"
    assert axes.lines[0].get_marker() == ("o" if values <= 10 else "")
    ticks = axes.get_xticks()
    assert (list(ticks) == list(line.x)) == (values <= 10)
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_a_mark_is_a_line_at_its_x_named_in_the_legend() -> None:
    panel = Panel("a", "nats", {"vae": LINE}, mark=("warm-up ends", 3.0))
    figure = figures.curves([panel], "step", "title")
    (axes,) = figure.axes
    mark = axes.lines[-1]
    np.testing.assert_array_equal(np.asarray(mark.get_xdata(), float), [3, 3])
    assert mark.get_linestyle() == "--"
    assert legends(figure) == [["vae", "warm-up ends"]]


def test_what_was_predicted_is_a_dashed_curve_named_first() -> None:
    panel = Panel("a", "nats", {"vae": LINE}, predicted=([1.0, 20.0], [7.0, 8.0]))
    figure = figures.curves([panel], "scale", "title")
    predicted, _ = figure.axes[0].lines
    np.testing.assert_array_equal(np.asarray(predicted.get_xydata()), [[1, 7], [20, 8]])
    assert predicted.get_linestyle() == "--"
    assert legends(figure) == [["predicted", "vae"]]


def test_panels_of_the_same_labels_share_a_legend_and_others_have_their_own() -> None:
    two = Panel("a", "nats", {"vae": LINE, "ae": LINE})
    assert legends(figures.curves([two, two], "size", "title")) == [["vae", "ae"]]
    marked = two._replace(mark=("here", 3.0))
    assert legends(figures.curves([two, marked], "size", "title")) == [
        ["vae", "ae"],
        ["vae", "ae", "here"],
    ]


@pytest.mark.parametrize(
    ("x", "log_x", "ticks"),
    [
        ([1, 2, 4], True, [1, 2, 4]),
        ([0.9, 0.96, 1.0, 3.0], True, [0.5, 1, 2, 5]),  # 0.9 and 0.96 would lie on each other
        ([0.9, 0.96, 20.0], False, [0, 5, 10, 15, 20]),
    ],
)
def test_values_have_a_tick_each_only_where_there_is_room(
    x: list[float], log_x: bool, ticks: list[float]
) -> None:
    line = Line(x, [[0.0]] * len(x))
    (axes,) = figures.curves([Panel("a", "", {"vae": line})], "scale", "title", log_x).axes
    low, high = axes.get_xlim()
    drawn = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert set(drawn) <= set(ticks)
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("panels", "rows"), [(1, [1]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (6, [3, 3])]
)
def test_panels_lie_in_rows_of_axes(panels: int, rows: list[int]) -> None:
    names = "abcdef"[:panels]
    figure = figures.curves([Panel(name, "", {"vae": LINE}) for name in names], "x", "title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(names)
    figure.draw_without_rendering()
    corners = [(-round(axes.get_position().y1, 3), axes.get_position().x0) for axes in figure.axes]
    assert corners == sorted(corners)
    tops = [top for top, _ in corners]
    assert [tops.count(top) for top in dict.fromkeys(tops)] == rows


def test_codes_lie_over_circles_of_one_two_and_three() -> None:
    figure = figures.codes({"vae": POINTS, "ae": 2 * POINTS}, LABELS, "title")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == ["vae", "ae"]
    for axes, points in zip(panels, (POINTS, 2 * POINTS), strict=True):
        (dots,) = axes.collections
        assert isinstance(dots, PathCollection)
        np.testing.assert_array_equal(dots.get_offsets(), points)
        colours = np.unique(np.column_stack([np.asarray(dots.get_facecolor()), LABELS]), axis=0)
        assert len(np.unique(colours[:, :4], axis=0)) == len(colours) == 10  # one of each label
        radii = [np.linalg.norm(line.get_xydata(), axis=1) for line in axes.lines]
        np.testing.assert_allclose(radii, np.repeat([[1], [2], [3]], 200, 1))


def test_drawing_and_saving_leave_pyplot_unloaded(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from tests.test_figures import FIGURES
from vaejax import figures
for draw in FIGURES.values():
    figures.save(draw(), Path({str(tmp_path / "figure.png")!r}))
print("matplotlib.figure" in sys.modules, "matplotlib.pyplot" in sys.modules)
"""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]
