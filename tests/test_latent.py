"""vaejax.show.latent: codes and clouds are drawn where they are, in the colours of their images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba

from vaejax import show
from vaejax.show import Cloud, latent
from vaejax.show.style import COLOURS

RNG = np.random.default_rng(0)
POINTS, LABELS = RNG.normal(size=(30, 2)), RNG.permutation(30) % 10
CLOUDS = {
    "collapsed": Cloud(RNG.normal(size=(4, 50, 2)), np.zeros((4, 2))),
    "healthy": Cloud(
        np.eye(4)[:, None, :2] + 0.1 * RNG.normal(size=(4, 50, 2)), np.eye(4)[:, :2].copy()
    ),
}


def points_of(axes: Axes) -> list[PathCollection]:
    return [part for part in axes.collections if isinstance(part, PathCollection)]


def test_codes_lie_over_circles_of_one_two_and_three() -> None:
    figure = show.codes({"vae": POINTS, "ae": 2 * POINTS}, LABELS, "title")
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


def test_clouds_show_every_code_one_of_each_image_and_the_means() -> None:
    figure = show.clouds(CLOUDS, "title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(CLOUDS)
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
            np.testing.assert_array_equal(part.get_edgecolor(), [to_rgba("black")])
        assert means.get_zorder() > once.get_zorder() > axes.lines[-1].get_zorder()
        *rings, joined = axes.lines
        radii = [np.linalg.norm(line.get_xydata(), axis=1) for line in rings]
        np.testing.assert_allclose(radii, np.repeat([[1], [2], [3]], 200, 1))
        np.testing.assert_array_equal(joined.get_xydata(), cloud.codes[:, 0])


def test_crosses_on_one_spot_all_show() -> None:
    crosses = points_of(show.clouds(CLOUDS, "title").axes[0])[2]
    assert (np.diff(crosses.get_sizes()) < 0).all()  # the later ones lie on top


def test_clouds_are_on_one_scale_that_holds_every_code() -> None:
    wide = CLOUDS["healthy"]._replace(means=5 * np.eye(4)[:, :2])
    figure = show.clouds(CLOUDS | {"wide": wide}, "title")
    limits = {(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes}
    assert limits == {((-5.25, 5.25), (-5.25, 5.25))}
    assert {axes.get_aspect() for axes in figure.axes} == {1.0}
    narrow = show.clouds({"healthy": CLOUDS["healthy"]}, "title").axes[0]
    np.testing.assert_allclose(narrow.get_xlim(), (-3.15, 3.15))  # the circles, at least


def test_the_legend_of_clouds_is_said_once() -> None:
    figure = show.clouds(CLOUDS, "title")
    assert [axes.get_legend() for axes in figure.axes] == [None, None]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(latent.LEGEND)
