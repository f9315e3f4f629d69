"""Decoded arrays on disk, so that a data set is decoded only once.

Each base split has an entry: a folder with `images.npy`, `labels.npy` and `entry.json`, which holds
where the arrays came from and the size and checksum of both files. An entry is written under a
temporary name and renamed at the end, so no other process sees an unfinished one. What a killed
process leaves is deleted when the entry is used again a day later or more.
"""

import errno
import hashlib
import io
import json
import logging
import mmap
import os
import shutil
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

_ARRAYS = ("images.npy", "labels.npy")
_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
"""The maps behind all mapped arrays of this process."""
_ABANDONED = 24 * 3600
"""Seconds after which an unfinished entry is of a process that was killed: none takes so long."""

_log = logging.getLogger(__name__)


class _UnusableError(Exception):
    """Why an entry must be built again."""


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
    source: Mapping[str, str], fingerprint: str, n: int, decode: Callable[[], Batches]
) -> tuple[Images, Labels]:
    """Images and labels of a base split of `n` examples, read-only and
    memory-mapped.

    They come from the entry of this split if there is one, and otherwise from the batches that
    `decode()` gives, of which an entry is built. An entry is built again, with a warning in the
    log, if its files are damaged or if the data it was decoded from has changed.

    Args:
        source: tells this base split from all others; `name` and `split` are part of the name of
            the entry.
        fingerprint: tells this state of the prepared data from others.

    Raises LabError if the cache cannot be written; no unfinished entry is left behind.
    """
    entry = _entry(source)
    try:
        _remove_abandoned(entry)
        if entry.exists():
            try:
                return _open(entry, source, fingerprint)
            except _UnusableError as error:
                _log.warning("the cached copy %s %s; it is built again", entry, error)
        return _build(entry, source, fingerprint, n, decode)
    except (OSError, _UnusableError) as error:
        raise LabError(
            f"cannot use the cache in {entry.parent}: {error}. "
            "Free some space there or set VAEJAX_CACHE_DIR to a directory that can be written."
        ) from None


def find(source: Mapping[str, str], fingerprint: str) -> tuple[Images, Labels] | None:
    """What `fetch` would find; None where it would build an entry."""
    try:
        return _open(_entry(source), source, fingerprint)
    except _UnusableError:
        return None


def release() -> None:
    """Let go of the memory of all mapped arrays. It is mapped again wherever they are used next."""
    for mapped in list(_maps):
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def _entry(source: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()
    return root() / f"{source['name']}-{source['split']}-{digest[:16]}"


def _open(entry: Path, source: Mapping[str, str], fingerprint: str) -> tuple[Images, Labels]:
    try:
        note = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        if note["source"] != source:
            raise _UnusableError("belongs to another data set")
        if note["fingerprint"] != fingerprint:
            raise _UnusableError("was made before the prepared data set changed")
        images, labels = (_open_array(entry / name, note["files"]) for name in _ARRAYS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _UnusableError(f"is damaged ({error})") from None
    if images.ndim != 4 or images.dtype != np.uint8:
        raise _UnusableError("holds no uint8 images")
    if labels.shape != images.shape[:1] or labels.dtype != np.int32:
        raise _UnusableError("holds no int32 label for each image")
    return images, labels


def _open_array(path: Path, notes: Mapping[str, Mapping[str, int]]) -> np.ndarray:
    # The size comes first: reading a memory map past the end of its file would kill the process.
    note, size = notes[path.name], path.stat().st_size
    if size != note["bytes"]:
        raise ValueError(f"{path.name} has {size} bytes, not {note['bytes']}")
    if zlib.crc32(np.memmap(path, mode="r").data) != note["crc32"]:
        raise ValueError(f"the checksum of {path.name} is wrong")
    array = np.load(path, mmap_mode="r")
    if isinstance(array.base, mmap.mmap):
        _maps.add(array.base)
    array.flags.writeable = False
    return array


def _build(
    entry: Path,
    source: Mapping[str, str],
    fingerprint: str,
    n: int,
    decode: Callable[[], Batches],
) -> tuple[Images, Labels]:
    entry.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        files = _write_arrays(folder, n, decode())
        note = {"source": dict(source), "fingerprint": fingerprint, "files": files}
        (folder / "entry.json").write_text(json.dumps(note, indent=1), encoding="utf-8")
        # Opened before it is renamed: once its files are mapped, another process may replace the
        # entry, and the arrays stay as they are.
        arrays = _open(folder, source, fingerprint)
        _move_into_place(folder, entry, source, fingerprint)
        return arrays
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(entry: Path) -> None:
    """Deletes what killed processes have left of this entry, and have not touched for a day."""
    for folder in entry.parent.glob(f".{entry.name}-*"):
        with suppress(FileNotFoundError):  # another process has just renamed or deleted it
            if time.time() - folder.stat().st_mtime > _ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)


def _write_arrays(folder: Path, n: int, batches: Batches) -> dict[str, dict[str, int]]:
    """Writes the batches as they come; returns the size and checksum of each file.

    On a full disk a write raises an error. A writable memory map would kill the process.
    """
    labels: list[np.ndarray] = []

    def image_chunks() -> Iterator[bytes]:
        for images, batch_labels in batches:
            if not labels:
                yield _npy_header((n, *images.shape[1:]), "|u1")
            labels.append(batch_labels)
            yield np.ascontiguousarray(images).tobytes()

    image_note = _write(folder / "images.npy", image_chunks())
    all_labels = np.concatenate(labels).astype("<i4")
    label_note = _write(
        folder / "labels.npy", [_npy_header(all_labels.shape, "<i4"), all_labels.tobytes()]
    )
    return {"images.npy": image_note, "labels.npy": label_note}


def _write(path: Path, chunks: Iterable[bytes]) -> dict[str, int]:
    size = crc = 0
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
            size, crc = size + len(chunk), zlib.crc32(chunk, crc)
    return {"bytes": size, "crc32": crc}


def _npy_header(shape: tuple[int, ...], descr: str) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"shape": shape, "fortran_order": False, "descr": descr}
    )
    return header.getvalue()


def _move_into_place(
    folder: Path, entry: Path, source: Mapping[str, str], fingerprint: str
) -> None:
    """Renames `folder` to `entry`. An entry that is there already is kept if it can be used, and
    replaced if not."""
    while True:
        try:
            folder.rename(entry)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        try:
            _open(entry, source, fingerprint)
            return  # another process has built it meanwhile
        except _UnusableError:
            _discard(entry)


def _discard(entry: Path) -> None:
    """Deletes an entry. It is renamed first, so that no other process sees a part of it."""
    away = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        entry.rename(away / "old")
    except FileNotFoundError:
        pass  # another process has deleted it
    finally:
        shutil.rmtree(away, ignore_errors=True)
