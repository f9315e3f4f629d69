"""study.claims: from declared comparisons to words and verdicts. study.rows: picking figures."""

import math
from typing import Any

import pytest

from vaejax.errors import LabError
from vaejax.store.records import Row
from vaejax.study.claims import (
    LARGEST,
    SMALLEST,
    Claim,
    Condition,
    Verdict,
    column,
    each,
    explained,
    in_short,
    within,
)
from vaejax.study.rows import distinct, fact, number, span, values

A, B, C = column("a", "A of it"), column("b", "B"), column("c", "C")


def rows_of(**columns: list[Any]) -> list[Row]:
    """A row for each seed."""
    seeds = zip(*columns.values(), strict=True)
    return [
        dict(zip(columns, of_seed, strict=True)) | {"seed": n} for n, of_seed in enumerate(seeds)
    ]


def judged(measured: list[Row], *comparisons: Any, **more: Any) -> Verdict:
    found = Claim("C0", "Is all well?", comparisons, **more).judge(measured)
    assert found is not None
    return found


NOTHING, ALONE = "no answer, a model has no number", "one seed alone decides nothing"


@pytest.mark.parametrize(
    ("a", "b", "verdict", "answer"),
    [
        ([1, 2], [3, 4], "HELD", "Yes: the A of it is 1 to 2, below the B, 3 to 4."),
        ([1, 2], [3, 3], "HELD", "Yes: the A of it is 1 to 2, below the B, 3."),
        ([5, 6], [3, 4], "FAILED", "No: the A of it is 5 to 6, not below the B, 3 to 4."),
        ([1, 3], [2, 4], "UNDECIDED", "Undecided: the A of it is 1 to 3, not in every seed below "),
        ([1, 2], [2, 3], "UNDECIDED", "Undecided: the A of it is 1 to 2, not in every seed below "),
        ([1], [3], "UNDECIDED", f"Undecided: the A of it, and the B: {ALONE}."),
        ([1, None], [3, 4], "UNDECIDED", f"Undecided: the A of it, and the B: {NOTHING}."),
        ([1, 2], [3, math.inf], "UNDECIDED", f"Undecided: the A of it, and the B: {NOTHING}."),
    ],
)
def test_every_seed_of_both_sides_decides(a, b, verdict, answer) -> None:
    found = judged(rows_of(a=a, b=b), A < B)
    assert found.answer.startswith(answer)
    assert (found.verdict, found.rule) == (verdict, "in every seed: A of it < B")
    (numbers,) = found.numbers.values()
    for side, given in (("low", a), ("high", b)):
        assert numbers[side] == pytest.approx(
            [math.nan if v is None else v for v in given], nan_ok=True
        )


@pytest.mark.parametrize(
    ("comparison", "verdict", "answer"),
    [
        (A < 5, "HELD", "Yes: the A of it is 1 to 4, below 5."),
        (A < 4, "UNDECIDED", "Undecided: the A of it is 1 to 4, not in every seed below 4."),
        (A < 0.5, "FAILED", "No: the A of it is 1 to 4, not below 0.5."),
        (A > 0.5, "HELD", "Yes: the A of it is 1 to 4, above 0.5."),
        (A > 2, "UNDECIDED", "Undecided: the A of it is 1 to 4, not in every seed above 2."),
        (A > 5, "FAILED", "No: the A of it is 1 to 4, not above 5."),
    ],
)
def test_a_limit_comes_last_whichever_side_it_is(comparison, verdict, answer) -> None:
    found = judged(rows_of(a=[1, 4]), comparison)
    assert (found.verdict, found.answer) == (verdict, answer)
    assert judged(rows_of(a=[1]), comparison).answer == f"Undecided: the A of it: {ALONE}."


@pytest.mark.parametrize(
    ("a", "b", "c", "verdict", "answer"),
    [
        # HELD: the closest call.
        ([1, 2], [7, 8], [8, 9], "HELD", "Yes: the C is 8 to 9, below 10."),
        # FAILED: the clearest of those that are reversed.
        ([1, 2], [11, 12], [9, 11], "FAILED", "No: the B is 11 to 12, not below 10."),
        # UNDECIDED: one that overlaps; or else the first without an answer, also if others fail.
        ([1, 2], [9, 12], [8, 9], "UNDECIDED", "Undecided: the B is 9 to 12, not in every seed "),
        ([1, None], [11, 12], [8, 9], "UNDECIDED", f"Undecided: 100 times the A of it: {NOTHING}."),
        ([9, 9], [None, 2], [None, 3], "UNDECIDED", f"Undecided: the B: {NOTHING}."),
    ],
)
def test_the_answer_names_the_comparison_that_decided(a, b, c, verdict, answer) -> None:
    found = judged(rows_of(a=a, b=b, c=c), 100 * A < 1000, B < 10, C < 10)
    assert found.verdict == verdict
    assert found.answer.startswith(answer)


@pytest.mark.parametrize("comparisons", [[], A < 1, [each("b", A < 1)]])
def test_comparisons_that_are_no_list_of_them_are_refused(comparisons: Any) -> None:
    with pytest.raises(LabError, match="Claim C0: its comparisons are a list of one or more"):
        Claim("C0", "Is all well?", comparisons)


def test_a_difference_is_taken_within_each_model() -> None:
    """So it holds where the seeds differ by more than what is compared."""
    rows = rows_of(a=[5, 1], b=[4, 0])
    assert judged(rows, A - B > 0).verdict == "HELD"
    assert judged(rows, A > B).verdict == "UNDECIDED"
    assert judged(rows_of(a=[5, None], b=[4, 0]), A - B > 0).verdict == "UNDECIDED"
    with pytest.raises(LabError, match="A of it less B: take both at the same models"):
        _ = A - B.at(depth=2)


def test_a_chain_is_refused_since_python_would_drop_its_first_half() -> None:
    with pytest.raises(TypeError, match="a < b and b < c"):
        A < B < C  # noqa: B015


def test_a_model_that_has_not_learned_stays_and_decides_nothing() -> None:
    """Neither that the claim holds nor that it fails. The condition is a comparison or a function,
    and stands in the rule and in the answer."""
    rows = rows_of(a=[1, 2, 9], b=[3, 3, 3], c=[0, 0, 9])
    assert judged(rows, A < B).verdict == "UNDECIDED"
    for condition, words in (
        (C < 2 * B, "its C < 2 times the B"),
        (Condition("it is done", lambda row: row["c"] < 1), "it is done"),
    ):
        for reversed_too in (rows, [row | {"a": 9} for row in rows]):
            found = judged(reversed_too, A < B, counts_if=condition)
            assert found.verdict == "UNDECIDED"
            why = f"no answer, a model counts only if {words}"
            assert found.answer == f"Undecided: the A of it, and the B: {why}."
            assert found.rule == f"in every seed: A of it < B; a model counts only if {words}"
            assert [str(value) for value in found.numbers["A of it < B"]["low"]][2] == "nan"
        assert judged(rows[:2], A < B, counts_if=condition).verdict == "HELD"


SWEEP: list[Row] = [
    {"recon_scale": scale, "depth": depth, "seed": seed, "a": scale + depth, "b": 20}
    for scale in (1.0, 10.0)
    for depth in (1, 2)
    for seed in (1, 0)
]
LOW, HIGH = A.at(recon_scale=SMALLEST), A.at(recon_scale=LARGEST)


@pytest.mark.parametrize(
    ("comparison", "rule"),
    [
        (LOW < HIGH, "A of it at scale 1 < that at scale 10"),
        (HIGH > LOW, "A of it at scale 10 > that at scale 1"),
        (A.at(depth=2) < B.at(depth=2), "A of it at depth 2 < B"),  # said once
        (0.5 * A.at(odd_name="x y") < 9, "0.5 times the A of it of x y < 9"),
        (A.at(depth=2) - B > 0, "A of it less the B at depth 2 > 0"),
        (A.at(run="linear-bernoulli") < 9, "A of it of the linear VAE (Bernoulli) < 9"),
        (A.at(run="z2") < 9, "A of it of z2 < 9"),  # a run that has no other name
    ],
)
def test_rules_read_as_words(comparison, rule) -> None:
    assert comparison.known(SWEEP).rule == rule
    assert (LOW < HIGH).rule == "A of it at the smallest scale < that at the largest scale"


def test_the_ends_of_a_column_are_those_of_all_rows() -> None:
    """Where only one value is left, as if the models of the other diverged, it is the smallest."""
    claim = Claim("C0", "At {smallest}, is x_{i} less than at {largest}?", [LOW < HIGH])
    found = claim.judge(SWEEP)
    assert found is not None
    assert found.question == "At scale 1, is x_{i} less than at scale 10?"
    assert found.verdict == "HELD"
    assert claim.asks() == "At the smallest scale, is x_{i} less than at the largest scale?"
    left = [row for row in SWEEP if row["recon_scale"] == 1]
    assert claim.judge(left) is None
    assert judged(left, LOW < 9).verdict == "HELD"


def test_each_value_of_a_column_is_compared() -> None:
    found = judged(SWEEP, *each("depth", LOW < 2.5))
    assert found.verdict == "FAILED"
    assert found.answer == "No: the A of it at scale 1 at depth 2 is 3, not below 2.5."
    assert found.rule == "in every seed, at every depth at scale 1: A of it < 2.5"
    both = judged(SWEEP, *each(("depth", "recon_scale"), A < B))
    assert len(both.numbers) == 4
    assert Claim("C0", "All", each("depth", A.at(recon_scale=5) < B)).judge(SWEEP) is None


@pytest.mark.parametrize(
    ("a", "verdict"),
    [
        ((90.1, 109.9), "HELD"),
        ((89, 91), "UNDECIDED"),
        ((89, 111), "UNDECIDED"),
        ((80, 89), "FAILED"),
        ((111, 999), "FAILED"),
        ((100, None), "UNDECIDED"),
    ],
)
def test_within_a_share_or_a_least_amount(a, verdict) -> None:
    assert judged(rows_of(a=a, b=[100, 100]), *within(A, B, 0.1)).verdict == verdict
    small = [value and value - 90 for value in a]
    assert judged(rows_of(a=small, b=[10, 10]), *within(A, B, 0.1, 10)).verdict == verdict


def test_there_is_no_verdict_on_what_was_not_measured() -> None:
    for comparison in (A.at(depth=3) < 9, B.at(depth=3) > A, A.at(depth=3) > 0):
        claim = Claim("C0", "All", [A < B, comparison])
        assert claim.judge(SWEEP) is None
        assert claim.judge([row | {"a": None} for row in SWEEP]) is None


def sized(*answers: tuple[int, Any]) -> list[Row]:
    """Rows of latent sizes, whose `a` is 1 or 9."""
    return [{"latent_size": size, "seed": seed, "a": a} for size, a in answers for seed in (0, 1)]


@pytest.mark.parametrize(
    ("answers", "verdict", "lines"),
    [
        (
            [(128, 1), (10, 9)],
            "FAILED at 10 units, HELD at 128 units",
            ["With 10 units no: the A of it is 9", "With 128 units yes: the A of it is 1"],
        ),
        ([(128, 1), (10, 1)], "HELD at 10 and 128 units", ["With 10 units yes", "With 128 units "]),
        ([(128, 1)], "HELD", ["Yes: the A of it is 1, below 5."]),
        ([(128, 1), (10, "")], "HELD at 128 units", ["With 128 units yes: the A"]),
    ],
)
def test_each_latent_size_is_judged_by_itself(answers, verdict, lines) -> None:
    """Of one, the verdict is as it is; one that the claim does not speak of is not named."""
    rows = sized(*answers)
    rows = [row | {"kind": "known" if row["a"] else "none"} for row in rows]
    found = Claim("C0", "All", [A.at(kind="known") < 5], by_size=True).judge(rows)
    assert found is not None
    assert found.verdict == verdict
    said = found.answer.replace(" of known", "").splitlines()
    assert all(line.startswith(start) for line, start in zip(said, lines, strict=True))
    assert in_short(verdict) == {
        "FAILED at 10 units, HELD at 128 units": "No at 10 units, yes at 128 units"
    }.get(verdict, verdict.replace("HELD", "Yes"))
    if " at " in verdict:
        assert {inner["verdict"] for inner in found.numbers.values()} <= {"HELD", "FAILED"}


def test_no_latent_size_is_no_verdict() -> None:
    claim = Claim("C0", "All", [A < 5], rows=lambda rows: [], by_size=True)
    assert claim.judge(sized((10, 1), (20, 1))) is None


def test_the_help_has_a_paragraph_for_each_claim() -> None:
    claims = [Claim("C0", "At {smallest}, is all well?", [A < 5], by_size=True)]
    assert explained(claims).split("\n\n") == [
        "C0: At the smallest scale, is all well? HELD (yes) if for each latent size, in every "
        "seed: A of it < 5.",
        "FAILED (no) if one part is reversed in every seed; else UNDECIDED.",
    ]
    assert explained([]) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "0.0123"), (12.345, "12.3"), (-1.0, "-1"), (999.7, "1000"), (123456.0, "123456")],
)
def test_a_number_has_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert number(value) == span([value, value]) == text
    assert span([3, 0]) == "0 to 3"


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
    rows = [{"run": "z2", "lane": 0, "a": 1.0}, {"run": "z2", "lane": 1}]
    message = r"row of z2, lane 1 in .* lacks a: if the study measures it, delete that line"
    with pytest.raises(LabError, match=message):
        values(rows, "a")
    with pytest.raises(LabError, match=message):
        judged(rows, A < 5)


def test_the_different_values_of_a_figure_rise() -> None:
    assert distinct([{"scale": 6000.0}, {"scale": 1.0}, {"scale": 6000.0}], "scale") == [1.0, 6000]
    assert distinct([], "scale") == []


def test_a_fact_is_what_all_rows_agree_on() -> None:
    rows = [{"dataset": "digits", "seed": seed} for seed in (0, 1)]
    assert fact(rows, "dataset") == "digits"
    assert fact(rows, "threshold_scale") is None
    assert fact([{"threshold_scale": None}] * 2, "threshold_scale") is None
    with pytest.raises(LabError, match="do not agree on seed"):
        fact(rows, "seed")
    with pytest.raises(LabError, match="do not agree on dataset"):
        fact([*rows, {"seed": 2}], "dataset")
