"""`load(name, split)`: images and labels as NumPy arrays, from TFDS or from inside the wheel.

What imports TFDS, scikit-learn or PIL is reached as `data.reader`, `data.prepare` and
`data.embedded`, which load on first use: to open arrays that are in the cache needs none of them.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from vaejax import data
from vaejax.data import cache, names, prepared, splits


class Dataset(NamedTuple):
    """Images with their labels: read-only arrays, memory-mapped from the cache if they are of
    TFDS."""

    images: UInt8[np.ndarray, "n height width channels"]
    """Intensities 0 to 255; grey images have one channel."""
    labels: Int32[np.ndarray, "n"]
    """Class numbers, as in the data set."""


def load(name: str, split: str = "train", limit: int | None = None) -> Dataset:
    """Loads a split of a data set, or its first `limit` examples.

    `name` is `digits` or `patches`, which need neither network nor files, or the TFDS name of an
    image classification set of one fixed shape: `mnist`, `cifar10`, `fashion_mnist`,
    `cifar100:3.0.2`. Such a set is prepared in TFDS's data directory (`TFDS_DATA_DIR`) if it is
    not yet there. It is decoded once; later calls map the arrays from the cache
    (`VAEJAX_CACHE_DIR`) and do not import TFDS.

    `split` is in TFDS's syntax: `train`, `test[:200]`, `train[-50:]`, `train[:10%]`, `train+test`,
    `all`.

    Raises LabError, with the remedy, for an unknown or unusable data set, a split that does not
    exist or is empty, data that can be neither found nor downloaded or is damaged, and a directory
    that cannot be written.
    """
    if name in names.EMBEDDED:
        base_splits = data.embedded.base_splits(name)
        pieces = splits.resolve(split, {key: len(part[0]) for key, part in base_splits.items()})
        return _assemble(base_splits, splits.take(pieces, limit))
    return _load_tfds(names.parse(name), split, limit)


def _load_tfds(request: names.Request, split: str, limit: int | None) -> Dataset:
    root = prepared.data_dir()
    found = prepared.find(request, root) or data.prepare.prepare(request, root)
    pieces = splits.take(splits.resolve(split, found.sizes), limit)
    arrays = {name: _base_split(found, name) for name in {piece.split for piece in pieces}}
    return _assemble(arrays, pieces)


def _base_split(found: prepared.Prepared, split: str) -> tuple[cache.Images, cache.Labels]:
    def decode() -> cache.Batches:
        return data.reader.batches(found.directory, split, found.sizes[split])

    source = {"name": found.name, "directory": str(found.directory.resolve()), "split": split}
    return cache.fetch(source, found.fingerprint, found.sizes[split], decode)


def _assemble(
    arrays: dict[str, tuple[cache.Images, cache.Labels]], pieces: list[splits.Piece]
) -> Dataset:
    """The pieces, one after the other. A single piece is a view of its array, not a copy."""
    parts = [[array[piece.start : piece.stop] for array in arrays[piece.split]] for piece in pieces]
    if len(parts) == 1:
        return Dataset(*parts[0])
    images, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    images.flags.writeable = labels.flags.writeable = False
    return Dataset(images, labels)
