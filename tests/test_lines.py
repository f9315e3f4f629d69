"""vaejax.show.lines: what is drawn is what was given."""

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from vaejax import show
from vaejax.show import Line, Panel

LINE = Line([2, 4, 10], [[3.0, 1.0], [5.0], [0.5, 0.7, 0.9]])
LONG = Line(range(1, 4001), [[4000.0 - step] for step in range(4000)])


def legends(figure: Figure) -> list[list[str]]:
    """The labels of each legend: those of the figure, then those of its axes."""
    own = [axes.get_legend() for axes in figure.axes]
    found = [*figure.legends, *(legend for legend in own if legend)]
    return [[text.get_text() for text in legend.get_texts()] for legend in found]


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
    few, long = show.curves(
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
    (axes,) = show.curves([panel], "cycles", "title", log_x=False).axes
    assert axes.get_xscale() == "linear"
    assert axes.lines[0].get_marker() == ("o" if values <= 10 else "")
    ticks = axes.get_xticks()
    assert (list(ticks) == list(line.x)) == (values <= 10)
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_a_mark_is_a_line_at_its_x_named_in_the_legend() -> None:
    panel = Panel("a", "nats", {"vae": LINE}, mark=("warm-up ends", 3.0))
    figure = show.curves([panel], "step", "title")
    (axes,) = figure.axes
    mark = axes.lines[-1]
    np.testing.assert_array_equal(np.asarray(mark.get_xdata(), float), [3, 3])
    assert mark.get_linestyle() == "--"
    assert legends(figure) == [["vae", "warm-up ends"]]


def test_what_was_predicted_is_a_dashed_curve_named_first() -> None:
    panel = Panel("a", "nats", {"vae": LINE}, predicted=([1.0, 20.0], [7.0, 8.0]))
    figure = show.curves([panel], "scale", "title")
    predicted, _ = figure.axes[0].lines
    np.testing.assert_array_equal(np.asarray(predicted.get_xydata()), [[1, 7], [20, 8]])
    assert predicted.get_linestyle() == "--"
    assert legends(figure) == [["predicted", "vae"]]


def test_one_legend_beside_the_panels_names_what_is_in_any_of_them() -> None:
    two = Panel("a", "nats", {"vae": LINE, "ae": LINE}, ("floor", 0.2))
    other = Panel("b", "mse", {"ae": LINE, "pca": LINE}, ("mean image", 0.3), mark=("here", 3.0))
    figure = show.curves([two, other], "size", "title")
    assert legends(figure) == [["vae", "ae", "floor", "pca", "mean image", "here"]]
    assert [axes.get_legend() for axes in figure.axes] == [None, None]
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
    (axes,) = show.curves([Panel("a", "", {"vae": line})], "scale", "title", log_x).axes
    low, high = axes.get_xlim()
    drawn = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert set(drawn) <= set(ticks)
    assert len(drawn) > 1
