"""Has the posterior of a VAE collapsed? From arrays, so the VAE may be of any framework: the KL of
each unit, which units are active, the mutual information of input and code, and, with
reconstructions, whether the outputs depend on the code; then the verdict and the evidence of
`experiments.inspect_checkpoint`.

Command: python -m experiments.diagnose codes.npz
The file holds posterior means and log variances of n inputs, `mean` and `logvar` [n, z]. Optional,
all [n, ...]: the inputs `x`, their reconstructions `x_mean`, and `x_shuffled`, reconstructions from
codes that were shuffled between inputs. docs/your_codes.md has lines for PyTorch, Keras and JAX.

Cost: seconds. The mutual information compares n codes with n posteriors: with 60,000 inputs and
ten units it takes up to a minute on two cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.table import Table

import vaejax as vj


@dataclass(frozen=True, kw_only=True)
class DiagnoseFlags:
    """What to diagnose."""

    file: Annotated[Path, tyro.conf.Positional]
    """An npz file with `mean` and `logvar`, and with `x`, `x_mean` and `x_shuffled` if there are
    any."""


def measured(codes: vj.exchange.codes.Codes) -> dict[str, np.ndarray]:
    """The figures of the arrays that there are, by name and unit."""
    posterior_key, output_key = vj.study.evaluation_keys(2)
    figures = vj.measure.posterior_figures(codes.mean, codes.logvar, posterior_key)
    if codes.x is not None and codes.x_mean is not None:
        outputs = (codes.x, codes.x_mean, codes.x_shuffled)
        figures |= vj.measure.output_figures(*outputs, output_key)
    return {name: np.asarray(figure) for name, figure in figures.items()}


def tables(
    inputs: int, figures: dict[str, np.ndarray], found: vj.measure.Collapse
) -> tuple[Table, Table]:
    """The figures of all units together, and those of each unit, the most informative one first."""
    kl, variances = figures["kl_per_unit_nats"], figures["mean_variance_per_unit"]
    together = Table("", "value", title=f"{inputs} inputs, {len(kl)} latent units")
    for name, value in figures.items():
        if value.ndim == 0:
            together.add_row(name, "none" if np.isnan(value) else f"{float(value):.6g}")
    each = Table("unit", "KL, nats", "variance of its mean", "active")
    active = dict.fromkeys(found.dead_units, "no") | dict.fromkeys(found.by_few, "by few inputs")
    for unit in np.argsort(-kl, kind="stable").tolist():
        known = f"{kl[unit]:.4g}", f"{variances[unit]:.4g}", active.get(unit, "yes")
        each.add_row(str(unit), *known)
    return together, each


def absent(codes: vj.exchange.codes.Codes) -> list[str]:
    """What could not be compared for lack of an array, and which arrays no figure uses."""
    lines = [
        f"no {name}: the output variance could not be compared"
        for name in ("x", "x_mean")
        if getattr(codes, name) is None
    ]
    if not lines and codes.x_shuffled is None:
        lines = [
            "no x_shuffled: x_mean was shuffled instead of the codes, which is the same if the "
            "decoder sees nothing but the code"
        ]
    return lines + [f"the file also holds {name}, which says nothing here" for name in codes.unused]


def doubts(
    codes: vj.exchange.codes.Codes, figures: dict[str, np.ndarray], found: vj.measure.Collapse
) -> list[str]:
    """What in the arrays is seldom meant."""
    lines = []
    for unit in found.by_few[:1]:
        means = codes.mean[:, unit]
        row = np.abs(means - np.median(means)).argmax()
        lines.append(f"look at row {row}, whose mean of unit {unit} is {means[row]:.3g}")
    if codes.logvar.min() >= 0 < codes.logvar.max():
        lines.append(
            "no log variance is below 0, as if no posterior were narrower than the prior: if they "
            "are standard deviations, save 2 * log(sigma); if variances, log(variance)"
        )
    if codes.x is None or codes.x_mean is None:
        return lines
    if figures["reconstruction_mse"] > 1.1 * codes.x.var(0).mean():
        ends = [f"{each.min():.3g} to {each.max():.3g}" for each in (codes.x, codes.x_mean)]
        lines.append(
            f"x_mean ({ends[1]}) is farther from x ({ends[0]}) than the mean image is: are they "
            "logits, of another range, or in another order?"
        )
    return lines


def main() -> None:
    with vj.study.failing_clearly():
        flags = vj.study.parse(DiagnoseFlags, __doc__)
        vj.study.environment.prepare()
        codes = vj.exchange.codes.read(vj.files.own_path(flags.file))
        figures = measured(codes)
        found = vj.measure.judge_collapse(figures)
        out = vj.study.terminal.console()
        for table in tables(len(codes.mean), figures, found):
            out.print(table)
        vj.study.terminal.show_collapse(out, found)
        for line in doubts(codes, figures, found) + absent(codes):
            out.print(f"  {line}")


if __name__ == "__main__":
    main()
