"""study.command and the flags: any terminal, a reader that leaves early, one message each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaejax.errors import LabError, StoppedError
from vaejax.parallel import processes
from vaejax.study.command import failing_clearly
from vaejax.study.flags import Flags

ROOT = Path(__file__).parents[1]
PRINTS = """
import sys
from vaejax.study.command import failing_clearly
with failing_clearly():
    print("1.5 ± 0.25, λ ≤ 3 … é")
    print("read", sys.stdin.readline())
"""

SHOWS = """
import sys
import vaejax as vj
with vj.study.failing_clearly():
    sys.stdin.readline()
    vj.study.terminal.console().print("a table")
"""
HELPS = """
import sys
from vaejax.study.command import failing_clearly
with failing_clearly():
    sys.stdin.readline()
    print("usage")
    sys.exit(0)
"""
FAILS = """
import sys
from vaejax.errors import LabError
from vaejax.study.command import failing_clearly
with failing_clearly():
    sys.stdin.readline()
    print("a table")
    raise LabError("Broken. Mend it.")
"""


def started(code: str = PRINTS, **environment: str) -> subprocess.Popen[bytes]:
    """A command that reads a line, and prints afterwards."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_an_ascii_terminal_shows_everything_in_plain_characters() -> None:
    out, err = started(PYTHONIOENCODING="ascii").communicate(b"this\n", timeout=60)
    assert out.decode("ascii").splitlines() == ["1.5 +/- 0.25, lambda <= 3 ... ?", "read this", ""]
    assert err == b""


def unread(code: str, **environment: str) -> tuple[int, bytes]:
    """The status and stderr of a command whose reader leaves early, as `| head -1`."""
    process = started(code, **environment)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(b"this\n", timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_early_ends_the_command_in_silence(unbuffered: str) -> None:
    """Whether a line is written at once, or with all others at the end."""
    found = unread(PRINTS, PYTHONUNBUFFERED=unbuffered, PYTHONIOENCODING="utf-8")
    assert found == (141, b"")


@pytest.mark.parametrize("code", [SHOWS, HELPS])
def test_so_it_does_where_rich_prints_and_after_help(code: str) -> None:
    assert unread(code) == (141, b"")


def test_an_error_is_told_even_if_no_one_reads_what_was_printed_before() -> None:
    assert unread(FAILS) == (1, b"error: Broken. Mend it.\n")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (LabError("Broken. Mend it."), "error: Broken. Mend it.", ""),
        (KeyboardInterrupt(), 130, "\ninterrupted (a study goes on with --resume)\n"),
        (
            StoppedError(15, "after epoch 3"),
            143,
            "stopped by SIGTERM after epoch 3; what was trained is saved, --resume goes on\n",
        ),
    ],
)
def test_an_end_is_a_status_and_one_message(error, status, message, capsys, monkeypatch) -> None:
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as end, failing_clearly():
        raise error
    assert end.value.code == status
    assert capsys.readouterr().err == message


def test_a_mistake_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), failing_clearly():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "address", ["nonsense", "", ":", ":1", "host:", "host:port", "host:0", "host:65536", "host:-1"]
)
def test_a_coordinator_that_is_no_address_is_one_message(address: str) -> None:
    with pytest.raises(LabError, match=r"coordinator='.*': give HOST:PORT") as caught:
        processes.connect(address, 2, 1)
    assert "\n" not in str(caught.value)


def test_a_coordinator_alone_is_refused() -> None:
    with pytest.raises(LabError, match="Give all of coordinator, processes and process_id"):
        processes.connect("host:1234", None, None)
    with pytest.raises(LabError, match="go with --distributed"):
        Flags(coordinator="host:1234")


def test_an_output_below_the_pixels_is_refused() -> None:
    with pytest.raises(LabError, match=r"--output tanh reaches -1.*use --pixel-range signed"):
        Flags(likelihood="gaussian", output="tanh")
    assert Flags(likelihood="gaussian", output="tanh", pixel_range="signed").output == "tanh"
