"""Codes in two dimensions: of many images, or many draws for a few images."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vaejax.show.cloud import Cloud
from vaejax.show.style import COLOURS, own_style, rows_of_axes


def circles(axes: Axes) -> None:
    """Draw circles at 1, 2 and 3 standard deviations of N(0, I)."""
    angle = np.linspace(0, 2 * np.pi, 200)
    for radius in (1, 2, 3):
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color="0.2", lw=0.8)


def codes(
    panels: Mapping[str, Float[np.ndarray, "n 2"]], labels: Int[np.ndarray, "n"], title: str
) -> Figure:
    """Codes in two dimensions, coloured by label, over circles at 1, 2 and 3 standard deviations
    of N(0, I)."""
    classes = int(labels.max()) + 1
    palette = mpl.colormaps["tab10" if classes <= 10 else "turbo"]
    colours = palette(np.arange(10)[:classes] if classes <= 10 else np.linspace(0, 1, classes))
    scale = ScalarMappable(Normalize(-0.5, classes - 0.5), ListedColormap(colours))
    with own_style():
        figure = Figure(figsize=(4.6 * len(panels) + 0.6, 4.6), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left")
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for (name, points), axes in zip(panels.items(), row, strict=True):
            axes.scatter(*points.T, color=colours[labels], s=3, alpha=0.6, linewidths=0)
            circles(axes)
            axes.set_aspect("equal", adjustable="datalim")
            axes.set(xlabel="unit 0", ylabel="unit 1", title=name)
        ticks = range(classes) if classes <= 20 else None
        figure.colorbar(scale, ax=row[-1], label="label", ticks=ticks)
    return figure


LEGEND: dict[str, dict[str, Any]] = {
    "codes drawn, a colour per image": {"marker": ".", "color": "0.6", "linestyle": ""},
    "one code of each image": {"marker": "o", "markersize": 9, "color": "0.1", "linewidth": 1},
    "posterior mean": {"marker": "X", "markersize": 11, "linestyle": ""},
}


def _cloud(axes: Axes, cloud: Cloud) -> None:
    images, draws, _ = cloud.codes.shape
    colours = np.resize(COLOURS, images)
    # Draw by draw, not image by image: no cloud hides another.
    dots = cloud.codes.swapaxes(0, 1).reshape(-1, 2)
    axes.scatter(*dots.T, c=np.tile(colours, draws), s=5, alpha=0.45, linewidths=0)
    circles(axes)
    once = cloud.codes[:, 0].T
    axes.plot(*once, color="0.1", lw=1)
    axes.scatter(*once, c=colours, s=60, edgecolors="black", zorder=3)
    # From large to small: crosses on one spot show all their colours.
    sizes = np.geomspace(45, 150, images)[::-1]
    axes.scatter(*cloud.means.T, c=colours, s=sizes, marker="X", edgecolors="black", zorder=4)


def clouds(panels: Mapping[str, Cloud], title: str) -> Figure:
    """Many codes of a few images, a colour each, one code of each ringed and joined by a line,
    and the posterior means, over circles at 1, 2 and 3 standard deviations of N(0, I).

    The ringed codes are a single draw for each image. They differ for any two images. Only if the
    crosses differ as well is the difference more than noise.
    """
    points = np.concatenate([part.ravel() for cloud in panels.values() for part in cloud])
    reach = 1.05 * float(np.abs(points).max(initial=3))
    grey = {"markerfacecolor": "0.6", "markeredgecolor": "black"}
    with own_style():
        figure, all_axes = rows_of_axes(title, len(panels), (4.2, 4.3), (0.0, 0.6))
        for (name, cloud), axes in zip(panels.items(), all_axes, strict=True):
            _cloud(axes, cloud)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=name)
            axes.set(xlabel="a latent unit", ylabel="another unit")
        handles = [
            Line2D([], [], label=label, **({} if look["marker"] == "." else grey), **look)
            for label, look in LEGEND.items()
        ]
        columns = 3 if len(panels) > 1 else 1
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure
