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
    found = Claim("C0", "All is well", comparisons, **more).judge(measured)
    assert found is not None
    return found


NOTHING, ALONE = "no answer, a model has no number", "one seed alone decides nothing"


@pytest.mark.parametrize(
    ("a", "b", "verdict", "evidence"),
    [
        ([1, 2], [3, 4], "HELD", "A of it, and B: 1 to 2 < 3 to 4."),
        ([1, 2], [3, 3], "HELD", "A of it, and B: 1 to 2 < 3."),
        ([5, 6], [3, 4], "FAILED", "A of it, and B: 5 to 6, not below 3 to 4."),
        ([1, 3], [2, 4], "UNDECIDED", "A of it, and B: 1 to 3, not in every seed below 2 to 4."),
        ([1, 2], [2, 3], "UNDECIDED", "A of it, and B: 1 to 2, not in every seed below 2 to 3."),
        ([1], [3], "UNDECIDED", f"A of it, and B: {ALONE}."),
        ([1, None], [3, 4], "UNDECIDED", f"A of it, and B: {NOTHING}."),
        ([1, 2], [3, math.inf], "UNDECIDED", f"A of it, and B: {NOTHING}."),
    ],
)
def test_every_seed_of_both_sides_decides(a, b, verdict, evidence) -> None:
    found = judged(rows_of(a=a, b=b), A < B)
    assert found[:4] == (verdict, "All is well", evidence, "in every seed: A of it < B")
    (numbers,) = found.numbers.values()
    for side, given in (("low", a), ("high", b)):
        assert numbers[side] == pytest.approx(
            [math.nan if v is None else v for v in given], nan_ok=True
        )


@pytest.mark.parametrize(
    ("comparison", "verdict", "evidence"),
    [
        (A < 5, "HELD", "A of it: 1 to 4 < 5."),
        (A < 4, "UNDECIDED", "A of it: 1 to 4, not in every seed below 4."),
        (A < 0.5, "FAILED", "A of it: 1 to 4, not below 0.5."),
        (A > 0.5, "HELD", "A of it: 1 to 4 > 0.5."),
        (A > 2, "UNDECIDED", "A of it: 1 to 4, not in every seed above 2."),
        (A > 5, "FAILED", "A of it: 1 to 4, not above 5."),
    ],
)
def test_a_limit_comes_last_whichever_side_it_is(comparison, verdict, evidence) -> None:
    found = judged(rows_of(a=[1, 4]), comparison)
    assert (found.verdict, found.evidence) == (verdict, evidence)
    assert judged(rows_of(a=[1]), comparison).evidence == f"A of it: {ALONE}."


@pytest.mark.parametrize(
    ("a", "b", "c", "verdict", "evidence"),
    [
        # HELD: the tightest, in the order of the page.
        ([1, 2], [7, 8], [8, 9], "HELD", "A of it: 1 to 2 < 10; C: 8 to 9 < 10; and 1 more, by a "),
        # FAILED: those that are reversed, and no other.
        ([1, 2], [11, 12], [9, 11], "FAILED", "B: 11 to 12, not below 10."),
        # UNDECIDED: those that overlap; or else those without an answer, also if others fail.
        ([1, 2], [9, 12], [8, 9], "UNDECIDED", "B: 9 to 12, not in every seed below 10."),
        ([1, None], [11, 12], [8, 9], "UNDECIDED", f"A of it: {NOTHING}."),
        ([None, 1], [None, 2], [None, 3], "UNDECIDED", f"A of it: {NOTHING}; B: {NOTHING}; and 1"),
    ],
)
def test_the_evidence_is_what_decided(a, b, c, verdict, evidence) -> None:
    found = judged(rows_of(a=a, b=b, c=c), 100 * A < 1000, B < 10, C < 10)
    evidence = evidence.replace("A of it: 1 to 2 < 10", "B: 7 to 8 < 10")
    assert found.verdict == verdict
    assert found.evidence.startswith(evidence.replace("A of it", "100 times the A of it"))


def test_a_chain_is_refused_since_python_would_drop_its_first_half() -> None:
    with pytest.raises(TypeError, match="a < b and b < c"):
        A < B < C  # noqa: B015


def test_a_model_that_has_not_learned_stays_and_decides_nothing() -> None:
    """Neither that the claim holds nor that it fails. The condition is a comparison or a function,
    and stands in the rule and in the evidence."""
    rows = rows_of(a=[1, 2, 9], b=[3, 3, 3], c=[0, 0, 9])
    assert judged(rows, A < B).verdict == "UNDECIDED"
    for condition, words in (
        (C < 2 * B, "its C < 2 times the B"),
        (Condition("it is done", lambda row: row["c"] < 1), "it is done"),
    ):
        for reversed_too in (rows, [row | {"a": 9} for row in rows]):
            found = judged(reversed_too, A < B, counts_if=condition)
            assert found.verdict == "UNDECIDED"
            assert found.evidence == f"A of it, and B: no answer, a model counts only if {words}."
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
    ("comparison", "rule", "name"),
    [
        (
            LOW < HIGH,
            "A of it at scale 1 < that at scale 10",
            "A of it at scale 1, and at scale 10",
        ),
        (
            A.at(depth=2) < B.at(depth=2),
            "A of it < B, at depth 2",  # said once
            "A of it, and B, at depth 2",
        ),
        (0.5 * A.at(odd_name="x y") < 9, "0.5 times the A of it of x y < 9", None),
    ],
)
def test_rules_and_evidence_read_as_words(comparison, rule, name) -> None:
    known = comparison.known(SWEEP)
    assert known.rule == rule
    assert name in (None, known.name)
    assert (LOW < HIGH).rule == "A of it at the smallest scale < that at the largest scale"


def test_the_ends_of_a_column_are_those_of_all_rows() -> None:
    """Where only one value is left, as if the models of the other diverged, it is the smallest."""
    claim = Claim("C0", "At {smallest} less than at {largest}", [LOW < HIGH])
    found = claim.judge(SWEEP)
    assert found is not None
    assert found.claim == "At scale 1 less than at scale 10"
    assert found.verdict == "HELD"
    assert claim.says() == "At the smallest scale less than at the largest scale"
    left = [row for row in SWEEP if row["recon_scale"] == 1]
    assert claim.judge(left) is None
    assert judged(left, LOW < 9).verdict == "HELD"


def test_each_value_of_a_column_is_compared() -> None:
    found = judged(SWEEP, *each("depth", LOW < 2.5))
    assert found.verdict == "FAILED"
    assert found.evidence == "A of it at scale 1 at depth 2: 3, not below 2.5."
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
    ("answers", "verdict", "evidence"),
    [
        ([(128, 1), (10, 9)], "FAILED at 10 units, HELD at 128 units", "10 units: A of it: 9, not"),
        (
            [(128, 1), (10, 1)],
            "HELD at 10 and 128 units",
            "10 units: A of it: 1 < 5.\n128 units: A",
        ),
        ([(128, 1)], "HELD", "A of it: 1 < 5."),
        ([(128, 1), (10, "")], "HELD at 128 units", "128 units: A of it: 1 < 5."),
    ],
)
def test_each_latent_size_is_judged_by_itself(answers, verdict, evidence) -> None:
    """Of one, the verdict is as it is; one that the claim does not speak of is not named."""
    rows = sized(*answers)
    rows = [row | {"kind": "known" if row["a"] else "none"} for row in rows]
    found = Claim("C0", "All", [A.at(kind="known") < 5], by_size=True).judge(rows)
    assert found is not None
    assert found.verdict == verdict
    assert found.evidence.replace(" of known", "").startswith(evidence)
    if " at " in verdict:
        assert {inner["verdict"] for inner in found.numbers.values()} <= {"HELD", "FAILED"}


def test_no_latent_size_is_no_verdict() -> None:
    claim = Claim("C0", "All", [A < 5], rows=lambda rows: [], by_size=True)
    assert claim.judge(sized((10, 1), (20, 1))) is None


def test_the_help_has_a_paragraph_for_each_claim() -> None:
    claims = [Claim("C0", "At {smallest} all is well", [A < 5], by_size=True)]
    assert explained(claims).split("\n\n") == [
        "C0: At the smallest scale all is well. HELD if for each latent size, in every seed: "
        "A of it < 5.",
        "FAILED if one part is reversed in every seed; else UNDECIDED.",
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
    message = r"row of z2, lane 1 in .* lacks a: delete that line"
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
