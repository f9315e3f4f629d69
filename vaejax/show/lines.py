"""Curves over a quantity, such as a figure of several seeds against the recon_scale."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Locator, LogLocator, MaxNLocator, NullLocator

from vaejax.show.style import COLOURS, own_style, rows_of_axes

MOST_TICKS = 10
"""Up to this many values of x are drawn as points; more are drawn as a curve."""
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (6, 2)), "-.", (0, (2, 1)), (0, (8, 2, 1, 2, 1, 2)), (0, (1, 1)))
"""The lines of curves without markers: they are told apart without colour, too."""
LEVELS = (":", (0, (1, 4)), (0, (4, 4)))
"""The horizontal lines."""
NOTHING = "no model has a number"
"""What a panel says in which there is no line to draw."""
ROOM = 0.1
"""The share of an axis that the label of one tick needs."""


class Line(NamedTuple):
    """One curve: `y[i]` are the values of all seeds at `x[i]`."""

    x: Sequence[float]
    y: Sequence[Sequence[float]]


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    ylabel: str
    lines: Mapping[str, Line]
    floor: tuple[str, float] | None = None
    """A labelled horizontal line."""
    log_y: bool = False
    """A logarithmic y axis, if any value is positive."""
    mark: tuple[str, float] | None = None
    """A labelled vertical line."""
    predicted: tuple[Sequence[float], Sequence[float]] | None = None
    """x and y of a predicted curve, which needed no training."""


def _draw(axes: Axes, panel: Panel, names: Sequence[str], levels: Sequence[str], few: bool) -> None:
    """The mean over seeds of each line, in a band from least to most; markers on a few points.
    A name has the same look in all panels of a figure."""
    if panel.predicted:
        axes.plot(*panel.predicted, color="0.1", linestyle="--", linewidth=1, label="predicted")
    for name, line in panel.lines.items():
        index = names.index(name)
        look = {"marker": MARKERS[index % len(MARKERS)], "markersize": 4, "linestyle": "-"}
        if not few:
            look = {"marker": "", "linestyle": DASHES[index % len(DASHES)]}
        means = [float(np.mean(values)) for values in line.y]
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(line.x, means, color=colour, label=name, **look)
        axes.fill_between(
            line.x,
            [min(values) for values in line.y],
            [max(values) for values in line.y],
            color=colour,
            alpha=0.25,
            linewidth=0,
        )
    if panel.floor:
        style = LEVELS[levels.index(panel.floor[0]) % len(LEVELS)]
        axes.axhline(panel.floor[1], color="0.4", linestyle=style, label=panel.floor[0])
    if panel.mark:
        axes.axvline(panel.mark[1], color="0.4", linestyle="--", label=panel.mark[0])


def _locator(ticks: Sequence[float], log_x: bool) -> Locator | None:
    """Where the ticks of the x axis go: at each measured value if there is room, else at round
    numbers; None leaves them at whole powers of ten."""
    if not ticks:
        return None
    places = np.log(ticks) if log_x else np.asarray(ticks)
    if len(ticks) <= MOST_TICKS and (np.diff(places) > ROOM * np.ptp(places)).all():
        return FixedLocator(ticks)
    if not log_x:
        return MaxNLocator(8, steps=[1, 2, 5, 10])
    return LogLocator(subs=(1, 2, 5)) if ticks[-1] < 100 * ticks[0] else None


def curves(panels: Sequence[Panel], xlabel: str, title: str, log_x: bool = True) -> Figure:
    """Panels of curves over the same quantity: the mean over seeds, a band from least to most.

    Up to `MOST_TICKS` values of x have a marker, and where there is room a tick, each; more are a
    curve. One legend beside the panels names what is in any of them, unless that is a single line.
    """
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    levels = list(dict.fromkeys(panel.floor[0] for panel in panels if panel.floor))
    with own_style():
        figure, all_axes = rows_of_axes(title, len(panels), (3.6, 3.1), (2.0, 0.3))
        for panel, axes in zip(panels, all_axes, strict=True):
            ticks = sorted({float(x) for line in panel.lines.values() for x in line.x})
            _draw(axes, panel, names, levels, len(ticks) <= MOST_TICKS)
            values = [value for line in panel.lines.values() for seeds in line.y for value in seeds]
            numbers = [value for value in values if np.isfinite(value)]
            if not numbers:
                axes.text(0.5, 0.5, NOTHING, transform=axes.transAxes, ha="center", color="0.4")
            axes.set_xscale("log" if log_x and ticks else "linear")
            if locator := _locator(ticks, log_x):
                axes.xaxis.set_major_locator(locator)
                axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
                axes.xaxis.set_minor_locator(NullLocator())
            if panel.log_y and max(numbers, default=0) > 0:
                axes.set_yscale("log")
            axes.set(xlabel=xlabel, ylabel=panel.ylabel, title=panel.title)
        handles = {}
        for axes in all_axes:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        if len(handles) > 1:
            figure.legend(list(handles.values()), list(handles), loc="outside right center")
    return figure
