"""Claims: a question, and the comparisons of columns that answer it.

A page declares its claims once, as data:

    MSE = column("mse", "MSE")
    Claim("C1", "Does an AE compress better than PCA?", each("latent_size", MSE < PCA_MSE))

The verdict on rows, its answer and its rule in words, and the text of `--help` are made from it.
"""

import enum
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from vaejax.errors import LabError
from vaejax.store.records import Row
from vaejax.study.rows import by_seed, distinct, figure, matching, number, span
from vaejax.study.words import MODELS, RUNS

SAID = {"HELD": "yes", "FAILED": "no", "UNDECIDED": "undecided"}
"""The words of a verdict as an answer has them."""
PLACES: dict[str, tuple[str, str | dict[Any, str]]] = {
    "recon_scale": ("scale", "at scale {}"),
    "times": ("scale", "at {} times the threshold"),
    "latent_size": ("latent size", "with {} units"),
    "depth": ("depth", "at depth {}"),
    "images": ("number of images", "of {} images"),
    "columns": ("number of columns", "with {} columns"),
    "batch_size": ("batch size", "in batches of {}"),
    "passes": ("number of passes", "in {} passes"),
    "model": ("model", {name: f"of the {words}" for name, words in MODELS.items()}),
    "run": ("run", {name: f"of the {words}" for name, words in RUNS.items()}),
}
"""What a column that tells rows apart is called, and how one of its values is said. Of another
column, `remedy`, that is "remedy" and "of warmup", and so it is of another value."""


class End(enum.Enum):
    """One end of the values of a column."""

    SMALLEST = "smallest"
    LARGEST = "largest"


SMALLEST, LARGEST = End.SMALLEST, End.LARGEST


Where = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, eq=False)
class Column:
    """A figure of the rows that match `where`, a value for each seed. `<` and `>` compare it with a
    limit or with another column; see `column`."""

    words: str
    of_row: Callable[[Row], float]
    where: Where = ()

    def at(self, **where: Any) -> "Column":
        """The column where other columns have these values. A value may be `SMALLEST` or `LARGEST`,
        which is none if there is only one."""
        return replace(self, where=(*self.where, *where.items()))

    def __rmul__(self, factor: float) -> "Column":
        words = f"{factor:g} times the {self.words}"
        return Column(words, lambda row: factor * self.of_row(row), self.where)

    def __sub__(self, other: "Column") -> "Column":
        """The difference within each model: what differs between models does not count in it.

        Raises:
            LabError: the columns are of different models.
        """
        if other.where not in ((), self.where):
            raise LabError(f"{self.words} less {other.words}: take both at the same models.")
        words = f"{self.words} less the {other.words}"
        return Column(words, lambda row: self.of_row(row) - other.of_row(row), self.where)

    def __lt__(self, other: "Column | float") -> "Comparison":
        return Comparison(self, other)

    def __gt__(self, other: "Column | float") -> "Comparison":
        return Comparison(other, self, above=True)


def column(name: str, words: str, of: Callable[[Any], float] = float) -> Column:
    """A column of the rows, and what it is called in rules and evidence.

    Args:
        of: what is compared, made of the value in the row; of a missing number it is NaN.
    """

    def of_row(row: Row) -> float:
        value = figure(row, name)
        return value if isinstance(value, float) and math.isnan(value) else of(value)

    return Column(words, of_row)


class Comparison(NamedTuple):
    """Every seed of `low` should be below every seed of `high`; one of them may be a limit."""

    low: Column | float
    high: Column | float
    above: bool = False
    """It is written, and said, the other way round: `high > low`."""
    every: tuple[str, ...] = ()
    """It is made for every value of these columns; see `each`."""

    def __bool__(self) -> bool:
        """Python takes `a < b < c` for `a < b and b < c`, and would drop the first half."""
        raise TypeError("A comparison is no truth value: give a < b < c as two, a < b and b < c.")

    @property
    def columns(self) -> list[Column]:
        """The columns as they are written. The first of both sides is always one."""
        sides = (self.high, self.low) if self.above else (self.low, self.high)
        return [side for side in sides if isinstance(side, Column)]

    def on(self, change: Callable[[Column], Column]) -> "Comparison":
        """The comparison of changed columns."""
        low, high = (
            change(side) if isinstance(side, Column) else side for side in (self.low, self.high)
        )
        return self._replace(low=low, high=high)

    def of_each(self, rows: Sequence[Row]) -> list["Comparison"]:
        """A comparison for every value in the rows of the columns that it is made for."""
        if not self.every:
            return [self]
        found = {
            tuple(row[name] for name in self.every)
            for side in self.columns
            for row in matching(rows, **{k: v for k, v in side.where if not isinstance(v, End)})
        }
        keys = [dict(zip(self.every, key, strict=True)) for key in sorted(found)]
        return [self.on(lambda side, key=key: side.at(**key))._replace(every=()) for key in keys]

    def known(self, rows: Sequence[Row]) -> "Comparison":
        """The comparison with the values of the rows for `SMALLEST` and `LARGEST`."""
        return self.on(
            lambda side: replace(side, where=tuple((k, _value(rows, k, v)) for k, v in side.where))
        )

    def holds(self, row: Row) -> bool:
        """Whether it holds within a row."""
        low, high = (
            side.of_row(row) if isinstance(side, Column) else side for side in (self.low, self.high)
        )
        return low < high

    def told(self, pair: "_Numbers") -> str:
        """What was measured of both sides, in words."""
        first, second = _the(_named(self.columns[0])), _the(self._second)
        found, other = (pair.high, pair.low) if self.above else (pair.low, pair.high)
        if not pair.decides:
            return f"{first}{f', and {second}' if self.columns[1:] else ''}: {pair.why}"
        fails = "" if pair.hold else "not " if pair.reversed else "not in every seed "
        against = f"{second}, {span(other)}" if self.columns[1:] else second
        return f"{first} is {span(found)}, {fails}{'above' if self.above else 'below'} {against}"

    @property
    def rule(self) -> str:
        """What should hold, in words."""
        every = " and ".join(_place(name)[0] for name in self.every)
        said = f"{_named(self.columns[0])} {'>' if self.above else '<'} {self._second}"
        return (f"at every {every} " if every else "") + said

    @property
    def _second(self) -> str:
        """The right side in words, without what is said of the left one."""
        first, *second = self.columns
        if not second:
            return f"{self.low if self.above else self.high:g}"
        return _named(second[0], first)


def _value(rows: Sequence[Row], name: str, wanted: Any) -> Any:
    """What a column should be, for an end of its values one of them; NaN, which none is, for the
    largest where there is only one."""
    if not isinstance(wanted, End):
        return wanted
    found = distinct(rows, name)
    if wanted is SMALLEST:
        return found[0]
    return found[-1] if len(found) > 1 else math.nan


def _named(column: Column, beside: Column | None = None) -> str:
    """A column in words, without what the one beside it says."""
    said = beside.where if beside else ()
    words = "that" if beside and beside.words == column.words else column.words
    return words + _spoken(item for item in column.where if item not in said)


def _the(words: str) -> str:
    """With its article, unless it begins with a number."""
    return words if words.startswith("that") or not words[0].isalpha() else f"the {words}"


def _place(name: str) -> tuple[str, str | dict[Any, str]]:
    return PLACES.get(name, (name.replace("_", " "), "of {}"))


def _spoken(where: Iterable[tuple[str, Any]]) -> str:
    """`where` in words, each part after a space."""
    return "".join(f" {_at(name, value)}" for name, value in where)


def _at(name: str, value: Any) -> str:
    noun, words = _place(name)
    if isinstance(value, End):
        return f"at the {value.value} {noun}"
    if isinstance(words, dict):
        return words.get(value, f"of {value}")
    # Four digits: 1.005 times the threshold is not 1.
    return words.format(number(value, 4) if isinstance(value, int | float) else value)


def each(names: str | tuple[str, ...], *comparisons: Comparison) -> list[Comparison]:
    """Comparisons that are made for every value of a column, or of several columns together."""
    every = (names,) if isinstance(names, str) else names
    return [comparison._replace(every=every) for comparison in comparisons]


def within(found: Column, target: Column, share: float, least: float = 0.0) -> list[Comparison]:
    """A column is within a share of another one, or within `least` if that is more."""

    def edge(word: str, sign: int) -> Column:
        allowed = f"{share:.0%}" + (f", or {least:g} if that is more" if least else "")

        def of_row(row: Row) -> float:
            value = target.of_row(row)
            return value + sign * max(share * value, least)

        return Column(f"{target.words} ({word} {allowed})", of_row, target.where)

    return [found > edge("less", -1), found < edge("plus", 1)]


class Condition(NamedTuple):
    """What must be true of a model: in words that follow "only if", and as a function of a row."""

    rule: str
    holds: Callable[[Row], bool]


class Verdict(NamedTuple):
    """The answer to a claim."""

    verdict: str
    """HELD, FAILED or UNDECIDED. A claim that is judged at several latent sizes has one of these
    words for each size."""
    question: str
    answer: str
    """Yes, no or undecided, and the comparison that decided or came nearest to deciding otherwise,
    in words: a line, or one for each latent size."""
    rule: str
    """What decides."""
    numbers: Any
    """All numbers that were compared."""


@dataclass(frozen=True)
class Claim:
    """A claim, and the comparisons that decide it.

    HELD if in every comparison every value of `low` is below every value of `high`. FAILED if in
    some comparison every value of `low` is above every value of `high`. Otherwise, or if a value is
    not finite, or with fewer than two values of `low`, UNDECIDED.
    """

    name: str
    question: str
    """HELD is yes, FAILED no. {smallest} and {largest} stand for the ends of recon_scale."""
    comparisons: Sequence[Comparison]
    rows: Callable[[list[Row]], Sequence[Row]] = list
    """The rows that are compared: some of those of the study, or rows made from them."""
    counts_if: Comparison | Condition | None = None
    """A model of which this does not hold decides nothing: its numbers become NaN, and the claim
    UNDECIDED."""
    by_size: bool = False
    """It is judged at each latent size by itself."""

    def __post_init__(self) -> None:
        parts = self.comparisons
        if len(parts) == 0 or not all(isinstance(one, Comparison) for one in parts):
            raise LabError(
                f"Claim {self.name}: its comparisons are a list of one or more, such as "
                f"[MSE < 0.1] or each('latent_size', MSE < 0.1), not {parts!r}."
            )

    def judge(self, rows: Sequence[Row]) -> Verdict | None:
        """The verdict; None if the study has not measured what some comparison needs.

        Raises:
            LabError: a row lacks a figure.
        """
        if not self.by_size:
            return self._judge(list(rows))
        sizes = distinct(self.rows(list(rows)), "latent_size")
        found = {size: self._judge(matching(rows, latent_size=size)) for size in sizes}
        return _together(found)

    def asks(self, rows: Sequence[Row] = ()) -> str:
        """The question, with the scales of the rows in it."""
        least, most = "the smallest scale", "the largest scale"
        if rows and "{" in self.question:
            scales = distinct(rows, "recon_scale")
            least, most = f"scale {number(scales[0])}", f"scale {number(scales[-1])}"
        return self.question.replace("{smallest}", least).replace("{largest}", most)

    def rule(self, rows: Sequence[Row] = ()) -> str:
        """What decides, in words, with the scales of the rows in it."""
        known = [part.known(rows) if rows else part for part in self.comparisons]
        columns = [side for part in known for side in part.columns]
        shared = [item for item in columns[0].where if all(item in side.where for side in columns)]
        every = known[0].every if len({part.every for part in known}) == 1 else ()

        # What all have in common is said once.
        rest = [
            part.on(
                lambda side: replace(side, where=tuple(x for x in side.where if x not in shared))
            )._replace(every=() if every else part.every)
            for part in known
        ]
        always = "in every seed" + "".join(f", at every {_place(name)[0]}" for name in every)
        parts = "; ".join(part.rule for part in rest)
        condition = f"; {self._condition}" if self._condition else ""
        return f"{always}{_spoken(shared)}: {parts}{condition}"

    @property
    def _condition(self) -> str:
        if self.counts_if is None:
            return ""
        its = "its " if isinstance(self.counts_if, Comparison) else ""
        return f"a model counts only if {its}{self.counts_if.rule}"

    def _judge(self, rows: list[Row]) -> Verdict | None:
        chosen = self.rows(rows)
        parts = [part.of_each(chosen) for part in self.comparisons]
        known = [part.known(rows) for all_of in parts for part in all_of]
        compared = {part: self._numbers(part, chosen) for part in known}
        if not all(parts) or not all(pair.low and pair.high for pair in compared.values()):
            return None
        verdict = _word(compared.values())
        numbers = {
            part.rule: {"low": pair.low, "high": pair.high} for part, pair in compared.items()
        }
        answer = f"{SAID[verdict].capitalize()}: {_deciding(verdict, compared)}."
        return Verdict(verdict, self.asks(rows), answer, self.rule(rows), numbers)

    def _numbers(self, part: Comparison, rows: Sequence[Row]) -> "_Numbers":
        """The numbers that a comparison is about, by seed."""
        own = {side: by_seed(rows, **dict(side.where)) for side in part.columns}
        counting = all(self._counts(row) for of_side in own.values() for row in of_side)

        def of(side: Column | float) -> list[float]:
            if not isinstance(side, Column):
                return [side]
            return [side.of_row(row) if self._counts(row) else math.nan for row in own[side]]

        low, high = of(part.low), of(part.high)
        seeds = len(low) if isinstance(part.low, Column) else len(high)
        return _Numbers(low, high, seeds, "a model has no number" if counting else self._condition)

    def _counts(self, row: Row) -> bool:
        return self.counts_if is None or bool(self.counts_if.holds(row))


def explained(claims: Sequence[Claim]) -> str:
    """What the claims ask and which rules decide them: a paragraph for each, and one for all."""
    if not claims:
        return ""
    parts = []
    for claim in claims:
        where = "for each latent size, " if claim.by_size else ""
        parts.append(f"{claim.name}: {claim.asks()} HELD (yes) if {where}{claim.rule()}.")
    parts.append("FAILED (no) if one part is reversed in every seed; else UNDECIDED.")
    return "\n\n".join(parts)


class _Numbers(NamedTuple):
    """Values of all seeds: every one of `low` should be below every one of `high`."""

    low: Sequence[Any]
    high: Sequence[Any]
    seeds: int
    silent: str
    """Why a value is no number."""

    @property
    def decides(self) -> bool:
        return self.seeds > 1 and bool(np.isfinite([*self.low, *self.high]).all())

    @property
    def hold(self) -> bool:
        return max(self.low) < min(self.high)

    @property
    def reversed(self) -> bool:
        return min(self.low) > max(self.high)

    @property
    def margin(self) -> float:
        """How clearly they hold, relative to the larger side; negative if they do not."""
        largest = max(map(abs, [*self.low, *self.high])) or 1.0
        return (min(self.high) - max(self.low)) / largest

    @property
    def why(self) -> str:
        """Why they decide nothing."""
        alone = self.seeds == 1
        return "one seed alone decides nothing" if alone else f"no answer, {self.silent}"


def _word(pairs: Iterable[_Numbers]) -> str:
    pairs = list(pairs)
    if not all(pair.decides for pair in pairs):
        return "UNDECIDED"
    if all(pair.hold for pair in pairs):
        return "HELD"
    return "FAILED" if any(pair.reversed for pair in pairs) else "UNDECIDED"


def _deciding(verdict: str, compared: Mapping[Comparison, _Numbers]) -> str:
    """The comparison that decided, in words: the clearest of those that failed, or the closest call
    of those that hold; the first that has no answer, if there is one."""
    if verdict == "HELD":
        chosen = list(compared)
    elif verdict == "FAILED":
        chosen = [part for part, pair in compared.items() if pair.reversed]
    else:
        chosen = [part for part, pair in compared.items() if not pair.decides]
        chosen = chosen[:1] or [part for part, pair in compared.items() if not pair.hold]
    part = min(chosen, key=lambda part: compared[part].margin)
    return part.told(compared[part])


def _together(of_sizes: Mapping[int, Verdict | None]) -> Verdict | None:
    """The verdicts at all latent sizes as one: "FAILED at 10 units, HELD at 128 units", with a line
    of the answer for each size. Of a single latent size it is the verdict itself."""
    known = {size: found for size, found in of_sizes.items() if found}
    if len(of_sizes) == 1 or not known:
        return next(iter(of_sizes.values()), None)
    first = next(iter(known.values()))
    answers = {
        word: " and ".join(str(size) for size, found in known.items() if found.verdict == word)
        for word in dict.fromkeys(found.verdict for found in known.values())
    }
    return first._replace(
        verdict=", ".join(f"{word} at {sizes} units" for word, sizes in answers.items()),
        answer="\n".join(
            f"With {size} units {found.answer[0].lower()}{found.answer[1:]}"
            for size, found in known.items()
        ),
        numbers={
            f"{size} units": {"verdict": found.verdict, "numbers": found.numbers}
            for size, found in known.items()
        },
    )


def in_short(verdict: str) -> str:
    """The words of a verdict as an answer: "No at 10 units, yes at 128 units"."""
    said = re.sub("|".join(SAID), lambda word: SAID[word[0]], verdict)
    return said[0].upper() + said[1:]
