"""Codes in an npz file: what a VAE of any framework makes of n images, as `experiments.diagnose`
reads it and `experiments.export` writes it."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from vaejax.errors import LabError, first_line
from vaejax.measure import codes

NEEDED = ("mean", "logvar")
IMAGES = ("x", "x_mean", "x_shuffled")
HOW = "save it with numpy.savez(FILE, mean=..., logvar=...), each array [n, z]"


class Codes(NamedTuple):
    """What a VAE makes of n images."""

    mean: Float[np.ndarray, "n latent"]
    """Posterior means."""
    logvar: Float[np.ndarray, "n latent"]
    """Posterior log variances."""
    x: Float[np.ndarray, "n *pixels"] | None
    """The images."""
    x_mean: Float[np.ndarray, "n *pixels"] | None
    """Their reconstructions."""
    x_shuffled: Float[np.ndarray, "n *pixels"] | None
    """Reconstructions from codes of other images."""
    unused: tuple[str, ...]
    """The names of further arrays of the file."""


def read(path: Path) -> Codes:
    """The codes in an npz file, as float32."""
    found = _arrays(path)
    if missing := [name for name in NEEDED if name not in found]:
        raise LabError(
            f"{path} has no {' and no '.join(missing)}; it has {', '.join(found) or 'nothing'}. "
            f"Codes are posterior means and log variances: {HOW}."
        )
    unused = tuple(name for name in found if name not in NEEDED + IMAGES)
    known = {name: found[name] for name in NEEDED + IMAGES if name in found}
    numbers = codes.numbers(known, f"{path}: ")
    x, x_mean, x_shuffled = (numbers.get(name) for name in IMAGES)
    return Codes(numbers["mean"], numbers["logvar"], x, x_mean, x_shuffled, unused)


def npz(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as an npz file."""
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            others = [name for name in archive.namelist() if not name.endswith(".npy")]
        if others:
            raise LabError(f"{path} is no npz file, it holds {others[0]}: {HOW}.")
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except FileNotFoundError:
        raise LabError(f"{path}: no such file.") from None
    except OSError as error:
        raise LabError(f"Cannot read {path}: {error.strerror or first_line(error)}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise LabError(
            f"{path} is no npz file, or a damaged one ({first_line(error)}): {HOW}."
        ) from error
