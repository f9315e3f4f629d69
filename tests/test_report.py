"""vaejax.study.verdicts and vaejax.study.terminal: from rows to verdicts, and to a table."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from vaejax.errors import LabError
from vaejax.store.records import Row
from vaejax.study import terminal
from vaejax.study.verdicts import (
    Comparison,
    Verdict,
    above,
    below,
    distinct,
    fact,
    for_each_size,
    judge,
    number,
    onsets,
    span,
    values,
)


def judged(**comparisons: Any) -> Verdict:
    """The verdict on a claim, on pairs of low and high numbers."""
    named = {name: Comparison(*pair) for name, pair in comparisons.items()}
    found = judge("The claim", "the rule", named)
    assert found is not None
    return found


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
    found = judged(**comparisons)
    assert found.verdict == verdict
    assert (found.claim, found.rule) == ("The claim", "the rule")
    numbers = {name: {"low": low, "high": high} for name, (low, high) in comparisons.items()}
    assert repr(found.numbers) == repr(numbers)


WIDE, TIGHT = Comparison([1.0, 2.0], [8.0, 9.0]), Comparison([1.0, 7.9], [8.0, 9.0])
TIGHTER = Comparison([-1.0, 7.99], [8.0, 9.0])
OVERLAPPING, REVERSED = Comparison([1.0, 8.5], [8.0, 9.0]), Comparison([10.0, 11.0], [8.0, 9.0])
SILENT, ALONE = Comparison([1.0, math.nan], [3.0]), Comparison([1.0], [3.0, 4.0])
NOTHING = "no answer, a model has no number or has not learned enough to count"


@pytest.mark.parametrize(
    ("comparisons", "evidence"),
    [
        # HELD: the tightest, in the order of the page.
        ({"a": WIDE}, "a: 1 to 2 < 8 to 9."),
        ({"a": TIGHTER, "b": TIGHT}, "a: -1 to 7.99 < 8 to 9; b: 1 to 7.9 < 8 to 9."),
        (
            {"a": TIGHT, "b": WIDE, "c": TIGHTER, "d": WIDE},
            "a: 1 to 7.9 < 8 to 9; c: -1 to 7.99 < 8 to 9; and 2 more, by a wider margin.",
        ),
        # FAILED: those that are reversed, and no other.
        (
            {"a": WIDE, "b": REVERSED, "c": OVERLAPPING},
            "b: 10 to 11, not below 8 to 9.",
        ),
        # UNDECIDED: those that overlap; or else those without an answer.
        ({"a": WIDE, "b": OVERLAPPING}, "b: 1 to 8.5, not in every seed below 8 to 9."),
        ({"a": WIDE, "b": ALONE}, "b: one seed alone decides nothing."),
        ({"a": SILENT, "b": REVERSED}, f"a: {NOTHING}."),
        ({"a": ALONE, "b": SILENT}, f"a: one seed alone decides nothing; b: {NOTHING}."),
        # A limit comes last, on whichever side it is.
        ({"a": below([1.0, 2.0], 3.0)}, "a: 1 to 2 < 3."),
        ({"a": below([1.0, 4.0], 3.0)}, "a: 1 to 4, not in every seed below 3."),
        ({"a": above([4.0, 4.0], 3.0)}, "a: 4 > 3."),
        ({"a": above([1.0, 4.0], 3.0)}, "a: 1 to 4, not in every seed above 3."),
        ({"a": above([1.0, 2.0], 3.0)}, "a: 1 to 2, not above 3."),
    ],
)
def test_the_evidence_is_the_numbers_that_decided(comparisons: Any, evidence: str) -> None:
    assert judged(**comparisons).evidence == evidence


@pytest.mark.parametrize("comparison", [REVERSED, OVERLAPPING])
def test_of_many_that_do_not_hold_two_are_named_and_the_others_counted(
    comparison: Comparison,
) -> None:
    far = comparison._replace(low=[comparison.low[0], 20 * comparison.low[1]])
    found = judged(a=comparison, b=far, c=comparison, d=far).evidence
    assert [part.split(":")[0] for part in found.split("; ")] == ["b", "d", "and 2 more."]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "0.0123"), (12.345, "12.3"), (-1.0, "-1"), (999.7, "1000"), (123456.0, "123456")],
)
def test_a_number_has_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert number(value) == text
    assert span([value, value]) == text


def test_whole_numbers_span_as_others_do() -> None:
    assert span([3, 0]) == "0 to 3"
    assert span([2]) == "2"


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
    named = {name: Comparison(*pair) for name, pair in comparisons.items()}
    assert judge("The claim", "the rule", named) is None


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
    assert judged(a=below(numbers, 3.0)).verdict == verdict_below
    assert judged(a=above(numbers, 3.0)).verdict == verdict_above


def test_without_values_a_limit_says_nothing() -> None:
    assert judge("The claim", "the rule", {"a": below([], 3.0)}) is None
    assert judge("The claim", "the rule", {"a": above([], 3.0)}) is None


def of_size(word: str, claim: str, size: int) -> Verdict:
    return Verdict(word, claim, f"the mse is {size}.", f"{claim} at {size}", {"size": size})


def of_sizes(**words: dict[int, str]) -> tuple[list[Row], Any]:
    """Rows of latent sizes 128 and 10, and the verdicts on those of one size: by claim, the word
    for each size, with one line of evidence; there is none for other sizes."""
    rows: list[Row] = [{"latent_size": size, "seed": seed} for size in (128, 10) for seed in (0, 1)]

    def verdict(rows: list[Row]) -> dict[str, Verdict | None]:
        (size,) = {row["latent_size"] for row in rows}
        assert [row["seed"] for row in rows] == [0, 1]
        found = {claim: of_claim.get(size) for claim, of_claim in words.items()}
        return {
            claim: of_size(word, claim, size) if word else None for claim, word in found.items()
        }

    return rows, verdict


def test_a_claim_has_a_verdict_and_a_line_of_evidence_for_each_latent_size() -> None:
    rows, verdict = of_sizes(C0={10: "FAILED", 128: "HELD"}, C1={10: "HELD", 128: "HELD"})
    found = for_each_size(rows, verdict)
    assert found == {
        "C0": Verdict(
            "FAILED at 10 units, HELD at 128 units",
            "C0",
            "10 units: the mse is 10.\n128 units: the mse is 128.",
            "C0 at 10",
            {
                "10 units": {"verdict": "FAILED", "numbers": {"size": 10}},
                "128 units": {"verdict": "HELD", "numbers": {"size": 128}},
            },
        ),
        "C1": found["C1"],
    }
    assert found["C1"] is not None
    assert found["C1"].verdict == "HELD at 10 and 128 units"


def test_of_a_single_latent_size_the_verdict_is_as_it_is() -> None:
    rows, verdict = of_sizes(C0={10: "FAILED", 128: "HELD"}, C1={10: "HELD"})
    assert for_each_size(rows[:2], verdict) == {"C0": of_size("HELD", "C0", 128), "C1": None}
    assert for_each_size(rows[2:], verdict) == verdict(rows[2:])


def test_a_size_that_a_claim_is_silent_on_is_not_named() -> None:
    rows, verdict = of_sizes(C0={128: "HELD"}, C1={})
    found = for_each_size(rows, verdict)
    assert found == {
        "C0": of_size("HELD at 128 units", "C0", 128)._replace(
            evidence="128 units: the mse is 128.",
            numbers={"128 units": {"verdict": "HELD", "numbers": {"size": 128}}},
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


class Printed(NamedTuple):
    """A table as it stands in the terminal."""

    headings: list[str]
    """The last word of each."""
    lines: list[str]
    """The rows, without the room between cells."""


def tables(text: str, lines: int) -> list[Printed]:
    """The tables of so many lines each in a text."""
    printed = [" ".join(line.split()) for line in text.splitlines()]
    rules = [index for index, line in enumerate(printed) if line and set(line) == {"─"}]
    return [
        Printed(printed[rule - 1].split(), printed[rule + 1 : rule + 1 + lines]) for rule in rules
    ]


def shown(
    capsys: pytest.CaptureFixture[str], lines: int, by: tuple[str, ...], rows: list[Row] = ROWS
) -> list[Printed]:
    columns = [name for name in rows[0] if name not in ("run", "scale", "seed")]
    terminal.show_table(terminal.console(), "the title", rows, columns, by)
    text = capsys.readouterr().out
    assert " ".join(text.split()).startswith("the title: mean over seeds ± half their range ")
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= terminal.WIDTH
    return tables(text, lines)


def test_a_table_has_a_line_for_each_pair_of_what_it_is_grouped_by(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Means and half the range over seeds; words as words, each once."""
    (found,) = shown(capsys, 3, ("run", "scale"))
    assert found.headings == ["run", "scale", "mse", "collapse", "gap"]
    assert found.lines == [
        "deep 6000 2.50 ± 0.50 healthy, partial 1",
        "deep 1 4.50 ± 0.50 total -",
        "flat 1 8.50 ± 0.50 partial 3",
    ]


def test_a_table_grouped_by_one_field_averages_over_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (found,) = shown(capsys, 2, ("scale",))
    assert found.lines == ["6000 2.50 ± 0.50 healthy, partial 1", "1 6.5 ± 2.5 partial, total -"]


def test_columns_without_room_are_in_a_further_table_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says of a terminal that is none."""
    monkeypatch.setenv("COLUMNS", "40")
    names = [f"figure_{index}" for index in range(16)]
    rows = [{"run": "z2"} | dict.fromkeys(names, 98.0 + seed) | {"seed": seed} for seed in (0, 1)]
    found = shown(capsys, 1, ("run",), rows)
    assert [len(table.headings) for table in found] == [7, 7, 5]
    shown_in = [heading for table in found for heading in table.headings if heading != "run"]
    assert shown_in == [str(index) for index in range(16)]
    for table in found:
        assert table.lines == ["z2" + " 98.50 ± 0.50" * (len(table.headings) - 1)]


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([97.0, 97.5], "97.25 ± 0.25"),
        ([97.0, 97.024, 97.012], "97.01 ± 0.01"),  # a mean of four digits
        ([90.0, 110.0], "100 ± 10"),
        ([1000.0, 4000.0], "2500 ± 1500"),
        ([0.0724, 0.073], "0.0727 ± 0.0003"),  # of four decimals
        ([0.0004, 0.0002], "0.0003 ± 0.0001"),
        ([0.00002, 0.00016], "9.0e-05"),
        ([0.01234567, 0.01234567], "0.01235"),
        ([-1.0, 1.0], "0.0 ± 1.0"),
        ([3], "3"),
        ([True, True], "1"),
        ([1.0, math.nan], "-"),
        (["total", "partial", "total"], "partial, total"),
    ],
)
def test_half_the_range_has_two_digits_and_the_mean_as_many_decimals_where_there_is_room(
    seeds: list[Any], text: str
) -> None:
    assert terminal.cell(seeds) == text


@pytest.mark.parametrize(
    ("sigma", "beta", "shown"),
    [
        ([0.5, 0.1], [2.0, 1.0], ["effective_sigma"]),
        ([None, None], [2.0, 1.0], ["effective_beta"]),  # no Gaussian decoder, or a learned one
        ([0.5, None], [2.0, 1.0], ["effective_beta"]),
        ([None, None], [None, 1.0], []),
    ],
)
def test_the_noise_is_sigma_where_every_model_has_one_or_else_beta(sigma, beta, shown) -> None:
    rows = [
        {"effective_sigma": of_sigma, "effective_beta": of_beta}
        for of_sigma, of_beta in zip(sigma, beta, strict=True)
    ]
    assert terminal.noise_columns(rows) == shown


def test_a_verdict_is_shown_with_its_claim_its_evidence_and_whether_it_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdicts = {
        "C0": Verdict("HELD", "All is well", "the mse: 1 < 2.", "the rule", {}),
        "C1": Verdict(
            "FAILED at 10 units, HELD at 128 units",
            "An [odd] claim",
            "10 units: in [-1, 1]: 2, not below 1.\n128 units: a: 1 < 2.",
            "a [rule]",
            {},
        ),
    }
    terminal.show_verdicts(terminal.console(), verdicts, quick=False)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "C0  All is well: HELD.",
        "    The mse: 1 < 2.",
        "C1  An [odd] claim: FAILED at 10 units, HELD at 128 units.",
        "    10 units: in [-1, 1]: 2, not below 1.",
        "    128 units: a: 1 < 2.",
    ]
    terminal.show_verdicts(terminal.console(), verdicts, quick=True)
    assert capsys.readouterr().out.splitlines()[0] == (
        "C0  All is well: HELD (does not count, after --quick)."
    )


def test_long_evidence_is_folded_below_itself(capsys: pytest.CaptureFixture[str]) -> None:
    evidence = "; ".join(f"the mse at {scale}: 1 < 2" for scale in range(20))
    terminal.show_verdicts(
        terminal.console(), {"C0": Verdict("HELD", "All is well", evidence, "", {})}, quick=False
    )
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "C0  All is well: HELD."
    assert len(lines) > 3
    assert all(line.startswith("    ") and len(line) <= terminal.WIDTH for line in lines)
    assert " ".join(" ".join(lines).split()).lower() == evidence


def test_the_seeds_are_named_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_seeds(terminal.console(), [{"seed": seed} for seed in (2, 0, 2, 1)])
    assert capsys.readouterr().out.startswith("Seeds 0, 1, 2. ")


def test_a_path_that_was_written_stands_on_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    paths = [tmp_path / f"{letter * 200}.png" for letter in "ab"]
    terminal.show_paths(terminal.console(), *paths)
    assert capsys.readouterr().out.splitlines() == [f"wrote {path}" for path in paths]


def test_what_to_do_next_is_a_command_for_the_folder_on_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = Path("checkpoints", "a" * 200)
    terminal.show_next_steps(folder, [folder / "first.png", folder / "second.png"])
    lines = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == str(folder / "first.png")
    assert all(line.startswith("python -m ") and line.endswith(f" {folder}") for line in lines[1:])
    terminal.show_next_steps(folder, [])
    assert "Open" not in capsys.readouterr().out
