"""The style that all figures share, and how they are saved. There is no pyplot, and so no global
state and no display."""

import io
import math
from pathlib import Path
from typing import Any

from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaejax.files import write_bytes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    write_bytes(path, buffer.getvalue())
    return path


def rows_of_axes(
    panels: int, each: tuple[float, float], more: tuple[float, float]
) -> tuple[Figure, list[Axes]]:
    """A figure of `panels` axes, and the axes in reading order: at most three in a row, four as two
    by two.

    Args:
        each: width and height of one pair of axes, in inches.
        more: width and height of what else the figure has, in inches.
    """
    across = 2 if panels == 4 else min(panels, 3)
    down = math.ceil(panels / across)
    size = each[0] * across + more[0], each[1] * down + more[1]
    figure = Figure(figsize=size, layout="constrained")
    all_axes = figure.subplots(down, across, squeeze=False).ravel()
    for spare in all_axes[panels:]:
        spare.remove()
    return figure, list(all_axes[:panels])
