"""`load(name, split)`: images and labels as NumPy arrays, from TFDS or from inside the wheel."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from vaejax.data import cache, embedded, prepared, splits

__all__ = ["Dataset", "load"]


class Dataset(NamedTuple):
    """Images with their labels; read-only, and perhaps memory-mapped."""

    images: UInt8[np.ndarray, "n height width channels"]
    """Intensities 0 to 255; grey images have one channel."""
    labels: Int32[np.ndarray, "n"]
    """Class numbers as the data set counts them."""


def load(name: str, split: str = "train", limit: int | None = None) -> Dataset:
    """Loads `split`, or its first `limit` examples, of the data set `name`.

    `name` is `digits` or `patches`, which need neither network nor files, or the TFDS name of an
    image classification set of one fixed shape: `mnist`, `cifar10`, `fashion_mnist`,
    `cifar100:3.0.2`. Such a set is prepared in TFDS's data directory (`TFDS_DATA_DIR`) if it is
    not yet there, and decoded once: later calls map the arrays from the cache
    (`VAEJAX_CACHE_DIR`) and do not import TFDS.

    `split` follows TFDS: `train`, `test[:200]`, `train[-50:]`, `train[:10%]`, `train+test`, `all`.

    Raises LabError, with the remedy, for an unknown or unusable data set, a split that does not
    exist or is empty, data that can be neither found nor fetched or is damaged, and a directory
    that cannot be written.
    """
    if name in embedded.NAMES:
        base_splits = embedded.base_splits(name)
        pieces = splits.resolve(split, {key: len(part[0]) for key, part in base_splits.items()})
        return _assemble(base_splits, splits.first(pieces, limit))
    return _load_tfds(prepared.parse(name), split, limit)


def _load_tfds(request: prepared.Request, split: str, limit: int | None) -> Dataset:
    root = prepared.data_dir()
    found = prepared.find(request, root)
    if found is None:
        from vaejax.data.prepare import prepare

        found = prepare(request, root)
    pieces = splits.first(splits.resolve(split, found.sizes), limit)
    arrays = {name: _base_split(found, name) for name in {piece.split for piece in pieces}}
    return _assemble(arrays, pieces)


def _base_split(found: prepared.Prepared, split: str) -> tuple[cache.Images, cache.Labels]:
    def decode() -> cache.Batches:
        from vaejax.data import reader

        return reader.batches(found.directory, split, found.sizes[split])

    source = {"name": found.name, "directory": str(found.directory.resolve()), "split": split}
    return cache.fetch(source, found.fingerprint, found.sizes[split], decode)


def _assemble(
    arrays: dict[str, tuple[cache.Images, cache.Labels]], pieces: list[splits.Piece]
) -> Dataset:
    """The pieces one after the other; a single one stays a view of its array."""
    parts = [[array[piece.start : piece.stop] for array in arrays[piece.split]] for piece in pieces]
    if len(parts) == 1:
        return Dataset(*parts[0])
    images, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    images.flags.writeable = labels.flags.writeable = False
    return Dataset(images, labels)
