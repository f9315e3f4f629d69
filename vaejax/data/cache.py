"""Decoded images on disk, so that a data set is decoded only once.

A base split is one file: its images as an array file of NumPy, which is memory-mapped, behind them
its labels, and the CRC-32 of its name and all that. The name of the file tells the data set, and
the state of the data that it was decoded from. It is written under a temporary name and renamed at
the end, so no other process sees an unfinished one; where two build the same file, either may stay.
What a killed process leaves is deleted when the split is used again a day later or more.
"""

import hashlib
import io
import json
import logging
import mmap
import os
import tempfile
import time
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from platformdirs import user_cache_path

from vaejax.errors import LabError
from vaejax.files import own_path

Images = UInt8[np.ndarray, "n height width channels"]
Labels = Int32[np.ndarray, "n"]
Batches = Iterable[tuple[Images, Labels]]

FORMAT = 1
"""To be raised when the same data are decoded to something else, or the files change."""
ABANDONED = 24 * 3600
"""Seconds after which an unfinished file is of a process that was killed: none takes so long."""

_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
"""The maps behind all mapped arrays of this process."""
_log = logging.getLogger(__name__)


def root() -> Path:
    """The directory of the cache: `VAEJAX_CACHE_DIR` if that is set, else `vaejax` in the user's
    cache directory."""
    if text := os.environ.get("VAEJAX_CACHE_DIR"):
        return own_path(text)
    try:
        return user_cache_path("vaejax")
    except (RuntimeError, KeyError) as error:
        raise LabError(f"No cache directory ({error}): set VAEJAX_CACHE_DIR to a folder.") from None


def fetch(
    source: Mapping[str, str], fingerprint: str, decode: Callable[[], tuple[int, Batches]]
) -> tuple[Images, Labels]:
    """Images and labels of a base split, read-only, the images memory-mapped.

    They come from the cache if they are there. A damaged file is built again, with a warning in the
    log, and that of another state of the data is deleted.

    Args:
        source: tells this base split from all others; `name` and `split` are part of the file name.
        fingerprint: tells this state of the data from others.
        decode: gives the number of examples, and all of them in batches.
    """
    folder, key = root(), _digest([FORMAT, dict(source)])
    path = folder / f"{source['name']}-{source['split']}-{key}-{_digest(fingerprint)}.npy"
    try:
        _tidy(path, key)
        if path.exists():
            try:
                return _open(path, path.name)
            except ValueError as error:
                _log.warning("the cached copy %s is damaged (%s); it is built again", path, error)
        return _build(path, key, *decode())
    except OSError as error:
        raise LabError(
            f"cannot use the cache in {folder}: {error}. "
            "Free some space there or set VAEJAX_CACHE_DIR to a directory that can be written."
        ) from None


def release() -> None:
    """Let go of the memory of all mapped arrays. It is mapped again wherever they are used next."""
    for mapped in list(_maps):
        mapped.madvise(mmap.MADV_DONTNEED)


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _tidy(path: Path, key: str) -> None:
    """Delete what was decoded from other states of the data, and what killed processes have left
    and not touched for a day."""
    for other in path.parent.glob(f"*{key}-*"):
        with suppress(FileNotFoundError):  # another process has just renamed or deleted it
            unfinished = other.name.startswith(".")
            if other != path and not (
                unfinished and time.time() - other.stat().st_mtime < ABANDONED
            ):
                other.unlink()


def _open(path: Path, name: str) -> tuple[Images, Labels]:
    """The content of a file that has, or will have, this name.

    Raises ValueError if it is damaged, or that of another.
    """
    content = np.memmap(path, np.uint8, "r")
    crc = zlib.crc32(content[:-4].data, zlib.crc32(name.encode()))
    if crc != int.from_bytes(content[-4:].tobytes(), "little"):
        raise ValueError("its checksum is wrong")
    images = np.load(path, mmap_mode="r")
    _maps.add(images.base)
    labels = np.fromfile(path, "<i4", len(images), offset=images.offset + images.nbytes)
    labels.flags.writeable = False
    return images, labels


def _build(path: Path, key: str, n: int, batches: Batches) -> tuple[Images, Labels]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{key}-", dir=path.parent)
    unfinished = Path(name)
    try:
        # On a full disk a write raises an error. A writable memory map would kill the process.
        with os.fdopen(handle, "wb") as file:
            crc = zlib.crc32(path.name.encode())
            for chunk in _chunks(n, batches):
                file.write(chunk)
                crc = zlib.crc32(chunk, crc)
            file.write(crc.to_bytes(4, "little"))
        # Opened before it is renamed: then another process may replace it, or delete it.
        arrays = _open(unfinished, path.name)
        unfinished.replace(path)
        return arrays
    finally:
        unfinished.unlink(missing_ok=True)


def _chunks(n: int, batches: Batches) -> Iterator[bytes]:
    """The content of a file but for its checksum."""
    labels: list[np.ndarray] = []
    for images, batch_labels in batches:
        if not labels:
            header = io.BytesIO()
            shape = (n, *images.shape[1:])
            kind = {"shape": shape, "fortran_order": False, "descr": "|u1"}
            np.lib.format.write_array_header_1_0(header, kind)
            yield header.getvalue()
        labels.append(batch_labels.astype("<i4"))
        yield images.tobytes()
    yield np.concatenate(labels).tobytes()
