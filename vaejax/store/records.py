"""Result rows and small JSON files. A file is replaced as a whole, so it is never half-written.

Each row, and each object that a command reads back, carries a checksum of what it says. Objects
without one, of older versions or by hand, are read as they are.
"""

import json
import math
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vaejax.errors import LabError
from vaejax.files import write_bytes

Row = dict[str, Any]
RESULTS = "results.jsonl"
"""The rows of a study, in its folder."""
CHECKSUM = "checksum"


def write_json(path: Path, content: Any) -> None:
    """Write one indented JSON document; NaN becomes null."""
    write_bytes(path, (json.dumps(plain(content), indent=2) + "\n").encode())


def sealed(content: Row, name: str = "") -> Row:
    """A JSON object with the CRC-32 of its name and content beside the content."""
    known = plain(content)
    return known | {CHECKSUM: checksum(known, name)}


def opened(found: Any, name: str = "") -> Row:
    """The content of an object that `sealed` made.

    Raises:
        ValueError: it is no JSON object, or not what was sealed under this name.
    """
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    content = {key: value for key, value in found.items() if key != CHECKSUM}
    if CHECKSUM in found and found[CHECKSUM] != checksum(content, name):
        raise ValueError("its checksum is not that of its content")
    return content


def checksum(content: Any, name: str = "") -> str:
    """The CRC-32 of a name and a JSON value, as eight hexadecimal digits."""
    return f"{zlib.crc32((name + json.dumps(content)).encode()):08x}"


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a JSON-lines file, all of them or none."""
    old = _read_bytes(path)
    if old and not old.endswith(b"\n"):
        old += b"\n"  # as an editor may leave it
    new = "".join(json.dumps(sealed(row)) + "\n" for row in rows)
    write_bytes(path, old + new.encode())


def read(path: Path) -> list[Row]:
    """The rows of a JSON-lines file; none if there is no file.

    Raises:
        LabError: a damaged line, or a file that cannot be read.
    """
    return [
        _row(path, number, line) for number, line in enumerate(_read_bytes(path).splitlines(), 1)
    ]


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        return opened(json.loads(line))
    except json.JSONDecodeError as error:
        why = f"{error.msg}, column {error.colno}"
    except ValueError as error:
        why = str(error)
    raise LabError(
        f"Line {number} of {path} is damaged ({why}): mend it or remove that line; --resume "
        "measures it again."
    )


def _read_bytes(path: Path) -> bytes:
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
    if isinstance(value, (np.generic, np.ndarray)) or hasattr(value, "__array__"):
        return plain(np.asarray(value).tolist())
    raise TypeError(f"{type(value).__name__} has no place in JSON")
