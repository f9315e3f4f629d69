"""TFDS's split syntax (`train[:10%]+test`) without importing TFDS."""

import re
from collections.abc import Mapping
from numbers import Integral
from typing import NamedTuple

from vaejax.errors import LabError

_SYNTAX = (
    "write it as TFDS does: 'train', 'test[:200]', 'train[100:200]', 'train[-50:]', "
    "'train[:10%]', 'train[:100]+test', 'all'"
)
_BOUND = r"(-?[\d_.]+%?)?"
_TERM = re.compile(rf"([\w-]+)(\[{_BOUND}:{_BOUND}\])?")


class Piece(NamedTuple):
    """Examples `start` to `stop` (not included) of one base split."""

    split: str
    start: int
    stop: int


def resolve(split: str, sizes: Mapping[str, int]) -> list[Piece]:
    """The pieces of base splits that a split in TFDS's syntax names, in its order.

    `sizes` maps each base split to its number of examples. As in TFDS, a negative bound counts from
    the end, a percentage is of the base split and rounded to the nearest example, and a count
    beyond the base split is an error. Empty pieces are left out.

    Raises LabError for a split that does not exist, cannot be read, or holds no example.
    """
    terms = re.split(r"\s*\+\s*", str(split))
    pieces = [piece for term in terms for piece in _pieces_of_term(term, split, sizes)]
    pieces = [piece for piece in pieces if piece.start < piece.stop]
    if not pieces:
        raise LabError(f"split '{split}' holds no example; there are {_describe(sizes)}.")
    return pieces


def take(pieces: list[Piece], limit: int | None) -> list[Piece]:
    """The first `limit` examples of the pieces; None: all of them."""
    if limit is None:
        return pieces
    if not isinstance(limit, Integral) or limit < 1:
        raise LabError(f"limit={limit!r} leaves no example; it must be a whole number from 1 on.")
    kept: list[Piece] = []
    for piece in pieces:
        stop = min(piece.stop, piece.start + limit)
        kept.append(piece._replace(stop=stop))
        limit -= stop - piece.start
        if limit == 0:
            break
    return kept


def spelled(pieces: list[Piece]) -> str:
    """The pieces in TFDS's syntax."""
    return "+".join(f"{name}[{start or ''}:{stop}]" for name, start, stop in pieces)


def shared(some: list[Piece], others: list[Piece]) -> int:
    """How many examples are in both, one counted for each pair of pieces that share it."""
    return sum(
        max(0, min(one.stop, other.stop) - max(one.start, other.start))
        for one in some
        for other in others
        if one.split == other.split
    )


def _pieces_of_term(term: str, split: str, sizes: Mapping[str, int]) -> list[Piece]:
    if term == "all":
        return [Piece(name, 0, size) for name, size in sizes.items()]
    match = _TERM.fullmatch(term)
    if match is None or match[2] == "[:]":
        raise LabError(f"split '{split}' cannot be read: {_SYNTAX}.")
    name, _, start, stop = match.groups()
    if name not in sizes:
        raise LabError(
            f"there is no split '{name}'; there are {_describe(sizes)}. One split serves for both "
            "after --train 'train[:90%]' --test 'train[90%:]'."
        )
    size = sizes[name]
    # One percent sign makes both bounds percentages: TFDS reads 'train[10:20%]' that way.
    percent = any(bound and bound.endswith("%") for bound in (start, stop))
    low = _bound(start, percent, size, split) if start else 0
    high = _bound(stop, percent, size, split) if stop else size
    if max(abs(low), abs(high)) > size:
        raise LabError(f"split '{split}' reaches beyond '{name}'; there are {_describe(sizes)}.")
    return [Piece(name, low + size if low < 0 else low, high + size if high < 0 else high)]


def _bound(text: str, percent: bool, size: int, split: str) -> int:
    """One bound of a slice, as a number of examples; negative if it counts from the end."""
    try:
        if not percent:
            return int(text)
        value = float(text.removesuffix("%"))
    except ValueError:
        raise LabError(f"split '{split}' cannot be read: {_SYNTAX}.") from None
    if abs(value) > 100:
        raise LabError(f"split '{split}' asks for more than 100%: {_SYNTAX}.")
    return round(value * size / 100)


def _describe(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"'{name}' ({size:,} examples)" for name, size in sizes.items())
