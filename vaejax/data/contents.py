"""What a file or a folder of your own holds, before any of it is decoded."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from vaejax.data.cache import Images, Labels

Indices = Int64[np.ndarray, "b"]


class Part(NamedTuple):
    """Some examples: those of a split, or all."""

    labels: Labels
    raw: Callable[[], Iterable[bytes]]
    """The bytes of each example, undecoded; they decide its split where there is none."""
    images: Callable[[Indices], Images]
    """Decodes the images of chosen examples."""


class Contents(NamedTuple):
    """The examples of a file or a folder."""

    parts: dict[str, Part]
    """By split. A single part called `WHOLE` is not divided yet."""
    fingerprint: str
    """Differs once a file has changed."""
    notes: tuple[str, ...] = ()
    """What a user should know, a line each."""


WHOLE = ""
SPLITS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **{"val": "val", "valid": "valid", "validation": "validation", "dev": "dev"},
}
"""What a folder or an array is called in small letters, and the split that it is."""


def train_first(splits: Iterable[str]) -> list[str]:
    return sorted(splits, key=lambda split: (split != "train", split))


def is_vectors(shape: tuple[int, int, int]) -> bool:
    """Whether images of this height, width and number of channels are vectors [n, d], which are
    kept as grey images of one row."""
    return shape[0] == 1 and shape[2] == 1


def fingerprint(files: Sequence[Path], folder: Path, before: bytes = b"") -> str:
    """The names, sizes and times of change of files, and what comes `before` them, as one text."""
    digest = hashlib.sha256(before)
    for path in files:
        status = path.stat()
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode(errors="replace"))
    return digest.hexdigest()
