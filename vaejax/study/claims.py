"""Claims: a sentence, and the comparisons of columns that decide it.

A page declares its claims once, as data:

    MSE = column("mse", "MSE")
    Claim("C1", "An AE compresses better than PCA", each("latent_size", MSE < PCA_MSE))

The verdict on rows, its rule and its evidence in words, and the text of `--help` are made from it.
"""

import enum
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vaejax.store.records import Row
from vaejax.study.rows import by_seed, distinct, figure, matching, number, span

MOST_SHOWN = 2
"""Comparisons that the evidence of a verdict names."""
PLACES: dict[str, tuple[str, str | dict[Any, str]]] = {
    "recon_scale": ("scale", "at scale {}"),
    "times": ("scale", "at {} times the threshold"),
    "latent_size": ("latent size", "with {} units"),
    "depth": ("depth", "at depth {}"),
    "images": ("number of images", "of {} images"),
    "columns": ("number of columns", "with {} columns"),
    "batch_size": ("batch size", "in batches of {}"),
    "passes": ("number of passes", "in {} passes"),
    "model": ("model", {"ae": "of the AE", "vae": "of the VAE"}),
}
"""What a column that tells rows apart is called, and how one of its values is said. Of another
column, `run`, that is "run" and "of mlp1"."""


class End(enum.Enum):
    """One end of the values of a column."""

    SMALLEST = "smallest"
    LARGEST = "largest"


SMALLEST, LARGEST = End.SMALLEST, End.LARGEST


Where = tuple[tuple[str, Any], ...]


class Column:
    """A figure of the rows that match `where`, a value for each seed. `<` and `>` compare it with a
    limit or with another column; see `column`."""

    def __init__(self, words: str, of_row: Callable[[Row], float], where: Where = ()) -> None:
        self.words, self.of_row, self.where = words, of_row, where

    def at(self, **where: Any) -> "Column":
        """The column where other columns have these values. A value may be `SMALLEST` or `LARGEST`,
        which is none if there is only one."""
        return Column(self.words, self.of_row, (*self.where, *where.items()))

    def __rmul__(self, factor: float) -> "Column":
        words = f"{factor:g} times the {self.words}"
        return Column(words, lambda row: factor * self.of_row(row), self.where)

    def __lt__(self, other: "Column | float") -> "Comparison":
        return Comparison(self, other)

    def __gt__(self, other: "Column | float") -> "Comparison":
        return Comparison(other, self)


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
    every: tuple[str, ...] = ()
    """It is made for every value of these columns; see `each`."""

    def __bool__(self) -> bool:
        """Python takes `a < b < c` for `a < b and b < c`, and would drop the first half."""
        raise TypeError("A comparison is no truth value: give a < b < c as two, a < b and b < c.")

    @property
    def columns(self) -> list[Column]:
        return [side for side in (self.low, self.high) if isinstance(side, Column)]

    def on(self, change: Callable[[Column], Column]) -> "Comparison":
        """The comparison of changed columns."""
        low, high = (
            change(side) if isinstance(side, Column) else side for side in (self.low, self.high)
        )
        return Comparison(low, high, self.every)

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
            lambda side: Column(
                side.words, side.of_row, tuple((k, _value(rows, k, v)) for k, v in side.where)
            )
        )

    def holds(self, row: Row) -> bool:
        """Whether it holds within a row."""
        low, high = (
            side.of_row(row) if isinstance(side, Column) else side for side in (self.low, self.high)
        )
        return low < high

    @property
    def name(self) -> str:
        """What is compared, in the words of the evidence."""
        low, high, both = self._sides()
        return ", and ".join(filter(None, (low, high))) + both

    @property
    def rule(self) -> str:
        """What should hold, in words."""
        low, high, both = self._sides()
        if not isinstance(self.low, Column):
            text = f"{high} > {self.low:g}"
        elif not isinstance(self.high, Column):
            text = f"{low} < {self.high:g}"
        else:
            text = f"{low} < {'that ' * (self.low.words == self.high.words)}{high}"
        every = " and ".join(_place(name)[0] for name in self.every)
        return (f"at every {every} " if every else "") + text + both

    def _sides(self) -> tuple[str, str, str]:
        """Both sides in words, empty for a limit, and what `where` both have in common."""
        columns = self.columns
        shared = set(columns[0].where) & set(columns[-1].where) if columns[1:] else set()
        low, high = (_side(side, shared) for side in (self.low, self.high))
        if columns[1:] and columns[0].words == columns[1].words:
            high = high.removeprefix(f"{columns[0].words} ")
        common = _spoken(item for item in columns[0].where if item in shared)
        return low, high, common and f",{common}"


def _value(rows: Sequence[Row], name: str, wanted: Any) -> Any:
    """What a column should be, for an end of its values one of them; NaN, which none is, for the
    largest where there is only one."""
    if not isinstance(wanted, End):
        return wanted
    found = distinct(rows, name)
    if wanted is SMALLEST:
        return found[0]
    return found[-1] if len(found) > 1 else math.nan


def _side(side: Column | float, said: Container[Any]) -> str:
    """A column in words, without what is said elsewhere; nothing for a limit."""
    if not isinstance(side, Column):
        return ""
    return side.words + _spoken(item for item in side.where if item not in said)


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
        return words[value]
    return words.format(number(value) if isinstance(value, int | float) else value)


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

        return Column(f"{target.words} {word} {allowed}", of_row, target.where)

    return [edge("less", -1) < found, found < edge("plus", 1)]


class Condition(NamedTuple):
    """What must be true of a model: in words that follow "only if", and as a function of a row."""

    rule: str
    holds: Callable[[Row], bool]


class Verdict(NamedTuple):
    """The answer to a claim."""

    verdict: str
    """HELD, FAILED or UNDECIDED. A claim that is judged at several latent sizes has one of these
    words for each size."""
    claim: str
    """The claim, as a sentence without a full stop."""
    evidence: str
    """The numbers that decided, in words: a line, or one for each latent size."""
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
    sentence: str
    """Without a full stop. {smallest} and {largest} stand for the ends of recon_scale."""
    comparisons: Sequence[Comparison]
    rows: Callable[[list[Row]], Sequence[Row]] = list
    """The rows that are compared: some of those of the study, or rows made from them."""
    counts_if: Comparison | Condition | None = None
    """A model of which this does not hold decides nothing: its numbers become NaN, and the claim
    UNDECIDED."""
    by_size: bool = False
    """It is judged at each latent size by itself."""

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

    def says(self, rows: Sequence[Row] = ()) -> str:
        """The sentence, with the scales of the rows in it."""
        scales = distinct(rows, "recon_scale") if rows and "{" in self.sentence else None
        ends = {"smallest": "the smallest scale", "largest": "the largest scale"}
        if scales:
            ends = {
                end.value: f"scale {number(scales[place])}"
                for end, place in ((SMALLEST, 0), (LARGEST, -1))
            }
        said = self.sentence.format(**ends)
        return said[0].upper() + said[1:]

    def rule(self, rows: Sequence[Row] = ()) -> str:
        """What decides, in words, with the scales of the rows in it."""
        known = [part.known(rows) if rows else part for part in self.comparisons]
        columns = [side for part in known for side in part.columns]
        shared = [item for item in columns[0].where if all(item in side.where for side in columns)]
        every = known[0].every if len({part.every for part in known}) == 1 else ()

        # What all have in common is said once.
        rest = [
            part.on(
                lambda side: Column(
                    side.words, side.of_row, tuple(x for x in side.where if x not in shared)
                )
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
        evidence = _evidence(verdict, compared)
        return Verdict(verdict, self.says(rows), evidence, self.rule(rows), numbers)

    def _numbers(self, part: Comparison, rows: Sequence[Row]) -> "_Numbers":
        """The numbers that a comparison is about, by seed."""
        found, silent = [], "a model has no number"
        for side in part.columns:
            counting = [(row, self._counts(row)) for row in by_seed(rows, **dict(side.where))]
            found.append([side.of_row(row) if counts else math.nan for row, counts in counting])
            if not all(counts for _, counts in counting):
                silent = self._condition
        if not isinstance(part.low, Column):
            return _Numbers([part.low] * len(found[0]), found[0], "low", silent)
        if not isinstance(part.high, Column):
            return _Numbers(found[0], [part.high], "high", silent)
        return _Numbers(found[0], found[1], None, silent)

    def _counts(self, row: Row) -> bool:
        return self.counts_if is None or bool(self.counts_if.holds(row))


def explained(claims: Sequence[Claim]) -> str:
    """What the claims say and which rules decide them: a paragraph for each, and one for all."""
    if not claims:
        return ""
    parts = []
    for claim in claims:
        where = "for each latent size, " if claim.by_size else ""
        parts.append(f"{claim.name}: {claim.says()}. HELD if {where}{claim.rule()}.")
    parts.append("FAILED if one part is reversed in every seed; else UNDECIDED.")
    return "\n\n".join(parts)


class _Numbers(NamedTuple):
    """Values of all seeds: every one of `low` should be below every one of `high`."""

    low: Sequence[Any]
    high: Sequence[Any]
    limit: str | None = None
    """The side that is a fixed limit and was not measured; None if both sides were."""
    silent: str = ""
    """Why a value is no number."""

    @property
    def decides(self) -> bool:
        return len(self.low) > 1 and bool(np.isfinite([*self.low, *self.high]).all())

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

    def __str__(self) -> str:
        if len(self.low) == 1:
            return "one seed alone decides nothing"
        if not self.decides:
            return f"no answer, {self.silent}"
        left, right = span(self.low), span(self.high)
        failing = "not" if self.reversed else "not in every seed"
        if self.limit == "low":  # what was measured comes first
            return f"{right} > {left}" if self.hold else f"{right}, {failing} above {left}"
        return f"{left} < {right}" if self.hold else f"{left}, {failing} below {right}"


def _word(pairs: Iterable[_Numbers]) -> str:
    pairs = list(pairs)
    if not all(pair.decides for pair in pairs):
        return "UNDECIDED"
    if all(pair.hold for pair in pairs):
        return "HELD"
    return "FAILED" if any(pair.reversed for pair in pairs) else "UNDECIDED"


def _evidence(verdict: str, compared: Mapping[Comparison, _Numbers]) -> str:
    """The comparisons that decided: all that did not hold, or else those that held by the least."""
    silent = [part for part, pair in compared.items() if not pair.decides]
    if verdict == "HELD":
        chosen = list(compared)
    elif verdict == "FAILED":
        chosen = [part for part, pair in compared.items() if pair.reversed]
    else:
        chosen = silent or [part for part, pair in compared.items() if not pair.hold]
    order = chosen if silent else sorted(chosen, key=lambda part: compared[part].margin)
    shown = [part for part in chosen if part in order[:MOST_SHOWN]]
    more = len(chosen) - len(shown)
    margin = ", by a wider margin" if verdict == "HELD" else ""
    others = f"; and {more} more{margin}" if more else ""
    return "; ".join(f"{part.name}: {compared[part]}" for part in shown) + others + "."


def _together(of_sizes: Mapping[int, Verdict | None]) -> Verdict | None:
    """The verdicts at all latent sizes as one: "FAILED at 10 units, HELD at 128 units", with a line
    of evidence for each size. Of a single latent size it is the verdict itself."""
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
        evidence="\n".join(f"{size} units: {found.evidence}" for size, found in known.items()),
        numbers={
            f"{size} units": {"verdict": found.verdict, "numbers": found.numbers}
            for size, found in known.items()
        },
    )
