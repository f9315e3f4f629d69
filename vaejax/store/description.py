"""config.json in the folder of a run: which models it trains, and on what. Where the images are,
which of them are for test, and the labels may change; all else says how the models were trained."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaejax.config import Nets
from vaejax.errors import LabError
from vaejax.run import Run
from vaejax.store import records

NAME = "config.json"
FORMAT = 3
"""The format of a run's folder. A folder of another one is refused."""
IMAGES = ("dataset", "train", "resize", "colour", "train_digest", "held_out_digest")
"""What of the images says how the models were trained."""


def write(folder: Path, run: Run) -> None:
    """Write the description of a run, in place of any other."""
    records.write_json(folder / NAME, run.to_json() | {"format": FORMAT})


def read(folder: Path) -> dict[str, Any]:
    """What config.json says, as JSON values."""
    path = folder / NAME
    try:
        found = json.loads(path.read_text())
        if found["format"] != FORMAT:
            raise LabError(
                f"{path} is of another version of vaejax: use that version, or move {folder} away "
                "and train again."
            )
        of_training(found)  # all of it is there
        return found
    except OSError as error:
        raise LabError(
            f"{folder} holds no {NAME} that can be read ({error.strerror}): give the folder of a "
            "run, such as checkpoints/mnist/latent_size/z2."
        ) from error
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def read_run(folder: Path, nets: Nets | None = None) -> Run:
    """The run in a folder; give `nets` if its Config has nets of its own."""
    found, path = read(folder), folder / NAME
    try:
        return Run.from_json(found, nets)
    except LabError as error:
        raise LabError(f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def nets_of(folder: Path) -> str | None:
    """The name of the nets that the run in a folder was trained with, if they are not the MLPs of
    `vaejax.model`."""
    return read(folder)["config"].get("nets")


def _damaged(path: Path, error: Exception) -> LabError:
    return LabError(
        f"{path} is damaged ({error}): mend it, or move {path.parent} away and train again."
    )


def of_training(description: Mapping[str, Any]) -> dict[str, Any]:
    """What a description says of how the models were trained."""
    return {
        "name": description["name"],
        "config": dict(description["config"]),
        "lanes": list(map(dict, description["lanes"])),
        "start": description["start"],
        "images": {name: description["images"][name] for name in IMAGES},
    }


def of_run(run: Run) -> dict[str, Any]:
    """The same of a run."""
    return of_training(records.plain(run.to_json()))


def of_folder(folder: Path) -> dict[str, Any]:
    """The same of the run in a folder."""
    return of_training(read(folder))


def checksum(folder: Path) -> int:
    """Of what config.json says of the training, in any layout."""
    return zlib.crc32(json.dumps(of_folder(folder), sort_keys=True).encode())


def differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What differs in the training of two runs, a line for each setting, but for which images of
    one name they are."""
    old, new = _settings(there), _settings(asked)
    lines = [
        f"{name} is {old.get(name)}, asked is {new.get(name)}"
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name) and not name.endswith("_digest")
    ]
    if not lines and there["lanes"] != asked["lanes"]:
        return ["its models combine these seeds and knobs in other ways"]
    return lines


def _settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """Each setting of a run by its name; of a knob and of the seed all values that lanes have."""
    lanes = training["lanes"]
    values = {name: sorted({lane[name] for lane in lanes}) for name in lanes[0]}
    said = {name: " ".join(f"{value:g}" for value in found) for name, found in values.items()}
    others = {name: training[name] for name in ("name", "start")}
    return {**training["images"], **training["config"], **others, **said}
