"""Arrays and rows in, a matplotlib `Figure` out. No pyplot: no global state, no display."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from cycler import cycler
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Locator, LogLocator, MaxNLocator, NullLocator

from vaejax.records import write_bytes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}

MOST_TICKS = 10
"""Values of x that are drawn one by one."""
ROOM = 0.1
"""Of the axis, that the label of a tick needs."""

Images = Float[np.ndarray, "n height width channels"]


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    write_bytes(path, buffer.getvalue())
    return path


def tile(images: Images, columns: int) -> Float[np.ndarray, "rows columns channels"]:
    """Images in reading order, a white pixel between them."""
    rows = -(-len(images) // columns)
    _, height, width, channels = images.shape
    canvas = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.float32)
    for index, image in enumerate(images):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        canvas[top : top + height, left : left + width] = np.clip(image, 0, 1)
    return canvas


def _show(axes: Axes, images: Images, columns: int) -> None:
    axes.imshow(tile(images, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def grids(panels: Sequence[Mapping[str, Images]], columns: int, title: str) -> Figure:
    """Rows of titled grids of images, side by side: samples of several models."""
    across, side = max(len(row) for row in panels), 0.4 * columns
    with mpl.rc_context(STYLE):
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
    with mpl.rc_context(STYLE):
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
    """x and y of a curve that nothing was trained for."""


def rows_of_axes(
    panels: int, each: tuple[float, float], more: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """Axes in reading order, at most three in a row, four as two by two; width and height, in
    inches, of each of them and of what else the figure has."""
    across = 2 if panels == 4 else min(panels, 3)
    down = -(-panels // across)
    size = each[0] * across + more[0], each[1] * down + more[1]
    figure = Figure(figsize=size, layout="constrained")
    all_axes = figure.subplots(down, across, squeeze=False).ravel()
    for spare in all_axes[panels:]:
        spare.remove()
    return figure, list(all_axes[:panels])


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
    """Of an axis on which something was measured at these values: each of them where there is room,
    else round numbers; None for whole powers of ten."""
    places = np.log(ticks) if log_x else np.asarray(ticks)
    if len(ticks) <= MOST_TICKS and (np.diff(places) > ROOM * np.ptp(places)).all():
        return FixedLocator(ticks)
    if not log_x:
        return MaxNLocator(8, steps=[1, 2, 5, 10])
    return LogLocator(subs=(1, 2, 5)) if ticks[-1] < 100 * ticks[0] else None


def _labels(panel: Panel) -> list[str]:
    """What a legend names; nothing if there is but one line."""
    others = ["predicted"] * bool(panel.predicted)
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
        more = (2.0 * bool(beside and labels[0]), 0.3)
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


def circles(axes: Axes) -> None:
    """At 1, 2 and 3 standard deviations of N(0, I)."""
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
    with mpl.rc_context(STYLE):
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
