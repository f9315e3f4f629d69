"""What studies have left on disk, read from their files alone.

No page of a study is imported, so that a study of your own is read like any other. A folder may
lack study.json and verdict.json.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vaejax.errors import LabError
from vaejax.store import records
from vaejax.store.records import RESULTS, Row

ABOUT, VERDICTS = "study.json", "verdict.json"
PNG = b"\x89PNG\r\n\x1a\n"
SHAPES: dict[str, tuple[type, type]] = {
    **dict.fromkeys(("columns", "more_columns", "by"), (list, str)),
    "figures": (dict, object),
    "wanted": (dict, dict),
    "invocations": (list, dict),
}
"""Entries of study.json that are lists or objects, and the type of what is in them."""


class Finding(NamedTuple):
    """What one study has left in its folder."""

    folder: str
    """The folder, as seen from the one that was searched."""
    study: str
    dataset: str
    rows: list[Row]
    verdicts: dict[str, dict[str, Any]]
    """By claim, as in verdict.json; empty if there is no such file."""
    about: dict[str, Any]
    """As in study.json; empty if there is no such file."""
    pictures: dict[str, bytes]
    """PNG files by the name of the figure."""


def read_all(folder: Path) -> list[Finding]:
    """The findings of every study in a folder, at any depth: of the folders that hold
    results.jsonl. They are in the order of data sets, and then of claims."""
    if not folder.is_dir():
        raise LabError(f"There is no folder {folder}: name one in which studies have run.")
    places = sorted(path.parent for path in folder.rglob(RESULTS) if path.is_file())
    if not places:
        raise LabError(
            f"{folder} holds no results of a study (no {RESULTS}, at any depth): run one first, "
            "such as python -m experiments.latent_size --dataset digits, or name another folder."
        )
    return sorted((read_study(place, folder) for place in places), key=_place)


def read_study(place: Path, searched: Path) -> Finding:
    """The findings of the study in one folder."""
    rows, about = current_rows(place), read_about(place)
    folder = str(place.relative_to(searched))
    return Finding(
        place.resolve().name if folder == "." else folder,
        str(about.get("study") or _shared(rows, "study") or place.resolve().name),
        _shared(rows, "dataset") or place.resolve().parent.name,
        rows,
        _verdicts(place / VERDICTS),
        about,
        {path.stem: _picture(path) for path in sorted(place.glob("*.png"))},
    )


def current_rows(folder: Path) -> list[Row]:
    """The rows of the study in a folder that count: those of its last command that ended."""
    return records.current(records.read(folder / RESULTS), read_about(folder).get("wanted"))


def read_about(folder: Path) -> dict[str, Any]:
    """What study.json says: nothing if there is none, as after a command that was killed."""
    path = folder / ABOUT
    found = {name: value for name, value in _json(path).items() if value is not None}
    for name, (kind, of) in SHAPES.items():
        value = found.get(name, kind())
        items = value.values() if isinstance(value, dict) else value
        if not (isinstance(value, kind) and all(isinstance(item, of) for item in items)):
            raise _damaged(path, f"{name} is not as a study writes it")
    return found


def natural(text: str) -> tuple[tuple[str, int], ...]:
    """A key by which C5 comes before C10, and the claims C of the write-up before all others."""
    words = re.findall(r"(\D*)(\d*)", text)
    return (("", text[:1] != "C"), *((word, int(digits or -1)) for word, digits in words))


def _place(finding: Finding) -> tuple[Any, ...]:
    claims = sorted(map(natural, finding.verdicts))
    return finding.dataset, not claims, claims[:1], finding.folder


def _shared(rows: Sequence[Row], name: str) -> str:
    """The words of this name that the rows have, each once."""
    return ", ".join(dict.fromkeys(str(row[name]) for row in rows if row.get(name)))


def _verdicts(path: Path) -> dict[str, dict[str, Any]]:
    found = _json(path)
    for claim, verdict in found.items():
        if not (isinstance(verdict, dict) and isinstance(verdict.get("verdict"), str)):
            raise _damaged(path, f"{claim} has no verdict")
    return found


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if there is no such file."""
    try:
        found = json.loads(records.read_bytes(path)) if path.exists() else {}
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(found, dict):
        raise _damaged(path, "it is no JSON object")
    return found


def _picture(path: Path) -> bytes:
    content = records.read_bytes(path)
    if not content.startswith(PNG) or len(content) <= 24:
        raise _damaged(path, "it is no PNG")
    return content


def _damaged(path: Path, why: str) -> LabError:
    return LabError(
        f"{path} is damaged ({why}): delete it and run the study again with --resume, which writes "
        "it anew from the rows."
    )
