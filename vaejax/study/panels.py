"""Rows and traces as panels of curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vaejax.measure.spectrum import discernible_from
from vaejax.show.lines import Line, Panel
from vaejax.store.checkpoint import Trained
from vaejax.store.records import Row
from vaejax.study.verdicts import distinct, values


def against(rows: Sequence[Row], by: str, name: str, **where: Any) -> Line:
    """One figure of all seeds as a line over another one, from the rows that match `where`; values
    of `by` for which some seed has no number, or which have no row, are left out."""
    found = {x: values(rows, name, **{by: x}, **where) for x in distinct(rows, by)}
    known = {x: seeds for x, seeds in found.items() if seeds and np.isfinite(seeds).all()}
    return Line(list(known), list(known.values()))


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
