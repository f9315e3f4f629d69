"""The description of a run: which models train together, on what. Plain data, kept as JSON."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from vaejax.config import Config, Knobs, Nets
from vaejax.errors import LabError

ARRAY = "array"
"""What `fit` calls images unless it is told their data set."""


@dataclass(frozen=True)
class Images:
    """The images of a run: where they come from, what was done to them, and which ones they are."""

    dataset: str
    train: str = "train"
    """The training images, in TFDS syntax."""
    test: str = "test"
    """The test images, in TFDS syntax."""
    path: str | None = None
    """Where the images are, if they are your own."""
    resize: int | None = None
    """The largest centred square of each image was scaled to so many pixels a side."""
    colour: str | None = None
    """What the images were turned into: `grey` or `rgb`."""
    white: float | None = None
    """The number that stands for white in your own images. None: 255 of bytes, 1 of floats."""
    train_digest: str | None = None
    """Tells the training images from others of the same name (`digest`). None: unknown."""
    test_digest: str | None = None
    """The same of the test images."""
    held_out_digest: str | None = None
    """The same of the images that `--keep-best` holds out; None without it."""


def digest(*parts: np.ndarray) -> str:
    """Tells arrays of images from others: 16 hexadecimal digits."""
    found = hashlib.blake2b(digest_size=8)
    for part in parts:
        found.update(str(part.shape).encode())
        found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()


@dataclass(frozen=True)
class Run:
    """Models trained together: one Config, and for each lane its knobs and its seed.

    Raises:
        LabError: there is no seed or one out of range, or a knob or a label does not have as many
            values as there are seeds.
    """

    name: str
    images: Images
    config: Config
    knobs: Knobs
    """Arrays [lanes]."""
    seeds: tuple[int, ...]
    labels: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Columns that a study adds to the rows of this run: by name, a value for each lane."""
    start: str | None = None
    """Which trained weights the models begin from, see `study.starts`. None: fresh ones."""

    def __post_init__(self) -> None:
        if not self.seeds or not all(0 <= seed < 2**31 for seed in self.seeds):
            raise LabError(f"seeds={self.seeds}: use one or more whole numbers from 0 to 2^31 - 1.")
        lanes = len(self.seeds)
        if any(values.shape != (lanes,) for values in self.knobs):
            raise LabError(f"{lanes} seeds need as many of each knob, one for each lane.")
        if any(len(values) != lanes for values in self.labels.values()):
            raise LabError(f"{lanes} seeds need as many of each label, one for each lane.")

    def of_lanes(self, lanes: Sequence[int]) -> "Run":
        """The same run with these of its lanes only."""
        rows = list(lanes)
        return dataclasses.replace(
            self,
            knobs=Knobs(*(np.asarray(values)[rows] for values in self.knobs)),
            seeds=tuple(self.seeds[lane] for lane in rows),
            labels={
                name: tuple(values[lane] for lane in rows) for name, values in self.labels.items()
            },
        )

    @cached_property
    def lanes(self) -> tuple[dict[str, int | float], ...]:
        """Seed and knobs of each lane, by name. A knob is the shortest decimal number that gives
        the same float32."""
        columns = {
            name: [float(str(np.float32(value))) for value in values]
            for name, values in self.knobs._asdict().items()
        }
        return tuple(
            {"seed": seed, **{name: column[lane] for name, column in columns.items()}}
            for lane, seed in enumerate(self.seeds)
        )

    @property
    def differing(self) -> list[str]:
        """Of the seed and the knobs those in which lanes differ."""
        return [name for name in self.lanes[0] if len({lane[name] for lane in self.lanes}) > 1]

    def to_json(self) -> dict[str, Any]:
        """The description as JSON values. Of nets other than the MLP it holds the name."""
        config, nets = dataclasses.asdict(self.config), self.config.nets
        del config["nets"]
        if nets is not None:
            config["nets"] = nets.name
        return {
            "name": self.name,
            "images": dataclasses.asdict(self.images),
            "config": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in config.items()
            },
            "lanes": list(self.lanes),
            "labels": {name: list(values) for name, values in self.labels.items()},
            "start": self.start,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any], nets: Nets | None = None) -> "Run":
        """The run that `to_json` described; give `nets` if its Config has nets of its own.

        Raises:
            LabError: the nets that the run was trained with are not those given.
        """
        choices: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
            for name, value in fields["config"].items()
        }
        trained_with = choices.pop("nets", None)
        if trained_with != (nets and nets.name):
            raise LabError(
                f"The run was trained with the nets {trained_with or 'of vaejax.model'}: give "
                f"{'them as nets=...' if trained_with else 'no nets'}."
            )
        lanes = fields["lanes"]
        return cls(
            name=fields["name"],
            images=Images(**fields["images"]),
            config=Config(**choices, nets=nets),
            knobs=Knobs(
                *(np.asarray([lane[name] for lane in lanes], np.float32) for name in Knobs._fields)
            ),
            seeds=tuple(lane["seed"] for lane in lanes),
            labels={name: tuple(values) for name, values in fields["labels"].items()},
            start=fields["start"],
        )
