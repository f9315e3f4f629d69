"""Whether a checkpoint is still what was saved. Orbax does not notice a changed bit of a weight,
and of a file that it cannot read its threads print tracebacks: each is looked at before it reads.
"""

import json
import zlib
from pathlib import Path
from typing import Any

from vaejax.store import description, records, trace_files
from vaejax.train import Trace

NAME = "checksums.json"


def write(folder: Path, checkpoint: Path, of_trace: dict[str, int]) -> None:
    """Write those of a checkpoint into it.

    Args:
        folder: of the run.
        of_trace: as `trace_files.extend` gives them.
    """
    records.write_json(checkpoint / NAME, _found(folder, checkpoint, of_trace))


def read(checkpoint: Path) -> dict[str, Any]:
    """Those that were saved; of the trace under `trace`."""
    return json.loads((checkpoint / NAME).read_bytes())


def check(folder: Path, checkpoint: Path, trace: Trace) -> None:
    """Look at all that a checkpoint consists of; `trace` as `trace_files.read` gives it."""
    saved, found = read(checkpoint), _found(folder, checkpoint, trace_files.checksums(trace))
    for part in sorted(found.keys() | saved.keys()):
        if saved.get(part) != found.get(part):
            raise ValueError(f"the checksum of the {part} is not the one that was saved")


def _found(folder: Path, checkpoint: Path, of_trace: dict[str, int]) -> dict[str, Any]:
    states = {path.name: _of_files(path) for path in checkpoint.iterdir() if path.is_dir()}
    return {"config": description.checksum(folder), "trace": of_trace, **states}


def _of_files(folder: Path) -> dict[str, int]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _of_file(path) for path in files}


def _of_file(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum
