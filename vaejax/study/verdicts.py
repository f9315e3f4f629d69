"""From rows to verdicts: a claim is judged by comparing the figures of all seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from vaejax.errors import LabError
from vaejax.store.records import Row
from vaejax.theory.threshold import onset

MOST_SHOWN = 2
"""Comparisons that the evidence of a verdict names."""


class Comparison(NamedTuple):
    """Values of all seeds: every one of `low` should be below every one of `high`."""

    low: Sequence[float]
    high: Sequence[float]
    limit: Literal["low", "high"] | None = None
    """The side that is a fixed limit and was not measured; None if both sides were."""


class Verdict(NamedTuple):
    """The answer to a claim."""

    verdict: str
    """HELD, FAILED or UNDECIDED. A claim that is judged at several latent sizes has one of these
    words for each size (`for_each_size`)."""
    claim: str
    """The claim, as a sentence without a full stop."""
    evidence: str
    """The numbers that decided, in words: a line, or one for each latent size."""
    rule: str
    """What decides."""
    numbers: Any
    """All numbers that were compared."""


def judge(claim: str, rule: str, comparisons: Mapping[str, Comparison]) -> Verdict | None:
    """The verdict on a claim, from named comparisons; None if the study has not measured what some
    comparison needs.

    HELD if in every comparison every value of `low` is below every value of `high`. FAILED if in
    some comparison every value of `low` is above every value of `high`. Otherwise, or if a value is
    not finite, or with fewer than two values of `low`, UNDECIDED.

    Args:
        comparisons: the name of each says what is compared, as a reader of the evidence needs it.
    """
    pairs = comparisons.values()
    if not pairs or not all(len(pair.low) and len(pair.high) for pair in pairs):
        return None
    if not all(map(_decides, pairs)):
        verdict = "UNDECIDED"
    elif all(map(_holds, pairs)):
        verdict = "HELD"
    elif any(map(_is_reversed, pairs)):
        verdict = "FAILED"
    else:
        verdict = "UNDECIDED"
    numbers = {name: {"low": low, "high": high} for name, (low, high, _) in comparisons.items()}
    return Verdict(verdict, claim, _evidence(verdict, comparisons), rule, numbers)


def _decides(pair: Comparison) -> bool:
    return len(pair.low) > 1 and bool(np.isfinite([*pair.low, *pair.high]).all())


def _holds(pair: Comparison) -> bool:
    return max(pair.low) < min(pair.high)


def _is_reversed(pair: Comparison) -> bool:
    return min(pair.low) > max(pair.high)


def _margin(pair: Comparison) -> float:
    """How clearly a comparison holds, relative to its larger side; negative if it does not."""
    values = [*pair.low, *pair.high]
    return (min(pair.high) - max(pair.low)) / (max(map(abs, values)) or 1.0)


def _evidence(verdict: str, comparisons: Mapping[str, Comparison]) -> str:
    """The comparisons that decided: all that did not hold, or else those that held by the least."""
    silent = {name: pair for name, pair in comparisons.items() if not _decides(pair)}
    if silent:
        chosen = silent
    elif verdict == "HELD":
        chosen = comparisons
    else:
        wanted = _is_reversed if verdict == "FAILED" else lambda pair: not _holds(pair)
        chosen = {name: pair for name, pair in comparisons.items() if wanted(pair)}
    order = list(chosen) if silent else sorted(chosen, key=lambda name: _margin(chosen[name]))
    shown = [name for name in chosen if name in order[:MOST_SHOWN]]
    more = len(chosen) - len(shown)
    margin = ", by a wider margin" if verdict == "HELD" else ""
    others = f"; and {more} more{margin}" if more else ""
    return "; ".join(f"{name}: {_in_words(chosen[name])}" for name in shown) + others + "."


def _in_words(pair: Comparison) -> str:
    if len(pair.low) == 1:
        return "one seed alone decides nothing"
    if not _decides(pair):
        return "no answer, a model has no number or has not learned enough to count"
    left, right = span(pair.low), span(pair.high)
    if pair.limit == "low":  # what was measured comes first
        return f"{right} > {left}" if _holds(pair) else f"{right}, {_not(pair)} above {left}"
    return f"{left} < {right}" if _holds(pair) else f"{left}, {_not(pair)} below {right}"


def _not(pair: Comparison) -> str:
    return "not" if _is_reversed(pair) else "not in every seed"


def span(values: Sequence[float]) -> str:
    """The least and the largest of some values, or the one value that all are."""
    least, most = (number(float(value)) for value in (np.min(values), np.max(values)))
    return least if least == most else f"{least} to {most}"


def number(value: float) -> str:
    """A number with three digits, or all of them before the decimal point."""
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def for_each_size(
    rows: Sequence[Row], verdict: Callable[[list[Row]], Mapping[str, Verdict | None]]
) -> dict[str, Verdict | None]:
    """`verdict(rows)` on the rows of each latent size, as one answer for each claim: "FAILED at 10
    units, HELD at 128 units", with a line of evidence for each size. Of a single latent size the
    answer is the verdict itself."""
    sizes = distinct(rows, "latent_size")
    found = {size: verdict(matching(rows, latent_size=size)) for size in sizes}
    claims = dict.fromkeys(claim for of_size in found.values() for claim in of_size)
    return {
        claim: _together({size: of_size.get(claim) for size, of_size in found.items()})
        for claim in claims
    }


def _together(of_sizes: Mapping[int, Verdict | None]) -> Verdict | None:
    known = {size: found for size, found in of_sizes.items() if found}
    if len(of_sizes) == 1 or not known:
        return next(iter(of_sizes.values()))
    first = next(iter(known.values()))
    answers = {
        word: " and ".join(str(size) for size, found in known.items() if found.verdict == word)
        for word in dict.fromkeys(found.verdict for found in known.values())
    }
    return first._replace(
        verdict=", ".join(f"{word} at {sizes} units" for word, sizes in answers.items()),
        evidence="\n".join(f"{size} units: {found.evidence}" for size, found in known.items()),
        numbers={
            f"{size} units": {"verdict": found.verdict, "numbers": found.numbers}
            for size, found in known.items()
        },
    )


def below(values: Sequence[float], limit: float) -> Comparison:
    """Every value should be below the limit."""
    return Comparison(values, [limit], "high")


def above(values: Sequence[float], limit: float) -> Comparison:
    """Every value should be above the limit."""
    return Comparison([limit] * len(values), values, "low")


def matching(rows: Sequence[Row], **where: Any) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row.get(key) == value for key, value in where.items())]


def values(rows: Sequence[Row], name: str, **where: Any) -> list[Any]:
    """One figure of the rows that match `where`, by seed; NaN where it is not a number.

    Raises:
        LabError: a row lacks the figure.
    """
    chosen = sorted(matching(rows, **where), key=lambda row: row.get("seed", 0))
    if lacking := [row for row in chosen if name not in row]:
        raise LabError(
            f"The row of {lacking[0].get('run')}, lane {lacking[0].get('lane')} in results.jsonl "
            f"lacks {name}: delete that line, and --resume measures it again."
        )
    return [math.nan if row[name] is None else row[name] for row in chosen]


def onsets(rows: Sequence[Row], scale: str, active: str) -> list[float]:
    """The scale at which each seed wakes (`theory.threshold.onset`), from the columns of that name
    in the rows of one kind of model; NaN for a seed that lacks a number."""

    def of_seed(seed: int) -> float:
        scales, units = (np.array(values(rows, name, seed=seed), float) for name in (scale, active))
        order = np.argsort(scales, kind="stable")
        lacking = np.isnan([*scales, *units]).any()
        return math.nan if lacking else onset(scales[order].tolist(), units[order].tolist())

    return [of_seed(seed) for seed in distinct(rows, "seed")]


def distinct(rows: Sequence[Row], name: str) -> list[Any]:
    """The different values of one figure, rising."""
    return sorted({row[name] for row in rows})


def fact(rows: Sequence[Row], name: str) -> Any:
    """A figure that all rows share, such as the data set; None if there is none.

    Raises:
        LabError: the rows do not agree on it.
    """
    first = rows[0].get(name)
    if any(row.get(name) != first for row in rows):
        raise LabError(f"The rows of results.jsonl do not agree on {name}: use another --out.")
    return first
