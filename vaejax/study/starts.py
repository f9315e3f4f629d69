"""Trained weights that the runs of a study begin from: `--start FOLDER`."""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vaejax import parallel, train
from vaejax.errors import LabError
from vaejax.files import own_path
from vaejax.run import Run
from vaejax.store import checkpoint
from vaejax.trained import Trained

MAY_DIFFER = ("model", "likelihood", "binarize", "batch_size")
"""Choices of a Config that may change at a start: with any of them the weights are the same net."""


def read(folder: Path, run: Run) -> Trained:
    """The trained run that `run` begins from: the one in this folder, or the one of the same name
    in the folder of a study."""
    folder = own_path(folder)
    if (folder / run.name / "config.json").exists():
        folder /= run.name
    found = checkpoint.restore(folder, run.config.nets)
    there, asked = found.run.to_json()["config"], run.to_json()["config"]
    differing = [
        f"{name} is {there[name]}, asked is {value}"
        for name, value in asked.items()
        if name not in MAY_DIFFER and there[name] != value
    ]
    if differing:
        raise LabError(
            f"--start {folder} holds another net than {run.name}: {'; '.join(differing)}. Use the "
            "flags that it was made with, or another --start."
        )
    lanes = len(found.run.seeds)
    if lanes not in (1, len(run.seeds)):
        raise LabError(
            f"--start {folder} holds {lanes} models, and {run.name} trains {len(run.seeds)}: use a "
            f"start of one model or of {len(run.seeds)}, or as many --seeds and settings as there."
        )
    return found


def description(folder: Path, run: Run) -> str:
    """What `run.start` says of the weights that `read` finds. Wherever the folder is moved to, it
    stays the same; other weights have another one."""
    found = read(folder, run)
    digest = hashlib.blake2b(digest_size=8)
    for leaf in jax.tree.leaves(found.state.params):
        digest.update(np.ascontiguousarray(leaf).data)
    return f"{found.run.name} after {found.step} steps, weights {digest.hexdigest()}"


def initial_state(lab: Any, run: Run) -> train.State:
    """The state of a run that begins from the weights in `lab.flags.start`, on the host: of its
    only lane for every lane, or of each lane for the lane of the same number. The optimizer begins
    anew, and so does the count of steps. Noise and orders are those of no fresh run."""
    found, lanes = read(lab.flags.start, run), len(run.seeds)
    params = jax.tree.map(
        lambda leaf: np.repeat(leaf, lanes // len(leaf), axis=0), found.state.params
    )
    fresh = parallel.init(run.config, run.seeds)
    return train.branch(fresh._replace(params=params), range(lanes))
