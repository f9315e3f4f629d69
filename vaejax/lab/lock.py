"""One process at a time in the folder of a study."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from vaejax import hosts
from vaejax.errors import LabError
from vaejax.files import patiently, remove_unfinished

LOCK, OWNER = ".lock", ".owner.json"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder for this process, or for the first of several. The operating system gives the
    lock of a process that died back; temporary files that such a process has left are removed. A
    folder that holds nothing else in the end is removed.

    Raises:
        LabError: another process holds it, or it cannot be written.
    """
    lock = FileLock(folder / LOCK)
    hosts.once(partial(_acquire, lock, folder))
    try:
        yield
    finally:
        if hosts.is_first():
            _release(lock, folder)


def _acquire(lock: FileLock, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        remove_unfinished(folder)
        (folder / OWNER).write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}))
    except Timeout:
        raise LabError(
            f"{folder} is in use by {_owner(folder)}: wait until it ends, or use another --out."
        ) from None
    except OSError as error:
        raise LabError(f"Cannot write {folder}: {error.strerror}. Use another --out.") from error


def _release(lock: FileLock, folder: Path) -> None:
    with suppress(OSError):  # Windows deletes no file that another process reads just now
        patiently(partial((folder / OWNER).unlink, missing_ok=True))
    lock.release()
    if not any(folder.glob("[!.]*")):
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER).read_text())
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
