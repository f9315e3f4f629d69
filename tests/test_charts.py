"""vaejax.charts: what is drawn is what was given, thinned as it says."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_rgba
from PIL import Image

from vaejax import charts, figures
from vaejax.charts import Cloud

RNG = np.random.default_rng(0)
SHORT = RNG.random((20, 3))
LONG = RNG.random((4000, 32)).astype(np.float32)
CLOUDS = {
    "collapsed": Cloud(RNG.normal(size=(4, 50, 2)), np.zeros((4, 2))),
    "healthy": Cloud(
        np.eye(4)[:, None, :2] + 0.1 * RNG.normal(size=(4, 50, 2)), np.eye(4)[:, :2].copy()
    ),
}


def mesh_of(axes: Axes) -> QuadMesh:
    (mesh,) = axes.collections
    assert isinstance(mesh, QuadMesh)
    return mesh


def colours_of(mesh: QuadMesh) -> np.ma.MaskedArray:
    return np.ma.masked_invalid(np.ma.asarray(mesh.get_array()))


def points_of(axes: Axes) -> list[PathCollection]:
    return [part for part in axes.collections if isinstance(part, PathCollection)]


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
    figure = charts.heatmaps({"a": SHORT, "b": long}, "KL, nats", "title", 0.01)
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
    mesh = mesh_of(charts.heatmaps({"a": values}, "KL, nats", "title", 1e-4).axes[0])
    assert mesh.get_clim() == (1e-4, 1e-3)
    np.testing.assert_array_equal(colours_of(mesh).filled(-1), -1 if np.isnan(value) else 1e-4)


def test_clouds_show_every_code_one_of_each_image_and_the_means() -> None:
    figure = charts.clouds(CLOUDS, "title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(CLOUDS)
    want = np.array([to_rgba(colour) for colour in figures.COLOURS[:4]])
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
            np.testing.assert_array_equal(part.get_edgecolor(), [to_rgba("black")])
        assert means.get_zorder() > once.get_zorder() > axes.lines[-1].get_zorder()
        *rings, joined = axes.lines
        radii = [np.linalg.norm(line.get_xydata(), axis=1) for line in rings]
        np.testing.assert_allclose(radii, np.repeat([[1], [2], [3]], 200, 1))
        np.testing.assert_array_equal(joined.get_xydata(), cloud.codes[:, 0])


def test_crosses_on_one_spot_all_show() -> None:
    crosses = points_of(charts.clouds(CLOUDS, "title").axes[0])[2]
    assert (np.diff(crosses.get_sizes()) < 0).all()  # the later ones lie on top


def test_clouds_are_on_one_scale_that_holds_every_code() -> None:
    wide = CLOUDS["healthy"]._replace(means=5 * np.eye(4)[:, :2])
    figure = charts.clouds(CLOUDS | {"wide": wide}, "title")
    limits = {(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}
    assert limits == {((-5.25, 5.25), (-5.25, 5.25))}
    assert {axes.get_aspect() for axes in figure.axes} == {1.0}
    narrow = charts.clouds({"healthy": CLOUDS["healthy"]}, "title").axes[0]
    np.testing.assert_allclose(narrow.get_xlim(), (-3.15, 3.15))  # the circles, at least


def test_the_legend_of_clouds_is_said_once() -> None:
    figure = charts.clouds(CLOUDS, "title")
    assert [axes.get_legend() for axes in figure.axes] == [None, None]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(charts.LEGEND)


@pytest.mark.parametrize("panels", [1, 2, 4])
def test_every_chart_becomes_a_png_of_the_given_title(tmp_path: Path, panels: int) -> None:
    names = "abcd"[:panels]
    for figure in (
        charts.heatmaps(dict.fromkeys(names, LONG), "KL, nats", "title", 1e-3),
        charts.clouds(dict.fromkeys(names, CLOUDS["healthy"]), "title"),
    ):
        assert figure.get_suptitle() == "title"
        with Image.open(figures.save(figure, tmp_path / "figure.png")) as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 200  # ink on paper
