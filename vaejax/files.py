"""Writes whole files: to a temporary file first, which is then renamed."""

import os
import tempfile
from pathlib import Path

from vaejax.errors import LabError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file, or leave the old one as it was.

    Raises:
        LabError: the file cannot be written (no space, no permission).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            aside = Path(file.name)
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                aside.chmod(0o644)
                aside.replace(path)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise LabError(
            f"Cannot write {path}: {error.strerror}. Free some space or choose another --out; what "
            "was already written is whole, and --resume continues from it."
        ) from error
