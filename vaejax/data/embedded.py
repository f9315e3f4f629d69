"""Two data sets that come with scikit-learn: no network, no files, no TFDS.

`digits`: the 1,797 handwritten digits of `load_digits`, 8x8x1, labels 0-9. Their 17 grey levels
v are scaled to uint8 as round(v * 255 / 16). Every fifth image is for test (359), the others for
training (1,438), in the library's order.

`patches`: squares of 32x32x3 pixels from the two photographs of `load_sample_images`, label 0 for
china and 1 for flower. Each photograph, 427x640, is cut into upright strips, some for training and
some for test, and patches lie wholly inside a strip on a grid of 8 pixels. So patches of one split
overlap, and no test patch shares a pixel with a training patch: 5,500 and 1,000 of them.
"""

import numpy as np
from jaxtyping import Int32, UInt8

NAMES = ("digits", "patches")

PATCH = 32
STRIDE = 8
STRIPS = {
    "train": ((0, 128), (192, 448), (512, 640)),
    "test": ((128, 192), (448, 512)),
}
"""Columns, first and one past the last, of each split's strips."""

_HOP = 3407

Split = tuple[UInt8[np.ndarray, "n height width channels"], Int32[np.ndarray, "n"]]


def base_splits(name: str) -> dict[str, Split]:
    """The `train` and `test` arrays, read-only, of one of `NAMES`."""
    found = _digits() if name == "digits" else _patches()
    for images, labels in found.values():
        images.flags.writeable = labels.flags.writeable = False
    return found


def _digits() -> dict[str, Split]:
    from sklearn.datasets import load_digits

    flat, target = load_digits(return_X_y=True)
    images = np.rint(flat * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = target.astype(np.int32)
    test = np.arange(len(labels)) % 5 == 4
    return {"train": (images[~test], labels[~test]), "test": (images[test], labels[test])}


def _patches() -> dict[str, Split]:
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    found = {}
    for split in STRIPS:
        corners = patch_corners(split, photographs[0].shape[0])
        images = np.stack(
            [
                photograph[top : top + PATCH, left : left + PATCH]
                for photograph in photographs
                for top, left in corners
            ]
        )
        labels = np.repeat(np.arange(len(photographs), dtype=np.int32), len(corners))
        # Long hops over the grid (a prime, so every patch is met once) mix the photographs and
        # their regions: the first hundred patches are a fair sample, with no random generator.
        order = np.arange(len(images)) * _HOP % len(images)
        found[split] = (images[order], labels[order])
    return found


def patch_corners(split: str, height: int) -> list[tuple[int, int]]:
    """(top, left) of every patch in one photograph, row by row."""
    return [
        (top, left)
        for top in range(0, height - PATCH + 1, STRIDE)
        for start, stop in STRIPS[split]
        for left in range(start, stop - PATCH + 1, STRIDE)
    ]
