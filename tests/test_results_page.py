"""The columns of rows are declared, and docs/reference/results.md describes every file of a study.
That its tables are those of the declared columns is in test_results.py."""

import dataclasses
import re
from pathlib import Path

import pytest

import vaejax as vj
from docs import results
from tests import tiny

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "results.md"
COLUMNS = vj.report.columns.COLUMNS


@pytest.mark.parametrize("study", tiny.STUDIES)
def test_every_column_that_a_study_writes_or_shows_is_declared(study, finished) -> None:
    page = tiny.page(study).STUDY
    written = {name for row in tiny.rows_of(finished(study)) for name in row}
    assert {*written, *page.by, *page.columns, *page.more_columns} - {*COLUMNS} == set()


def test_every_declared_column_is_written_by_a_study() -> None:
    """Also in `docs/reference/results.md`, which names the studies of each column."""
    elsewhere = {"state", "columns", "predicted_threshold", "no_spectrum"}
    rows = [row for found in results.studies() for row in found.rows]
    assert {name for name in COLUMNS if not any(name in row for row in rows)} == elsewhere
    sections = re.findall(r"<!-- columns: (.*) -->", PAGE.read_text())
    assert sections == [*vj.report.columns.SECTIONS]


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
