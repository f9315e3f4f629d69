"""The columns of results.jsonl. Each is declared once, in `columns.toml`: the report and the tables
of docs/reference/results.md are made from it."""

import tomllib
from pathlib import Path
from typing import NamedTuple

from vaejax.study.words import of_column

ABBREVIATIONS = ("ELBO", "KL", "MI", "MSE", "NLL", "PCA")


class Column(NamedTuple):
    """What a column says of a trained model."""

    unit: str
    """Empty if it has none."""
    meaning: str


SECTIONS = {
    section: {name: Column(*declared) for name, declared in columns.items()}
    for section, columns in tomllib.loads(
        Path(__file__).with_name("columns.toml").read_text(encoding="utf-8")
    ).items()
}
"""The declared columns by name, under the headings of docs/reference/results.md."""
COLUMNS = {name: column for columns in SECTIONS.values() for name, column in columns.items()}


def label(name: str) -> str:
    """A column as the heading of a table has it: KL nats for kl_nats."""
    words = of_column(name).split()
    return " ".join(word.upper() if word.upper() in ABBREVIATIONS else word for word in words)
