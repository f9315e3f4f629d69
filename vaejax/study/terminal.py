"""The end of a study in the terminal: a table, the answers to the claims, what was written."""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table

from vaejax.measure.collapse import Collapse
from vaejax.store.records import Row
from vaejax.study.claims import Verdict
from vaejax.study.rows import distinct, values
from vaejax.study.words import of_column

WIDTH = 100
"""The most columns of text."""
MOST_DECIMALS = 4
"""A smaller number is in scientific notation."""
BALANCE = ("effective_sigma", "effective_beta")
"""What the weights of the two loss terms amount to: the sigma of a Gaussian decoder, or else
beta."""
COLOURS = {"HELD": "green", "FAILED": "red", "UNDECIDED": "yellow"}


class Terminal(Console):
    """A Console that leaves a reader who has gone, as after `| head`, to `failing_clearly`."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def console() -> Console:
    """Where tables and verdicts go."""
    found = Terminal(highlight=False)
    found.width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return found


def show_table(
    out: Console, title: str, rows: Sequence[Row], columns: Sequence[str], by: Sequence[str]
) -> None:
    """A line for each value of `by`: of each figure the mean over seeds and half the range, or the
    words themselves. Columns for which there is no room are in a further table, below."""
    # Above the table, not as its title: that would cut a long path to the width of the table.
    out.print(f"{title}: mean over seeds ± half their range", style="italic", markup=False)
    left = list(columns)
    while left:
        shown = left
        while len(shown) > 1 and _width(out, table(rows, shown, by)) > out.width:
            shown = shown[:-1]
        out.print(table(rows, shown, by), highlight=None)
        left = left[len(shown) :]


def table(rows: Sequence[Row], columns: Sequence[str], by: Sequence[str]) -> Table:
    """The table of these columns, with no line broken."""
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for name in by:
        made.add_column(_heading(name), justify="left", header_style="bold")
    for name in columns:
        made.add_column(_heading(name), justify="right", header_style="bold", no_wrap=True)
    for line in lines(rows, columns, by):
        made.add_row(*line)
    return made


def lines(
    rows: Sequence[Row], columns: Sequence[str], by: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """The cells of a table, a line for each value of `by`: first that value, then the columns."""
    for group in dict.fromkeys(tuple(row[name] for name in by) for row in rows):
        cells = [values(rows, name, **dict(zip(by, group, strict=True))) for name in columns]
        labels = [f"{label:g}" if isinstance(label, float) else str(label) for label in group]
        yield (*labels, *map(cell, cells))


def _heading(name: str) -> str:
    """The name of a column, a word to a line. The table has no room to call sigma effective."""
    return of_column(name.removeprefix("effective_")).replace(" ", "\n")


def _width(out: Console, shown: Table) -> int:
    return Measurement.get(out, out.options.update_width(10 * WIDTH), shown).maximum


def noise_columns(rows: Sequence[Row]) -> list[str]:
    """The column of `BALANCE` that a study has, if any."""
    for name in BALANCE:
        if all(isinstance(row.get(name), float) and math.isfinite(row[name]) for row in rows):
            return [name]
    return []


def show_verdicts(
    out: Console, verdicts: Mapping[str, Verdict], unanswered: Sequence[str], quick: bool
) -> None:
    """The question and the answer of each claim; after a `--quick` run, that there are none.

    Args:
        unanswered: the claims that have no answer, since their models were not trained.
    """
    if quick and verdicts:
        out.print(f"{', '.join(verdicts)}: no answer after --quick, which trains too briefly.")
    for claim, found in verdicts.items() if not quick else ():
        mark = f"[bold {COLOURS.get(found.verdict.split()[0], '')}]{found.verdict}[/]"
        out.print(f"[bold]{claim}[/bold]  {escape(found.question)} {mark}")
        for line in found.answer.splitlines():
            out.print(Padding(escape(line), (0, 0, 0, 4), expand=False))
    if unanswered:
        out.print(escape(f"{'; '.join(unanswered)}: no answer, their models were not trained."))


def show_collapse(out: Console, found: Collapse) -> None:
    """The verdict on one model, and its evidence."""
    out.print(f"[bold]{found.headline}[/bold]")
    for line in found.evidence:
        out.print(f"  {line}")


def show_seeds(out: Console, rows: Sequence[Row]) -> None:
    seeds = ", ".join(map(str, distinct(rows, "seed")))
    out.print(f"Seeds {seeds}. HELD (yes) and FAILED (no): all seeds agree.")


def show_paths(out: Console, *paths: Path) -> None:
    for path in paths:
        out.print(f"wrote {path}", soft_wrap=True)


def show_next_steps(folder: Path, figures: Sequence[Path]) -> None:
    """What to do with the results."""
    out = console()
    for what, how in (
        *(("Open", str(figure)) for figure in figures[:1]),
        ("Report", f"python -m experiments.report {shlex.quote(str(folder))}"),
        ("Explore", f"python -m experiments.explore {shlex.quote(str(folder))}"),
    ):
        out.print(f"[bold]{what:>7}[/bold]  {how}", soft_wrap=True)


def cell(seeds: Sequence[Any]) -> str:
    """The figures of all seeds as a table shows them: the mean and half the range. The half range
    has two digits and the mean as many decimals, but no more than four, or than make four digits.
    Alone stand a mean without a range, and one under 0.0001."""
    if any(isinstance(value, str) for value in seeds):
        return ", ".join(sorted(set(seeds)))
    if not len(seeds) or np.isnan(seeds).any():
        return "-"
    mean, half = float(np.mean(seeds)), float(max(seeds) - min(seeds)) / 2
    if half == 0:
        return f"{mean:.4g}"
    if max(abs(mean), half) < 10.0**-MOST_DECIMALS:
        return f"{mean:.1e}"
    digits = 3 - math.floor(math.log10(max(abs(mean), half)))
    decimals = min(MOST_DECIMALS, max(0, min(digits, 1 - math.floor(math.log10(half)))))
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"
