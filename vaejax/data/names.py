"""What a data set is called: two embedded sets, the names of TFDS, and paths."""

import math
import os
import re
from numbers import Integral
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from vaejax.errors import LabError
from vaejax.files import own_path

Colour = Literal["grey", "rgb"]
ARRAY_FILES = (".npy", ".npz")

EMBEDDED = {
    "digits": {"train": 1438, "test": 359},
    "patches": {"train": 5500, "test": 1000},
}
"""The sets that come with scikit-learn (see `embedded`): how many examples each split has."""

_NAME = re.compile(
    r"(?P<name>[A-Za-z]\w*)(?:/(?P<config>[\w+.-]+))?(?::(?P<version>[\d*]+\.[\d*]+\.[\d*]+))?"
)
_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Source(NamedTuple):
    """Where images come from, and what is done to them."""

    name: str
    """The name for results: that of the data set or, of a path, its last part."""
    path: str | None
    """The absolute path of your own images; None for a data set that has a name."""
    resize: int | None = None
    """The largest centred square of each image is scaled to so many pixels a side. None: no."""
    colour: Colour | None = None
    """What images are turned into. None: they stay as they are."""
    white: float | None = None
    """The number that stands for white in your own images. None: 255 of bytes, 1 of floats."""


def source(
    dataset: str | Path,
    resize: int | None = None,
    colour: Colour | None = None,
    white: float | None = None,
) -> Source:
    """What `--dataset` stands for: a path (see `is_path`), or else the name of a data set."""
    whole = isinstance(resize, Integral) and not isinstance(resize, bool)
    if not (resize is None or (whole and resize >= 1)):
        raise LabError(f"resize={resize!r}: use a whole number of 1 or more.")
    if colour not in (None, *get_args(Colour)):
        raise LabError(f"colour={colour!r}: use one of {', '.join(get_args(Colour))}.")
    if white is not None and not 0 < white < math.inf:
        raise LabError(f"white={white!r}: use a positive number.")
    if not isinstance(dataset, Path) and not is_path(dataset):
        if white is not None:
            raise LabError(f"white={white:g} is for images of your own, and {dataset} is a name.")
        return Source(dataset, None, resize, colour)
    path = Path(os.path.abspath(own_path(dataset)))
    last = path.stem if path.suffix.lower() in ARRAY_FILES else path.name
    # Brackets and dollars would be markup in tables and titles.
    return Source(re.sub(r"[^\w .+-]", "_", last) or "images", str(path), resize, colour, white)


def is_path(dataset: str) -> bool:
    """Whether a text is a path and no name: it begins with `/`, `./`, `../` or `~`, ends with
    `.npy` or `.npz`, or has a `/` in it and is there. A single word is always a name, whatever
    folders there are."""
    return (
        dataset in (".", "..")
        or dataset.startswith(("/", "~"))
        or dataset.lower().endswith(ARRAY_FILES)
        or ("/" in dataset and (dataset.startswith(".") or os.path.exists(dataset)))
    )


class Request(NamedTuple):
    """The parts of a TFDS name, `name[/config][:version]`; a version may hold `*`."""

    name: str
    config: str | None
    version: str | None

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return self.name + config + (f":{self.version}" if self.version else "")


def parse(name: str) -> Request:
    """The parts of a TFDS name. A name in CamelCase becomes snake_case, as in TFDS.

    Raises LabError for a text that is no such name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise LabError(
            f"'{name}' is no data set name: write 'name', 'name/config' or 'name:1.2.3' as TFDS "
            "does, for example 'mnist'."
        )
    snake = _WORD_BOUNDARY.sub("_", match["name"]).lower()
    return Request(snake, match["config"], match["version"])
