"""docs/reference/results.md describes every column that a study writes, and no other."""

import dataclasses
import re
from collections import Counter
from pathlib import Path

import pytest

import vaejax as vj
from tests import tiny

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "results.md"
ALL = [*tiny.STUDIES, "hidden_pixels"]


def tables(text: str) -> list[tuple[str, list[list[str]]]]:
    """Every table whose first header is `column`, with the section before it; rows as cells."""
    found = []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in section.splitlines()
            if line.startswith("|")
        ]
        if rows and rows[0][0] == "column":
            found.append((section, rows))
    return found


def described() -> list[tuple[str, list[str]]]:
    """Each column, and the studies that write it."""
    columns = []
    for section, (header, _, *rows) in tables(PAGE.read_text()):
        before = section.split("|")[0]
        if "Written by every study." in before:
            shared = ALL
        else:
            shared = re.findall(r"`(\w+)`", " ".join(re.findall(r"^Written by.*", before, re.M)))
        for row in rows:
            assert len(row) == len(header), row
            studies = re.findall(r"`(\w+)`", row[3]) if "studies" in header else shared
            columns.append((row[0].strip("`"), studies))
    return columns


def columns_of(study: str) -> set[str]:
    """The columns that the page says a study writes."""
    return {name for name, studies in described() if study in studies}


def test_a_column_is_described_once_with_its_meaning_and_its_studies() -> None:
    columns = described()
    assert [name for name, count in Counter(name for name, _ in columns).items() if count > 1] == []
    assert [name for name, studies in columns if not studies or set(studies) - set(ALL)] == []
    for _, (header, _, *rows) in tables(PAGE.read_text()):
        assert header[:3] == ["column", "unit", "meaning"]
        assert [row[0] for row in rows if len(row[2]) < 10] == []


@pytest.mark.parametrize("study", tiny.STUDIES)
def test_every_column_of_a_study_is_described_and_no_other(study, finished) -> None:
    wanted = columns_of(study) - {"no_spectrum"}  # vectors have it, and no other images
    for row in tiny.rows_of(finished(study)):
        assert set(row) == wanted


def test_the_fields_of_config_are_described() -> None:
    section = PAGE.read_text().split("## What config holds")[1].split("\n## ")[0]
    fields = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert fields == [field.name for field in dataclasses.fields(vj.Config)]


def test_the_files_of_a_run_and_the_fields_of_a_verdict_are_described(finished) -> None:
    text = PAGE.read_text()
    for path in finished("latent_size").glob("*/trace/*"):
        assert f"`trace/{path.name}`" in text
    section = text.split("## verdict.json")[1].split("\n## ")[0]
    fields = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert fields == [*vj.study.Verdict._fields, "counts"]
    section = text.split("## study.json")[1].split("\n## ")[0]
    fields = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert fields == [*vj.store.findings.read_about(finished("latent_size"))]
    description = vj.store.checkpoint.read_run(finished("latent_size") / "z2").to_json()
    section = text.split("## The folder of a run")[1]
    assert [name for name in description if f"`{name}`" not in section] == []
