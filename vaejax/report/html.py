"""The report of all studies as one file of HTML: the template in `report`, filled with values.

The page asks no network for anything: its style, its script and its pictures are in it.
"""

import base64
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup

FOLDER = Path(__file__).parent / "template"
SHOWN = 0.64
"""The size of a picture on the page, which has 96 pixels per inch where a figure has 150."""


class Part(NamedTuple):
    """A piece of an answer: the word HELD, FAILED or UNDECIDED, or the text between two of them."""

    text: str
    is_word: bool


class Comparison(NamedTuple):
    """Numbers that a verdict compared: every one of `low` should be below every one of `high`."""

    where: str
    """The models that it is about, such as "10 units"; may be empty."""
    name: str
    low: str
    high: str


class Claim(NamedTuple):
    """A claim and the answer to it."""

    anchor: str
    name: str
    sentence: str
    """Empty if none was recorded."""
    answer: Sequence[Part]
    counts: bool
    evidence: Sequence[str]
    rule: str
    comparisons: Sequence[Comparison]
    numbers: str
    """Numbers that are no comparisons, as JSON; may be empty."""


class Picture(NamedTuple):
    """A PNG, and what is written below it."""

    name: str
    png: bytes
    caption: str
    words: str
    """What a reader who does not see it is told."""

    @property
    def uri(self) -> str:
        return "data:image/png;base64," + base64.b64encode(self.png).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height on the page, from those in pixels, which a PNG says in its first 24
        bytes."""
        width, height = struct.unpack(">II", self.png[16:24])
        return round(width * SHOWN), round(height * SHOWN)


class Column(NamedTuple):
    """A column of a table."""

    name: str
    label: str
    meaning: str
    shown: bool = True
    """Whether it is there before the reader chooses columns."""


class Cell(NamedTuple):
    """What a cell shows, and the number by which it is sorted, if it is one."""

    text: str
    number: float | None = None


class Table(NamedTuple):
    """A table whose first columns say what a row is about."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    labels: int
    """How many of the first columns are headings of their row."""


class Invocation(NamedTuple):
    """One run of a command, in words."""

    command: str
    date: str
    duration: str
    commit: str
    device: str
    versions: str


class Study(NamedTuple):
    """A study on a data set."""

    anchor: str
    name: str
    folder: str
    question: str
    about: Sequence[str]
    """Paragraphs."""
    models: int
    seeds: str
    claims: Sequence[Claim]
    pictures: Sequence[Picture]
    undrawn: Sequence[str]
    """Figures that the study names and that have no PNG."""
    table: Table
    more: Table | None
    notes: Sequence[str]
    """What of it is not on the page, and why."""
    shared: Sequence[tuple[str, str]]
    """Settings, and other values that are the same for all models."""
    runs: Table | None
    """Settings that differ between runs."""
    rows: Table
    invocations: Sequence[Invocation]
    cost: str
    origin: Sequence[tuple[str, str]]
    """Commit, device and versions that the rows name."""


class DataSet(NamedTuple):
    """A data set, and the studies on it."""

    anchor: str
    name: str
    studies: Sequence[Study]


class Answered(NamedTuple):
    """An answer to a claim, and where it stands on the page."""

    folder: str
    claim: Claim


class Line(NamedTuple):
    """A claim over all data sets."""

    name: str
    study: str
    sentence: str
    rule: str
    answers: Sequence[Sequence[Answered]]
    """The answers of each data set, in the order of the data sets."""


class Report(NamedTuple):
    """All that the page shows."""

    folder: str
    written: str
    versions: Sequence[tuple[str, str]]
    data_sets: Sequence[DataSet]
    summary: Sequence[Line]
    meanings: Sequence[Column]
    """The columns that occur and whose meaning is known."""


def report_page(report: Report) -> str:
    """The report in HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        report=report, style=_own("report.css"), script=_own("report.js")
    )


def _own(name: str) -> Markup:
    """A file of this room, which is not escaped."""
    return Markup((FOLDER / name).read_text(encoding="utf-8"))
