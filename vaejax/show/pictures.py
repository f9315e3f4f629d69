"""Pictures of images: grids of samples, and strips of inputs with their reconstructions.

Vectors, which are grey images of one row, are drawn as lines.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaejax.show.style import own_style

Images = Float[np.ndarray, "n height width channels"]


def tile(images: Images, columns: int) -> Float[np.ndarray, "rows columns channels"]:
    """Images in reading order, a white pixel between them."""
    rows = math.ceil(len(images) / columns)
    _, height, width, channels = images.shape
    canvas = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.float32)
    for index, image in enumerate(images):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        canvas[top : top + height, left : left + width] = np.clip(image, 0, 1)
    return canvas


def _show(axes: Axes, images: Images, columns: int) -> None:
    if images.shape[1] == images.shape[3] == 1:
        _draw_lines(axes, images[:, 0, :, 0], columns)
    else:
        axes.imshow(tile(images, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _draw_lines(axes: Axes, vectors: Float[np.ndarray, "n d"], columns: int) -> None:
    """Vectors in reading order, each as a line in a square: across its entries, up from 0 to 1."""
    across = np.linspace(0, 1, vectors.shape[1]) if vectors.shape[1] > 1 else np.array([0.5])
    marker = "." if vectors.shape[1] == 1 else ""
    for index, vector in enumerate(vectors):
        left, bottom = 1.1 * (index % columns), -1.1 * (index // columns)
        axes.plot(left + across, bottom + np.clip(vector, 0, 1), color="0.2", lw=0.6, marker=marker)
    rows = math.ceil(len(vectors) / columns)
    axes.set(xlim=(-0.05, 1.1 * columns - 0.05), ylim=(-1.1 * (rows - 1) - 0.05, 1.05))
    axes.set_aspect("equal")
    axes.grid(False)


def grids(panels: Sequence[Mapping[str, Images]], columns: int, title: str) -> Figure:
    """Rows of titled grids of images, side by side: samples of several models."""
    across, side = max(len(row) for row in panels), 0.4 * columns
    with own_style():
        figure = Figure(
            figsize=(side * across, (side + 0.2) * len(panels) + 0.3), layout="constrained"
        )
        figure.suptitle(title, x=0.01, ha="left")
        all_axes = figure.subplots(len(panels), across, squeeze=False)
        for row, row_axes in zip(panels, all_axes, strict=True):
            for axes in row_axes[len(row) :]:
                axes.remove()
            for (name, images), axes in zip(row.items(), row_axes, strict=False):
                _show(axes, images, columns)
                axes.set_title(name)
    return figure


def strips(rows: Mapping[str, Images], title: str, side: float = 0.62) -> Figure:
    """Labelled rows of images of `side` inches, one below the other: inputs and their
    reconstructions."""
    longest = max(len(images) for images in rows.values())
    with own_style():
        width, height = side * longest + 1.6, (side + 0.06) * len(rows) + 0.4
        figure = Figure(figsize=(width, height))
        figure.suptitle(title, x=0.01, y=1 - 0.05 / height, ha="left", va="top")
        all_axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        figure.subplots_adjust(1.5 / width, 0.01, 0.99, 1 - 0.4 / height, hspace=0.08)
        for (name, images), axes in zip(rows.items(), all_axes, strict=True):
            _show(axes, images, len(images))
            axes.set_anchor("W")  # shorter rows begin where the others do
            axes.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure
