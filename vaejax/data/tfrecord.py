"""TFRecord files without TensorFlow.

Each record is: its length (8 bytes, little endian), the masked CRC-32C of these 8 bytes (4 bytes),
the data, and the masked CRC-32C of the data (4 bytes). See tensorflow/core/lib/io/record_writer.h.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import google_crc32c


def read(paths: Iterable[Path]) -> Iterator[bytes]:
    """The records of the files, in order.

    Raises ValueError if a file is cut short or a checksum is wrong.
    """
    for path in paths:
        with path.open("rb") as file:
            while head := file.read(12):
                length = int.from_bytes(_checked(head), "little")
                yield _checked(file.read(length + 4))


def _checked(content: bytes) -> bytes:
    """What comes before the checksum, if that is right."""
    data, checksum = content[:-4], content[-4:]
    if masked_crc32c(data).to_bytes(4, "little") != checksum:
        raise ValueError("a record is cut short, or its checksum is wrong")
    return data


def masked_crc32c(data: bytes) -> int:
    """TensorFlow's masked CRC-32C. (Python's `zlib.crc32` is another polynomial.)"""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
