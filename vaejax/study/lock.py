"""One process at a time in the folder of a study."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from vaejax.errors import LabError
from vaejax.files import remove_unfinished
from vaejax.parallel import processes

LOCK = ".lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder for this process, or for the first of several. The operating system gives the
    lock of a process that died back; temporary files that such a process has left are removed. A
    folder that holds nothing else in the end is removed."""
    lock = FileLock(folder / LOCK)
    processes.once(partial(_acquire, lock, folder))
    try:
        yield
    finally:
        if processes.is_first():
            _release(lock, folder)


def _acquire(lock: FileLock, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        remove_unfinished(folder)
    except Timeout:
        raise LabError(
            f"{folder} is in use by another process: wait until it ends, or use another --out."
        ) from None
    except OSError as error:
        raise LabError(f"Cannot write {folder}: {error.strerror}. Use another --out.") from error


def _release(lock: FileLock, folder: Path) -> None:
    lock.release()
    if not any(folder.glob("[!.]*")):
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()
