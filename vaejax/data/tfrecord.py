"""TFRecord files without TensorFlow.

Each record is: its length (8 bytes, little endian), the masked CRC-32C of these 8 bytes (4 bytes),
the data, and the masked CRC-32C of the data (4 bytes). See tensorflow/core/lib/io/record_writer.h.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np


def read_batches(paths: Iterable[Path], batch_size: int) -> Iterator[Sequence[bytes]]:
    """The records of the files, in order, at most `batch_size` at a time.

    Raises ValueError if a file is cut short or a checksum is wrong.
    """
    for path in paths:
        with path.open("rb") as file:
            frames = _frames(file)
            while batch := list(islice(frames, batch_size)):
                lengths, length_sums, records, record_sums = zip(*batch, strict=True)
                found = [*masked_crc32c(lengths), *masked_crc32c(records)]
                if found != [*length_sums, *record_sums]:
                    raise ValueError(f"wrong checksum in {path.name}")
                yield records


def _frames(file: BinaryIO) -> Iterator[tuple[bytes, int, bytes, int]]:
    """The length, its checksum, the data and its checksum of each record."""
    while head := file.read(12):
        length = int.from_bytes(head[:8], "little")
        body = file.read(length + 4)
        if len(head) < 12 or len(body) < length + 4:
            raise ValueError("the last record is cut short")
        yield head[:8], *struct.unpack("<I", head[8:]), body[:-4], *struct.unpack("<I", body[-4:])


def masked_crc32c(records: Sequence[bytes]) -> list[int]:
    """TensorFlow's masked CRC-32C of each record.

    Python's `zlib.crc32` is another polynomial. A loop over the bytes of a record is slow in
    Python, so this loops over the places of bytes, and NumPy takes the byte at one place of all
    records at once.
    """
    lengths = np.array([len(record) for record in records])
    width = int(lengths.max())
    rows = np.frombuffer(b"".join(record.ljust(width, b"\0") for record in records), np.uint8)
    crc = np.full(len(records), 0xFFFFFFFF, np.uint32)
    columns = np.ascontiguousarray(rows.reshape(len(records), width).T)
    for place, column in enumerate(columns):
        longer = _TABLE[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
        crc = np.where(place < lengths, longer, crc)
    crc = ~crc
    masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
    return masked.tolist()


def _table() -> np.ndarray:
    """The CRC-32C of every single byte."""
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> np.uint32(1)) ^ np.uint32(0x82F63B78), crc >> np.uint32(1))
    return crc


_TABLE = _table()
