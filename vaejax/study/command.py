"""How a command begins and ends: flags from the command line, one clear message for an error."""

import codecs
import gc
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import tyro

from vaejax.errors import LabError, StoppedError
from vaejax.study.flags import QUICK, Flags

PLAIN = {"±": "+/-", "…": "...", "≤": "<=", "λ": "lambda"}
"""Characters that an ASCII terminal lacks, and what it shows instead."""
UNREAD = 141
"""The status of a program that SIGPIPE ends."""
INTERRUPTED = 130
"""The status of a program that Ctrl-C ends."""
F = TypeVar("F")
S = TypeVar("S", bound=Flags)


def parse(flags: type[F], description: str | None, default: F | None = None) -> F:
    """Flags from the command line, with the docstring of the page as `--help`; those that are not
    given are as in `default`."""
    own: dict[str, Any] = {} if default is None else {"default": default}
    plain = (tyro.conf.FlagCreatePairsOff,)
    return tyro.cli(flags, description=description, config=plain, **own)


def parse_study(flags: type[S], description: str | None, quick: Mapping[str, Any]) -> S:
    """The flags of a study. With `--quick` they have other defaults, those of `QUICK` and `quick`;
    `--help` shows the defaults that hold."""
    default = quick_flags(flags, quick) if "--quick" in sys.argv[1:] else None
    return parse(flags, description, default)


def quick_flags(flags: type[S], quick: Mapping[str, Any]) -> S:
    """The flags that `--quick` stands for in a study that itself changes `quick`."""
    return replace(flags(), **QUICK, **quick)


def plain_characters() -> None:
    """Have stdout and stderr write what their encoding lacks in plain characters."""

    def plain(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        lacking = error.object[error.start : error.end]
        return "".join(PLAIN.get(character, "?") for character in lacking), error.end

    codecs.register_error("plain", plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


@contextmanager
def failing_clearly() -> Iterator[None]:
    """Turn an error that the user can mend into one message and exit status 1, and a reader who has
    gone, as after `| head`, into status 141 without a message."""
    # Figures are drawn to files; what a notebook leaves in this variable may be no backend at all.
    os.environ.pop("MPLBACKEND", None)
    plain_characters()
    gc.disable()  # imports leave no garbage; `environment.prepare` enables it
    status: Any = None
    try:
        yield
    except LabError as error:
        status = f"error: {error}"
    except StoppedError as stop:
        print(stop, file=sys.stderr)
        status = stop.status
    except BrokenPipeError:
        status = UNREAD
    except KeyboardInterrupt:
        print("\ninterrupted (a study goes on with --resume)", file=sys.stderr)
        status = INTERRUPTED
    except SystemExit as end:  # as after --help
        status = end.code or 0
    finally:
        gc.enable()
    if not _flushed(sys.stdout) and not status:
        status = UNREAD
    _flushed(sys.stderr)
    if status == INTERRUPTED:
        os._exit(status)  # a thread of XLA that still compiles would crash the end of the process
    if status is not None:
        sys.exit(status)


def _flushed(stream: Any) -> bool:
    """Write what a stream still holds. If its reader has gone, throw that away: at the end of the
    process Python would complain."""
    try:
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True
