"""What `--white`, `--resize`, `--grey` and `--rgb` do to images."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from vaejax.data.cache import Images
from vaejax.data.contents import is_vectors
from vaejax.data.names import Colour
from vaejax.errors import LabError

WHITE = {"b": 1, "u": 255, "f": 1}
"""The number that stands for white where `--white` names no other, by kind of array: bool, bytes,
floats."""
LUMA = (19595, 38470, 7471)
"""Red, green and blue in grey, of 65,536: the weights of ITU-R 601-2, as Pillow has them."""

Changed = UInt8[np.ndarray, "n new_height new_width new_channels"]


def to_bytes(what: str, images: np.ndarray, white: float | None = None) -> UInt8[np.ndarray, "..."]:
    """Images as bytes: `white` becomes 255, and other numbers in proportion, rounded."""
    white = WHITE[images.dtype.kind] if white is None else white
    if images.dtype == np.uint8 and white == WHITE["u"]:
        return np.asarray(images)
    if not np.isfinite(images).all():
        raise LabError(
            f"{what} holds NaN or infinity: replace them (np.nan_to_num), or leave these rows out."
        )
    levels = np.rint(images.astype(np.float64) * (255 / white))
    if levels.min() < 0 or levels.max() > 255:
        raise LabError(
            f"{what} holds numbers from {images.min():g} to {images.max():g}, outside "
            f"[0, {white:g}]: name white, such as --white 255, or scale features: "
            "(x - x.min(0)) / (x.max(0) - x.min(0))."
        )
    return levels.astype(np.uint8)


def changed(images: Images, resize: int | None, colour: Colour | None) -> Changed:
    """Images in another size and colour; None leaves it as it is."""
    if colour is not None:
        images = _coloured(images, colour)
    return images if resize is None else _resized(images, resize)


def _coloured(images: Images, colour: Colour) -> Changed:
    channels = images.shape[3]
    if channels not in (1, 3):
        raise LabError(f"--{colour} is for images of 1 or 3 channels, and these have {channels}.")
    if colour == "rgb":
        return np.repeat(images, 3, axis=3) if channels == 1 else images
    if channels == 1:
        return images
    # To the bit as Pillow's `convert("L")`.
    weighted = images.astype(np.uint32) @ np.array(LUMA, np.uint32)
    return ((weighted + 2**15) >> 16).astype(np.uint8)[..., None]


def _resized(images: Images, side: int) -> Changed:
    """The largest centred square of each image, scaled to `side` pixels by bicubic interpolation
    that averages where it shrinks (Pillow's `ImageOps.fit`); each channel by itself. A square of
    this size is cut out in whole pixels, which no interpolation smooths."""
    _, height, width, channels = images.shape
    if is_vectors((height, width, channels)):
        raise LabError("--resize is for pictures, and these are vectors.")
    if min(height, width) == side:
        top, left = (height - side) // 2, (width - side) // 2
        return images[:, top : top + side, left : left + side]
    scaled = np.empty((len(images), side, side, channels), np.uint8)
    for index, image in enumerate(images):
        for channel in range(channels):
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            scaled[index, ..., channel] = np.asarray(ImageOps.fit(plane, (side, side)))
    return scaled
