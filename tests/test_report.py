import json
import math

import pytest

from experiments.report import Verdict, judge, show, values


@pytest.mark.parametrize(
    ("comparisons", "verdict"),
    [
        ({"a": ([1, 2], [3, 4])}, "HELD"),
        ({"a": ([1, 2], [3])}, "HELD"),
        ({"a": ([1, 2], [3, 4]), "b": ([5, 6], [3, 4])}, "FAILED"),
        ({"a": ([1, 3], [2, 4])}, "UNDECIDED"),
        ({"a": ([1, 2], [2, 3])}, "UNDECIDED"),
        ({"a": ([1], [3, 4])}, "UNDECIDED"),
        ({"a": ([1, 2], [])}, "UNDECIDED"),
        ({"a": ([1, math.nan], [3, 4])}, "UNDECIDED"),
        ({"a": ([1, 2], [3, math.inf])}, "UNDECIDED"),
        ({}, "UNDECIDED"),
    ],
)
def test_a_verdict_needs_every_seed_of_every_comparison(comparisons, verdict):
    assert judge("rule", comparisons).verdict == verdict


def test_values_come_by_seed_and_null_is_not_a_number():
    rows = [
        {"seed": 1, "size": 2, "nll": 5.0},
        {"seed": 0, "size": 2, "nll": None},
        {"seed": 0, "size": 4, "nll": 7.0},
    ]
    first, second = values(rows, "nll", size=2)
    assert math.isnan(first)
    assert second == 5.0


ROWS = [
    {"run": run, "scale": scale, "seed": seed, "mse": mse + seed, "collapse": word, "gap": gap}
    for run, scale, mse, words, gap in (
        ("deep", 6000.0, 2, ("partial", "healthy"), 1.0),
        ("deep", 1.0, 4, ("total", "total"), None),
        ("flat", 1.0, 8, ("partial", "partial"), 3.0),
    )
    for seed, word in enumerate(words)
]
COLUMNS = {"mse": ".2f", "collapse": "", "gap": ".1f"}


def shown(capsys, tmp_path, by) -> list[list[str]]:
    """The cells of the table, a list for each line of text in it."""
    verdicts = {"C0": Verdict("HELD", "the rule", {"a": [math.nan, 1.0]})}
    show(tmp_path, ROWS, COLUMNS, verdicts, [tmp_path / "a.png"], by)
    text = capsys.readouterr().out
    assert "C0 HELD  the rule" in text
    assert f"wrote {tmp_path / 'a.png'}" in text
    return [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in text.splitlines()
        if line.startswith("│")
    ]


def test_a_table_has_a_line_for_each_pair_of_what_it_is_grouped_by(capsys, tmp_path):
    """Means and half the range over seeds; words as words, each once."""
    assert shown(capsys, tmp_path, ("run", "scale")) == [
        ["deep", "6000", "2.50", "healthy, partial", "1.0"],
        ["", "", "±0.50", "", "±0.0"],
        ["deep", "1", "4.50", "total", "-"],
        ["", "", "±0.50", "", ""],
        ["flat", "1", "8.50", "partial", "3.0"],
        ["", "", "±0.50", "", "±0.0"],
    ]
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert written == {"C0": {"verdict": "HELD", "rule": "the rule", "numbers": {"a": [None, 1.0]}}}


def test_a_table_grouped_by_one_field_averages_over_the_others(capsys, tmp_path):
    assert shown(capsys, tmp_path, ("scale",)) == [
        ["6000", "2.50", "healthy, partial", "1.0"],
        ["", "±0.50", "", "±0.0"],
        ["1", "6.50", "partial, total", "-"],
        ["", "±2.50", "", ""],
    ]
