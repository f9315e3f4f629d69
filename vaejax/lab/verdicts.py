"""From rows to verdicts: a claim is judged by comparing the figures of all seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vaejax.errors import LabError
from vaejax.store.records import Row
from vaejax.theory.threshold import onset

Comparison = tuple[Sequence[float], Sequence[float]]
"""Values of all seeds: every one on the left should be below every one on the right."""


class Verdict(NamedTuple):
    """HELD, FAILED or UNDECIDED, by which rule, from which numbers. A claim that is judged at
    several latent sizes has one of these words for each size (`for_each_size`)."""

    verdict: str
    rule: str
    numbers: Any


def judge(rule: str, comparisons: Mapping[str, Comparison]) -> Verdict | None:
    """The verdict on a claim, from named comparisons; None if the study has not measured what some
    comparison needs.

    HELD if in every comparison every value on the left is below every value on the right. FAILED if
    in some comparison every value on the left is above every value on the right. Otherwise, or if a
    value is not finite, or with fewer than two values on the left, UNDECIDED.
    """
    pairs = comparisons.values()
    if not pairs or not all(len(low) and len(high) for low, high in pairs):
        return None
    decides = all(len(low) > 1 and np.isfinite([*low, *high]).all() for low, high in pairs)
    if not decides:
        verdict = "UNDECIDED"
    elif all(max(low) < min(high) for low, high in pairs):
        verdict = "HELD"
    elif any(min(low) > max(high) for low, high in pairs):
        verdict = "FAILED"
    else:
        verdict = "UNDECIDED"
    numbers = {name: {"low": low, "high": high} for name, (low, high) in comparisons.items()}
    return Verdict(verdict, rule, numbers)


def for_each_size(
    rows: Sequence[Row], verdict: Callable[[list[Row]], Mapping[str, Verdict | None]]
) -> dict[str, Verdict | None]:
    """`verdict(rows)` on the rows of each latent size, as one answer for each claim: "FAILED at 10
    units, HELD at 128 units". Of a single latent size the answer is the verdict itself."""
    sizes = distinct(rows, "latent_size")
    found = {f"{size} units": verdict(matching(rows, latent_size=size)) for size in sizes}
    claims = dict.fromkeys(claim for of_size in found.values() for claim in of_size)
    return {
        claim: _together({name: of_size.get(claim) for name, of_size in found.items()})
        for claim in claims
    }


def _together(of_sizes: Mapping[str, Verdict | None]) -> Verdict | None:
    known = {name: found for name, found in of_sizes.items() if found}
    if len(of_sizes) == 1 or not known:
        return next(iter(of_sizes.values()))
    answer = ", ".join(f"{found.verdict} at {name}" for name, found in known.items())
    numbers = {
        name: {"verdict": found.verdict, "numbers": found.numbers} for name, found in known.items()
    }
    return Verdict(answer, next(iter(known.values())).rule, numbers)


def below(values: Sequence[float], limit: float) -> Comparison:
    """Every value should be below the limit."""
    return values, [limit]


def above(values: Sequence[float], limit: float) -> Comparison:
    """Every value should be above the limit."""
    return [limit] * len(values), values


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
    in the rows of one kind of model."""
    found = []
    for seed in distinct(rows, "seed"):
        own = sorted(matching(rows, seed=seed), key=lambda row: row[scale])
        found.append(onset([row[scale] for row in own], [row[active] for row in own]))
    return found


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
