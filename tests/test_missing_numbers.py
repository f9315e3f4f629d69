"""A number that is missing in a row shows as a dash, and leaves a claim that needs it undecided."""

from pathlib import Path
from typing import Any

import pytest

import vaejax as vj
from tests import tiny
from tests.handmade import seeded, verdicts

RESULTS = Path(__file__).parents[1] / "results"
FOLDERS = [next(RESULTS.glob(f"*/{study}")) for study in tiny.STUDIES]
NEVER_MISSING = {"lane", "seed", "latent_size", "epochs", "steps", "times", "images", "depth"}
"""What tells rows apart; a page need not do without it. So do the knobs."""
MAY_BE_MISSING = {"growth_per_1000_steps"}
"""A unit that never sleeps has no rate at which it wakes."""


def measured(rows: list[vj.store.Row]) -> list[str]:
    known = {*NEVER_MISSING, *MAY_BE_MISSING, *vj.Knobs._fields}
    names = {name for row in rows for name, value in row.items() if type(value) in (int, float)}
    return sorted(names - known)


@pytest.mark.parametrize("study", tiny.STUDIES)
def test_a_missing_number_decides_nothing_wherever_it_stands(study: str) -> None:
    rows = seeded(study, 0, 1)
    known = verdicts(study, rows)

    def words(name: str, place: int, value: Any) -> dict[str, str | None]:
        changed = [*rows]
        changed[place] = rows[place] | {name: value}
        return verdicts(study, changed)

    for name in measured(rows):
        for place in range(0, len(rows), 2):  # of the first seed
            if rows[place].get(name) is None:
                continue
            without = words(name, place, None)
            for value in (1e9, -1e9):
                for claim, word in words(name, place, value).items():
                    if word != known[claim] or without[claim] != known[claim]:
                        assert without[claim] == "UNDECIDED", (claim, name, place)
