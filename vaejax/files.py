"""Paths that a user gives, and files that are written whole: to a temporary file first, which is
then renamed."""

import os
from pathlib import Path
from uuid import uuid4

from vaejax.errors import LabError

ASIDE = ".vaejax-"
"""How the names of temporary files begin."""


def own_path(text: str | Path) -> Path:
    """A path that a user has given, absolute, with `~` as the home directory."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise LabError(f"{text}: {error} Give a path without ~, or set HOME.") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, or leave the old one as it was."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f"{ASIDE}{uuid4().hex}")
        try:
            with aside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        blocked = isinstance(error, FileExistsError | NotADirectoryError)
        remedy = f"{path.parent} is in a file or is one:" if blocked else "Free some space or"
        raise LabError(
            f"Cannot write {path}: {error.strerror}. {remedy} choose another --out; what was "
            "already written is whole, and --resume continues from it."
        ) from error


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files that killed processes have left in a folder and in those inside
    it. No other process may be writing there."""
    for path in (*folder.glob(f"{ASIDE}*"), *folder.glob(f"[!.]*/{ASIDE}*")):
        path.unlink(missing_ok=True)
