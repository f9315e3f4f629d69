"""The raw archives of the MNIST and CIFAR families, read without TensorFlow.

TFDS's builders for these sets need TensorFlow to unpack their archives and to encode PNGs, and for
nothing else. `split_generators` stands in for their `_split_generators`: the archives come from
TFDS's download manager (official addresses, SHA-256 sums, `downloads/manual`), and the examples
have the builders' keys, so TFDS writes the same records in the same order.

Formats: IDX, http://yann.lecun.com/exdb/mnist, and CIFAR's binary version,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import gzip
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

_IDX_PREFIXES = {"train": "train", "test": "t10k"}


class _Cifar(NamedTuple):
    files: dict[str, tuple[str, ...]]
    """The record files of each split."""
    names: dict[str, str]
    """The file of class names of each label, in the order of the labels in a record."""


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
"""The sets that need no TensorFlow to be prepared."""

Examples = Iterator[tuple[int, dict[str, Any]]]


def split_generators(builder: Any, dl_manager: Any) -> dict[str, Examples]:
    """Each split's examples as (key, features), from archives that are downloaded if need be.

    Images are given as PIL images, which TFDS encodes to PNG without TensorFlow.
    """
    # One at a time: given together, the downloads after one that fails go on in other threads,
    # and the process cannot end before they do.
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
    """An array of bytes in IDX format: magic number 0, 0, 8, rank; sizes; data in C order."""
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
    """The contents of the wanted files, by their names without folders."""
    with tarfile.open(archive) as tar:
        found = {Path(member.name).name: member for member in tar.getmembers() if member.isfile()}
        contents = {name: tar.extractfile(found[name]) for name in wanted}
        return {name: file.read() for name, file in contents.items() if file is not None}


def _cifar_examples(split: str, files: Sequence[bytes], labels: tuple[str, ...]) -> Examples:
    """Records of a byte per label and 3 planes of 32x32 pixels."""
    records = np.frombuffer(b"".join(files), np.uint8).reshape(-1, len(labels) + 3 * 32 * 32)
    for index, record in enumerate(records):
        image = record[len(labels) :].reshape(3, 32, 32).transpose(1, 2, 0)
        numbers = dict(zip(labels, record[: len(labels)].tolist(), strict=True))
        yield index, {"id": f"{split}_{index:05d}", "image": _picture(image), **numbers}


def _picture(pixels: UInt8[np.ndarray, "height width *channels"]) -> Any:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(pixels))
