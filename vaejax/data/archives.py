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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_IDX_PREFIXES = {"train": "train", "test": "t10k"}


_CIFAR = {
    "cifar10": (
        {"train": [f"data_batch_{part}.bin" for part in range(1, 6)], "test": ["test_batch.bin"]},
        {"label": "batches.meta.txt"},
    ),
    "cifar100": (
        {"train": ["train.bin"], "test": ["test.bin"]},
        {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"},
    ),
}
"""Of each CIFAR set the record files of each split, and the labels of a record, in its order, each
with the file that names its classes."""
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
        return _cifar(*_CIFAR[builder.name], next(iter(paths.values())), builder.info.features)
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


def _cifar(
    splits: dict[str, list[str]], labels: dict[str, str], archive: Path, features: Any
) -> dict[str, Examples]:
    with tarfile.open(archive) as tar:
        inside = {Path(member.name).name: tar.extractfile(member) for member in tar}
        content = {name: file.read() for name, file in inside.items() if file is not None}
    for label, name in labels.items():
        features[label].names = content[name].decode().split()
    return {
        split: _cifar_examples(split, b"".join(content[name] for name in files), tuple(labels))
        for split, files in splits.items()
    }


def _cifar_examples(split: str, content: bytes, labels: tuple[str, ...]) -> Examples:
    """Each record is a byte for each label, then a red, a green and a blue plane of 32x32 bytes."""
    records = np.frombuffer(content, np.uint8).reshape(-1, len(labels) + 3 * 32 * 32)
    for index, record in enumerate(records):
        image = record[len(labels) :].reshape(3, 32, 32).transpose(1, 2, 0)
        numbers = dict(zip(labels, record[: len(labels)].tolist(), strict=True))
        yield index, {"id": f"{split}_{index:05d}", "image": _picture(image), **numbers}


def _picture(pixels: UInt8[np.ndarray, "height width *channels"]) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))
