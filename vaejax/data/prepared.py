"""Where TFDS keeps prepared data sets, found without importing TFDS.

A prepared set is a directory `<data dir>/<name>[/<config>]/<version>` with a `dataset_info.json`,
a `features.json` and record files. TFDS writes it under another name and renames it at the end, so
a directory of this name is complete.
"""

import json
import os
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from vaejax.data.contents import fingerprint
from vaejax.data.names import Request
from vaejax.errors import LabError
from vaejax.files import own_path

_VERSION = re.compile(r"\d+\.\d+\.\d+")


class Prepared(NamedTuple):
    """A prepared data set on disk."""

    name: str
    directory: Path
    sizes: dict[str, int]
    """Examples in each base split."""
    fingerprint: str
    """Differs once the data set has been prepared again, or one of its files replaced."""


def data_dir() -> Path:
    """TFDS's data directory: `TFDS_DATA_DIR` if that is set, else `~/tensorflow_datasets`."""
    text = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    if "://" in text:
        raise LabError(f"TFDS_DATA_DIR={text} is not a local directory, and only those are read.")
    return own_path(text)


def check_root(root: Path) -> None:
    """Refuse a data directory that is a prepared set or lies inside one."""
    for depth in ("", "*/", "*/*/"):
        for info in root.glob(f"{depth}dataset_info.json"):
            name = _json(info).get("name")
            above = next((path for path in info.parents if path.name == name), None)
            if above is not None and root.is_relative_to(above):
                raise LabError(
                    f"TFDS_DATA_DIR={root} is too deep, it is the prepared set '{name}' or a part "
                    f"of it: set it to {above.parent}."
                )


def find(request: Request, root: Path) -> Prepared | None:
    """The highest version of a set that is prepared under the data directory `root`; None if there
    is none.

    Raises LabError if its directory cannot be read.
    """
    try:
        directory = _directory(request, root)
        return None if directory is None else _describe(request.name, directory)
    except OSError as error:
        raise LabError(f"cannot read '{request}' in {root}: {error}.") from None


def damaged(directory: Path, why: object) -> LabError:
    """The error for a prepared directory that cannot be read."""
    return LabError(
        f"the prepared data set in {directory} is damaged or incomplete ({why}). "
        "Delete that directory and run again to prepare it afresh."
    )


def _directory(request: Request, root: Path) -> Path | None:
    """The directory of the highest version that matches the request."""
    parent = root / request.name
    # A set with several configs has this file, in which TFDS names the default one.
    note = parent / ".config" / "metadata.json"
    if request.config:
        versions = _versions(parent / request.config)
    elif not (versions := _versions(parent)) and note.is_file():
        versions = _versions(parent / str(_json(note).get("default_config_name")))
    wanted = [path for path in versions if fnmatchcase(path.name, request.version or "*")]
    return max(wanted, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def _versions(parent: Path) -> list[Path]:
    """The directories of prepared versions. Unfinished ones, which TFDS names `incomplete.*`, and
    empty ones are left out."""
    if not parent.is_dir():
        return []
    versions = [path for path in parent.iterdir() if _VERSION.fullmatch(path.name)]
    return [path for path in versions if (path / "dataset_info.json").is_file()]


def _describe(name: str, directory: Path) -> Prepared:
    info = directory / "dataset_info.json"
    try:
        sizes = {
            split["name"]: sum(int(length) for length in split.get("shardLengths", ()))
            for split in _json(info)["splits"]
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(directory, f"{info.name} cannot be read: {error!r}") from None
    files = sorted(directory.iterdir())
    return Prepared(name, directory, sizes, fingerprint(files, directory, info.read_bytes()))


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise damaged(path.parent, f"{path.name} is not JSON") from None
