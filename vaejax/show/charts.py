"""Heat maps of latent units over training, dot plots that compare named models, stacked bars."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaejax.show.style import COLOURS, own_style, rows_of_axes

MOST_COLUMNS = 300
"""Columns of a heat map; more would be narrower than a pixel."""

MARKS = ("--", ":", "-.")
"""The vertical lines of a dot plot."""
HATCHES = ("", "//", "..")
"""The bars of a group: they are told apart without colour, too."""


class Columns(NamedTuple):
    """Steps gathered into columns, which are about equally wide on a logarithmic axis."""

    edges: Float[np.ndarray, "columns+1"]
    """Where the columns begin and end: half a step before their first step; steps count from 1."""
    values: Float[np.ndarray, "columns latent"]
    """Means over the steps of the column."""


def thin(values: Float[np.ndarray, "steps latent"]) -> Columns:
    """The first steps have a column each; later columns are the mean of more and more steps."""
    steps = len(values)
    firsts = np.unique(np.geomspace(1, steps + 1, MOST_COLUMNS + 1).round().astype(int))
    sums = np.add.reduceat(values.astype(np.float64), firsts[:-1] - 1)
    return Columns(firsts - 0.5, sums / np.diff(firsts)[:, None])


def heatmaps(
    panels: Mapping[str, Float[np.ndarray, "steps latent"]], label: str, title: str, lowest: float
) -> Figure:
    """The value of each latent unit at each training step: a row for each unit, unit 0 on top, and
    the steps from 1 on a logarithmic axis, gathered by `thin`.

    All panels share one logarithmic scale of colours. It begins at `lowest`, which is also the
    colour of smaller values, and ends at the largest value drawn, or at ten times `lowest` if all
    are smaller.
    """
    drawn = {name: thin(values) for name, values in panels.items()}
    finite = [columns.values[np.isfinite(columns.values)] for columns in drawn.values()]
    scale = LogNorm(lowest, float(np.concatenate(finite).max(initial=10 * lowest)))
    with own_style():
        figure, all_axes = rows_of_axes(title, len(panels), (3.6, 3.2), (1.0, 0.3))
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


class Dots(NamedTuple):
    """One pair of axes: a row for each name, with its values as dots."""

    title: str
    values: Mapping[str, Sequence[float]]
    mark: tuple[str, float] | None = None
    """A labelled vertical line."""


def dots(panels: Sequence[Dots], title: str) -> Figure:
    """The values of named things: a row for each name, its values as dots on a line from the least
    to the most. All panels have the same names."""
    names = list(panels[0].values)
    size = 3.6, 0.3 * len(names) + 1.0
    with own_style():
        figure, all_axes = rows_of_axes(title, len(panels), size, (1.0, 0.3))
        marks = [panel.mark[0] for panel in panels if panel.mark]
        handles = {}
        for panel, axes in zip(panels, all_axes, strict=True):
            for row, name in enumerate(names):
                values = panel.values[name]
                axes.plot(values, [row] * len(values), marker="o", alpha=0.6, color=COLOURS[0])
            if panel.mark:
                label = panel.mark[0]
                style = MARKS[marks.index(label) % len(MARKS)]
                handles[label] = axes.axvline(panel.mark[1], color="0.4", linestyle=style)
            axes.set(title=panel.title, ylim=(len(names) - 0.5, -0.5))
            spec = axes.get_subplotspec()
            left = spec is None or spec.is_first_col()
            axes.set_yticks(range(len(names)), names if left else [""] * len(names))
            axes.grid(axis="y", color="0.9")
        if handles:
            figure.legend(list(handles.values()), list(handles), loc="outside lower right")
    return figure


def stacks(
    groups: Sequence[Any],
    bars: Mapping[str, Mapping[str, Sequence[Sequence[float]]]],
    xlabel: str,
    ylabel: str,
    title: str,
) -> Figure:
    """Stacked bars: a group for each of `groups`, and in it a bar for each name, whose parts lie
    one on the other, the first one below. A part is the mean over seeds; the thin line is the
    height of the whole bar, from the least seed to the most.

    Args:
        bars: of each bar its parts, and of each part the values of all seeds, a list for each
            group.
    """
    width = 0.8 / len(bars)
    with own_style():
        figure, (axes,) = rows_of_axes(title, 1, (4.6, 3.1), (2.6, 0.3))
        for at, (name, parts) in enumerate(bars.items()):
            places = np.arange(len(groups)) + (at - (len(bars) - 1) / 2) * width
            below = np.zeros(len(groups))
            for index, (part, values) in enumerate(parts.items()):
                means = np.asarray([np.mean(seeds) for seeds in values])
                axes.bar(
                    places,
                    means,
                    0.92 * width,
                    below,
                    label=f"{part}, {name}",
                    color=COLOURS[index % len(COLOURS)],
                    alpha=1 - 0.5 * at / max(len(bars) - 1, 1),
                    hatch=HATCHES[at % len(HATCHES)],
                    edgecolor="white",
                )
                below = below + means
            for place, *seeds in zip(places, *parts.values(), strict=True):
                whole = np.sum(seeds, axis=0)
                axes.plot([place, place], [whole.min(), whole.max()], color="0.2", linewidth=1)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.set_xticks(range(len(groups)), list(map(str, groups)))
        figure.legend(loc="outside right center")
    return figure
