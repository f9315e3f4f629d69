"""More figures, in the style of `figures`: what every latent unit did, and what codes do when they
are drawn again; and how things without an order compare."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from vaejax.figures import COLOURS, STYLE, circles, rows_of_axes

MOST_COLUMNS = 300
"""Of a heat map; more would be narrower than a pixel."""


class Columns(NamedTuple):
    """Steps, gathered into columns about as wide as each other on a logarithmic axis."""

    edges: Float[np.ndarray, "columns+1"]
    """Half a step before the first step of a column: the first step of all is 1."""
    values: Float[np.ndarray, "columns latent"]
    """Means over the steps of the column."""


def thin(values: Float[np.ndarray, "steps latent"]) -> Columns:
    """Every step by itself as long as there are few, then the mean of more and more steps."""
    steps = len(values)
    firsts = np.unique(np.geomspace(1, steps + 1, MOST_COLUMNS + 1).round().astype(int))
    sums = np.add.reduceat(values.astype(np.float64), firsts[:-1] - 1)
    return Columns(firsts - 0.5, sums / np.diff(firsts)[:, None])


def heatmaps(
    panels: Mapping[str, Float[np.ndarray, "steps latent"]], label: str, title: str, lowest: float
) -> Figure:
    """The value of each latent unit (rows, unit 0 on top) at each training step (from 1, log).

    One log scale of colours, from `lowest`, to which smaller values are raised, to the largest
    value drawn, or ten times `lowest` if all are smaller. Steps are drawn as `thin` gathers them.
    """
    drawn = {name: thin(values) for name, values in panels.items()}
    finite = [columns.values[np.isfinite(columns.values)] for columns in drawn.values()]
    scale = LogNorm(lowest, float(np.concatenate(finite).max(initial=10 * lowest)))
    with mpl.rc_context(STYLE):
        figure, all_axes = rows_of_axes(len(panels), (3.6, 3.2), (1.0, 0.3))
        figure.suptitle(title, x=0.01, ha="left")
        for (name, columns), axes in zip(drawn.items(), all_axes, strict=True):
            latent = columns.values.shape[1]
            axes.pcolormesh(
                columns.edges,
                np.arange(latent + 1) - 0.5,
                columns.values.clip(lowest).T,
                norm=scale,
                cmap="viridis",
            )
            axes.set_xscale("log")
            axes.set_ylim(latent - 0.5, -0.5)
            axes.yaxis.set_major_locator(MaxNLocator(8, integer=True))
            axes.set(xlabel="training step", ylabel="latent unit", title=name)
        colours = ScalarMappable(scale, "viridis")
        figure.colorbar(colours, ax=all_axes, label=label, extend="min", pad=0.02, fraction=0.04)
    return figure


class Cloud(NamedTuple):
    """What the posterior of a few images looks like in two latent units."""

    codes: Float[np.ndarray, "images draws 2"]
    """Drawn from the posterior of each image."""
    means: Float[np.ndarray, "images 2"]
    """The mean of each posterior."""


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

    The ringed codes are what one sees who draws once. They differ between any two images; only
    where the crosses differ too is it more than noise.
    """
    points = np.concatenate([part.ravel() for cloud in panels.values() for part in cloud])
    reach = 1.05 * float(np.abs(points).max(initial=3))
    grey = {"markerfacecolor": "0.6", "markeredgecolor": "black"}
    with mpl.rc_context(STYLE):
        figure, all_axes = rows_of_axes(len(panels), (4.2, 4.3), (0.0, 0.6))
        figure.suptitle(title, x=0.01, ha="left")
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


class Dots(NamedTuple):
    """One pair of axes: a row for each name, with its values as dots."""

    title: str
    values: Mapping[str, Sequence[float]]
    mark: tuple[str, float] | None = None
    """A labelled vertical line."""


def dots(panels: Sequence[Dots], title: str) -> Figure:
    """The values of named things, joined from least to most, with a row for each name, alike in all
    panels."""
    names = list(panels[0].values)
    with mpl.rc_context(STYLE):
        figure, all_axes = rows_of_axes(len(panels), (3.6, 0.3 * len(names) + 1.0), (1.0, 0.3))
        figure.suptitle(title, x=0.01, ha="left")
        for panel, axes in zip(panels, all_axes, strict=True):
            for row, name in enumerate(names):
                values = panel.values[name]
                axes.plot(values, [row] * len(values), marker="o", alpha=0.6, color=COLOURS[0])
            if panel.mark:
                axes.axvline(panel.mark[1], color="0.4", linestyle="--", label=panel.mark[0])
                axes.legend()
            axes.set(title=panel.title, ylim=(len(names) - 0.5, -0.5))
            spec = axes.get_subplotspec()
            left = spec is None or spec.is_first_col()
            axes.set_yticks(range(len(names)), names if left else [""] * len(names))
            axes.grid(axis="y", color="0.9")
    return figure
