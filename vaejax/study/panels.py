"""Rows and traces as panels of curves."""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from vaejax.measure.spectrum import discernible_from
from vaejax.show.lines import Line, Panel
from vaejax.store.checkpoint import Trained
from vaejax.store.records import Row
from vaejax.study.rows import distinct, fact, values
from vaejax.study.words import of_value
from vaejax.theory.threshold import predictions

Level = tuple[str, float | None]
"""The label of a line across a panel, and where it is; None: there is none."""


def against(
    rows: Sequence[Row],
    x: str,
    y: str,
    by: str | tuple[str, ...] = (),
    label: str = "",
    **where: Any,
) -> dict[str, Line]:
    """One figure of all seeds over another one, from the rows that match `where`: a line for each
    value of `by`, or of several columns together, rising. Values of `x` for which some seed has no
    number, or which have no row, are left out.

    Args:
        label: of a line, with the value of `by` in its braces; without one, that value in words.
    """
    names = (by,) if isinstance(by, str) else by
    lines = {}
    for key in sorted({tuple(row[name] for name in names) for row in rows}):
        own = where | dict(zip(names, key, strict=True))
        found = {at: values(rows, y, **{x: at}, **own) for at in distinct(rows, x)}
        known = {at: seeds for at, seeds in found.items() if seeds and np.isfinite(seeds).all()}
        name = label.format(*key) or ", ".join(map(of_value, names, key))
        lines[name] = Line(list(known), list(known.values()))
    return lines


def column_panels(
    rows: Sequence[Row],
    x: str,
    titles: Mapping[str, str],
    by: str | tuple[str, ...] = (),
    label: str = "",
    *,
    floors: Mapping[str, Level] = {},
    mark: Level | None = None,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {},
    log_y: Container[str] = (),
) -> list[Panel]:
    """A panel for each of some columns, with the lines of `against`.

    Args:
        titles: of each column.
        floors: a horizontal line in the panel of a column.
        mark: a vertical line in all panels.
        curves: x and y of a predicted curve in the panel of a column.
        log_y: the columns with a logarithmic axis.
    """
    return [
        Panel(
            title,
            "",
            against(rows, x, name, by, label),
            _known(floors.get(name)),
            name in log_y,
            _known(mark),
            curves.get(name),
        )
        for name, title in titles.items()
    ]


def predicted_panels(
    rows: Sequence[Row],
    x: str,
    thresholds: np.ndarray,
    prefix: str = "",
    mark: Level | None = None,
) -> list[Panel]:
    """Active directions, KL and gain of each net against the scale, with the curves that the linear
    theory predicts from the thresholds of all units, in the units of `x`."""
    scales = distinct(rows, x)
    grid = np.geomspace(scales[0], scales[-1], 500)
    expected = predictions(thresholds, grid, 1.0, len(thresholds))
    names = ("active_directions", "kl_nats", "gain_nats")
    labels = ("active directions", "KL, nats", "gain, nats")
    return column_panels(
        rows,
        x,
        {name: prefix + label for name, label in zip(names, labels, strict=True)},
        "net",
        mark=mark,
        curves={
            name: (grid.tolist(), values.tolist())
            for name, values in zip(names, expected.values(), strict=True)
        },
    )


def _known(level: Level | None) -> tuple[str, float] | None:
    """A line across a panel, if there is a value for it."""
    return None if level is None or level[1] is None else (level[0], level[1])


def threshold_mark(rows: Sequence[Row]) -> Level:
    """The predicted threshold of these rows, as a vertical line."""
    return "predicted threshold", fact(rows, "threshold_scale") if rows else None


def term_panels(trained: Trained, title: str, constant: float) -> list[Panel]:
    """Both loss terms at every training step, a line for each scale. `constant` is the
    reconstruction term of a constant image."""
    scales = np.asarray([lane["recon_scale"] for lane in trained.run.lanes])
    terms = {
        "reconstruction": np.asarray(trained.trace.error),
        "KL, nats": np.ascontiguousarray(trained.trace.kl).sum(-1),
    }
    steps = list(range(1, trained.step + 1))
    return [
        Panel(
            f"{term}, {title}",
            term,
            {
                f"scale {scale:g}": Line(steps, of_lanes[scales == scale].T.tolist())
                for scale in dict.fromkeys(scales.tolist())
            },
            ("constant image", constant) if term == "reconstruction" else None,
            log_y=True,
        )
        for term, of_lanes in terms.items()
    ]


def spectrum_panel(
    title: str, power_ratios: Mapping[str, Sequence[Any]], cycles: Sequence[float]
) -> Panel:
    """The `power_ratio` of all seeds of each labelled model against frequency. Pictures are blur if
    the curve falls below half left of the vertical line."""
    lines = {
        label: Line(cycles, np.asarray(of_seeds, float).T.tolist())
        for label, of_seeds in power_ratios.items()
        if of_seeds
    }
    least = discernible_from(cycles)
    mark = (f"blur: half of it\nlost before {least:g}", least)
    return Panel(
        title, "power of outputs / of images", lines, ("half of the power", 0.5), mark=mark
    )
