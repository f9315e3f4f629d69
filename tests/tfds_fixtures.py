"""Small data sets in real TFDS format, written offline and without TensorFlow.

`prepare_small` builds raw archives in the official formats with made-up content and sends them
through the lab's own preparation and TFDS's own builder and writer. Only the checksums that the
archives must have are exchanged for those of the made-up ones.
"""

import atexit
import functools
import gzip
import hashlib
import io
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.file_adapters import TfRecordFileAdapter
from tensorflow_datasets.core.utils.shard_utils import ShardConfig

from vaejax.data import Dataset
from vaejax.data.names import parse
from vaejax.data.prepare import prepare
from vaejax.data.prepared import Prepared
from vaejax.data.tfrecord import masked_crc32c

MNIST_LIKE = ("mnist", "fashion_mnist", "kmnist")
NAMES = (*MNIST_LIKE, "cifar10", "cifar100")
CLASSES = {"cifar100": 100}
CIFAR10_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

N_TRAIN, N_TEST = 67, 33  # What `small_data_dir` holds: odd, so that percentages must be rounded.


def small_data_dir(root: Path, file_format: str = "array_record") -> Path:
    """Prepares `mnist`, three files a split, and `cifar10`, one file a split; returns `root`."""
    shutil.copytree(_small_data_dir(file_format), root)
    return root


@functools.cache
def _small_data_dir(file_format: str) -> Path:
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    prepare_small(root, "mnist", N_TRAIN, N_TEST, file_format, n_shards=3)
    prepare_small(root, "cifar10", N_TRAIN, N_TEST, file_format)
    return root


def prepare_small(
    data_dir: Path,
    name: str,
    n_train: int = 64,
    n_test: int = 32,
    file_format: str = "array_record",
    n_shards: int | None = None,
) -> Prepared:
    """Prepares `name`, one of `NAMES`, under `data_dir` with made-up content.

    The content is that of `raw_split`. `file_format` is `array_record` or `tfrecord`.
    """
    write_archives(data_dir / "downloads" / "manual", name, n_train, n_test)
    with ExitStack() as stack:
        stack.enter_context(own_checksums(data_dir / "downloads" / "manual", name))
        if file_format == "tfrecord":
            stack.enter_context(tfrecord_writer())
        if n_shards is not None:
            config, shards = tfds.download.DownloadConfig, ShardConfig(num_shards=n_shards)
            stack.enter_context(mock.patch.object(config, "get_shard_config", return_value=shards))
        return prepare(parse(name), data_dir, file_format)


def tfds_builder(name: str, data_dir: Path) -> Any:
    """TFDS's own view of a prepared set, as Any: its annotations contradict its code."""
    return tfds.builder(name, data_dir=data_dir)


def raw_split(name: str, split: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Made-up images, uint8[n, height, width, channels], and labels, int32[n], in archive order.

    Each class is a bright square at a place of its own over a faint noise, so that a model finds
    structure, and no two images are equal.
    """
    rng = np.random.default_rng([*name.encode(), *split.encode()])
    side, channels = (28, 1) if name in MNIST_LIKE else (32, 3)
    classes = CLASSES.get(name, 10)
    labels = rng.permutation(np.arange(n) % classes).astype(np.int32)
    images = rng.integers(0, 60, (n, side, side, channels), np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 10)
        top, left = 2 + (5 * column) % 18, 2 + (2 * column + row) % 18
        image[top : top + 8, left : left + 8] += np.uint8(150)
    return images, labels


def write_archives(folder: Path, name: str, n_train: int, n_test: int) -> list[Path]:
    """Writes the raw archives under their official names, and returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": n_train, "test": n_test}
    if name in MNIST_LIKE:
        files = _mnist_files(name, sizes)
    elif name == "cifar10":
        files = {"cifar-10-binary.tar.gz": _tarball("cifar-10-batches-bin", _cifar10_files(sizes))}
    else:
        files = {"cifar-100-binary.tar.gz": _tarball("cifar-100-binary", _cifar100_files(sizes))}
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return [folder / file for file in files]


def _mnist_files(name: str, sizes: dict[str, int]) -> dict[str, bytes]:
    files = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = raw_split(name, split, sizes[split])
        image_head = struct.pack(">IIII", 2051, len(images), 28, 28)
        label_head = struct.pack(">II", 2049, len(labels))
        label_bytes = labels.astype(np.uint8).tobytes()
        files[f"{prefix}-images-idx3-ubyte.gz"] = gzip.compress(image_head + images.tobytes())
        files[f"{prefix}-labels-idx1-ubyte.gz"] = gzip.compress(label_head + label_bytes)
    return files


def _cifar10_files(sizes: dict[str, int]) -> dict[str, bytes]:
    """Five training files, a test file and the names, as in the official archive."""
    train = np.array_split(_cifar_records("cifar10", "train", sizes["train"]), 5)
    files = {f"data_batch_{i}.bin": part.tobytes() for i, part in enumerate(train, start=1)}
    files["test_batch.bin"] = _cifar_records("cifar10", "test", sizes["test"]).tobytes()
    files["batches.meta.txt"] = "\n".join([*CIFAR10_NAMES, "", ""]).encode()
    return files


def _cifar100_files(sizes: dict[str, int]) -> dict[str, bytes]:
    def words(kind: str, n: int) -> bytes:
        return "".join(f"{kind}_{number}\n" for number in range(n)).encode()

    return {
        "train.bin": _cifar_records("cifar100", "train", sizes["train"]).tobytes(),
        "test.bin": _cifar_records("cifar100", "test", sizes["test"]).tobytes(),
        "coarse_label_names.txt": words("coarse", 20),
        "fine_label_names.txt": words("fine", 100),
    }


def _cifar_records(name: str, split: str, n: int) -> np.ndarray:
    """A row of bytes per image: its labels, the coarse one first, then red, green and blue."""
    images, labels = raw_split(name, split, n)
    columns = [labels // 5, labels] if name == "cifar100" else [labels]
    planes = images.transpose(0, 3, 1, 2).reshape(n, -1)
    return np.concatenate([np.stack(columns, axis=1), planes], axis=1).astype(np.uint8)


def _tarball(folder: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@contextmanager
def own_checksums(folder: Path, name: str) -> Iterator[None]:
    """Makes TFDS expect the checksums that the archives in `folder` have now."""
    builder: Any = tfds.builder_cls(name)
    infos = {}
    for url, info in builder.url_infos.items():
        data = (folder / info.filename).read_bytes()
        size, checksum = type(info.size)(len(data)), hashlib.sha256(data).hexdigest()
        infos[url] = type(info)(size=size, checksum=checksum, filename=info.filename)
    with mock.patch.object(builder, "url_infos", infos):
        yield


@contextmanager
def tfrecord_writer() -> Iterator[None]:
    """Lets TFDS write TFRecord files without TensorFlow."""

    def write_examples(path: Any, iterator: Any) -> None:
        Path(path).write_bytes(b"".join(frame(record) for _, record in iterator))

    with mock.patch.object(TfRecordFileAdapter, "write_examples", staticmethod(write_examples)):
        yield


def frame(record: bytes) -> bytes:
    """A record as TFRecord frames it."""
    length = struct.pack("<Q", len(record))
    sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, record)]
    return length + sums[0] + record + sums[1]


def called_mnist(prepared: Path, place: Path) -> None:
    """Copies a prepared `cifar10` under the name `mnist`."""
    shutil.copytree(prepared, place)
    for file in place.iterdir():
        file.rename(file.with_name(file.name.replace("cifar10", "mnist")))
    info = place / "dataset_info.json"
    text = info.read_text().replace('"cifar10"', '"mnist"').replace(prepared.name, place.name)
    info.write_text(text)


def assert_equal(one: Dataset, other: Dataset) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)


def run_python(code: str) -> str:
    """Runs code in a fresh process where warnings are errors, and returns what it printed."""
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment, check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def flip(path: Path, at: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


def delete(path: Path) -> None:
    path.unlink()
