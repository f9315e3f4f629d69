"""A folder of image files, decoded by Pillow.

    folder/*.png                 images without labels
    folder/<label>/*.png         a subfolder for each label
    folder/train/..., test/...   splits, each with images or with a subfolder for each label

Folders are splits if all have names of splits (`contents.SPLITS`), and `train` is among them.
Labels are numbered in the order of their names; an image without a label has 0. Images are in the
order of their file names, whatever their label.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from vaejax.data import pixels
from vaejax.data.contents import (
    SPLITS,
    WHOLE,
    Batches,
    Contents,
    Indices,
    Part,
    fingerprint,
    in_batches,
)
from vaejax.data.names import Source
from vaejax.errors import LabError, first_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
PASSED_OVER = {"thumbs.db", "desktop.ini", "__macosx"}
"""What systems leave in folders, beside names that begin with a dot."""
CONVERTED = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "LA": "L", "PA": "RGB", "RGBA": "RGB"}
"""The mode in which an image of each of Pillow's modes is read."""


class Item(NamedTuple):
    """An image file."""

    path: Path
    label: str | None
    """The name of its subfolder."""


def contents(folder: Path, source: Source) -> Contents:
    """What a folder holds, from names alone.

    Raises:
        LabError: there are no images, or the folders are not as above.
    """
    try:
        others: list[Path] = []
        items = {name: _items(place, others) for name, place in _splits(folder).items()}
        files = [item.path for part in items.values() for item in part]
        stamp = fingerprint(files, folder)
    except OSError as error:
        raise LabError(f"Cannot read {error.filename}: {error.strerror}.") from None
    labels = sorted({item.label for part in items.values() for item in part if item.label})
    number: dict[str | None, int] = {label: index for index, label in enumerate(labels)}
    parts = {
        name: Part(
            len(part),
            partial(_raw, part),
            partial(_batches, part, number, source),
        )
        for name, part in items.items()
    }
    notes = _notes(others, folder)
    if labels:
        notes = (f"folders are labels: {_shown(labels)}", *notes)
    return Contents(parts, stamp, notes)


def _splits(folder: Path) -> dict[str, Path]:
    """The folder of each split, or the whole folder if it has none."""
    folders = [path for path in _seen(folder) if path.is_dir()]
    places = {SPLITS.get(path.name.lower(), WHOLE): path for path in folders}
    if "train" not in places or WHOLE in places:
        return {WHOLE: folder}
    if len(places) < len(folders):
        named = ", ".join(path.name for path in folders)
        raise LabError(f"{folder} holds {named}, two of them for one split: keep one.")
    if loose := [path for path in _seen(folder) if _is_image(path)]:
        raise LabError(f"{loose[0]} is beside the folder train: move it into train or test.")
    return dict(sorted(places.items(), key=lambda item: (item[0] != "train", item[0])))


def _items(place: Path, others: list[Path]) -> list[Item]:
    """The images in a folder and its subfolders; what is no image is added to `others`."""
    seen = _seen(place)
    found = [Item(path, None) for path in seen if _is_image(path)]
    folders = [path for path in seen if path.is_dir()]
    if found and folders:
        raise LabError(
            f"{place} holds both images and folders ({folders[0].name}): put all images into "
            "folders, one for each label, or none."
        )
    for folder in folders:
        inside = _seen(folder)
        if deeper := [path for path in inside if path.is_dir()]:
            raise LabError(f"{deeper[0]} is too deep: one level of folders is the label.")
        found += [Item(path, folder.name) for path in inside if _is_image(path)]
        others += [path for path in inside if not _is_image(path)]
    others += [path for path in seen if not _is_image(path) and not path.is_dir()]
    if not found:
        raise LabError(f"{place} holds no image: there is no file *{', *'.join(SUFFIXES)}.")
    return sorted(found, key=lambda item: (item.path.name, item.label or ""))


def _seen(folder: Path) -> list[Path]:
    names = sorted(os.listdir(folder))
    return [
        folder / name
        for name in names
        if not name.startswith(".") and name.lower() not in PASSED_OVER
    ]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _notes(others: list[Path], folder: Path) -> tuple[str, ...]:
    if not others:
        return ()
    return (
        f"passed over, being no images: {_shown([path.relative_to(folder) for path in others])}",
    )


def _shown(names: Sequence[object]) -> str:
    """The first three of some names, and how many more there are."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(map(str, names[:3])) + more


def _raw(items: list[Item]) -> Iterator[bytes]:
    for item in items:
        try:
            yield item.path.read_bytes()
        except OSError as error:
            raise LabError(f"Cannot read {item.path}: {error.strerror}.") from None


def _batches(
    items: list[Item], number: dict[str | None, int], source: Source, indices: Indices
) -> Batches:
    """Raises LabError where a file is damaged or is not like the first one."""
    first: tuple[Path, tuple[int, ...]] | None = None
    for batch in in_batches(indices):
        images = []
        for item in (items[index] for index in batch):
            image = read_image(item.path, source.resize is not None)[None]
            image = pixels.to_bytes(str(item.path), image, source.white)
            image = pixels.changed(image, source.resize, source.colour)
            first = first or (item.path, image.shape)
            if image.shape != first[1]:
                raise _unlike(first, (item.path, image.shape))
            images.append(image)
        labels = np.array([number.get(items[index].label, 0) for index in batch], np.int32)
        yield np.concatenate(images), labels


def _unlike(first: tuple[Path, tuple[int, ...]], other: tuple[Path, tuple[int, ...]]) -> LabError:
    (one, (_, *shape)), (two, (_, *differing)) = first, other
    if shape[:2] == differing[:2]:
        kinds = {1: "grey", 3: "in colour"}
        return LabError(
            f"{two} is {kinds[differing[2]]}, and {one} is {kinds[shape[2]]}: give --grey or --rgb."
        )
    return LabError(
        f"{two} has {differing[0]}x{differing[1]} pixels (height x width), and {one} "
        f"{shape[0]}x{shape[1]}: give --resize N, which scales the largest centred square of each "
        "image to NxN."
    )


def read_image(path: Path, large: bool = False) -> UInt8[np.ndarray, "height width channels"]:
    """The pixels of an image file, turned as its EXIF data say: grey images have one channel, all
    others three.

    Args:
        large: read it however many pixels it has; Pillow refuses more than 179 million.

    Raises:
        LabError: it is damaged or no image, has 16 bits, transparent pixels, several pictures,
            colours other than grey and RGB, or too many pixels.
    """
    try:
        with warnings.catch_warnings(), _unlimited() if large else nullcontext():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            if problem := _problem(image):
                raise LabError(f"{path} {problem}.")
            turned = ImageOps.exif_transpose(image)
            if "transparency" in turned.info:
                turned = turned.convert("LA" if turned.mode in ("1", "L") else "RGBA")
            if "A" in turned.getbands() and min(turned.getchannel("A").tobytes()) < 255:
                raise LabError(
                    f"{path} has transparent pixels: put it on a background of your choice, and "
                    "save it without alpha."
                )
            array = np.asarray(turned.convert(CONVERTED[turned.mode]))
    except LabError:
        raise
    except Image.DecompressionBombError:
        raise LabError(
            f"{path} is too large: more than 179 million pixels are read with --resize N only."
        ) from None
    except Exception as error:  # each decoder of Pillow has errors of its own
        raise LabError(
            f"{path} is damaged or no image ({first_line(error)}): mend it or take it away."
        ) from None
    return array if array.ndim == 3 else array[..., None]


@contextmanager
def _unlimited() -> Iterator[None]:
    """Have Pillow open images of any size."""
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = most


def _problem(image: Image.Image) -> str | None:
    """Why an image cannot be read as it is."""
    # Pillow reads 16-bit colours as 8 bits without a word; only the raw mode of its tiles tells.
    if image.mode.startswith("I") or image.mode == "F" or ";16" in str(getattr(image, "tile", "")):
        return "has more than 8 bits a channel: scale it to 8 bits, or give a float array in [0, 1]"
    # A camera's JPEG may hold a preview after the picture, which makes it an MPO.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        return "holds several pictures: save each as a file"
    if image.mode not in CONVERTED:
        return f"has colours of the kind {image.mode}: save it as grey or RGB"
    return None
