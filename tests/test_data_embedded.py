"""vaejax.data: `digits` and `patches`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets

from vaejax.data import embedded, load
from vaejax.data.embedded import PATCH


def test_digits_are_those_of_sklearn() -> None:
    bunch: Any = sklearn.datasets.load_digits()
    train, test = load("digits"), load("digits", "test")
    assert train.images.shape == (1438, 8, 8, 1)
    assert test.images.shape == (359, 8, 8, 1)
    for i, (image, label) in enumerate(zip(bunch.images, bunch.target, strict=True)):
        got, place = (test, i // 5) if i % 5 == 4 else (train, i - i // 5)
        assert got.labels[place] == label
        assert got.images[place, ..., 0].tolist() == [
            [round(value * 255 / 16) for value in row] for row in image
        ]


def test_no_test_patch_shares_a_pixel_with_a_training_patch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs whose pixels spell their own place show where every patch was cut."""
    row, column = np.mgrid[:427, :640]
    places = [
        np.stack([row % 256, column % 256, row // 256 + 2 * (column // 256) + 10 * photo], axis=-1)
        for photo in range(2)
    ]
    photographs = dict(zip(("china.jpg", "flower.jpg"), places, strict=True))
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(
        embedded, "load_sample_image", lambda name: photographs[name].astype(np.uint8)
    )
    pixels = {}
    for split, n in (("train", 5500), ("test", 1000)):
        images, labels = load("patches", split)
        assert images.shape == (n, PATCH, PATCH, 3)
        np.testing.assert_array_equal(labels, images[:, 0, 0, 2] // 10)
        assert np.bincount(labels).tolist() == [n // 2, n // 2]
        assert len({image.tobytes() for image in images}) == n
        spelled = images.reshape(-1, 3).astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        pixels[split] = np.flatnonzero(np.bincount(spelled))
        # A patch is a square of neighbours, not a heap of pixels.
        np.testing.assert_array_equal(np.diff(images[..., 0], axis=1), 1)
        np.testing.assert_array_equal(np.diff(images[..., 1], axis=2), 1)
    assert len(np.intersect1d(pixels["train"], pixels["test"])) == 0
    assert abs(load("patches", "train[:100]").labels.mean() - 0.5) < 0.05


def test_patches_are_cut_from_the_photographs() -> None:
    images, labels = load("patches", "train[:20]")
    photographs = [sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    for image, label in zip(images, labels, strict=True):
        windows = np.lib.stride_tricks.sliding_window_view(photographs[label], (PATCH, PATCH, 3))
        assert (windows[::8, ::8, 0] == image).all(axis=(2, 3, 4)).any()


def test_embedded_sets_need_neither_network_nor_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "cache"))
    assert [len(load(name, "all").labels) for name in ("digits", "patches")] == [1797, 6500]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
