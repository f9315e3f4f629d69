"""Files as on Windows, imitated with what Linux tells of open ones: no other system was tried."""

import os
from pathlib import Path
from typing import Any

import pytest

from vaejax import files
from vaejax.data import cache

LINUX = Path("/proc/self/maps").exists()


def in_use(path: Path) -> bool:
    """Whether this process has a file open or mapped, or any file of a folder."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    names = [line.split(maxsplit=5)[5] for line in maps if "/" in line]
    for handle in Path("/proc/self/fd").iterdir():
        try:
            names.append(os.readlink(handle))
        except FileNotFoundError:  # that of the listing
            continue
    return any(Path(name).is_relative_to(path.resolve()) for name in names)


def refuse_what_is_in_use(patch: pytest.MonkeyPatch) -> None:
    """A file that is open or mapped is neither renamed nor replaced nor deleted."""
    for name in ("rename", "replace", "unlink"):
        patch.setattr(Path, name, _careful(getattr(Path, name)))
    patch.setattr(files, "PAUSES", (0.001,) * 3)
    patch.setattr(cache, "_MAPPED", None)


def _careful(act: Any) -> Any:
    def careful(path: Path, *targets: Any, **more: Any) -> Any:
        if any(in_use(Path(file)) for file in (path, *targets)):
            raise PermissionError(13, "The process cannot access the file", str(path))
        return act(path, *targets, **more)

    return careful
