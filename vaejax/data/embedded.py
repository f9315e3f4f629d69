"""Two data sets that come with scikit-learn, and need no network, no files and no TFDS.

`digits`: the 1,797 handwritten digits of `load_digits`, 8x8x1, labels 0-9. A grey level v, 0 to 16,
becomes round(v * 255 / 16). Every fifth image is for test (359), the others for training (1,438),
in scikit-learn's order.

`patches`: squares of 32x32x3 pixels from the two photographs of `load_sample_images`, with label 0
for the one of china and 1 for the flower. Each photograph, 427x640, is divided into vertical
strips, some for training and some for test. A patch lies inside one strip, and its corner on a grid
of 8 pixels. So patches of one split overlap, but no test patch shares a pixel with a training
patch. There are 5,500 for training and 1,000 for test.

The files of scikit-learn are read without importing it, which would take half a second and 50 MB.
"""

import importlib.util
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8
from PIL import Image

from vaejax.errors import LabError

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

Split = tuple[UInt8[np.ndarray, "n height width channels"], Int32[np.ndarray, "n"]]


def base_splits(name: str) -> dict[str, Split]:
    """The splits `train` and `test` of `digits` or `patches`, as read-only arrays."""
    found = _digits() if name == "digits" else _patches()
    for images, labels in found.values():
        images.flags.writeable = labels.flags.writeable = False
    return found


def _digits() -> dict[str, Split]:
    table = np.loadtxt(of_sklearn("data", "digits.csv.gz"), delimiter=",")
    images = np.rint(table[:, :-1] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = table[:, -1].astype(np.int32)
    test = np.arange(len(labels)) % 5 == 4
    return {"train": (images[~test], labels[~test]), "test": (images[test], labels[test])}


def _patches() -> dict[str, Split]:
    photographs = [photograph("china"), photograph("flower")]
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
        # Patch i is the one at i * HOP, counted round and round, which meets every patch once. So
        # the first hundred patches are from all parts of both photographs.
        order = np.arange(len(images)) * HOP % len(images)
        found[split] = (images[order], labels[order])
    return found


def photograph(name: str) -> UInt8[np.ndarray, "height width 3"]:
    """One of the two photographs of `load_sample_images`."""
    with Image.open(of_sklearn("images", f"{name}.jpg")) as image:
        return np.asarray(image)


def of_sklearn(folder: str, name: str) -> Path:
    """A file of `sklearn.datasets`.

    Raises:
        LabError: this scikit-learn keeps it elsewhere.
    """
    package = importlib.util.find_spec("sklearn")
    for place in (package and package.submodule_search_locations) or ():
        path = Path(place, "datasets", folder, name)
        if path.is_file():
            return path
    raise LabError(
        f"The installed scikit-learn has no file datasets/{folder}/{name}: install another version "
        "of it (1.9 has the file), or use another data set."
    )


def patch_corners(split: str, height: int) -> list[tuple[int, int]]:
    """The top left corner (row, column) of every patch in a photograph, row by row."""
    return [
        (top, left)
        for top in range(0, height - PATCH + 1, STRIDE)
        for start, stop in STRIPS[split]
        for left in range(start, stop - PATCH + 1, STRIDE)
    ]
