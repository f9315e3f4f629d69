"""Prepares a data set in TFDS's data directory, without TensorFlow where that is possible."""

import contextlib
import importlib.util
import io
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaejax.data import archives, embedded, network
from vaejax.data.prepared import Prepared, Request, find
from vaejax.data.reader import image_shape
from vaejax.errors import LabError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_EMBEDDED = " and ".join(f"'{name}'" for name in embedded.NAMES)


def prepare(request: Request, root: Path, file_format: str = "array_record") -> Prepared:
    """Downloads and prepares a data set under the data directory `root` with TFDS's own builder.

    Archives under their official names in `root/downloads/manual` are used instead of downloads.
    TFDS checks the SHA-256 of each either way. It writes beside the final directory and renames,
    so nothing half-prepared stays behind.

    Raises LabError for a set that is unknown, unusable or needs TensorFlow, for archives that are
    neither there nor to be had or have the wrong checksum, and for a disk that cannot be written.
    """
    builder = _builder(request, root, file_format)
    image_shape(builder.info.features, str(request))
    if builder.name in archives.NAMES:
        # The hook that builder classes define; called once, with the download manager.
        builder._split_generators = partial(archives.split_generators, builder)
    elif importlib.util.find_spec("tensorflow") is None:
        raise LabError(
            f"'{request}' is not prepared in {_place(root)}, and to prepare it TFDS needs "
            "TensorFlow: pip install tensorflow-cpu. "
            f"Without TensorFlow there are {', '.join(archives.NAMES)}, {_EMBEDDED}."
        )
    try:
        with _quiet(), network.bounded():
            _download_and_prepare(builder)
    except Exception as error:
        # Two processes may prepare at once: the slower one finds the directory taken.
        if (found := find(request, root)) is None:
            _tidy(root / request.name)
            raise _explain(error, builder, request, root) from error
        return found
    if (found := find(request, root)) is None:
        raise LabError(
            f"{builder.data_dir} is there but holds no prepared data set. "
            "Delete that directory and run again."
        )
    return found


def _builder(request: Request, root: Path, file_format: str) -> "tfds.core.GeneratorBasedBuilder":
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if request.name not in known:
        close = get_close_matches(request.name, [*embedded.NAMES, *known], n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see tfds.list_builders()."
        raise LabError(f"there is no data set '{request.name}': {hint}")
    try:
        builder: Any = tfds.builder(str(request), data_dir=root, file_format=file_format)
    # Builders check their config and version in code of their own.
    except Exception as error:
        raise LabError(f"TFDS cannot build '{request}': {_first_line(error)}") from error
    return builder


def _download_and_prepare(builder: "tfds.core.DatasetBuilder") -> None:
    import tensorflow_datasets as tfds

    # Without the prepared copies in Google's cloud: they are in a format that needs TensorFlow.
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Swallows what TFDS prints, but for progress bars on a terminal."""
    import tensorflow_datasets as tfds

    tfds.display_progress_bar(sys.stderr.isatty())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.display_progress_bar(True)


def _explain(error: Exception, builder: Any, request: Request, root: Path) -> LabError:
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

    if isinstance(error, NonMatchingChecksumError):
        return LabError(
            f"an archive of '{request}' is not the official one: {_first_line(error).rstrip(':')}. "
            "Delete or replace that file (mnist, fashion_mnist and kmnist use the same file names)."
        )
    if isinstance(error, (requests.exceptions.RequestException, tfds.download.DownloadError)):
        manual = root / "downloads" / "manual"
        files = [info.filename for info in (builder.url_infos or {}).values() if info.filename]
        by_hand = f", or put {', '.join(files)} in {manual}" if files else ""
        return LabError(
            f"'{request}' is not prepared in {_place(root)}, and its archives cannot be "
            f"downloaded: {_first_line(error)}. Connect to the network, or set TFDS_DATA_DIR to a "
            f"directory that holds it{by_hand}. {_EMBEDDED} need neither network nor files."
        )
    # The writer of array_record files reports a full disk as RuntimeError.
    if isinstance(error, (OSError, RuntimeError)):
        return LabError(
            f"'{request}' cannot be prepared in {_place(root)}: {_first_line(error)}. "
            "Free some space there or set TFDS_DATA_DIR to a directory that can be written."
        )
    return LabError(
        f"TFDS cannot prepare '{request}' in {_place(root)}: "
        f"{type(error).__name__}: {_first_line(error)}"
    )


def _place(root: Path) -> str:
    return f"{root} (TFDS_DATA_DIR)"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _tidy(directory: Path) -> None:
    """Removes the set's directory if TFDS has left it empty."""
    with contextlib.suppress(OSError):
        directory.rmdir()
