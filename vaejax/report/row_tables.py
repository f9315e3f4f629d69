"""Rows as tables of the report: means over seeds, every model, and what models have in common."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vaejax.config import Knobs
from vaejax.report.columns import label, meaning
from vaejax.report.html import Cell, Column, Table
from vaejax.store.records import Row
from vaejax.study.terminal import cell

NONE = "\u2013"  # a dash
NOISE = ("effective_sigma", "effective_beta")
IDENTITY = (
    "study", "dataset", "split", "run", "lane", "latent_size", "seed", *Knobs._fields, *NOISE,
    "commit", "device", "epochs", "steps", "start",
)  # fmt: skip
"""Columns that say what a model is, and not what was measured."""
FIRST = 6
"""Columns that a table has where nothing says which are the most important."""


def is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def scalars(rows: Sequence[Row]) -> list[str]:
    """The columns that hold numbers, words or nothing, in the order of their first appearance."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if all(is_scalar(row.get(name)) for row in rows)]


def nested(rows: Sequence[Row]) -> list[str]:
    """The other columns: lists and objects."""
    known = scalars(rows)
    return [name for name in dict.fromkeys(n for row in rows for n in row) if name not in known]


def numeric(rows: Sequence[Row], names: Iterable[str]) -> list[str]:
    """Those of the columns in which some row has a number."""
    return [name for name in names if any(is_number(row.get(name)) for row in rows)]


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def grouping(rows: Sequence[Row], by: Sequence[str]) -> list[str]:
    """What the rows of one line have in common: `by`, if all rows have it, or else the run and the
    settings that differ within a run."""
    if by and all(is_scalar(row.get(name)) and name in row for row in rows for name in by):
        return list(by)
    runs: dict[str, list[Row]] = {}
    for row in rows:
        runs.setdefault(text(row.get("run")), []).append(row)

    def differs(name: str) -> bool:
        return any(len({text(row.get(name)) for row in of_run}) > 1 for of_run in runs.values())

    known = scalars(rows)
    knobs = [name for name in Knobs._fields if name in known and differs(name)]
    return [name for name in ("run",) if name in known] + knobs


def measured(rows: Sequence[Row]) -> list[str]:
    """The columns of what was measured, those that differ between models first."""
    names = [name for name in scalars(rows) if name not in IDENTITY]
    same = constant(rows)
    return sorted(names, key=lambda name: name in same)


def constant(rows: Sequence[Row]) -> dict[str, Any]:
    """The columns that have the same value in all rows."""
    names = scalars(rows)
    return {
        name: rows[0].get(name)
        for name in names
        if all(row.get(name) == rows[0].get(name) and name in row for row in rows)
    }


def config_fields(rows: Sequence[Row]) -> tuple[dict[str, Any], list[str]]:
    """The fields of the configuration that all rows share, and the names of the others."""
    configs = [config_of(row) for row in rows]
    names = dict.fromkeys(name for config in configs for name in config)
    first = configs[0] if configs else {}
    same = [
        name
        for name in names
        if all(name in config and config[name] == first.get(name) for config in configs)
    ]
    return {name: first[name] for name in same}, [name for name in names if name not in same]


def config_of(row: Row) -> Mapping[str, Any]:
    config = row.get("config")
    return config if isinstance(config, Mapping) else {}


def settings_of_runs(rows: Sequence[Row]) -> Table | None:
    """The fields of the configuration that differ, a row for each run; None if all are the same."""
    _, names = config_fields(rows)
    if not names:
        return None
    known = [
        (text(row.get("run")), *(text(config_of(row).get(name)) for name in names)) for row in rows
    ]
    lines = [[Cell(value) for value in line] for line in dict.fromkeys(known)]
    return Table([column(name) for name in ("run", *names)], lines, 1)


def grouped(rows: Sequence[Row], by: Sequence[str], names: Sequence[str]) -> Table:
    """A row for each value of `by`: of each column the mean over seeds and half the range."""
    groups = dict.fromkeys(tuple(row.get(name) for name in by) for row in rows)
    lines = []
    for group in groups:
        own = [row for row in rows if tuple(row.get(name) for name in by) == group]
        cells = [_mean_cell([row.get(name) for row in own]) for name in names]
        lines.append([*map(value_cell, group), *cells])
    return Table([column(name) for name in (*by, *names)], lines, len(by))


def every_model(rows: Sequence[Row], labels: Sequence[str], shown: Sequence[str]) -> Table:
    """All rows with all their scalar columns, `labels` first and then those that are shown."""
    known = scalars(rows)
    first = [name for name in dict.fromkeys((*labels, *shown)) if name in known]
    names = [*first, *(name for name in known if name not in first)]
    columns = [column(name, name in first) for name in names]
    lines = [[value_cell(row.get(name)) for name in names] for row in rows]
    return Table(columns, lines, sum(name in labels for name in first))


def column(name: str, shown: bool = True) -> Column:
    return Column(name, label(name), meaning(name), shown)


def value_cell(value: Any) -> Cell:
    """One value, with six digits, and the number by which it is sorted."""
    if isinstance(value, bool):
        return Cell("yes" if value else "no", float(value))
    if is_number(value):
        return Cell(f"{value:.6g}" if isinstance(value, float) else str(value), float(value))
    return Cell(str(value) if isinstance(value, str) else NONE)


def _mean_cell(values: Sequence[Any]) -> Cell:
    """The values of all seeds as `report.cell` shows them. A seed without a number leaves none, as
    there."""
    if words := [value for value in values if isinstance(value, str)]:
        return Cell(cell(words))
    if not values or not all(map(is_number, values)):
        return Cell(NONE)
    return Cell(cell(values), math.fsum(values) / len(values))


def text(value: Any) -> str:
    """A setting in words."""
    if is_scalar(value):
        return value_cell(value).text
    if isinstance(value, list) and all(map(is_scalar, value)):
        return ", ".join(value_cell(item).text for item in value) or "none"
    return json.dumps(value, ensure_ascii=False)
