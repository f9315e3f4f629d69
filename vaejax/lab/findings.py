"""What studies have left on disk, read from their files alone.

No page of a study is imported, so that a study of your own is read like any other. Folders of older
versions are read as well: they may lack study.json, and their verdicts lack claim and evidence.
"""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vaejax.errors import LabError
from vaejax.store import records
from vaejax.store.records import RESULTS, Row

PNG = b"\x89PNG\r\n\x1a\n"


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
    results.jsonl. They are in the order of data sets, and then of claims.

    Raises:
        LabError: there is no such folder or no study in it, or a file is damaged.
    """
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
    """The findings of the study in one folder.

    Raises:
        LabError: a file is damaged, or cannot be read.
    """
    rows = records.read(place / RESULTS)
    about = _checked_about(place / "study.json")
    _check_rows(place / RESULTS, rows, about)
    folder = str(place.relative_to(searched))
    return Finding(
        place.resolve().name if folder == "." else folder,
        str(about.get("study") or _shared(rows, "study") or place.resolve().name),
        _shared(rows, "dataset") or place.resolve().parent.name,
        rows,
        _checked_verdicts(place / "verdict.json", about),
        about,
        {path.stem: _picture(path, about) for path in sorted(place.glob("*.png"))},
    )


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


def _check_rows(path: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Refuse rows that do not begin with those that study.json counts."""
    known = rows[: about.get("rows", 0)]
    if "rows_checksum" in about and records.checksum(known) != about["rows_checksum"]:
        raise LabError(
            f"{path} does not hold the {about['rows']} rows that study.json beside it counts: "
            "restore it, or run the study again with --resume, which measures what is missing."
        )


def _checked_about(path: Path) -> dict[str, Any]:
    try:
        found = records.opened(_json(path, {}), path.name)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    for name in ("columns", "more_columns", "by"):
        words = found.get(name, [])
        known = isinstance(words, list) and all(isinstance(word, str) for word in words)
        _need(path, known, f"{name} is no list of words")
    for name in ("figures", "checksums"):
        _need(path, isinstance(found.get(name, {}), Mapping), f"{name} is no JSON object")
    _need(path, isinstance(found.get("rows", 0), int), "rows is no number")
    ran = found.get("invocations", [])
    known = isinstance(ran, list) and all(isinstance(one, Mapping) for one in ran)
    _need(path, known, "invocations is no list of JSON objects")
    return found


def _checked_verdicts(path: Path, about: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = _json(path, about)
    _need(path, isinstance(found, Mapping), "it is no JSON object")
    for claim, verdict in found.items():
        known = isinstance(verdict, Mapping) and isinstance(verdict.get("verdict"), str)
        _need(path, known, f"{claim} has no verdict")
    return {claim: dict(verdict) for claim, verdict in found.items()}


def _json(path: Path, about: Mapping[str, Any]) -> Any:
    """A JSON document; an empty object if there is no such file."""
    try:
        return json.loads(_bytes(path, about) if path.exists() else b"{}")
    except ValueError as error:
        raise _damaged(path, str(error)) from None


def _picture(path: Path, about: Mapping[str, Any]) -> bytes:
    content = _bytes(path, about)
    _need(path, content.startswith(PNG) and len(content) > 24, "it is no PNG")
    return content


def _bytes(path: Path, about: Mapping[str, Any]) -> bytes:
    """What a file holds, if that is what study.json says."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabError(f"Cannot read {path}: {error.strerror}.") from error
    written = about.get("checksums", {}).get(path.name)
    _need(path, written in (None, zlib.crc32(content)), "it is not as study.json says")
    return content


def _need(path: Path, known: bool, otherwise: str) -> None:
    if not known:
        raise _damaged(path, otherwise)


def _damaged(path: Path, why: str) -> LabError:
    return LabError(
        f"{path} is damaged ({why}): delete it and run the study again with --resume, which writes "
        "it anew from the rows."
    )
