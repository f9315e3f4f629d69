"""Rows as tables of the report: means over seeds, every model, and what models have in common."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from vaejax.config import Knobs
from vaejax.store.records import Row
from vaejax.study.terminal import BALANCE, cell

NONE = "\u2013"  # a dash
FIRST = 6
"""Columns that a table has where nothing says which are the most important."""


class Cell(NamedTuple):
    """What a cell shows, and the number by which it is sorted, if it is one."""

    text: str
    number: float | None = None


class Table(NamedTuple):
    """A table whose first columns, so many as `labels`, say what a row is about."""

    names: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    labels: int


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def scalars(rows: Sequence[Row]) -> list[str]:
    """The columns that hold numbers, words or nothing, in the order of their first appearance."""

    def holds_scalars(name: str) -> bool:
        return all(isinstance(row.get(name), str | int | float | None) for row in rows)

    return list(filter(holds_scalars, dict.fromkeys(name for row in rows for name in row)))


def numeric(rows: Sequence[Row]) -> list[str]:
    """Those in which some row has a number."""
    return [name for name in scalars(rows) if any(is_number(row.get(name)) for row in rows)]


def common(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of them say, and say alike."""
    first = entries[0] if entries else {}
    return {
        name: value
        for name, value in first.items()
        if all(name in each and each[name] == value for each in entries)
    }


def grouping(rows: Sequence[Row], by: Sequence[str]) -> list[str]:
    """What the rows of one line have in common: `by`, if the rows have it, or else the run and the
    settings that differ."""
    known, same = scalars(rows), common(rows)
    if by and set(by) <= set(known):
        return list(by)
    differ = [name for name in Knobs._fields if name not in same]
    return [name for name in ("run", *differ) if name in known]


def chosen(rows: Sequence[Row], about: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The columns of the first table, and the further ones, as study.json says; without it, numbers
    that were measured, those that differ between models first."""
    balance = [name for name in numeric(rows) if name in BALANCE]
    if "columns" in about:
        first, more = about["columns"], about.get("more_columns", [])
    else:
        same = common(rows)
        names = [n for n in numeric(rows) if n not in ("lane", "seed", *BALANCE, *Knobs._fields)]
        names.sort(key=lambda name: name in same)
        first, more = names[:FIRST], [name for name in names[FIRST:] if name not in same]
    known = set(scalars(rows))
    return [*balance, *(n for n in first if n in known)], [n for n in more if n in known]


def means(rows: Sequence[Row], by: Sequence[str], names: Sequence[str]) -> Table:
    """A row for each value of `by`: of each column the mean over seeds and half the range. A seed
    without a number leaves none, as in `terminal.cell`."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in by), []).append(row)

    def mean(values: Sequence[Any]) -> Cell:
        if words := [value for value in values if isinstance(value, str)]:
            return Cell(cell(words))
        if not all(map(is_number, values)):
            return Cell(NONE)
        return Cell(cell(values), math.fsum(values) / len(values))

    lines = [
        [*map(single, group), *(mean([row.get(name) for row in own]) for name in names)]
        for group, own in groups.items()
    ]
    return Table([*by, *names], lines, len(by))


def models(rows: Sequence[Row], labels: Sequence[str], shown: Sequence[str]) -> Table:
    """All rows with all their scalar columns, `labels` first and then those that are shown."""
    known = scalars(rows)
    labels = [name for name in dict.fromkeys(labels) if name in known]
    names = list(dict.fromkeys((*labels, *shown, *known)))
    return Table(names, [[single(row.get(name)) for name in names] for row in rows], len(labels))


def runs(rows: Sequence[Row]) -> Table | None:
    """The fields of the configuration that differ, a row for each run; None if all are the same."""
    configs = [config_of(row) for row in rows]
    same = common(configs)
    names = [name for name in dict.fromkeys(n for one in configs for n in one) if name not in same]
    lines = [(text(row.get("run")), *(text(config_of(row).get(n)) for n in names)) for row in rows]
    cells = [[Cell(value) for value in line] for line in dict.fromkeys(lines)]
    return Table(["run", *names], cells, 1) if names else None


def config_of(row: Row) -> Mapping[str, Any]:
    config = row.get("config")
    return config if isinstance(config, Mapping) else {}


def single(value: Any) -> Cell:
    """One value, with six digits, and the number by which it is sorted."""
    if isinstance(value, bool):
        return Cell("yes" if value else "no", float(value))
    if is_number(value):
        return Cell(f"{value:.6g}" if isinstance(value, float) else str(value), float(value))
    return Cell(value if isinstance(value, str) else NONE)


def text(value: Any) -> str:
    """A setting, a list of them, or versions by name, in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(text, value)) or "none"
    return single(value).text
