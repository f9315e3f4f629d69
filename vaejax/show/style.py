"""The style that all figures share, and how they are saved. There is no pyplot, and so no global
state and no display."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaejax.files import write_bytes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
UNDATED: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
"""The metadata that keep the date out of a file."""
GAP = 0.15
"""Inches between a figure and its caption."""
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def own_style() -> Any:
    """A context in which matplotlib is as it comes, with the style of the lab on top: a user's
    matplotlibrc changes no figure."""
    as_it_comes: dict[Any, Any] = {
        name: value for name, value in mpl.rcParamsDefault.items() if not name.startswith("backend")
    }
    return mpl.rc_context(as_it_comes | STYLE)


def save(
    figure: Figure, folder: Path, name: str, formats: Sequence[str] = ("png",), caption: str = ""
) -> list[Path]:
    """Write a figure in each of the formats (png, svg, pdf), whole or not at all. The caption is
    below the figure. The same figure is the same bytes. Returns the paths."""
    if caption:
        with own_style():
            _write_below(figure, caption)
    paths = []
    for kind in formats:
        buffer = io.BytesIO()
        with own_style(), mpl.rc_context({"svg.hashsalt": name}):
            figure.savefig(
                buffer, format=kind, dpi=150, bbox_inches="tight", metadata=UNDATED[kind]
            )
        path = folder / f"{name}.{kind}"
        write_bytes(path, buffer.getvalue())
        paths.append(path)
    return paths


def save_page(text: str, path: Path) -> None:
    """Write a page of HTML, whole or not at all."""
    write_bytes(path, text.encode(errors="replace"))


def _write_below(figure: Figure, caption: str) -> None:
    """Write a caption below all that a figure has drawn, legends outside the axes included."""
    figure.draw_without_rendering()  # lays the figure out
    figure.set_layout_engine("none")
    for legend in figure.legends:  # they would move to the edge of the larger picture
        legend.set_bbox_to_anchor((0, 0, 1, 1), figure.transFigure)
    drawn = figure.get_tightbbox()
    height = figure.get_figheight()
    figure.text(0.01, (drawn.y0 - GAP) / height, caption, va="top", fontsize=7, color="0.35")


def rows_of_axes(
    title: str, panels: int, each: tuple[float, float], more: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """A figure of `panels` axes under a title, and the axes in reading order: at most three in a
    row, four and eight in rows of two.

    Args:
        each: width and height of one pair of axes, in inches.
        more: width and height of what else the figure has, in inches.
    """
    across = 2 if panels in (4, 8) else min(panels, 3)
    down = math.ceil(panels / across)
    size = each[0] * across + more[0], each[1] * down + more[1]
    figure = Figure(figsize=size, layout="constrained")
    all_axes = figure.subplots(down, across, squeeze=False).ravel()
    for spare in all_axes[panels:]:
        spare.remove()
    figure.suptitle(title, x=0.01, ha="left")
    return figure, list(all_axes[:panels])
