"""From rows to verdicts, a table in the terminal and the paths of what was written."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from vaejax import records
from vaejax.errors import LabError


class Verdict(NamedTuple):
    """HELD, FAILED or UNDECIDED, by which rule, from which numbers."""

    verdict: str
    rule: str
    numbers: Any


def judge(rule: str, comparisons: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Verdict:
    """Compare seeds: in each comparison every value on the left should be below every one on the
    right. HELD if so in all; FAILED if the reverse is so in any; else, or with less than two
    values on the left or one that is not a number, UNDECIDED."""
    pairs = comparisons.values()
    known = all(
        len(low) > 1 and len(high) > 0 and np.isfinite([*low, *high]).all() for low, high in pairs
    )
    if not pairs or not known:
        verdict = "UNDECIDED"
    elif all(max(low) < min(high) for low, high in pairs):
        verdict = "HELD"
    elif any(min(low) > max(high) for low, high in pairs):
        verdict = "FAILED"
    else:
        verdict = "UNDECIDED"
    numbers = {name: {"low": low, "high": high} for name, (low, high) in comparisons.items()}
    return Verdict(verdict, rule, numbers)


def values(rows: Sequence[records.Row], name: str, **where: Any) -> list[Any]:
    """One figure of all seeds, by seed, of the rows that match; NaN where it is not a number."""
    chosen = [row for row in rows if all(row.get(key) == value for key, value in where.items())]
    chosen.sort(key=lambda row: row.get("seed", 0))
    if lacking := [row for row in chosen if name not in row]:
        raise LabError(
            f"The row of {lacking[0].get('run')}, lane {lacking[0].get('lane')} in results.jsonl "
            f"lacks {name}: delete that line, and --resume measures it again."
        )
    return [math.nan if row[name] is None else row[name] for row in chosen]


def show(
    folder: Path,
    rows: Sequence[records.Row],
    columns: Mapping[str, str],
    verdicts: Mapping[str, Verdict],
    written: Sequence[Path],
    by: Sequence[str] = ("run",),
) -> None:
    """Table (a line for each value of `by`; figure name -> format: mean over seeds and half the
    range, or the words themselves), verdicts, paths."""
    console = Console()
    if not console.is_terminal:
        console.width = 140  # a file has room for every column
    headers = [name.replace("_", " ") for name in (*by, *columns)]
    table = Table(*headers, title=f"{folder}: mean over seeds, ± half their range")
    for group in dict.fromkeys(tuple(row[name] for name in by) for row in rows):
        cells = [values(rows, name, **dict(zip(by, group, strict=True))) for name in columns]
        labels = [f"{label:g}" if isinstance(label, float) else str(label) for label in group]
        table.add_row(*labels, *map(_spread, cells, columns.values()))
    console.print(table)
    for claim, verdict in verdicts.items():
        console.print(f"[bold]{claim} {verdict.verdict}[/bold]  {verdict.rule}", highlight=False)
    verdict_file = folder / "verdict.json"
    records.write_json(verdict_file, {claim: found._asdict() for claim, found in verdicts.items()})
    for path in (folder / "results.jsonl", verdict_file, *written):
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _spread(seeds: Sequence[Any], spec: str) -> str:
    if any(isinstance(value, str) for value in seeds):
        return ", ".join(sorted(set(seeds)))
    if np.isnan(seeds).any():
        return "-"
    return f"{np.mean(seeds):{spec}}\n±{(max(seeds) - min(seeds)) / 2:{spec}}"
