"""From rows to verdicts, a table in the terminal and the paths of what was written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from vaejax import records


class Verdict(NamedTuple):
    """HELD, FAILED or UNDECIDED, by which rule, from which numbers."""

    verdict: str
    rule: str
    numbers: Any


def judge(rule: str, comparisons: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Verdict:
    """Compare seeds: in each comparison every value on the left should be below every one on the
    right. HELD if so in all; FAILED if the reverse is so in any; else, or with less than two
    values on the left, UNDECIDED."""
    pairs = comparisons.values()
    if not pairs or any(len(low) < 2 for low, _ in pairs):
        verdict = "UNDECIDED"
    elif all(max(low) < min(high) for low, high in pairs):
        verdict = "HELD"
    elif any(min(low) > max(high) for low, high in pairs):
        verdict = "FAILED"
    else:
        verdict = "UNDECIDED"
    numbers = {name: {"low": low, "high": high} for name, (low, high) in comparisons.items()}
    return Verdict(verdict, rule, numbers)


def values(rows: Sequence[records.Row], name: str, **where: Any) -> list[float]:
    """One figure of all seeds, by seed, of the rows that match."""
    chosen = [row for row in rows if all(row[key] == value for key, value in where.items())]
    return [row[name] for row in sorted(chosen, key=lambda row: row["seed"])]


def show(
    folder: Path,
    rows: Sequence[records.Row],
    columns: Mapping[str, str],
    verdicts: Mapping[str, Verdict],
    written: Sequence[Path],
) -> None:
    """Table (figure name -> format; mean over seeds and half the range), verdicts, paths."""
    console = Console()
    headers = [name.replace("_", " ") for name in columns]
    table = Table("run", *headers, title=f"{folder}: mean over seeds, ± half their range")
    for run in dict.fromkeys(row["run"] for row in rows):
        cells = [values(rows, name, run=run) for name in columns]
        table.add_row(run, *map(_spread, cells, columns.values()))
    console.print(table)
    for claim, verdict in verdicts.items():
        console.print(f"[bold]{claim} {verdict.verdict}[/bold]  {verdict.rule}", highlight=False)
    verdict_file = folder / "verdict.json"
    records.write_json(verdict_file, {claim: found._asdict() for claim, found in verdicts.items()})
    for path in (folder / "results.jsonl", verdict_file, *written):
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _spread(seeds: Sequence[float | None], spec: str) -> str:
    numbers = [value for value in seeds if value is not None]
    if not numbers:
        return "-"
    return f"{np.mean(numbers):{spec}}\n±{(max(numbers) - min(numbers)) / 2:{spec}}"
