"""vaejax.show: what is drawn is what was given, where it says; nothing in a figure lies on anything
else."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from PIL import Image

from vaejax import show
from vaejax.show import Cloud, Dots, Line, Panel, charts, latent, pictures
from vaejax.show.style import COLOURS, own_style

RNG = np.random.default_rng(0)
GREY, RGB = RNG.random((5, 4, 3, 1)), RNG.random((5, 4, 3, 3))
LINE = Line([2, 4, 10], [[3.0, 1.0], [5.0], [0.5, 0.7, 0.9]])
LONG = Line(range(1, 4001), [[4000.0 - step] for step in range(4000)])
FEW_STEPS, MANY_STEPS = RNG.random((20, 3)), RNG.random((4000, 32)).astype(np.float32)
POINTS, LABELS = RNG.normal(size=(30, 2)), RNG.permutation(30) % 10
CLOUDS = {
    "collapsed": Cloud(RNG.normal(size=(4, 50, 2)), np.zeros((4, 2))),
    "healthy": Cloud(
        np.eye(4)[:, None, :2] + 0.1 * RNG.normal(size=(4, 50, 2)), np.eye(4)[:, :2].copy()
    ),
}


def titles(figure: Figure) -> list[str]:
    """Of the panels, in order."""
    return [title for axes in figure.axes if (title := axes.get_title(loc="left"))]


def legends(figure: Figure) -> list[list[str]]:
    """The labels of each legend; there are none in the axes."""
    assert not any(axes.get_legend() for axes in figure.axes)
    return [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]


@pytest.mark.parametrize("images", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("columns", [1, 3, 5, 7])
def test_tiles_lie_in_reading_order_with_a_white_pixel_between(images, columns) -> None:
    canvas = pictures.tile(images, columns)
    framed = np.pad(images, ((0, -5 % columns), (0, 1), (0, 1), (0, 0)), constant_values=1)
    framed[5:] = 1
    rows = [np.concatenate(list(row), 1) for row in framed.reshape(-1, columns, *framed.shape[1:])]
    np.testing.assert_array_equal(canvas, np.concatenate(rows)[:-1, :-1].astype(np.float32))


def test_tiles_are_clipped_to_black_and_white() -> None:
    pixels = np.array([-0.5, 0, 0.25, 1, 1.5]).reshape(1, 1, 5, 1)
    np.testing.assert_array_equal(pictures.tile(pixels, 1).ravel(), [0, 0, 0.25, 1, 1])


def test_grids_and_strips_show_every_image_unscaled_under_its_name() -> None:
    dim = RGB / 2
    grids = show.grids([{"a": dim, "b": dim[:2]}, {"c": RGB}], 2, "title")
    assert titles(grids) == ["a", "b", "c"]
    strips = show.strips({"input": RGB, "output": dim[:3]}, "title")
    assert [axes.get_ylabel() for axes in strips.axes] == ["input", "output"]
    shown = [(dim, 2), (dim[:2], 2), (RGB, 2), (RGB, 5), (dim[:3], 3)]
    for axes, (images, columns) in zip([*grids.axes, *strips.axes], shown, strict=True):
        (drawn,) = axes.images
        assert drawn.get_clim() == (0, 1)
        np.testing.assert_array_equal(drawn.get_array(), pictures.tile(images, columns))


def test_curves_are_means_in_a_band_from_least_to_most() -> None:
    panel = Panel("a", "nats", {"vae": LINE}, floor=("floor", 0.2))
    figure = show.curves([panel], "latent size", "title")
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
    (axes,) = show.curves([Panel("b", "nats", {"vae": LONG})], "step", "title").axes
    assert axes.lines[0].get_marker() == ""
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), LONG.x)
    assert {1, 10, 100, 1000} <= set(axes.get_xticks())
    assert len(axes.get_xticks()) < 10


@pytest.mark.parametrize("values", [3, 10, 11, 30])
def test_a_linear_axis_has_a_tick_for_each_of_ten_values_at_most(values: int) -> None:
    line = Line(range(1, values + 1), [[1.0]] * values)
    panel = Panel("a", "ratio", {"vae": line})
    (axes,) = show.curves([panel], "cycles", "title", log_x=False).axes
    assert axes.get_xscale() == "linear"
    assert axes.lines[0].get_marker() == ("o" if values <= 10 else "")
    ticks = axes.get_xticks()
    assert (list(ticks) == list(line.x)) == (values <= 10)
    np.testing.assert_array_equal(ticks, np.round(ticks))


@pytest.mark.parametrize(
    ("x", "log_x", "ticks"),
    [
        ([1, 2, 4], True, [1, 2, 4]),
        ([0.9, 0.96, 1.0, 3.0], True, [0.5, 1, 2, 5]),  # 0.9 and 0.96 would lie on each other
        ([0.9, 0.96, 20.0], False, [0, 5, 10, 15, 20]),
    ],
)
def test_values_have_a_tick_each_only_where_there_is_room(x, log_x, ticks) -> None:
    panel = Panel("a", "", {"vae": Line(x, [[0.0]] * len(x))})
    (axes,) = show.curves([panel], "scale", "title", log_x).axes
    low, high = axes.get_xlim()
    drawn = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert set(drawn) <= set(ticks)
    assert len(drawn) > 1


def test_marks_and_predictions_are_dashed_and_named() -> None:
    predicted = ([1.0, 20.0], [7.0, 8.0])
    panel = Panel("a", "nats", {"vae": LINE}, mark=("warm-up ends", 3.0), predicted=predicted)
    figure = show.curves([panel], "step", "title")
    before, _, mark = figure.axes[0].lines
    np.testing.assert_array_equal(np.asarray(before.get_xydata()), [[1, 7], [20, 8]])
    np.testing.assert_array_equal(np.asarray(mark.get_xdata(), float), [3, 3])
    assert before.get_linestyle() == mark.get_linestyle() == "--"
    assert legends(figure) == [["predicted", "vae", "warm-up ends"]]


def test_one_legend_beside_the_panels_names_what_is_in_any_of_them() -> None:
    two = Panel("a", "nats", {"vae": LINE, "ae": LINE}, ("floor", 0.2))
    other = Panel("b", "mse", {"ae": LINE, "pca": LINE}, ("mean image", 0.3), mark=("here", 3.0))
    figure = show.curves([two, other], "size", "title")
    assert legends(figure) == [["vae", "ae", "floor", "pca", "mean image", "here"]]
    first, second = ({line.get_label(): line for line in axes.lines} for axes in figure.axes)
    for name in ("get_color", "get_marker", "get_linestyle"):
        assert getattr(first["ae"], name)() == getattr(second["ae"], name)()
    assert first["floor"].get_linestyle() != second["mean image"].get_linestyle()
    assert legends(show.curves([Panel("a", "nats", {"vae": LINE})] * 2, "size", "title")) == []


@pytest.mark.parametrize("line", [LINE, LONG], ids=["points", "curve"])
def test_lines_are_told_apart_without_colour(line: Line) -> None:
    """By their markers, or as curves by their dashes."""
    panel = Panel("a", "nats", dict.fromkeys("abcdef", line))
    (axes,) = show.curves([panel], "size", "title").axes
    markers = {str(found.get_marker()) for found in axes.lines}
    dashes = {str(getattr(found, "_unscaled_dash_pattern")) for found in axes.lines}  # noqa: B009
    assert (len(markers), len(dashes)) == ((6, 1) if line is LINE else (1, 6))


@pytest.mark.parametrize(
    ("panels", "rows"),
    [(1, [1]), (3, [3]), (4, [2, 2]), (5, [3, 2]), (6, [3, 3]), (8, [2, 2, 2, 2])],
)
def test_panels_lie_in_rows_of_axes(panels: int, rows: list[int]) -> None:
    names = "abcdefgh"[:panels]
    figure = show.curves([Panel(name, "", {"vae": LINE}) for name in names], "x", "title")
    assert titles(figure) == list(names)
    figure.draw_without_rendering()
    corners = [(-round(axes.get_position().y1, 3), axes.get_position().x0) for axes in figure.axes]
    assert corners == sorted(corners)
    tops = [top for top, _ in corners]
    assert [tops.count(top) for top in dict.fromkeys(tops)] == rows


def mesh_of(axes: Axes) -> QuadMesh:
    (mesh,) = axes.collections
    assert isinstance(mesh, QuadMesh)
    return mesh


def colours_of(mesh: QuadMesh) -> np.ma.MaskedArray:
    return np.ma.masked_invalid(np.ma.asarray(mesh.get_array()))


@pytest.mark.parametrize("steps", [1, 2, 40])
def test_a_few_steps_are_all_columns_of_their_own(steps: int) -> None:
    edges, values = charts.thin(MANY_STEPS[:steps])
    np.testing.assert_array_equal(edges, np.arange(steps + 1) + 0.5)
    np.testing.assert_allclose(values, MANY_STEPS[:steps])


@pytest.mark.parametrize("steps", [299, 4000])
def test_many_steps_are_means_over_columns_that_leave_none_out(steps: int) -> None:
    edges, values = charts.thin(MANY_STEPS[:steps])
    assert (edges[0], edges[-1]) == (0.5, steps + 0.5)
    assert len(values) == len(edges) - 1 <= charts.MOST_COLUMNS
    firsts = (edges - 0.5).astype(int)
    for column, (first, end) in enumerate(itertools.pairwise(firsts)):
        np.testing.assert_allclose(values[column], MANY_STEPS[first:end].mean(0), rtol=1e-5)
    widest = np.diff(np.log(edges[edges > 100]))
    assert widest.max() < 3 * np.log(steps) / charts.MOST_COLUMNS


def test_heat_maps_have_a_row_for_each_unit_and_one_scale_of_colours() -> None:
    maps = {"a": FEW_STEPS, "b": 5 * MANY_STEPS[:, :7]}
    figure = show.heatmaps(maps, "KL, nats", "title", 0.01)
    *panels, bar = figure.axes
    assert titles(figure) == ["a", "b"]
    largest = max(charts.thin(values).values.max() for values in maps.values())
    for axes, values in zip(panels, maps.values(), strict=True):
        edges, columns = charts.thin(values)
        mesh = mesh_of(axes)
        np.testing.assert_allclose(colours_of(mesh), columns.clip(0.01).T)
        corners = np.asarray(mesh.get_coordinates())
        np.testing.assert_allclose(corners[0, :, 0], edges)
        np.testing.assert_allclose(corners[:, 0, 1], np.arange(values.shape[1] + 1) - 0.5)
        assert axes.get_ylim() == (values.shape[1] - 0.5, -0.5)  # unit 0 on top
        assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "training step")
        np.testing.assert_allclose(mesh.get_clim(), (0.01, largest))
        assert type(mesh.norm).__name__ == "LogNorm"
    assert bar.get_ylabel() == "KL, nats"


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_values_below_the_lowest_have_its_colour_and_nan_has_none(value: float) -> None:
    values = np.full((5, 2), value)
    mesh = mesh_of(show.heatmaps({"a": values}, "KL, nats", "title", 1e-4).axes[0])
    assert mesh.get_clim() == (1e-4, 1e-3)
    np.testing.assert_array_equal(colours_of(mesh).filled(-1), -1 if np.isnan(value) else 1e-4)


def test_dots_are_the_values_from_top_to_bottom_and_every_mark_is_named_once() -> None:
    values = {"one": [3.0, 1.0], "two": [2.0], "none": []}
    marks = {"a": ("floor", 0.5), "b": None, "c": ("ceiling", 9.0), "d": ("floor", 0.7)}
    figure = show.dots([Dots(name, values, mark) for name, mark in marks.items()], "title")
    assert titles(figure) == list(marks)
    assert legends(figure) == [["floor", "ceiling"]]
    for axes, mark in zip(figure.axes, marks.values(), strict=True):
        low, high = axes.get_ylim()
        assert low > high  # the first name is on top
        rows, rest = axes.lines[:3], axes.lines[3:]
        for row, (line, of_name) in enumerate(zip(rows, values.values(), strict=True)):
            np.testing.assert_array_equal(line.get_xdata(), of_name)
            np.testing.assert_array_equal(line.get_ydata(), [row] * len(of_name))
        assert [np.asarray(line.get_xdata())[0] for line in rest] == ([mark[1]] if mark else [])
    first, second, *_ = figure.axes
    assert [text.get_text() for text in first.get_yticklabels()] == list(values)
    assert {text.get_text() for text in second.get_yticklabels()} == {""}
    floor, ceiling, again = (figure.axes[panel].lines[3].get_linestyle() for panel in (0, 2, 3))
    assert floor == again != ceiling
    assert legends(show.dots([Dots("", values)], "title")) == []


STACKS = {
    "train": {"lower": [[1.0, 3.0], [2.0, 2.0]], "upper": [[0.5, 0.5], [1.0, 2.0]]},
    "test": {"lower": [[4.0, 4.0], [5.0, 5.0]], "upper": [[1.0, 1.0], [0.0, 1.0]]},
}


def test_stacks_are_means_one_on_the_other_and_the_range_of_their_sum() -> None:
    figure = show.stacks([2, 4], STACKS, "latent units", "gap, nats", "title")
    (axes,) = figure.axes
    bars = [(bar.get_y(), bar.get_height()) for bar in axes.patches if isinstance(bar, Rectangle)]
    on_train, on_test = [(0, 2), (0, 2), (2, 0.5), (2, 1.5)], [(0, 4), (0, 5), (4, 1), (5, 0.5)]
    assert bars == [*on_train, *on_test]
    ranges = [tuple(np.asarray(line.get_ydata())) for line in axes.lines]
    assert ranges == [(1.5, 3.5), (3, 4), (5, 5), (5, 6)]
    names = [f"{part}, {name}" for name in STACKS for part in ("lower", "upper")]
    assert legends(figure) == [names]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["2", "4"]


def test_codes_lie_over_circles_of_one_two_and_three() -> None:
    figure = show.codes({"vae": POINTS, "ae": 2 * POINTS}, LABELS, "title")
    assert titles(figure) == ["vae", "ae"]
    for axes, points in zip(figure.axes[:2], (POINTS, 2 * POINTS), strict=True):
        (dots,) = axes.collections
        assert isinstance(dots, PathCollection)
        np.testing.assert_array_equal(dots.get_offsets(), points)
        colours = np.unique(np.column_stack([np.asarray(dots.get_facecolor()), LABELS]), axis=0)
        assert len(np.unique(colours[:, :4], axis=0)) == len(colours) == 10  # one of each label
        radii = [np.linalg.norm(line.get_xydata(), axis=1) for line in axes.lines]
        np.testing.assert_allclose(radii, np.repeat([[1], [2], [3]], 200, 1))


def points_of(axes: Axes) -> list[PathCollection]:
    return [part for part in axes.collections if isinstance(part, PathCollection)]


def test_clouds_show_every_code_one_of_each_image_and_the_means() -> None:
    figure = show.clouds(CLOUDS, "title")
    assert titles(figure) == list(CLOUDS)
    assert legends(figure) == [list(latent.LEGEND)]
    want = np.array([to_rgba(colour) for colour in COLOURS[:4]])
    for axes, cloud in zip(figure.axes, CLOUDS.values(), strict=True):
        dots, once, means = points_of(axes)
        colours = np.asarray(dots.get_facecolor())[:, :3]
        for image in range(4):
            own = np.all(colours == want[image, :3], axis=1)
            np.testing.assert_array_equal(np.asarray(dots.get_offsets())[own], cloud.codes[image])
        np.testing.assert_array_equal(colours[-4:], want[:, :3])  # no image's dots on top
        np.testing.assert_array_equal(once.get_offsets(), cloud.codes[:, 0])
        np.testing.assert_array_equal(means.get_offsets(), cloud.means)
        for part in (once, means):
            np.testing.assert_array_equal(part.get_facecolor(), want)
        *rings, joined = axes.lines
        assert means.get_zorder() > once.get_zorder() > joined.get_zorder()
        assert (np.diff(means.get_sizes()) < 0).all()  # on one spot all crosses show
        radii = [np.linalg.norm(line.get_xydata(), axis=1) for line in rings]
        np.testing.assert_allclose(radii, np.repeat([[1], [2], [3]], 200, 1))
        np.testing.assert_array_equal(joined.get_xydata(), cloud.codes[:, 0])


def test_clouds_are_on_one_scale_that_holds_every_code() -> None:
    wide = CLOUDS["healthy"]._replace(means=5 * np.eye(4)[:, :2])
    figure = show.clouds(CLOUDS | {"wide": wide}, "title")
    limits = {(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}
    assert limits == {((-5.25, 5.25), (-5.25, 5.25))}
    narrow = show.clouds({"healthy": CLOUDS["healthy"]}, "title").axes[0]
    np.testing.assert_allclose(narrow.get_xlim(), (-3.15, 3.15))  # the circles, at least


FIGURES: dict[str, Callable[[], Figure]] = {
    "grids": lambda: show.grids([{"a": RGB, "b": RGB[:2]}, {"c": RGB}], 2, "title"),
    "grids of vectors": lambda: show.grids([{"a": RNG.random((5, 1, 9, 1))}], 3, "title"),
    "strips": lambda: show.strips({"input": GREY, "output": GREY[:3]}, "title"),
    "curves": lambda: show.curves(
        [
            Panel("a", "nats", {"vae": LINE, "ae": LINE}, floor=("floor", 0.2)),
            Panel("b", "mse", {"vae": LINE}, log_y=True, mark=("warm", 100.0)),
        ],
        "latent size",
        "title",
    ),
    "codes": lambda: show.codes({"vae": POINTS, "ae": POINTS}, np.arange(30), "title"),
    "heat maps": lambda: show.heatmaps(dict.fromkeys("abcd", FEW_STEPS), "KL, nats", "title", 1e-3),
    "one cloud": lambda: show.clouds({"a": CLOUDS["healthy"]}, "title"),
    "clouds": lambda: show.clouds(dict.fromkeys("ab", CLOUDS["healthy"]), "title"),
    "dots": lambda: show.dots(
        [Dots(name, {"one": [1.0, 2.0]}, (f"mark {name}", 1.5)) for name in ("a", "b")], "title"
    ),
    "stacks": lambda: show.stacks([2, 4], STACKS, "latent units", "gap, nats", "title"),
}
CAPTION = (
    f"python -m experiments.blur --dataset digits{' --latent-sizes 2 enough' * 9}\nSeeds 0, 1."
)


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


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_in_a_saved_figure_lies_on_anything_else(name: str, tmp_path: Path) -> None:
    figure = FIGURES[name]()
    witness = Witness(figure)
    (path,) = show.save(figure, tmp_path, "drawn", caption=CAPTION)
    with Image.open(path) as image:
        assert np.ptp(np.asarray(image.convert("L"))) > 200  # ink on paper
    assert all(witness.caption.y1 < part.y0 for part in [*witness.legends, *witness.axes_])
    for legend in witness.legends:
        inside = legend.padded(-1)  # pixels are round
        assert not any(inside.overlaps(axes) for axes in witness.axes_)
    assert len(witness.legends) == name.endswith(("curves", "cloud", "clouds", "dots", "stacks"))


def test_a_figure_is_saved_in_every_format_with_its_title_and_its_caption(tmp_path: Path) -> None:
    paths = show.save(FIGURES["curves"](), tmp_path, "drawn", ("png", "svg", "pdf"), CAPTION)
    assert paths == [tmp_path / f"drawn.{kind}" for kind in ("png", "svg", "pdf")]
    # Two dashes cannot stand in a comment, which is where matplotlib has the text of its paths.
    text = paths[1].read_text().replace("- -", "--")
    assert [line for line in ["title", *CAPTION.splitlines()] if line not in text] == []
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    assert paths[2].read_bytes().startswith(b"%PDF")


def test_a_figure_needs_no_caption(tmp_path: Path) -> None:
    figure = FIGURES["curves"]()
    assert show.save(figure, tmp_path, "drawn") == [tmp_path / "drawn.png"]
    assert [text.get_text() for text in figure.texts] == ["title"]


def test_a_style_of_the_user_changes_no_figure() -> None:
    with mpl.rc_context({"font.size": 25, "savefig.dpi": 20, "axes.spines.top": True}), own_style():
        assert mpl.rcParams["font.size"] == mpl.rcParamsDefault["font.size"]
        assert mpl.rcParams["savefig.dpi"] == mpl.rcParamsDefault["savefig.dpi"]
        assert not mpl.rcParams["axes.spines.top"]
