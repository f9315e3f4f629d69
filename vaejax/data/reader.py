"""Reads a prepared TFDS directory without TensorFlow, in TFDS's order."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8
from PIL import Image

from vaejax.data import tfrecord
from vaejax.data.cache import Images, Labels
from vaejax.data.prepared import damaged
from vaejax.errors import LabError

_BATCH = 1024
"""Records to fetch at once. Fetching them one by one takes twice as long."""


def batches(directory: Path, split: str, n: int) -> Iterator[tuple[Images, Labels]]:
    """The images and labels of a base split of `n` examples, batch by batch.

    The labels of a set without an integer label are 0.

    Raises LabError if the set is damaged, is in a format that needs TensorFlow, or does not have
    uint8 images of one shape.
    """
    seen = 0
    with _errors_mean_damage(directory):
        builder = tfds.builder_from_directory(directory)
        features: Any = builder.info.features
        shape = image_shape(features, builder.info.full_name)
        label = dict(features).get("label")
        known = (
            label is not None and label.shape == () and np.issubdtype(label.np_dtype, np.integer)
        )
        keys = ("image", "label") if known else ("image",)
        used = tfds.features.FeaturesDict({key: features[key] for key in keys})
        for records in _records(builder, directory, split):
            yield _decode_all(records, used, shape)
            seen += len(records)
    if seen != n:
        raise damaged(directory, f"split '{split}' holds {seen:,} examples of {n:,}")


def image_shape(features: Any, name: str) -> tuple[int, int, int]:
    """Height, width and channels of every image of the set `name`, from its TFDS features.

    Raises LabError if it does not have uint8 images of one shape.
    """
    found = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image: Any = found.get("image")
    shape: Any = image.shape if isinstance(found.get("image"), tfds.features.Image) else (None,)
    if None in shape:
        raise LabError(f"'{name}' cannot be used: it has no 'image' of one fixed shape.")
    if (dtype := np.dtype(image.np_dtype)) != np.uint8:
        raise LabError(f"'{name}' cannot be used: its images are {dtype}, not uint8.")
    return shape


@contextmanager
def _errors_mean_damage(directory: Path) -> Iterator[None]:
    """Turns any error but a LabError into one that calls the directory damaged: many libraries take
    part in parsing its files, each with errors of its own."""
    try:
        yield
    except (MemoryError, LabError):
        raise
    except ImportError as error:
        raise LabError(f"{directory} cannot be read: {error}. Install that package.") from None
    except Exception as error:
        raise damaged(directory, f"{type(error).__name__}: {error}") from None


def _records(builder: Any, directory: Path, split: str) -> Iterator[Sequence[bytes]]:
    """The serialized examples of a base split, `_BATCH` at a time."""
    file_format = builder.info.file_format
    if file_format is tfds.core.FileFormat.ARRAY_RECORD:
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        source = builder.as_data_source(split, deserialize_method=raw)
        for start in range(0, len(source), _BATCH):
            yield source.__getitems__(range(start, min(start + _BATCH, len(source))))
    elif file_format is tfds.core.FileFormat.TFRECORD:
        files = [Path(file) for file in builder.info.splits[split].filepaths]
        records = tfrecord.read(files)
        while batch := list(islice(records, _BATCH)):
            yield batch
    else:
        raise LabError(
            f"{directory} is in the format '{file_format}'; prepare the set again as "
            "'array_record' or 'tfrecord'."
        )


def _decode_all(
    records: Sequence[bytes], features: Any, shape: tuple[int, int, int]
) -> tuple[Images, Labels]:
    undecoded = {"image": tfds.decode.SkipDecoding()}
    examples = [features.deserialize_example_np(r, decoders=undecoded) for r in records]
    images = np.stack([_decode(example["image"], shape) for example in examples])
    return images, np.array([example.get("label", 0) for example in examples], np.int32)


def _decode(encoded: bytes, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "..."]:
    """The pixels of a PNG or JPEG file. It is always PIL that decodes them: TFDS uses OpenCV where
    that is installed, which may decode a JPEG to other pixels."""
    with Image.open(io.BytesIO(encoded)) as image:
        mode = {1: "L", 3: "RGB", 4: "RGBA"}.get(shape[2], image.mode)
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels.reshape(shape)
