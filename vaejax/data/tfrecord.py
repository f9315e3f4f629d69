"""TFRecord files without TensorFlow.

A record is framed as: length (8 bytes, little endian), masked CRC-32C of the length (4), data,
masked CRC-32C of the data (4). See tensorflow/core/lib/io/record_writer.h.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np


def read_batches(paths: Iterable[Path], batch_size: int) -> Iterator[list[bytes]]:
    """The records of the files, in order, in lists of at most `batch_size`, checksums checked.

    Raises ValueError where a file is cut short or a checksum is wrong.
    """
    for path in paths:
        with path.open("rb") as file:
            frames = _frames(file)
            while batch := list(islice(frames, batch_size)):
                lengths, length_sums, records, record_sums = map(list, zip(*batch, strict=True))
                if masked_crc32c(lengths) != length_sums or masked_crc32c(records) != record_sums:
                    raise ValueError(f"wrong checksum in {path.name}")
                yield records


def _frames(file: BinaryIO) -> Iterator[tuple[bytes, int, bytes, int]]:
    while head := file.read(12):
        if len(head) < 12:
            raise ValueError("the last record is cut short")
        length = int.from_bytes(head[:8], "little")
        body = file.read(length + 4)
        if len(body) < length + 4:
            raise ValueError("the last record is cut short")
        yield head[:8], _uint32(head[8:]), body[:-4], _uint32(body[-4:])


def _uint32(data: bytes) -> int:
    return struct.unpack("<I", data)[0]


def masked_crc32c(records: list[bytes]) -> list[int]:
    """TensorFlow's masked CRC-32C of each record.

    Python's library has only the other CRC-32. A table lookup per byte is slow in Python, so all
    records advance together, one byte per NumPy step.
    """
    lengths = np.array([len(record) for record in records])
    order = np.argsort(-lengths, kind="stable")
    width = int(lengths.max())
    rows = np.frombuffer(b"".join(records[i].ljust(width, b"\0") for i in order), np.uint8)
    columns = np.ascontiguousarray(rows.reshape(len(records), width).T)
    # Sorted by falling length, the records that still have a byte i are the first `alive[i]`.
    alive = np.searchsorted(-lengths[order], -np.arange(1, width + 1), side="right")
    crc = np.full(len(records), 0xFFFFFFFF, np.uint32)
    for column, count in zip(columns, alive, strict=True):
        head = crc[:count]
        crc[:count] = _TABLE[(head ^ column[:count]) & 0xFF] ^ (head >> np.uint32(8))
    crc ^= np.uint32(0xFFFFFFFF)
    masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
    result = np.empty_like(masked)
    result[order] = masked
    return result.tolist()


def _table() -> np.ndarray:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> np.uint32(1)) ^ np.uint32(0x82F63B78), crc >> np.uint32(1))
    return crc


_TABLE = _table()
