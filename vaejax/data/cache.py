"""Decoded arrays on disk: a folder per base split, memory-mapped when it is opened again.

An entry is `images.npy`, `labels.npy` and `entry.json`, which tells where the arrays came from and
the size and checksum of each file. Entries are written beside their place and renamed into it as a
whole, so a reader never meets half of one.
"""

import errno
import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from vaejax.errors import LabError

Images = UInt8[np.ndarray, "n height width channels"]
Labels = Int32[np.ndarray, "n"]
Batches = Iterable[tuple[Images, Labels]]

_ARRAYS = ("images.npy", "labels.npy")

_log = logging.getLogger(__name__)


class _UnusableError(Exception):
    """An entry that must be built again; says why."""


def root() -> Path:
    """The cache's directory: `VAEJAX_CACHE_DIR`, read now, or the user's cache directory."""
    if text := os.environ.get("VAEJAX_CACHE_DIR"):
        return Path(text).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("vaejax")


def fetch(
    source: Mapping[str, str], fingerprint: str, n: int, decode: Callable[[], Batches]
) -> tuple[Images, Labels]:
    """The arrays of one base split, read-only and memory-mapped; decoded at most once.

    `source` (names, paths) says which split this is and gives the entry its place. An entry whose
    `fingerprint` differs was decoded from data that has changed since, and is built again from the
    batches, `n` examples in all, that `decode` gives. So is one that its checksums show to be
    damaged, with a warning in the log.

    Raises LabError if the cache cannot be written; nothing half-written stays behind.
    """
    digest = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()
    entry = root() / f"{source['name']}-{source['split']}-{digest[:16]}"
    try:
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
        ) from error


def _open(entry: Path, source: Mapping[str, str], fingerprint: str) -> tuple[Images, Labels]:
    try:
        note = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
        if note["source"] != source:
            raise _UnusableError("belongs to another data set")
        if note["fingerprint"] != fingerprint:
            raise _UnusableError("was made before the prepared data set changed")
        images, labels = (_open_array(entry / name, note["files"]) for name in _ARRAYS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _UnusableError(f"is damaged ({error})") from error
    if images.ndim != 4 or images.dtype != np.uint8:
        raise _UnusableError("holds no uint8 images")
    if labels.shape != images.shape[:1] or labels.dtype != np.int32:
        raise _UnusableError("holds no int32 label for each image")
    return images, labels


def _open_array(path: Path, notes: Mapping[str, Mapping[str, int]]) -> np.ndarray:
    # A truncated file is told by its size before it is mapped: reading past its end would kill
    # the process.
    note, size = notes[path.name], path.stat().st_size
    if size != note["bytes"]:
        raise ValueError(f"{path.name} has {size} bytes, not {note['bytes']}")
    if zlib.crc32(np.memmap(path, mode="r").data) != note["crc32"]:
        raise ValueError(f"the checksum of {path.name} is wrong")
    return np.load(path, mmap_mode="r")


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
        # Opened before it is moved: a memory map follows its file, so no other process that
        # replaces this entry can pull it away.
        arrays = _open(folder, source, fingerprint)
        _move_into_place(folder, entry, source, fingerprint)
        return arrays
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_arrays(folder: Path, n: int, batches: Batches) -> dict[str, dict[str, int]]:
    """Streams the batches to disk, and returns each file's size and checksum.

    Plain writes, not a writable memory map: on a full disk those raise, where a map would kill
    the process.
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
    """Renames `folder` to `entry`, replacing what is there unless that is just as good."""
    while True:
        try:
            folder.rename(entry)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        try:
            _open(entry, source, fingerprint)
            return  # Another process was faster.
        except _UnusableError:
            _discard(entry)


def _discard(entry: Path) -> None:
    """Removes an entry in one step for its readers: renamed away first, then deleted."""
    away = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        entry.rename(away / "old")
    except FileNotFoundError:
        pass  # Another process has discarded it.
    finally:
        shutil.rmtree(away, ignore_errors=True)
