"""Prepares a data set in TFDS's data directory, without TensorFlow where that is possible."""

import contextlib
import importlib.util
import io
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import requests
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.resource import get_dl_fname

from vaejax.data import archives
from vaejax.data.names import EMBEDDED, Request
from vaejax.data.prepared import Prepared, check_root, find
from vaejax.data.reader import image_shape
from vaejax.errors import LabError, first_line

TIMEOUTS = (5.0, 30.0)
"""Seconds to wait for a connection to a server, and for its answer."""
_EMBEDDED = " and ".join(f"'{name}'" for name in EMBEDDED)


def prepare(request: Request, root: Path, file_format: str = "array_record") -> Prepared:
    """Downloads and prepares a data set under the data directory `root` with TFDS's own builder.

    An archive that is in `root/downloads/manual` under its official name is not downloaded; TFDS
    checks its SHA-256 all the same. TFDS writes the set under a temporary name and renames it at
    the end.

    Raises LabError for a set that is unknown, unusable or needs TensorFlow, for an archive that
    cannot be downloaded or has the wrong checksum, and for a disk that cannot be written.
    """
    check_root(root)
    builder = _builder(request, root, file_format)
    image_shape(builder.info.features, str(request))
    if builder.name in archives.NAMES:
        # TFDS calls this method once, with its download manager.
        builder._split_generators = partial(archives.split_generators, builder)
    elif importlib.util.find_spec("tensorflow") is None:
        raise LabError(
            f"'{request}' is not prepared in {_place(root)}, and to prepare it TFDS needs "
            "TensorFlow: pip install tensorflow-cpu. "
            f"Without TensorFlow there are {', '.join(archives.NAMES)}, {_EMBEDDED}."
        )
    try:
        if builder.name in archives.NAMES:
            _reach(builder, root / "downloads")
        with _quiet():
            _download_and_prepare(builder)
    except Exception as error:
        # Where two processes prepare a set at once, the second fails to rename what it wrote, and
        # uses what the first one prepared.
        if (found := find(request, root)) is None:
            with contextlib.suppress(OSError):
                (root / request.name).rmdir()  # if TFDS has left it empty
            raise _explain(error, builder, request, root) from None
        return found
    if (found := find(request, root)) is None:
        raise LabError(
            f"{builder.data_dir} is there but holds no prepared data set. "
            "Delete that directory and run again."
        )
    return found


def _builder(request: Request, root: Path, file_format: str) -> tfds.core.GeneratorBasedBuilder:
    known = tfds.list_builders(with_community_datasets=False)
    if request.name not in known:
        close = get_close_matches(request.name, [*EMBEDDED, *known], n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see tfds.list_builders()."
        if Path(str(request)).exists():
            hint = f"to read {Path(str(request)).absolute()}, write ./{request}."
        raise LabError(f"there is no data set '{request.name}': {hint}")
    try:
        builder: Any = tfds.builder(str(request), data_dir=root, file_format=file_format)
    except Exception as error:  # each builder checks its config and version in its own way
        raise LabError(f"TFDS cannot build '{request}': {first_line(error)}") from None
    return builder


def _reach(builder: Any, downloads: Path) -> None:
    """Ask the server for the first archive that is missing. TFDS itself tries one that cannot be
    reached for 205 s, and waits for ever for one that does not answer.

    Raises `requests.exceptions.RequestException` if it does not give the archive.
    """
    # Made before anything is asked: a folder that cannot be written is told as the cause.
    downloads.mkdir(parents=True, exist_ok=True)
    for url, info in builder.url_infos.items():
        kept = info.filename, get_dl_fname(url, info.checksum)  # by hand, or by TFDS
        if not any(any(downloads.rglob(name)) for name in kept):
            with requests.get(url, stream=True, timeout=TIMEOUTS) as response:
                return response.raise_for_status()


def _download_and_prepare(builder: tfds.core.DatasetBuilder) -> None:
    # The prepared copies in Google's cloud are in a format that needs TensorFlow.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what TFDS prints, except for progress bars on a terminal."""
    tfds.display_progress_bar(sys.stderr.isatty())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(True)


def _explain(error: Exception, builder: Any, request: Request, root: Path) -> LabError:
    """What went wrong while TFDS prepared a set, and what to do about it."""
    if isinstance(error, NonMatchingChecksumError):
        return LabError(
            f"an archive of '{request}' is not the official one: {first_line(error).rstrip(':')}. "
            "Delete or replace that file (mnist, fashion_mnist and kmnist use the same file names)."
        )
    if isinstance(error, (requests.exceptions.RequestException, tfds.download.DownloadError)):
        manual = root / "downloads" / "manual"
        files = [info.filename for info in (builder.url_infos or {}).values() if info.filename]
        by_hand = f", or put {', '.join(files)} in {manual}" if files else ""
        return LabError(
            f"'{request}' is not prepared in {_place(root)}, and its archives cannot be "
            f"downloaded: {first_line(error)}. Connect to the network, or set TFDS_DATA_DIR to a "
            f"directory that holds it{by_hand}. {_EMBEDDED} need neither network nor files."
        )
    # The writer of array_record files reports a full disk as RuntimeError.
    if isinstance(error, (OSError, RuntimeError)):
        return LabError(
            f"'{request}' cannot be prepared in {_place(root)}: {first_line(error)}. "
            "Free some space there or set TFDS_DATA_DIR to a directory that can be written."
        )
    return LabError(
        f"TFDS cannot prepare '{request}' in {_place(root)}: "
        f"{type(error).__name__}: {first_line(error)}"
    )


def _place(root: Path) -> str:
    return f"{root} (TFDS_DATA_DIR)"
