"""Images in an `.npy` or `.npz` file, never unpickled.

An array of images is uint8, bool, or float in [0, 1], of shape [n, height, width], [n, height,
width, 1 or 3], or [n, d] for vectors. In an `.npz` file names tell what an array is: `images` and
`labels`, or `x_train`, `y_train`, `x_test` and `y_test`, or `train_images` and the like; the only
array needs no name.
"""

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from vaejax.data import pixels, splits
from vaejax.data.cache import Images, Labels
from vaejax.data.contents import SPLITS, WHOLE, Contents, Indices, Part, fingerprint, train_first
from vaejax.data.names import Source
from vaejax.errors import LabError, first_line

IMAGES = {"x", "image", "images", "data", "features"}
LABELS = {"y", "label", "labels", "target", "targets"}
READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
    """What an array is, read without the array."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype} [{', '.join(map(str, self.shape))}]"


class Names(NamedTuple):
    """The names of the arrays of one split."""

    images: str
    labels: str | None


def contents(path: Path, source: Source) -> Contents:
    """What a file holds, from the headers of its arrays."""
    headers = _headers(path)
    stamp = fingerprint([path], path.parent)
    named = _roles(path, headers)
    chosen = {
        split: names for split, names in named.items() if 0 not in headers[names.images].shape
    }
    empty = [names.images for split, names in named.items() if split not in chosen and chosen]
    chosen = chosen or named
    for names in chosen.values():
        _check_images(f"{path}{_of(names.images)}", headers[names.images], source.white)
    load = cache(partial(_load, path))
    labels, notes = _labels(chosen, headers, load)
    parts = {
        split: Part(
            labels[split],
            partial(_raw, load, names.images),
            partial(_images, path, load, names.images, source),
        )
        for split, names in chosen.items()
    }
    notes += [f"{name} is empty, and passed over" for name in empty]
    if any(headers[names.images].dtype.kind == "f" for names in chosen.values()):
        notes.append("numbers in [0, 1] are rounded to 256 levels: none moves by more than 1/510")
    used = {name for names in chosen.values() for name in names}
    if others := sorted(set(headers) - used - set(empty)):
        notes.append(f"arrays passed over: {', '.join(others)}")
    return Contents(parts, stamp, tuple(notes))


def numbers(path: Path, split: str) -> Float[np.ndarray, "n d"]:
    """Numbers of a file as they are: those of a split, or all if it has no splits."""
    headers = _headers(path)
    named = {name or "train": names.images for name, names in _roles(path, headers).items()}
    pieces = splits.resolve(split, {name: headers[key].shape[0] for name, key in named.items()})
    found = np.concatenate([_load(path, named[name])[start:stop] for name, start, stop in pieces])
    if found.dtype.kind not in "biuf" or found.ndim < 2 or not np.isfinite(found).all():
        raise LabError(f"{path}: {split} is no array [n, d] of finite numbers.")
    return found.reshape(len(found), -1).astype(np.float64)


def _headers(path: Path) -> dict[str, Header]:
    """The header of each array, by name; the array of an .npy file has no name."""
    try:
        return _read_headers(path)
    except OSError as error:
        raise LabError(f"Cannot read {path}: {error.strerror or error}.") from None
    except Exception as error:  # zip files and headers are damaged in many ways
        raise LabError(f"{path} is damaged or no array file ({first_line(error)}).") from None


def _read_headers(path: Path) -> dict[str, Header]:
    if path.suffix.lower() == ".npy":
        with path.open("rb") as file:
            return {"": _header(file)}
    with zipfile.ZipFile(path) as archive:
        found = {}
        for member in archive.namelist():
            with archive.open(member) as file:
                found[member.removesuffix(".npy")] = _header(file)
        return found


def _header(file: Any) -> Header:
    """The header of an array, from a file that is open at its beginning."""
    version = np.lib.format.read_magic(file)
    if version not in READERS:
        raise ValueError(f"it is an array file of version {version}")
    shape, _, dtype = READERS[version](file)
    return Header(shape, dtype)


def _roles(path: Path, headers: Mapping[str, Header]) -> dict[str, Names]:
    """Which arrays are the images and labels of each split."""
    if len(headers) == 1 and _role(only := next(iter(headers))) is None:
        return {WHOLE: Names(only, None)}
    found: dict[tuple[str, str], str] = {}
    for name in headers:
        if (role := _role(name)) is None:
            continue
        if role in found:
            raise LabError(f"{path}: {found[role]} and {name} may both be the {role[1]}: keep one.")
        found[role] = name
    named = {split for split, kind in found if kind == "images"}
    if not named or (WHOLE in named and len(named) > 1):
        listed = ", ".join(f"{name} {header}" for name, header in headers.items())
        raise LabError(
            f"{path} does not say which array is what; it holds {listed or 'nothing'}. Name them "
            "images and labels, or x_train, y_train, x_test and y_test."
        )
    return {
        split: Names(found[split, "images"], found.get((split, "labels")))
        for split in train_first(named)
    }


def _role(name: str) -> tuple[str, str] | None:
    """The split and the kind that a name tells; None if it tells none."""
    words = re.split(r"[_\W]+", name.lower())
    known = [SPLITS[word] for word in words if word in SPLITS]
    others = [word for word in words if word not in SPLITS]
    if len(known) > 1 or len(others) > 1:
        return None
    split = known[0] if known else WHOLE
    if not others or others[0] in IMAGES:
        return split, "images"
    return (split, "labels") if others[0] in LABELS else None


def _of(name: str) -> str:
    return f", {name}" if name else ""


def _check_images(what: str, header: Header, white: float | None) -> None:
    """Refuse arrays that are no images, from the header alone."""
    shape, dtype = header
    if dtype.hasobject:
        raise LabError(f"{what} holds Python objects, which are never unpickled: save numbers.")
    if dtype.kind not in "biuf" or (white is None and dtype != np.uint8 and dtype.kind in "iu"):
        hint = " (bfloat16? x.astype(np.float32))" if dtype.kind == "V" else ""
        raise LabError(
            f"{what} is {dtype}{hint}: give uint8 from 0 to 255, floats in [0, 1], or name the "
            "number that stands for white: --white 255."
        )
    if len(shape) not in (2, 3, 4) or 0 in shape:
        raise LabError(
            f"{what} has the shape {list(shape)}: give [n, height, width], [n, height, width, "
            "channels] or, for vectors, [n, d]."
        )
    if len(shape) == 4 and shape[3] not in (1, 3):
        raise LabError(
            f"{what} has the shape {list(shape)}, and so {shape[3]} channels: pictures have 1 or "
            "3, as the last axis (x.transpose(0, 2, 3, 1) if they are the first). Give others as "
            "vectors, x.reshape(len(x), -1)."
        )


def _labels(
    chosen: Mapping[str, Names], headers: Mapping[str, Header], load: Callable[[str], np.ndarray]
) -> tuple[dict[str, Labels], list[str]]:
    """The class of each image, by split, and a line for each split that has none: there all are
    0. No study needs them, so none is refused."""
    wanted = {names.labels for names in chosen.values()} & set(headers)
    read = {name: load(name) for name in wanted if name and not headers[name].dtype.hasobject}
    texts = np.unique([text for each in read.values() if each.dtype.kind in "US" for text in each])
    found, notes = {}, []
    for split, (images, labels) in chosen.items():
        n = headers[images].shape[0]
        classes = _classes(read[labels], n, texts) if labels in read else None
        if labels is not None and classes is None:
            notes.append(f"{labels}, {headers[labels]}, is no class for each image: all are 0")
        found[split] = np.zeros(n, np.int32) if classes is None else classes
    return found, notes


def _classes(labels: np.ndarray, n: int, texts: np.ndarray) -> Labels | None:
    """Whole numbers as they are, those of one-hot rows, and texts by their place among all."""
    numbers = labels.dtype.kind in "biuf"
    wide = numbers and labels.ndim == 2 and labels.shape[1] > 1
    if wide and np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all():
        labels = labels.argmax(1)
    if labels.shape not in ((n,), (n, 1)):
        return None
    flat, limits = labels.reshape(-1), np.iinfo(np.int32)
    if labels.dtype.kind in "US":
        return np.searchsorted(texts, flat).astype(np.int32)
    if not numbers or not ((flat >= limits.min) & (flat <= limits.max) & (flat % 1 == 0)).all():
        return None
    return flat.astype(np.int32)


def _load(path: Path, name: str) -> np.ndarray:
    try:
        if not name:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except Exception as error:  # zip files are damaged in many ways
        raise LabError(f"{path}{_of(name)} is damaged ({first_line(error)}).") from None


def _raw(load: Callable[[str], np.ndarray], name: str) -> Iterator[bytes]:
    return (row.tobytes() for row in load(name))


def _images(
    path: Path, load: Callable[[str], np.ndarray], name: str, source: Source, indices: Indices
) -> Images:
    """Raises LabError for numbers outside of their range."""
    found = pixels.to_bytes(f"{path}{_of(name)}", load(name)[indices], source.white)
    if found.ndim == 2:  # a vector is an image of one row
        found = found[:, None, :, None]
    elif found.ndim == 3:
        found = found[..., None]
    return pixels.changed(found, source.resize, source.colour)
