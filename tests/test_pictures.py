"""vaejax.show.pictures: grids and strips show the images that were given."""

import numpy as np
import pytest

from vaejax import show
from vaejax.show import pictures

RNG = np.random.default_rng(0)
GREY = RNG.random((5, 4, 3, 1))
RGB = RNG.random((5, 4, 3, 3))


@pytest.mark.parametrize("images", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("columns", [1, 2, 3, 5, 7])
def test_tiles_lie_in_reading_order_with_a_white_pixel_between(images, columns) -> None:
    canvas = pictures.tile(images, columns)
    framed = np.pad(images, ((0, -5 % columns), (0, 1), (0, 1), (0, 0)), constant_values=1)
    framed[5:] = 1
    rows = [np.concatenate(list(row), 1) for row in framed.reshape(-1, columns, *framed.shape[1:])]
    np.testing.assert_array_equal(canvas, np.concatenate(rows)[:-1, :-1].astype(np.float32))


def test_tiles_are_clipped_to_black_and_white() -> None:
    pixels = np.array([-0.5, 0, 0.25, 1, 1.5]).reshape(1, 1, 5, 1)
    np.testing.assert_array_equal(pictures.tile(pixels, 1).ravel(), [0, 0, 0.25, 1, 1])


def test_grids_show_every_image_unscaled_under_its_name() -> None:
    dim = RGB / 2
    figure = show.grids([{"a": dim, "b": dim[:2]}, {"c": RGB}], 2, "title")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["a", "b", "c"]
    for axes, images in zip(figure.axes, (dim, dim[:2], RGB), strict=True):
        (shown,) = axes.images
        assert shown.get_clim() == (0, 1)
        np.testing.assert_array_equal(shown.get_array(), pictures.tile(images, 2))


def test_strips_show_their_rows_in_order() -> None:
    figure = show.strips({"input": RGB, "output": RGB[:3]}, "title")
    assert [axes.get_ylabel() for axes in figure.axes] == ["input", "output"]
    for axes, images in zip(figure.axes, (RGB, RGB[:3]), strict=True):
        np.testing.assert_array_equal(
            axes.images[0].get_array(), pictures.tile(images, len(images))
        )
