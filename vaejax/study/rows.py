"""Figures picked from the rows of a study, and how they are spelled."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vaejax.errors import LabError
from vaejax.store.records import Row


def matching(rows: Sequence[Row], **where: Any) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in where.items())]


def by_seed(rows: Sequence[Row], **where: Any) -> list[Row]:
    """The rows that have these values, by rising seed."""
    return sorted(matching(rows, **where), key=lambda row: row.get("seed", 0))


def figure(row: Row, name: str) -> Any:
    """A figure of a row; NaN where it is not a number."""
    if name not in row:
        raise LabError(
            f"The row of {row.get('run')}, lane {row.get('lane')} in results.jsonl lacks {name}: "
            "if the study measures it, delete that line, and --resume does so again."
        )
    return math.nan if row[name] is None else row[name]


def values(rows: Sequence[Row], name: str, **where: Any) -> list[Any]:
    """One figure of the rows that match `where`, by seed; NaN where it is not a number.

    Raises:
        LabError: a row lacks the figure.
    """
    return [figure(row, name) for row in by_seed(rows, **where)]


def distinct(rows: Sequence[Row], name: str) -> list[Any]:
    """The different values of one figure, rising."""
    return sorted({row[name] for row in rows})


def fact(rows: Sequence[Row], name: str) -> Any:
    """A figure that all rows share, such as the data set; None if there is none.

    Raises:
        LabError: the rows do not agree on it.
    """
    first = rows[0].get(name)
    if any(row.get(name) != first for row in rows):
        raise LabError(f"The rows of results.jsonl do not agree on {name}: use another --out.")
    return first


def number(value: float, digits: int = 3) -> str:
    """A number with so many digits, or all of them before the decimal point."""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.{digits}g}"


def span(values: Sequence[float]) -> str:
    """The least and the largest of some values, or the one value that all are."""
    least, most = (number(float(value)) for value in (np.min(values), np.max(values)))
    return least if least == most else f"{least} to {most}"
