"""vaejax.show.charts: heat maps are thinned as they say, dots lie in the row of their name."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from vaejax import show
from vaejax.show import Dots, charts

RNG = np.random.default_rng(0)
SHORT = RNG.random((20, 3))
LONG = RNG.random((4000, 32)).astype(np.float32)


def mesh_of(axes: Axes) -> QuadMesh:
    (mesh,) = axes.collections
    assert isinstance(mesh, QuadMesh)
    return mesh


def colours_of(mesh: QuadMesh) -> np.ma.MaskedArray:
    return np.ma.masked_invalid(np.ma.asarray(mesh.get_array()))


@pytest.mark.parametrize("steps", [1, 2, 20, 40])
def test_a_few_steps_are_all_columns_of_their_own(steps: int) -> None:
    edges, values = charts.thin(LONG[:steps])
    np.testing.assert_array_equal(edges, np.arange(steps + 1) + 0.5)
    np.testing.assert_allclose(values, LONG[:steps])


@pytest.mark.parametrize("steps", [299, 1000, 4000])
def test_many_steps_are_means_over_columns_that_leave_none_out(steps: int) -> None:
    edges, values = charts.thin(LONG[:steps])
    assert (edges[0], edges[-1]) == (0.5, steps + 0.5)
    assert len(values) == len(edges) - 1 <= charts.MOST_COLUMNS
    firsts = (edges - 0.5).astype(int)
    for column in (0, 50, len(values) - 1):
        of_column = LONG[firsts[column] : firsts[column + 1]]
        np.testing.assert_allclose(values[column], of_column.mean(0), rtol=1e-5)
    total = (values * np.diff(edges)[:, None]).sum(0)
    np.testing.assert_allclose(total, LONG[:steps].sum(0, dtype=np.float64), rtol=1e-5)
    widest = np.diff(np.log(edges[edges > 100]))
    assert widest.max() < 3 * np.log(steps) / charts.MOST_COLUMNS


def test_heat_maps_have_a_row_for_each_unit_and_one_scale_of_colours() -> None:
    long = 5 * LONG[:, :7]
    figure = show.heatmaps({"a": SHORT, "b": long}, "KL, nats", "title", 0.01)
    *panels, bar = figure.axes
    assert [axes.get_title(loc="left") for axes in panels] == ["a", "b"]
    largest = max(charts.thin(values).values.max() for values in (SHORT, long))
    for axes, values in zip(panels, (SHORT, long), strict=True):
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


@pytest.mark.parametrize("value", [0.0, 1e-9, np.nan])
def test_values_below_the_lowest_have_its_colour_and_nan_has_none(value: float) -> None:
    values = np.full((5, 2), value)
    mesh = mesh_of(show.heatmaps({"a": values}, "KL, nats", "title", 1e-4).axes[0])
    assert mesh.get_clim() == (1e-4, 1e-3)
    np.testing.assert_array_equal(colours_of(mesh).filled(-1), -1 if np.isnan(value) else 1e-4)


def test_dots_are_the_values_from_top_to_bottom() -> None:
    values = {"one": [3.0, 1.0], "two": [2.0], "none": []}
    panels = [Dots("first", values, ("floor", 0.5)), Dots("second", values)]
    figure = show.dots(panels, "title")
    first, second = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["first", "second"]
    assert [text.get_text() for text in first.get_yticklabels()] == list(values)
    assert {text.get_text() for text in second.get_yticklabels()} == {""}
    for axes, lines in ((first, 4), (second, 3)):
        low, high = axes.get_ylim()
        assert low > high  # the first name is on top
        assert len(axes.lines) == lines
        for row, (line, of_name) in enumerate(zip(axes.lines, values.values(), strict=False)):
            np.testing.assert_array_equal(line.get_xdata(), of_name)
            np.testing.assert_array_equal(line.get_ydata(), [row] * len(of_name))
    np.testing.assert_array_equal(first.lines[3].get_xdata(), 0.5)


def test_a_legend_of_the_figure_names_every_mark_once() -> None:
    values = {"one": [3.0, 1.0]}
    marks = [("floor", 0.5), None, ("ceiling", 9.0), ("floor", 0.7)]
    figure = show.dots([Dots("", values, mark) for mark in marks], "title")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["floor", "ceiling"]
    assert [axes.get_legend() for axes in figure.axes] == [None] * 4
    drawn = [axes.lines[1] for axes in figure.axes if len(axes.lines) > 1]
    first, other, again = (line.get_linestyle() for line in drawn)
    assert first == again != other
    assert show.dots([Dots("", values)], "title").legends == []
