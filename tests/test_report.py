import math

import pytest

from experiments.report import judge, values


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
