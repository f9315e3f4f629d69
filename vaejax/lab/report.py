"""The end of a study in the terminal: a table, the verdicts, the paths of what was written."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from vaejax.lab.verdicts import Verdict, values
from vaejax.store.records import Row

FILE_WIDTH = 140
"""Columns of a table that does not go to a terminal."""
MOST_DECIMALS = 5
"""With more, a number is in scientific notation."""


def console() -> Console:
    """Where tables and verdicts go."""
    found = Console(highlight=False)
    if not found.is_terminal:
        found.width = FILE_WIDTH
    return found


def show_table(
    out: Console, title: str, rows: Sequence[Row], columns: Sequence[str], by: Sequence[str]
) -> None:
    """A line for each value of `by`: of each figure the mean over seeds and half the range, or the
    words themselves."""
    headers = [name.replace("_", " ") for name in (*by, *columns)]
    table = Table(*headers, title=f"{title}: mean over seeds, ± half their range")
    for group in dict.fromkeys(tuple(row[name] for name in by) for row in rows):
        cells = [values(rows, name, **dict(zip(by, group, strict=True))) for name in columns]
        labels = [f"{label:g}" if isinstance(label, float) else str(label) for label in group]
        table.add_row(*labels, *map(cell, cells))
    out.print(table, highlight=None)


def show_verdicts(out: Console, verdicts: Mapping[str, Verdict], quick: bool) -> None:
    """A line for each claim; after a `--quick` run it says that the verdict does not count."""
    note = " does not count, after --quick:" if quick else ""
    for claim, found in verdicts.items():
        out.print(f"[bold]{claim}[/bold]{note} [bold]{found.verdict}[/bold]  {found.rule}")


def show_paths(out: Console, *paths: Path) -> None:
    for path in paths:
        out.print(f"wrote {path}", soft_wrap=True)


def cell(seeds: Sequence[Any]) -> str:
    """The figures of all seeds as the table shows them. The half range has two digits, and the mean
    as many decimals; a figure without a range has four digits."""
    if any(isinstance(value, str) for value in seeds):
        return ", ".join(sorted(set(seeds)))
    if np.isnan(seeds).any():
        return "-"
    mean, half = float(np.mean(seeds)), float(max(seeds) - min(seeds)) / 2
    if half == 0:
        return f"{mean:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(half)))
    if decimals > MOST_DECIMALS:
        return f"{mean:.1e}\n±{half:.0e}"
    return f"{mean:.{decimals}f}\n±{half:.{decimals}f}"
