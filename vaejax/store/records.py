"""Result rows and small JSON files. A file is replaced as a whole, so it is never half-written."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.errors import LabError
from vaejax.files import write_bytes

Row = dict[str, Any]
RESULTS = "results.jsonl"
"""The rows of a study, in its folder."""


def write_json(path: Path, content: Any) -> None:
    """Write one indented JSON document; NaN becomes null."""
    write_bytes(path, (json.dumps(plain(content), indent=2) + "\n").encode())


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a JSON-lines file, all of them or none."""
    old = read_bytes(path)
    if old and not old.endswith(b"\n"):
        old += b"\n"  # as an editor may leave it
    write_bytes(path, old + lines(rows))


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a JSON-lines file anew."""
    write_bytes(path, lines(rows))


def lines(rows: Iterable[Row]) -> bytes:
    """A line of JSON for each row."""
    return "".join(json.dumps(plain(row)) + "\n" for row in rows).encode()


def read(path: Path) -> list[Row]:
    """The rows of a JSON-lines file; none if there is no file."""
    return [
        _row(path, number, line) for number, line in enumerate(read_bytes(path).splitlines(), 1)
    ]


def current(rows: Iterable[Row], wanted: Mapping[str, Row] | None = None) -> list[Row]:
    """The rows that count: of each model, a lane of a run, the newest one that says what is wanted.
    The others are of an earlier measurement: of fewer epochs, or of other test images.

    Every table, verdict, figure and report gets its rows from here.

    Args:
        wanted: what the rows of each run must say, by the name of the run; other runs do not count.
            None: every row is wanted.
    """

    def counts(row: Row) -> bool:
        if wanted is None:
            return True
        asked = wanted.get(row.get("run", ""))
        return asked is not None and "lane" in row and asked.items() <= row.items()

    newest: dict[Any, Row] = {}
    for number, row in enumerate(filter(counts, rows)):
        # A row by hand may name neither run nor lane: no other row takes its place.
        newest[(row["run"], row["lane"]) if {"run", "lane"} <= row.keys() else number] = row
    if wanted is None:
        return list(newest.values())
    order = {run: place for place, run in enumerate(wanted)}
    return sorted(newest.values(), key=lambda row: (order[row["run"]], row["lane"]))


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        found = json.loads(line)
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
        return found
    except json.JSONDecodeError as error:
        why = f"{error.msg}, column {error.colno}"
    except ValueError as error:
        why = str(error)
    raise LabError(
        f"Line {number} of {path} is damaged ({why}): mend it or remove that line; --resume "
        "measures it again."
    )


def read_bytes(path: Path) -> bytes:
    """What a file holds; nothing if there is no file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise LabError(f"Cannot read {path}: {error.strerror}.") from error


def plain(value: Any) -> Any:
    """numpy and jax values as what JSON knows; numbers that are not finite as null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "__array__"):
        return plain(np.asarray(value).tolist())
    raise TypeError(f"{type(value).__name__} has no place in JSON")
