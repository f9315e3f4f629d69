"""Your own images: a folder of image files, or an array in a file, decoded once into the cache."""

import hashlib
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaejax.data import arrays, cache, folder
from vaejax.data.contents import WHOLE, Contents, Indices, is_vectors
from vaejax.data.names import ARRAY_FILES, Source
from vaejax.errors import LabError

ONE_IN = 5
"""Of images that are not divided, about one in so many is for test."""
DARK = 16
"""If no pixel is above this, of 255, pixels have another range: 0 and 1, or four bits."""


class Own(NamedTuple):
    """Your own images."""

    splits: dict[str, tuple[cache.Images, cache.Labels]]
    """Images and labels of each split: read-only, memory-mapped from the cache."""
    checksum: str
    """Differs if an image does."""
    notes: tuple[str, ...]
    """What was read and how, a line each."""


def read(source: Source, whole: bool = False) -> Own:
    """The images at the path of a source. They are decoded once; a change of a file has them
    decoded again.

    Without splits of their own, about a fifth of the images is for test. A hash of the bytes of
    each image decides, so that the same images are divided in the same way everywhere, and copies
    of one image are on the same side. With `whole` they are not divided: their only split has
    the name `contents.WHOLE`, and all are in the order of the files or of the array.

    Raises:
        LabError: there is no such path, it is damaged, or its images are not alike.
    """
    path = Path(source.path or "")
    found = _contents(path, source)
    divided = WHOLE not in found.parts
    splits = _as_given(found, source) if divided or whole else _divided(found, source)
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
    height, width, channels = next(iter(shapes.values()))
    counts = " and ".join(
        f"{len(images):,} {name or 'new'}" for name, (images, _) in splits.items()
    )
    vectors = is_vectors((height, width, channels))
    what = f"vectors of {width}" if vectors else f"images of {_sizes((height, width, channels))}"
    notes = [f"{source.name}: {counts} {what}, from {path}"]
    if not divided and not whole:
        notes.append(
            f"they have no splits of their own: about 1 in {ONE_IN} is for test, chosen by a hash "
            "of its bytes"
        )
    if min(height, width) < 4:
        notes.append("spatial spectra need 4x4 pixels or more: these columns stay empty")
    crc = 0
    for images, _ in splits.values():
        crc = zlib.crc32(images.data, crc)
    return Own(splits, f"{crc:08x}", (*notes, *found.notes))


def _contents(path: Path, source: Source) -> Contents:
    if path.is_dir():
        return folder.contents(path, source)
    if not path.exists():
        raise LabError(f"There is no {path}: give a folder of images, or an .npy or .npz file.")
    if path.suffix.lower() not in ARRAY_FILES:
        raise LabError(f"{path} is no folder and no .npy or .npz file: give one of these.")
    return arrays.contents(path, source)


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _key(source: Source, split: str) -> dict[str, str]:
    """What tells an entry of the cache from others."""
    return {
        "name": source.name[:60],
        "directory": str(Path(source.path or "").resolve()),
        "split": split,
        "resize": str(source.resize),
        "colour": str(source.colour),
        "white": str(source.white),
    }


def _as_given(found: Contents, source: Source) -> dict[str, tuple[cache.Images, cache.Labels]]:
    return {
        split: cache.fetch(
            _key(source, split),
            found.fingerprint,
            part.n,
            partial(part.batches, np.arange(part.n)),
        )
        for split, part in found.parts.items()
    }


def _divided(found: Contents, source: Source) -> dict[str, tuple[cache.Images, cache.Labels]]:
    part = found.parts[WHOLE]
    known = {
        split: cache.find(_key(source, split), found.fingerprint) for split in ("train", "test")
    }
    splits = {split: arrays for split, arrays in known.items() if arrays is not None}
    if len(splits) == len(known):
        return splits
    return {
        split: cache.fetch(
            _key(source, split), found.fingerprint, len(chosen), partial(part.batches, chosen)
        )
        for split, chosen in divide(part.raw()).items()
    }


def divide(examples: Iterable[bytes]) -> dict[str, Indices]:
    """Which examples are for training and which for test, by their bytes.

    Raises:
        LabError: there are too few to divide.
    """
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
