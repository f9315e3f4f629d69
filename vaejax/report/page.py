"""Findings as the report shows them: claims over data sets, and each study in words and tables."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from vaejax.report import row_tables
from vaejax.report.html import (
    Answered,
    Claim,
    Comparison,
    DataSet,
    Invocation,
    Line,
    Part,
    Picture,
    Report,
    Study,
)
from vaejax.store.findings import Finding, natural
from vaejax.store.records import Row
from vaejax.study.rows import distinct

WORDS = re.compile(r"\b(HELD|FAILED|UNDECIDED)\b")
NOT_RECORDED = "cost not recorded"


def report(folder: str, findings: Sequence[Finding], written: str) -> Report:
    """The report on some findings, which were found in this folder; `written` says when."""
    studies = [study(finding, f"study-{index}") for index, finding in enumerate(findings, 1)]
    names = list(dict.fromkeys(finding.dataset for finding in findings))
    data_sets = [
        DataSet(
            f"data-{index}",
            name,
            [s for f, s in zip(findings, studies, strict=True) if f.dataset == name],
        )
        for index, name in enumerate(names, 1)
    ]
    tables = [table for one in studies for table in (one.table, one.more, one.rows) if table]
    columns = {column.name: column for table in tables for column in table.columns}
    return Report(
        folder,
        written,
        versions([row for finding in findings for row in finding.rows]),
        data_sets,
        summary(data_sets),
        [column for column in columns.values() if column.meaning],
    )


def versions(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The version of vaejax that writes the report, and the versions that the rows name."""
    try:
        own = [("report written by vaejax", version("vaejax"))]
    except PackageNotFoundError:  # run from a checkout
        own = []
    of_rows = [
        ("results measured with", found) for name, found in origin(rows) if name == "versions"
    ]
    return own + of_rows


def summary(data_sets: Sequence[DataSet]) -> list[Line]:
    """A line for each claim of a study, with the answers of each data set."""
    claims = {
        (claim.name, one.name): None
        for data_set in data_sets
        for one in data_set.studies
        for claim in one.claims
    }
    return [
        _line(claim, name, data_sets)
        for claim, name in sorted(claims, key=lambda pair: (natural(pair[0]), pair[1]))
    ]


def _line(name: str, study: str, data_sets: Sequence[DataSet]) -> Line:
    answers = [
        [
            Answered(one.folder, claim)
            for one in data_set.studies
            if one.name == study
            for claim in one.claims
            if claim.name == name
        ]
        for data_set in data_sets
    ]
    claims = [answered.claim for of_set in answers for answered in of_set]
    told = next((claim for claim in claims if claim.sentence), claims[0])
    return Line(name, study, told.sentence, told.rule, answers)


def study(finding: Finding, anchor: str) -> Study:
    """What the page shows of a study."""
    rows, about = finding.rows, finding.about
    by = row_tables.grouping(rows, about.get("by", ()))
    noise = row_tables.numeric(rows, row_tables.NOISE)
    first, others = chosen_columns(rows, about)
    first = [name for name in (*noise, *first) if name not in by]
    models = [name for name in ("seed",) if name not in by]
    return Study(
        anchor=anchor,
        name=finding.study,
        folder=finding.folder,
        question=str(about.get("question", "")),
        about=paragraphs(str(about.get("about", ""))),
        models=len(rows),
        seeds=seeds(rows),
        claims=[
            claim(name, verdict, f"{anchor}-{index}")
            for index, (name, verdict) in enumerate(finding.verdicts.items(), 1)
        ],
        pictures=[picture(finding, name) for name in in_order(finding)],
        undrawn=[name for name in about.get("figures", ()) if name not in finding.pictures],
        table=row_tables.grouped(rows, by, first),
        more=row_tables.grouped(rows, by, others) if others else None,
        notes=notes(rows, about),
        shared=shared(rows),
        runs=row_tables.settings_of_runs(rows),
        rows=row_tables.every_model(rows, [*by, *models], first),
        invocations=[invocation(ran) for ran in about.get("invocations", ())],
        cost=cost(about.get("invocations", ())),
        origin=unsaid(origin(rows), about.get("invocations", ())),
    )


def chosen_columns(rows: Sequence[Row], about: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The most important columns that the rows have, and the next ones. Without study.json, what
    was measured, in the order of the rows."""
    known = row_tables.scalars(rows)
    if "columns" in about:
        first = [name for name in about["columns"] if name in known]
        return first, [name for name in about.get("more_columns", ()) if name in known]
    names = row_tables.measured(rows)
    return names[: row_tables.FIRST], names[row_tables.FIRST : 2 * row_tables.FIRST]


def notes(rows: Sequence[Row], about: Mapping[str, Any]) -> list[str]:
    """What results.jsonl has and the page has not, and the other way round."""
    lines = []
    if nested := [name for name in row_tables.nested(rows) if name not in ("config", "versions")]:
        lines.append(f"Lists are not shown; results.jsonl has them: {', '.join(nested)}.")
    wanted = (*about.get("columns", ()), *about.get("more_columns", ()))
    known = {name for row in rows for name in row}
    if missing := [name for name in wanted if name not in known]:
        lines.append(
            f"Columns that the study's own table has and its rows lack: {', '.join(missing)}."
        )
    return lines


def claim(name: str, verdict: Mapping[str, Any], anchor: str) -> Claim:
    """An entry of verdict.json."""
    numbers = verdict.get("numbers") or {}
    found = comparisons(numbers)
    return Claim(
        anchor,
        name,
        _sentence(verdict.get("claim")),
        answer(verdict["verdict"]),
        verdict.get("counts") is not False,
        [_capital(line) for line in str(verdict.get("evidence") or "").splitlines()],
        _sentence(verdict.get("rule")) or "it is not recorded",
        found or [],
        json.dumps(numbers, indent=2, ensure_ascii=False) if numbers and found is None else "",
    )


def _sentence(text: Any) -> str:
    """A sentence without its full stop."""
    return str(text or "").strip().removesuffix(".")


def _capital(line: str) -> str:
    return line[:1].upper() + line[1:]


def answer(verdict: str) -> list[Part]:
    """A verdict as its words HELD, FAILED and UNDECIDED, and the text between them."""
    parts = [Part(part, bool(WORDS.fullmatch(part))) for part in WORDS.split(verdict)]
    return [part for part in parts if part.text]


def comparisons(numbers: Any, where: str = "") -> list[Comparison] | None:
    """The numbers of a verdict as comparisons; None if they are something else. A verdict for each
    latent size has those of all sizes."""
    if not isinstance(numbers, Mapping):
        return None
    found = []
    for name, entry in numbers.items():
        if not isinstance(entry, Mapping):
            return None
        if {"low", "high"} <= entry.keys():
            low, high = row_tables.text(entry["low"]), row_tables.text(entry["high"])
            found.append(Comparison(where, name, low, high))
            continue
        inner = comparisons(entry.get("numbers"), name) if not where else None
        if inner is None:
            return None
        found += inner
    return found


def picture(finding: Finding, name: str) -> Picture:
    """A figure with its caption."""
    caption = str(finding.about.get("figures", {}).get(name) or "")
    on = f"Figure {name} of the study {finding.study} on {finding.dataset}"
    first = caption.splitlines()[0] if caption else "it has no caption"
    return Picture(name, finding.pictures[name], caption, f"{on}: {first}")


def in_order(finding: Finding) -> list[str]:
    """The figures in the order of study.json, then the others."""
    named = [name for name in finding.about.get("figures", {}) if name in finding.pictures]
    return [*named, *(name for name in finding.pictures if name not in named)]


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a docstring, each as one line."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def seeds(rows: Sequence[Row]) -> str:
    """The seeds of the rows, in words."""
    known = [row for row in rows if row_tables.is_number(row.get("seed"))]
    found = ", ".join(map(str, distinct(known, "seed")))
    return found and f"{'seed' if found.isdigit() else 'seeds'} {found}"


def shared(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The columns, and the fields of the configuration, that are the same in all rows."""
    own = {name: value for name, value in row_tables.constant(rows).items() if value is not None}
    origins = ("commit", "device")
    found = {name: value for name, value in own.items() if name not in origins}
    found |= row_tables.config_fields(rows)[0]
    return [(name.replace("_", " "), row_tables.text(value)) for name, value in found.items()]


def cost(invocations: Sequence[Mapping[str, Any]]) -> str:
    """How long all runs of the command took together."""
    times = [ran["seconds"] for ran in invocations if row_tables.is_number(ran.get("seconds"))]
    if not times:
        return NOT_RECORDED
    took = f"took {duration(sum(times))}"
    return took if len(invocations) == 1 else f"{took} in {len(invocations)} runs of the command"


def duration(seconds: float) -> str:
    """A time in words: 8 min 32 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{max(whole, 1)} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def invocation(ran: Mapping[str, Any]) -> Invocation:
    """One run of the command, in words."""
    seconds: Any = ran.get("seconds")
    return Invocation(
        str(ran.get("command") or "command not recorded"),
        date(str(ran.get("date") or "")),
        duration(seconds) if row_tables.is_number(seconds) else NOT_RECORDED,
        str(ran.get("commit") or ""),
        str(ran.get("device") or ""),
        _versions(ran.get("versions")),
    )


def date(text: str) -> str:
    """A date of ISO 8601 in words; any other text as it is."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text


def origin(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The commits, devices and versions that rows name, each once."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for name in ("commit", "device", "versions"):
            value = row.get(name)
            text = _versions(value) if name == "versions" else str(value or "")
            if text:
                found.setdefault(name, {})[text] = None
    return [(name, "; ".join(texts)) for name, texts in found.items()]


def unsaid(
    found: Sequence[tuple[str, str]], invocations: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """What the rows name and no run of the command does."""
    said = {(name, text) for ran in invocations for name, text in origin([dict(ran)])}
    return [pair for pair in found if pair not in said]


def _versions(versions: Any) -> str:
    if not isinstance(versions, Mapping):
        return ""
    return ", ".join(f"{name} {number}" for name, number in versions.items())
