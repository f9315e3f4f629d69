"""Two data sets that come with scikit-learn, and need no network and no TFDS.

`digits`: the 1,797 handwritten digits of `load_digits`, 8x8x1, labels 0-9. A grey level v, 0 to 16,
becomes round(v * 255 / 16). Every fifth image is for test (359), the others for training (1,438),
in scikit-learn's order.

`patches`: squares of 32x32x3 pixels from the two photographs of `load_sample_images`, with label 0
for the one of china and 1 for the flower. Each photograph, 427x640, is divided into vertical
strips, some for training and some for test. A patch lies inside one strip, and its corner on a grid
of 8 pixels. So patches of one split overlap, but no test patch shares a pixel with a training
patch. There are 5,500 for training and 1,000 for test.

To import scikit-learn takes a second or two; the cache has both sets from then on.
"""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits, load_sample_image

from vaejax.data.cache import Images, Labels

PATCH = 32
"""Height and width of a patch."""
STRIDE = 8
"""Pixels between the corners of neighbouring patches."""
STRIPS = {
    "train": ((0, 128), (192, 448), (512, 640)),
    "test": ((128, 192), (448, 512)),
}
"""The strips of each split, as the first column and the one after the last."""
HOP = 3407
"""A prime, and so coprime to the number of patches. See `_patches`."""


def base_split(name: str, split: str) -> tuple[Images, Labels]:
    """The split `train` or `test` of `digits` or `patches`."""
    return _digits(split) if name == "digits" else _patches(split)


def _digits(split: str) -> tuple[Images, Labels]:
    digits: Any = load_digits()
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]
    chosen = (np.arange(len(images)) % 5 == 4) == (split == "test")
    return images[chosen], digits.target[chosen].astype(np.int32)


def _patches(split: str) -> tuple[Images, Labels]:
    photographs = [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    corners = [
        (top, left)
        for top in range(0, photographs[0].shape[0] - PATCH + 1, STRIDE)
        for start, stop in STRIPS[split]
        for left in range(start, stop - PATCH + 1, STRIDE)
    ]
    images = np.stack(
        [
            photograph[top : top + PATCH, left : left + PATCH]
            for photograph in photographs
            for top, left in corners
        ]
    )
    labels = np.repeat(np.arange(len(photographs), dtype=np.int32), len(corners))
    # Patch i is the one at i * HOP, counted round and round, which meets every patch once. So the
    # first hundred patches are from all parts of both photographs.
    order = np.arange(len(images)) * HOP % len(images)
    return images[order], labels[order]
