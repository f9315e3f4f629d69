"""A folder of image files, decoded by Pillow.

    folder/*.png                 images without labels
    folder/<label>/*.png         a subfolder for each label
    folder/train/..., test/...   splits, each with images or with a subfolder for each label

Folders are splits if all have names of splits (`contents.SPLITS`), and `train` is among them.
Labels are numbered in the order of their names; an image without a label has 0. Images are in the
order of their file names, whatever their label.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from vaejax.data import pixels
from vaejax.data.cache import Images
from vaejax.data.contents import SPLITS, WHOLE, Contents, Indices, Part, fingerprint, train_first
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
    """What a folder holds, from names alone."""
    others: list[Path] = []
    try:
        items = {name: _items(place, others) for name, place in _splits(folder).items()}
        stamp = fingerprint([item.path for part in items.values() for item in part], folder)
    except OSError as error:
        raise LabError(f"Cannot read {error.filename}: {error.strerror}.") from None
    named = sorted({item.label for part in items.values() for item in part if item.label})
    number = {label: index for index, label in enumerate(named)}
    parts = {}
    for name, part in items.items():
        labels = [number.get(item.label or "", 0) for item in part]
        files = [item.path for item in part]
        images = partial(_images, files, source)
        parts[name] = Part(np.array(labels, np.int32), partial(_raw, files), images)
    notes = []
    if named:
        notes.append(f"folders are labels: {_shown(named)}")
    if others:
        names = [path.relative_to(folder) for path in others]
        notes.append(f"passed over, being no images: {_shown(names)}")
    return Contents(parts, stamp, tuple(notes))


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
    return {name: places[name] for name in train_first(places)}


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
    names = [name for name in sorted(os.listdir(folder)) if name.lower() not in PASSED_OVER]
    return [folder / name for name in names if not name.startswith(".")]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _shown(names: Sequence[object]) -> str:
    """The first three of some names, and how many more there are."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(map(str, names[:3])) + more


def _raw(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        try:
            yield path.read_bytes()
        except OSError as error:
            raise LabError(f"Cannot read {path}: {error.strerror}.") from None


def _images(files: list[Path], source: Source, indices: Indices) -> Images:
    """Raises LabError where a file is damaged or is not like the first one."""

    def decode(path: Path) -> UInt8[np.ndarray, "1 height width channels"]:
        image = read_image(path)[None]
        image = pixels.to_bytes(str(path), image, source.white)
        return pixels.changed(image, source.resize, source.colour)

    _, *wanted = decode(files[0]).shape
    images = []
    for path in (files[index] for index in indices):
        images.append(decode(path))
        _, *shape = images[-1].shape
        if shape[:2] != wanted[:2]:
            raise LabError(
                f"{path} has {shape[0]}x{shape[1]} pixels (height x width), and {files[0]} "
                f"{wanted[0]}x{wanted[1]}: give --resize N, which scales the largest centred "
                "square of each image to NxN."
            )
        if shape != wanted:
            kind, other = ({1: "grey", 3: "in colour"}[each[2]] for each in (shape, wanted))
            raise LabError(f"{path} is {kind}, and {files[0]} is {other}: give --grey or --rgb.")
    return np.concatenate(images)


def read_image(path: Path) -> UInt8[np.ndarray, "height width channels"]:
    """The pixels of an image file, turned as its EXIF data say: grey images have one channel, all
    others three."""
    try:
        with _of_any_size():
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
    except Exception as error:  # each decoder of Pillow has errors of its own
        raise LabError(
            f"{path} is damaged or no image ({first_line(error)}): mend it or take it away."
        ) from None
    return array if array.ndim == 3 else array[..., None]


@contextmanager
def _of_any_size() -> Iterator[None]:
    """Have Pillow open images of more than 179 million pixels, too."""
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
