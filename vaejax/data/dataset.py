"""`load(name, split)`: images and labels as NumPy arrays, from TFDS, from inside scikit-learn, or
your own.

What imports TFDS, scikit-learn or PIL is reached as `data.reader`, `data.prepare`, `data.embedded`,
`data.pixels` and `data.own`, which load on first use: a set that is in the cache needs none of
them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from vaejax import data
from vaejax.data import cache, names, prepared, splits


class Dataset(NamedTuple):
    """Images with their labels: read-only arrays, the images memory-mapped from the cache."""

    images: UInt8[np.ndarray, "n height width channels"]
    """Intensities 0 to 255; grey images have one channel."""
    labels: Int32[np.ndarray, "n"]
    """Class numbers, as in the data set."""

    @property
    def flat(self) -> UInt8[np.ndarray, "n pixels"]:
        """The images as rows: a view."""
        return self.images.reshape(len(self.images), -1)


class Opened(NamedTuple):
    """A data set that is there, of which nothing need be in memory yet."""

    sizes: Mapping[str, int]
    """Examples in each base split."""
    base_split: Callable[[str], tuple[cache.Images, cache.Labels]]
    """All images and labels of a base split."""
    notes: tuple[str, ...] = ()
    """Of your own images: what was read and how, a line each."""


def load(
    name: str | Path,
    split: str = "train",
    limit: int | None = None,
    resize: int | None = None,
    colour: names.Colour | None = None,
    white: float | None = None,
) -> Dataset:
    """Loads a split of a data set, or its first `limit` examples.

    `name` is `digits` or `patches`, which come with scikit-learn; or the TFDS name of an
    image classification set of one fixed shape: `mnist`, `cifar10`, `fashion_mnist`,
    `cifar100:3.0.2`; or the path of your own images, a folder or an `.npy` or `.npz` file (see
    `folder`, `arrays`, and `names.is_path`). A set of TFDS is prepared in TFDS's data directory
    (`TFDS_DATA_DIR`) if it is not yet there. Every set is decoded once; later calls map the arrays
    from the cache (`VAEJAX_CACHE_DIR`).

    `split` is in TFDS's syntax: `train`, `test[:200]`, `train[-50:]`, `train[:10%]`, `train+test`,
    `all`. `resize` scales the largest centred square of each image to so many pixels a side;
    `colour` turns images into grey or RGB ones; `white` is the number that stands for white in
    your own images, by itself 255 of bytes and 1 of floats.

    Raises LabError, with the remedy, for an unknown or unusable data set, a split that does not
    exist or is empty, data that can be neither found nor downloaded or is damaged, and a directory
    that cannot be written.
    """
    return take(open_source(names.source(name, resize, colour, white)), split, limit)


def open_source(source: names.Source, whole: bool = False) -> Opened:
    """A data set, ready for `take`. With `whole`, your own images that have no splits are not
    divided.

    Raises LabError, see `load`.
    """
    if source.path is not None:
        return data.own.read(source, whole)
    if source.name in names.EMBEDDED:
        sizes = names.EMBEDDED[source.name]
        found = prepared.Prepared(source.name, Path("scikit-learn"), sizes, "")
    else:
        request, root = names.parse(source.name), prepared.data_dir()
        found = prepared.find(request, root) or data.prepare.prepare(request, root)

    def batches(split: str) -> cache.Batches:
        if source.name in names.EMBEDDED:
            yield data.embedded.base_split(source.name, split)
        else:
            yield from data.reader.batches(found.directory, split, found.sizes[split])

    def base_split(split: str) -> tuple[cache.Images, cache.Labels]:
        changed = (
            (data.pixels.changed(images, source.resize, source.colour), labels)
            for images, labels in batches(split)
        )
        key = {"name": found.name, "directory": str(found.directory), "split": split}
        key |= {"resize": str(source.resize), "colour": str(source.colour)}
        return cache.fetch(key, found.fingerprint, lambda: (found.sizes[split], changed))

    return Opened(found.sizes, base_split)


def take(opened: Opened, split: str, limit: int | None = None) -> Dataset:
    """A split of a data set, or its first `limit` examples.

    Raises LabError for a split that does not exist or is empty.
    """
    pieces = splits.take(splits.resolve(split, opened.sizes), limit)
    arrays = {name: opened.base_split(name) for name in {piece.split for piece in pieces}}
    parts = [[array[piece.start : piece.stop] for array in arrays[piece.split]] for piece in pieces]
    if len(parts) == 1:  # views of the arrays, not copies
        return Dataset(*parts[0])
    images, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    images.flags.writeable = labels.flags.writeable = False
    return Dataset(images, labels)
