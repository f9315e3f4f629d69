"""vaejax.lab.verdicts and vaejax.lab.report: from rows to verdicts, and to a table."""

import math
from typing import Any

import pytest

from vaejax.errors import LabError
from vaejax.lab import report
from vaejax.lab.verdicts import (
    Verdict,
    above,
    below,
    distinct,
    fact,
    for_each_size,
    judge,
    onsets,
    values,
)
from vaejax.store.records import Row


@pytest.mark.parametrize(
    ("comparisons", "verdict"),
    [
        ({"a": ([1, 2], [3, 4])}, "HELD"),
        ({"a": ([1, 2], [3])}, "HELD"),
        ({"a": ([1, 2], [3, 4]), "b": ([5, 6], [3, 4])}, "FAILED"),
        ({"a": ([1, 3], [2, 4])}, "UNDECIDED"),
        ({"a": ([1, 2], [2, 3])}, "UNDECIDED"),
        ({"a": ([1], [3, 4])}, "UNDECIDED"),
        ({"a": ([1, math.nan], [3, 4])}, "UNDECIDED"),
        ({"a": ([1, 2], [3, math.inf])}, "UNDECIDED"),
        ({"a": ([5, 6], [3, 4]), "b": ([1, math.nan], [3, 4])}, "UNDECIDED"),
    ],
)
def test_a_verdict_needs_every_seed_of_every_comparison(comparisons: Any, verdict: str) -> None:
    found = judge("rule", comparisons)
    assert found is not None
    assert found.verdict == verdict
    assert found.rule == "rule"
    numbers = {name: {"low": low, "high": high} for name, (low, high) in comparisons.items()}
    assert repr(found.numbers) == repr(numbers)


@pytest.mark.parametrize(
    "comparisons",
    [
        {},
        {"a": ([1, 2], [])},
        {"a": ([], [3, 4])},
        {"a": ([1, 2], [3, 4]), "b": ([], [])},
        {"a": ([5, 6], [3, 4]), "b": ([1, 2], [])},
        {"a": ([math.nan, 2], [3, 4]), "b": ([1, 2], [])},
    ],
)
def test_there_is_no_verdict_on_what_was_not_measured(comparisons: Any) -> None:
    assert judge("rule", comparisons) is None


@pytest.mark.parametrize(
    ("numbers", "verdict_below", "verdict_above"),
    [
        ([1.0, 2.0], "HELD", "FAILED"),
        ([4.0, 5.0], "FAILED", "HELD"),
        ([1.0, 5.0], "UNDECIDED", "UNDECIDED"),
        ([1.0, 3.0], "UNDECIDED", "UNDECIDED"),
        ([1.0, math.nan], "UNDECIDED", "UNDECIDED"),
        ([1.0], "UNDECIDED", "UNDECIDED"),
    ],
)
def test_values_are_held_against_a_limit_from_either_side(
    numbers: list[float], verdict_below: str, verdict_above: str
) -> None:
    for comparison, verdict in (
        (below(numbers, 3.0), verdict_below),
        (above(numbers, 3.0), verdict_above),
    ):
        found = judge("rule", {"a": comparison})
        assert found is not None
        assert found.verdict == verdict


def test_without_values_a_limit_says_nothing() -> None:
    assert judge("rule", {"a": below([], 3.0)}) is None
    assert judge("rule", {"a": above([], 3.0)}) is None


def of_sizes(**words: dict[int, str]) -> tuple[list[Row], Any]:
    """Rows of latent sizes 128 and 10, and the verdicts on those of one size: by claim, the word
    for each size; there is none for other sizes."""
    rows: list[Row] = [{"latent_size": size, "seed": seed} for size in (128, 10) for seed in (0, 1)]

    def verdict(rows: list[Row]) -> dict[str, Verdict | None]:
        (size,) = {row["latent_size"] for row in rows}
        assert [row["seed"] for row in rows] == [0, 1]
        found = {claim: of_claim.get(size) for claim, of_claim in words.items()}
        return {
            claim: Verdict(word, f"{claim} at {size}", {"size": size}) if word else None
            for claim, word in found.items()
        }

    return rows, verdict


def test_a_claim_has_a_verdict_for_each_latent_size_by_rising_size() -> None:
    rows, verdict = of_sizes(C0={10: "FAILED", 128: "HELD"}, C1={10: "HELD", 128: "HELD"})
    found = for_each_size(rows, verdict)
    assert found == {
        "C0": Verdict(
            "FAILED at 10 units, HELD at 128 units",
            "C0 at 10",
            {
                "10 units": {"verdict": "FAILED", "numbers": {"size": 10}},
                "128 units": {"verdict": "HELD", "numbers": {"size": 128}},
            },
        ),
        "C1": found["C1"],
    }
    assert found["C1"] is not None
    assert found["C1"].verdict == "HELD at 10 units, HELD at 128 units"


def test_of_a_single_latent_size_the_verdict_is_as_it_is() -> None:
    rows, verdict = of_sizes(C0={10: "FAILED", 128: "HELD"}, C1={10: "HELD"})
    assert for_each_size(rows[:2], verdict) == {
        "C0": Verdict("HELD", "C0 at 128", {"size": 128})
    } | {"C1": None}
    assert for_each_size(rows[2:], verdict) == verdict(rows[2:])


def test_a_size_that_a_claim_is_silent_on_is_not_named() -> None:
    rows, verdict = of_sizes(C0={128: "HELD"}, C1={})
    found = for_each_size(rows, verdict)
    assert found == {
        "C0": Verdict(
            "HELD at 128 units",
            "C0 at 128",
            {"128 units": {"verdict": "HELD", "numbers": {"size": 128}}},
        ),
        "C1": None,
    }

    def only_large(rows: list[Row]) -> dict[str, Verdict | None]:
        return verdict(rows) if rows[0]["latent_size"] == 128 else {}

    assert for_each_size(rows, only_large) == found


def test_values_come_by_seed_and_null_is_not_a_number() -> None:
    rows = [
        {"seed": 1, "size": 2, "nll": 5.0},
        {"seed": 0, "size": 2, "nll": None},
        {"seed": 0, "size": 4, "nll": 7.0},
    ]
    first, second = values(rows, "nll", size=2)
    assert math.isnan(first)
    assert second == 5.0
    assert values(rows, "nll", size=3) == []


def test_a_row_without_the_figure_is_named_with_the_remedy() -> None:
    rows = [{"run": "z2", "lane": 0, "nll": 1.0}, {"run": "z2", "lane": 1}]
    with pytest.raises(LabError, match=r"row of z2, lane 1 in .* lacks nll: delete that line"):
        values(rows, "nll")


def test_the_different_values_of_a_figure_rise() -> None:
    assert distinct([{"scale": 6000.0}, {"scale": 1.0}, {"scale": 6000.0}], "scale") == [1.0, 6000]
    assert distinct([], "scale") == []


def test_the_onset_of_each_seed_comes_from_its_own_rows_by_rising_scale() -> None:
    awake = {0: {1.0: 0, 4.0: 1, 16.0: 2}, 1: {1.0: 1, 4.0: 0, 16.0: 1}, 2: {1.0: 1, 4.0: 1}}
    rows = [
        {"seed": seed, "scale": scale, "units": units}
        for seed in (2, 0, 1)
        for scale, units in reversed(awake[seed].items())
    ]
    assert onsets(rows, "scale", "units") == [2.0, 8.0, 0.0]


def test_a_fact_is_what_all_rows_agree_on() -> None:
    rows = [{"dataset": "digits", "seed": seed} for seed in (0, 1)]
    assert fact(rows, "dataset") == "digits"
    assert fact(rows, "threshold_scale") is None
    assert fact([{"threshold_scale": None}] * 2, "threshold_scale") is None
    with pytest.raises(LabError, match="do not agree on seed"):
        fact(rows, "seed")
    with pytest.raises(LabError, match="do not agree on dataset"):
        fact([*rows, {"seed": 2}], "dataset")


ROWS = [
    {"run": run, "scale": scale, "seed": seed, "mse": mse + seed, "collapse": word, "gap": gap}
    for run, scale, mse, words, gap in (
        ("deep", 6000.0, 2, ("partial", "healthy"), 1.0),
        ("deep", 1.0, 4, ("total", "total"), None),
        ("flat", 1.0, 8, ("partial", "partial"), 3.0),
    )
    for seed, word in enumerate(words)
]
COLUMNS = ["mse", "collapse", "gap"]


def shown(capsys: pytest.CaptureFixture[str], by: tuple[str, ...]) -> list[list[str]]:
    """The cells of the table, a list for each line of text in it."""
    report.show_table(report.console(), "the title", ROWS, COLUMNS, by)
    text = capsys.readouterr().out
    title = " ".join(text.split("┏")[0].split())
    assert title == "the title: mean over seeds, ± half their range"
    return [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in text.splitlines()
        if line.startswith("│")
    ]


def test_a_table_has_a_line_for_each_pair_of_what_it_is_grouped_by(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Means and half the range over seeds; words as words, each once."""
    assert shown(capsys, ("run", "scale")) == [
        ["deep", "6000", "2.50", "healthy, partial", "1"],
        ["", "", "±0.50", "", ""],
        ["deep", "1", "4.50", "total", "-"],
        ["", "", "±0.50", "", ""],
        ["flat", "1", "8.50", "partial", "3"],
        ["", "", "±0.50", "", ""],
    ]


def test_a_table_grouped_by_one_field_averages_over_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shown(capsys, ("scale",)) == [
        ["6000", "2.50", "healthy, partial", "1"],
        ["", "±0.50", "", ""],
        ["1", "6.5", "partial, total", "-"],
        ["", "±2.5", "", ""],
    ]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([97.0, 97.5], "97.25\n±0.25"),
        ([97.0, 97.024, 97.012], "97.012\n±0.012"),
        ([90.0, 110.0], "100\n±10"),
        ([1000.0, 4000.0], "2500\n±1500"),
        ([0.00012, 0.00016], "1.4e-04\n±2e-05"),
        ([0.01234567, 0.01234567], "0.01235"),
        ([3], "3"),
        ([True, True], "1"),
        ([1.0, math.nan], "-"),
        (["total", "partial", "total"], "partial, total"),
    ],
)
def test_half_the_range_has_two_digits_and_the_mean_as_many_decimals(
    seeds: list[Any], text: str
) -> None:
    assert report.cell(seeds) == text


def test_a_table_that_goes_to_no_terminal_has_room_for_many_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    names = [f"figure_{index}" for index in range(10)]
    rows = [{"run": "z2", "seed": 0} | dict.fromkeys(names, 1.0)]
    report.show_table(report.console(), "title", rows, names, ["run"])
    text = capsys.readouterr().out
    assert all(f"figure {index}" in text for index in range(10))


def test_a_verdict_is_shown_with_its_rule_and_whether_it_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdicts = {"C0": Verdict("HELD", "the rule", {}), "C1": Verdict("FAILED", "a [rule]", {})}
    report.show_verdicts(report.console(), verdicts, quick=False)
    assert capsys.readouterr().out.splitlines()[0] == "C0 HELD  the rule"
    report.show_verdicts(report.console(), verdicts, quick=True)
    first, _ = capsys.readouterr().out.splitlines()
    assert first == "C0 does not count, after --quick: HELD  the rule"


def test_a_path_that_was_written_stands_on_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    paths = [tmp_path / f"{letter * 200}.png" for letter in "ab"]
    report.show_paths(report.console(), *paths)
    assert capsys.readouterr().out.splitlines() == [f"wrote {path}" for path in paths]
