"""Your own images: a folder of image files, or an array in a file, decoded once into the cache."""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from vaejax.data import arrays, cache, folder
from vaejax.data.contents import WHOLE, Contents, Indices, Part, is_vectors
from vaejax.data.dataset import Opened
from vaejax.data.names import ARRAY_FILES, Source
from vaejax.errors import LabError

BATCH = 256
"""Images to decode at once."""
ONE_IN = 5
"""Of images that are not divided, about one in so many is for test."""
DARK = 16
"""If no pixel is above this, of 255, pixels have another range: 0 and 1, or four bits."""


def read(source: Source, whole: bool = False) -> Opened:
    """The images at the path of a source. They are decoded once; a change of a file has them
    decoded again.

    Without splits of their own, about a fifth of the images is for test. A hash of the bytes of
    each image decides, so that the same images are divided in the same way everywhere, and copies
    of one image are on the same side. With `whole` they are not divided: their only split has
    the name `contents.WHOLE`, and all are in the order of the files or of the array."""
    path = Path(source.path or "")
    found = _contents(path, source)
    divided = WHOLE in found.parts and not whole
    splits = _decoded(found, source, divided)
    _check(splits, path, source)
    shape = next(iter(splits.values()))[0].shape[1:]
    counts = " and ".join(
        f"{len(labels):,} {name or 'new'}" for name, (_, labels) in splits.items()
    )
    what = f"vectors of {shape[1]}" if is_vectors(shape) else f"images of {_sizes(shape)}"
    notes = [f"{source.name}: {counts} {what}, from {path}"]
    if divided:
        notes.append(
            f"they have no splits of their own: about 1 in {ONE_IN} is for test, chosen by a hash "
            "of its bytes"
        )
    if min(shape[:2]) < 4:
        notes.append("spatial spectra need 4x4 pixels or more: these columns stay empty")
    sizes = {split: len(labels) for split, (_, labels) in splits.items()}
    return Opened(sizes, splits.__getitem__, (*notes, *found.notes))


def _contents(path: Path, source: Source) -> Contents:
    if path.is_dir():
        return folder.contents(path, source)
    if not path.exists():
        raise LabError(f"There is no {path}: give a folder of images, or an .npy or .npz file.")
    if path.suffix.lower() not in ARRAY_FILES:
        raise LabError(f"{path} is no folder and no .npy or .npz file: give one of these.")
    return arrays.contents(path, source)


def _decoded(
    found: Contents, source: Source, divided: bool
) -> dict[str, tuple[cache.Images, cache.Labels]]:
    """Images and labels of each split, from the cache."""

    @functools.cache  # known only after all files were read, and needed only if they are not cached
    def sides() -> dict[str, Indices]:
        return divide(found.parts[WHOLE].raw())

    def fetch(split: str) -> tuple[cache.Images, cache.Labels]:
        key = {
            "name": source.name[:60],
            "directory": str(source.path),
            "split": split,
            "resize": str(source.resize),
            "colour": str(source.colour),
            "white": str(source.white),
        }

        def decode() -> tuple[int, cache.Batches]:
            part = found.parts[WHOLE if divided else split]
            chosen = sides()[split] if divided else np.arange(len(part.labels))
            return len(chosen), _batches(part, chosen)

        return cache.fetch(key, found.fingerprint, decode)

    return {split: fetch(split) for split in (("train", "test") if divided else found.parts)}


def _batches(part: Part, chosen: Indices) -> cache.Batches:
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        yield part.images(batch), part.labels[batch]


def _check(
    splits: Mapping[str, tuple[cache.Images, cache.Labels]], path: Path, source: Source
) -> None:
    """Refuse images that are surely of another range, and splits that differ in size."""
    for split, (images, _) in splits.items():
        if source.white is None and (most := images.max()) <= DARK:
            raise LabError(
                f"{path}, {split or 'all'}: no pixel is above {most} of 255, so 255 is hardly "
                "white here. Name the number that is: --white 1 for bytes of 0 and 1, --white "
                "0.00392157 for floats divided by 255 twice. --white 255 takes bytes, and --white "
                "1 floats, as they are."
            )
    shapes = {split: images.shape[1:] for split, (images, _) in splits.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {_sizes(shape)}" for split, shape in shapes.items())
        raise LabError(
            f"{path}: images of the splits differ in size ({listed}): give --resize N, or --grey "
            "or --rgb where only the last number differs."
        )


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def divide(examples: Iterable[bytes]) -> dict[str, Indices]:
    """Which examples are for training and which for test, by their bytes."""
    numbers = [
        int.from_bytes(hashlib.blake2b(example, digest_size=8).digest(), "big")
        for example in examples
    ]
    test = np.array([number % ONE_IN == 0 for number in numbers])
    if min(test.sum(), (~test).sum()) < 2:
        raise LabError(
            f"{len(test)} images, of which {len(set(numbers))} differ, are too few to divide by "
            "themselves: name the splits, as folders train and test, or as arrays x_train and "
            "x_test."
        )
    return {"train": np.flatnonzero(~test), "test": np.flatnonzero(test)}
