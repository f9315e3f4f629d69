"""The raw archives of the MNIST and CIFAR families, read without TensorFlow.

TFDS's builders of these sets use TensorFlow for two things only: to unpack the archives and to
encode PNGs. `split_generators` does both without it, in place of a builder's `_split_generators`.
It gets the archives from TFDS's download manager, which looks in `downloads/manual`, knows the
official addresses and checks SHA-256 sums. Its examples have the keys that the builder's own would
have, so TFDS writes the same records in the same order.

File formats: IDX (http://yann.lecun.com/exdb/mnist) and the binary version of CIFAR
(https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import gzip
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_IDX_PREFIXES = {"train": "train", "test": "t10k"}


class _Cifar(NamedTuple):
    """Which files the archive of a CIFAR set holds."""

    files: dict[str, tuple[str, ...]]
    """The record files of each split."""
    names: dict[str, str]
    """The labels of a record, in its order, each with the file that names its classes."""


_CIFAR = {
    "cifar10": _Cifar(
        {
            "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        {"label": "batches.meta.txt"},
    ),
    "cifar100": _Cifar(
        {"train": ("train.bin",), "test": ("test.bin",)},
        {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
    ),
}

NAMES = ("mnist", "fashion_mnist", "kmnist", *_CIFAR)
"""The sets that this module reads."""

Examples = Iterator[tuple[int, dict[str, Any]]]
"""Pairs of a key, which TFDS sorts the records by, and the features of an example."""


def split_generators(builder: Any, dl_manager: Any) -> dict[str, Examples]:
    """The examples of each split, from archives that are downloaded if they are not there.

    Images are PIL images, which TFDS encodes as PNG without TensorFlow.
    """
    # One archive at a time. Given several, TFDS downloads them in threads: after one has failed the
    # others go on, and the process cannot end before they do.
    paths = {
        info.filename: Path(dl_manager.download(url)) for url, info in builder.url_infos.items()
    }
    if builder.name in _CIFAR:
        return _cifar(_CIFAR[builder.name], next(iter(paths.values())), builder.info.features)
    return {split: _mnist(paths, prefix) for split, prefix in _IDX_PREFIXES.items()}


def _mnist(paths: dict[str, Path], prefix: str) -> Examples:
    images = _idx(paths[f"{prefix}-images-idx3-ubyte.gz"])
    labels = _idx(paths[f"{prefix}-labels-idx1-ubyte.gz"])
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield index, {"image": _picture(image), "label": int(label)}


def _idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """An array in IDX format: the bytes 0, 0, 8 and the rank, then the sizes, then the elements, a
    byte each, in C order."""
    with gzip.open(path) as file:
        data = file.read()
    rank = data[3]
    shape = np.frombuffer(data, ">u4", count=rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _cifar(layout: _Cifar, archive: Path, features: Any) -> dict[str, Examples]:
    wanted = [name for files in layout.files.values() for name in files] + [*layout.names.values()]
    members = _members(archive, wanted)
    for label, name in layout.names.items():
        features[label].names = members[name].decode().split()
    return {
        split: _cifar_examples(split, [members[name] for name in files], tuple(layout.names))
        for split, files in layout.files.items()
    }


def _members(archive: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    """The contents of some files of an archive, by file name without folder."""
    with tarfile.open(archive) as tar:
        found = {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}
        contents = {name: tar.extractfile(found[name]) for name in wanted}
        return {name: file.read() for name, file in contents.items() if file is not None}


def _cifar_examples(split: str, files: Sequence[bytes], labels: tuple[str, ...]) -> Examples:
    """Each record is a byte for each label, then a red, a green and a blue plane of 32x32 bytes."""
    records = np.frombuffer(b"".join(files), np.uint8).reshape(-1, len(labels) + 3 * 32 * 32)
    for index, record in enumerate(records):
        image = record[len(labels) :].reshape(3, 32, 32).transpose(1, 2, 0)
        numbers = dict(zip(labels, record[: len(labels)].tolist(), strict=True))
        yield index, {"id": f"{split}_{index:05d}", "image": _picture(image), **numbers}


def _picture(pixels: UInt8[np.ndarray, "height width *channels"]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))
