"""Curves over a quantity, such as a figure of several seeds against the recon_scale."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Locator, LogLocator, MaxNLocator, NullLocator

from vaejax.show.style import STYLE, rows_of_axes

MOST_TICKS = 10
"""Up to this many values of x are drawn as points; more are drawn as a curve."""
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
    mark: tuple[str, float] | None = None
    """A labelled vertical line."""
    predicted: tuple[Sequence[float], Sequence[float]] | None = None
    """x and y of a predicted curve, which needed no training."""


def _draw(axes: Axes, panel: Panel, few: bool) -> None:
    """The mean over seeds of each line, in a band from least to most; markers on a few points."""
    if panel.predicted:
        axes.plot(*panel.predicted, color="0.1", linestyle="--", linewidth=1, label="predicted")
    for name, line in panel.lines.items():
        means = [float(np.mean(values)) for values in line.y]
        (drawn,) = axes.plot(line.x, means, marker="o" if few else "", markersize=4, label=name)
        axes.fill_between(
            line.x,
            [min(values) for values in line.y],
            [max(values) for values in line.y],
            color=drawn.get_color(),
            alpha=0.25,
            linewidth=0,
        )
    if panel.floor:
        axes.axhline(panel.floor[1], color="0.4", linestyle=":", label=panel.floor[0])
    if panel.mark:
        axes.axvline(panel.mark[1], color="0.4", linestyle="--", label=panel.mark[0])


def _locator(ticks: Sequence[float], log_x: bool) -> Locator | None:
    """Where the ticks of the x axis go: at each measured value if there is room, else at round
    numbers; None leaves them at whole powers of ten."""
    places = np.log(ticks) if log_x else np.asarray(ticks)
    if len(ticks) <= MOST_TICKS and (np.diff(places) > ROOM * np.ptp(places)).all():
        return FixedLocator(ticks)
    if not log_x:
        return MaxNLocator(8, steps=[1, 2, 5, 10])
    return LogLocator(subs=(1, 2, 5)) if ticks[-1] < 100 * ticks[0] else None


def _labels(panel: Panel) -> list[str]:
    """What the legend of a panel names; nothing if there is only one line."""
    others = ["predicted"] if panel.predicted else []
    others += [named[0] for named in (panel.floor, panel.mark) if named]
    return [*panel.lines, *others] if others or len(panel.lines) > 1 else []


def curves(panels: Sequence[Panel], xlabel: str, title: str, log_x: bool = True) -> Figure:
    """Panels of curves over the same quantity: the mean over seeds, a band from least to most.

    Up to `MOST_TICKS` values of x have a marker, and where there is room a tick, each; more are a
    curve. Panels of the same labels share a legend beside them.
    """
    with mpl.rc_context(STYLE):
        labels = [_labels(panel) for panel in panels]
        beside = all(of_panel == labels[0] for of_panel in labels)
        more = (2.0 if beside and labels[0] else 0.0, 0.3)
        figure, all_axes = rows_of_axes(len(panels), (3.6, 3.1), more)
        figure.suptitle(title, x=0.01, ha="left")
        for panel, named, axes in zip(panels, labels, all_axes, strict=True):
            ticks = sorted({float(x) for line in panel.lines.values() for x in line.x})
            _draw(axes, panel, len(ticks) <= MOST_TICKS)
            axes.set_xscale("log" if log_x else "linear")
            if locator := _locator(ticks, log_x):
                axes.xaxis.set_major_locator(locator)
                axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
                axes.xaxis.set_minor_locator(NullLocator())
            if panel.log_y:
                axes.set_yscale("log")
            axes.set(xlabel=xlabel, ylabel=panel.ylabel, title=panel.title)
            if named and not beside:
                # A vertical line runs behind the legend wherever that lies in the axes.
                axes.legend(frameon=bool(panel.mark), edgecolor="none")
        if beside and labels[0]:
            handles = all_axes[0].get_legend_handles_labels()
            figure.legend(*handles, loc="outside right center")
    return figure
