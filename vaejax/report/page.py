"""All results of a folder as one page of HTML: the template in `template`, filled with findings.

The page asks no network for anything: its style, its script and its pictures are in it.
"""

import base64
import functools
import json
import re
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vaejax.report import columns, tables
from vaejax.store.findings import Finding, natural
from vaejax.store.records import Row
from vaejax.study.rows import distinct

FOLDER = Path(__file__).parent / "template"
WORDS = re.compile(r"\b(HELD|FAILED|UNDECIDED)\b")
SHOWN = 0.64
"""The size of a picture on the page, which has 96 pixels per inch where a figure has 150."""


@functools.cache
def template() -> jinja2.Template:
    """The page, compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "label": columns.label,
        "parts": WORDS.split,
        "duration": duration,
        "date": date,
        "text": tables.text,
    }
    return environment.get_template("report.html")


def report_page(folder: str, findings: Sequence[Finding], written: str) -> str:
    """The page on some findings, which were found in this folder; `written` says when."""
    studies = [study(finding, f"study-{number}") for number, finding in enumerate(findings, 1)]
    claims = [one for each in studies for one in each["claims"]]
    claims.sort(key=lambda one: (natural(one["name"]), one["study"]))
    summary: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in claims:
        summary.setdefault((one["name"], one["study"]), []).append(one)
    shown = [each[kind] for each in studies for kind in ("means", "more", "models") if each[kind]]
    names = dict.fromkeys(name for table in shown for name in table.names)
    with suppress(PackageNotFoundError):  # where a checkout was not installed
        written += f" by vaejax {version('vaejax')}"

    return template().render(
        folder=folder,
        written=written,
        measured_with=origin([row for finding in findings for row in finding.rows]).get("versions"),
        data_sets={
            name: [each for each in studies if each["dataset"] == name]
            for name in dict.fromkeys(finding.dataset for finding in findings)
        },
        summary=summary.values(),
        columns=columns.COLUMNS,
        names=[name for name in names if name in columns.COLUMNS],
        style=_own("report.css"),
        script=_own("report.js"),
    )


def study(finding: Finding, anchor: str) -> dict[str, Any]:
    """What the page shows of a study, beside what the finding says itself."""
    rows, about = finding.rows, finding.about
    by = tables.grouping(rows, about.get("by", ()))
    first, more = tables.chosen(rows, about)
    first = [name for name in first if name not in by]
    ran = about.get("invocations", [])
    times = [one["seconds"] for one in ran if tables.is_number(one.get("seconds"))]
    seeds = distinct([row for row in rows if tables.is_number(row.get("seed"))], "seed")
    counting = {
        name: verdict
        for name, verdict in finding.verdicts.items()
        if verdict.get("counts") is not False
    }
    drawn = dict.fromkeys((*about.get("figures", {}), *finding.pictures))
    return finding._asdict() | {
        "anchor": anchor,
        "paragraphs": [part for part in str(about.get("about", "")).split("\n\n") if part],
        "seeds": ", ".join(map(str, seeds)),
        "claims": [
            claim(finding, name, verdict, f"{anchor}-{number}")
            for number, (name, verdict) in enumerate(counting.items(), 1)
        ],
        "quick": len(counting) < len(finding.verdicts),
        "pictures": [picture(finding, name) for name in drawn if name in finding.pictures],
        "undrawn": [name for name in drawn if name not in finding.pictures],
        "means": tables.means(rows, by, first),
        "more": tables.means(rows, by, more) if more else None,
        "models": tables.models(rows, [*by, "seed"], first),
        "lists": [name for name in nested(rows) if name not in ("config", "versions")],
        "lacking": [
            name
            for name in (*about.get("columns", ()), *about.get("more_columns", ()))
            if not any(name in row for row in rows)
        ],
        "same": same(rows),
        "runs": tables.runs(rows),
        "invocations": ran,
        "seconds": sum(times) if times else None,
        "origin": origin(rows, ran),
    }


def claim(finding: Finding, name: str, verdict: Mapping[str, Any], anchor: str) -> dict[str, Any]:
    """An entry of verdict.json."""
    numbers = verdict.get("numbers") or {}
    found = comparisons(numbers)
    return {
        "anchor": anchor,
        "name": name,
        "study": finding.study,
        "dataset": finding.dataset,
        "folder": finding.folder,
        "question": str(verdict.get("question") or ""),
        "verdict": verdict["verdict"],
        "answer": str(verdict.get("answer") or "").splitlines(),
        "rule": str(verdict.get("rule") or ""),
        "comparisons": found or [],
        "numbers": json.dumps(numbers, indent=2, ensure_ascii=False) if found is None else "",
    }


def comparisons(numbers: Any, where: str = "") -> list[tuple[str, ...]] | None:
    """The numbers of a verdict as comparisons: the models that one is about, its name, and the
    numbers of which every one of the first should be below every one of the last. None if they are
    something else. A verdict for each latent size has those of all sizes."""
    found = []
    for name, entry in numbers.items() if isinstance(numbers, Mapping) else [("", None)]:
        if not isinstance(entry, Mapping):
            return None
        if {"low", "high"} <= entry.keys():
            found.append((where, name, tables.text(entry["low"]), tables.text(entry["high"])))
            continue
        inner = None if where else comparisons(entry.get("numbers"), name)
        if inner is None:
            return None
        found += inner
    return found


def picture(finding: Finding, name: str) -> dict[str, Any]:
    """A figure with its caption. The first 24 bytes of a PNG say how wide and high it is."""
    png = finding.pictures[name]
    caption = str(finding.about.get("figures", {}).get(name) or "")
    first, *_ = caption.splitlines() or ["it has no caption"]
    width, height = struct.unpack(">II", png[16:24])
    return {
        "name": name,
        "uri": "data:image/png;base64," + base64.b64encode(png).decode(),
        "width": round(width * SHOWN),
        "height": round(height * SHOWN),
        "caption": caption,
        "words": f"Figure {name} of the study {finding.study} on {finding.dataset}: {first}",
    }


def nested(rows: Sequence[Row]) -> list[str]:
    """The columns of lists and objects."""
    known = tables.scalars(rows)
    return [name for name in dict.fromkeys(n for row in rows for n in row) if name not in known]


def same(rows: Sequence[Row]) -> dict[str, Any]:
    """The columns, and the fields of the configuration, that are the same in all rows."""
    unsaid = ("commit", "device", *nested(rows))
    found = {name: value for name, value in tables.common(rows).items() if name not in unsaid}
    return {name: value for name, value in found.items() if value is not None} | tables.common(
        [tables.config_of(row) for row in rows]
    )


def origin(rows: Sequence[Row], ran: Sequence[Mapping[str, Any]] = ()) -> dict[str, str]:
    """The commits, devices and versions that rows name and no run of the command does."""
    found = {}
    for name in ("commit", "device", "versions"):
        said = [one.get(name) for one in ran]
        values = [row[name] for row in rows if row.get(name) and row[name] not in said]
        if values:
            found[name] = "; ".join(dict.fromkeys(map(tables.text, values)))
    return found


def duration(seconds: Any) -> str:
    """A time in words: 8 min 32 s; an empty text if it is no number."""
    if not tables.is_number(seconds):
        return ""
    minutes, rest = divmod(max(round(seconds), 1), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def date(text: str) -> str:
    """A date of ISO 8601 in words; any other text as it is."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text


def _own(name: str) -> Markup:
    """A file of this room, which is not escaped."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))
