"""What a study says of itself beside its rows (study.json): question, command, cost, captions, and
which of the rows count."""

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from vaejax.parallel import processes
from vaejax.store import findings, records
from vaejax.study.command import quick_flags
from vaejax.study.flags import ExecutionFlags, Flags, Format, flag
from vaejax.study.provenance import provenance
from vaejax.study.rows import distinct, number
from vaejax.study.terminal import noise_columns

MOST_SCALES = 6
"""More scales than these are given as a range in a caption."""


def command(study: Any, flags: Flags) -> str:
    """The command of a study: what its flags say beyond the defaults, but for those on
    which no result depends."""
    defaults = quick_flags(type(flags), study.quick) if flags.quick else type(flags)()
    words = ["python", "-m", module_of(study.runs)]
    execution = {field.name for field in fields(ExecutionFlags)}
    for name, value in vars(flags).items():
        if name in execution or value == getattr(defaults, name):
            continue
        if isinstance(value, bool):
            words.append(flag(name if value else f"no_{name}"))
        else:
            many = value if isinstance(value, tuple) else (value,)
            words += [flag(name), *map(_word, many)]
    return shlex.join(words)


def _word(value: Any) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def module_of(function: Any) -> str:
    """The module of a page as `python -m` takes it, also if it is the one that runs."""
    if function.__module__ != "__main__":
        return function.__module__
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


def question(study: Any) -> str:
    """The first paragraph of a page: what it asks."""
    return " ".join(study.text.split("\n\n")[0].split())


def write(
    folder: Path,
    study: Any,
    ran: Sequence[Mapping[str, Any]] = (),
    wanted: Mapping[str, records.Row] | None = None,
    captions: Mapping[str, str] | None = None,
) -> None:
    """Write study.json, in the first process.

    Args:
        ran: a run of the command that comes after the earlier ones.
        wanted: what a row must say to count, see `records.current`; None leaves it as it is.
        captions: of the figures; None leaves them as they are.
    """
    if not processes.is_first():
        return
    old = findings.read_about(folder)
    records.write_json(
        folder / findings.ABOUT,
        {
            "study": study.name,
            "question": question(study),
            "about": study.text,
            "columns": [*study.columns],
            "more_columns": [*study.more_columns],
            "by": [*study.by],
            "wanted": old.get("wanted") if wanted is None else wanted,
            "figures": old.get("figures", {}) if captions is None else captions,
            "invocations": [*old.get("invocations", []), *ran],
        },
    )


def remove_figures(folder: Path) -> None:
    """Delete the figures that study.json names, in every format."""
    for name in findings.read_about(folder).get("figures", {}):
        for form in get_args(Format):
            (folder / f"{name}.{form}").unlink(missing_ok=True)
