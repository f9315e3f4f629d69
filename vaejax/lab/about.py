"""What a study says of itself beside its rows (study.json): question, command, cost, captions; and
checksums of the files beside it."""

import dataclasses
import inspect
import json
import shlex
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vaejax.errors import LabError
from vaejax.lab.flags import QUICK, Flags
from vaejax.lab.provenance import provenance
from vaejax.lab.report import noise_columns
from vaejax.lab.verdicts import distinct, number
from vaejax.store import records

FILE, VERDICTS = "study.json", "verdict.json"
ELSEWHERE = (
    "quick", "out", "resume", "all_columns", "format", "checkpoint_every", "chunk",
    "batch_devices", "distributed", "coordinator", "processes", "process_id",
    "connect_timeout",
)  # fmt: skip
"""Flags that say where and how a study runs, and not what it finds."""
MOST_SCALES = 6
"""More scales than these are given as a range in a caption."""


def command(module: str, flags: Flags, quick: Mapping[str, Any]) -> str:
    """The shortest command that asks for the same results: flags that are not as by default, but
    for those that change no result."""
    defaults = type(flags)()
    if flags.quick:
        defaults = dataclasses.replace(defaults, **QUICK, **quick)
    words = ["python", "-m", module] + (["--quick"] if flags.quick else [])
    for field in dataclasses.fields(flags):
        value = getattr(flags, field.name)
        if field.name in ELSEWHERE or value == getattr(defaults, field.name):
            continue
        name = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        else:
            many = value if isinstance(value, tuple) else (value,)
            words += [f"--{name}", *(_word(item) for item in many)]
    return shlex.join(words)


def _word(value: Any) -> str:
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)


def module_of(function: Any) -> str:
    """The module of a page as `python -m` takes it, also if it is the one that runs."""
    name = function.__module__
    if name != "__main__":
        return name
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec else Path(sys.argv[0]).stem


def caption(command: str, rows: Sequence[records.Row]) -> str:
    """Two lines for below a figure: the command; the seeds, and what the scales amount to."""
    seeds = ", ".join(map(str, distinct(rows, "seed")))
    return f"{command}\nSeeds {seeds}. {_weights(rows)}"


def _weights(rows: Sequence[records.Row]) -> str:
    """The sigma of the decoder, or beta, at each scale."""
    for column in noise_columns(rows):
        at = {row["recon_scale"]: row[column] for row in rows}
        scales = sorted(at)
        if len(scales) > MOST_SCALES:
            scales = [scales[0], scales[-1]]
        shown = ", ".join(f"{number(at[scale])} at {number(scale)}" for scale in scales)
        join = " (first and last recon_scale)" if len(at) > MOST_SCALES else ""
        return f"{column.replace('_', ' ').capitalize()} at each recon_scale: {shown}{join}."
    return ""


def invocation(command: str, started: float) -> dict[str, Any]:
    """One run of the command: when it ended, and how long it took since `started`, by
    `time.monotonic`."""
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 1),
        **provenance(),
    }


def text(study: Any) -> str:
    """The docstring of a page."""
    return inspect.cleandoc(study.about or study.name)


def question(study: Any) -> str:
    """The first paragraph of a page: what it asks."""
    return " ".join(text(study).split("\n\n")[0].split())


def write(
    folder: Path,
    study: Any,
    ran: Sequence[Mapping[str, Any]] = (),
    captions: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
) -> None:
    """Write study.json, with the checksums of the rows, of verdict.json and of the figures.

    Args:
        ran: a run of the command that comes after the earlier ones.
        captions: of the figures; None leaves them, and their files, as they are.
        files: of the figures.

    Raises:
        LabError: the old study.json is damaged, or the new one cannot be written.
    """
    old, rows = read(folder), records.read(folder / records.RESULTS)
    if captions is None:
        captions, checksums = old.get("figures", {}), dict(old.get("checksums", {}))
    else:
        checksums = {}
    for path in (folder / VERDICTS, *files):
        checksums[path.name] = zlib.crc32(path.read_bytes())
    records.write_json(
        folder / FILE,
        records.sealed(
            {
                "study": study.name,
                "question": question(study),
                "about": text(study),
                "columns": [*study.columns],
                "more_columns": [*study.more_columns],
                "by": [*study.by],
                "rows": len(rows),
                "rows_checksum": records.checksum(rows),
                "figures": captions,
                "checksums": checksums,
                "invocations": [*old.get("invocations", []), *ran],
            },
            FILE,
        ),
    )


def read(folder: Path) -> dict[str, Any]:
    """What study.json says; nothing if there is no such file, as beside results of version 0.1.

    Raises:
        LabError: it is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        found = records.opened(json.loads(path.read_text()), FILE)
        if not isinstance(found.get("figures", {}), dict):
            raise ValueError("figures is no JSON object")
        if not isinstance(found.get("invocations", []), list):
            raise ValueError("invocations is no list")
        return found
    except (OSError, ValueError) as error:
        raise LabError(f"{path} is damaged ({error}): delete it, the results stay.") from None
