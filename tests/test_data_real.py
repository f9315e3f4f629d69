"""vaejax.data on the real MNIST and CIFAR-10, prepared under `TFDS_DATA_DIR`."""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from tensorflow_datasets.core.hashing import Hasher

from vaejax.data import load

pytestmark = pytest.mark.real_data

# Of the uncompressed IDX files that are distributed as train- and t10k-images-idx3-ubyte.gz.
IMAGES_MD5 = {
    "train": "6bbc9ace898e44ae57da46a324031adb",
    "test": "2646ac647ad5339dbf082846283269ea",
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(("split", "n"), [("train", 60_000), ("test", 10_000)])
def test_mnist_is_the_official_one_to_the_bit(split: str, n: int) -> None:
    images, labels = load("mnist", split)
    assert images.shape == (n, 28, 28, 1)
    assert np.bincount(labels).shape == (10,)
    in_file_order = images[np.argsort(tfds_order(split, n))]
    idx = struct.pack(">IIII", 2051, n, 28, 28) + in_file_order.tobytes()
    assert hashlib.md5(idx).hexdigest() == IMAGES_MD5[split]


def tfds_order(split: str, n: int) -> np.ndarray:
    """The place in the archive of each prepared example: TFDS sorts by a hash of that place."""
    hasher = Hasher(split)
    return np.array(sorted(range(n), key=hasher.hash_key))


@pytest.mark.parametrize(("split", "n"), [("train", 50_000), ("test", 10_000)])
def test_cifar10_has_its_official_size(split: str, n: int) -> None:
    images, labels = load("cifar10", split)
    assert images.shape == (n, 32, 32, 3)
    assert np.bincount(labels).tolist() == [n // 10] * 10
