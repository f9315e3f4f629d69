"""Lanes that are added to a run train apart, in a folder inside that of the run, until they are as
far as the others. Then all become one run."""

import shutil
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from vaejax.run import Run
from vaejax.store import checkpoint, description

ADDED, MERGED = "added", "merged"
"""Folders in that of a run: of the lanes that are added, and in which all are put together."""


class Added(NamedTuple):
    """How a run differs from one that has fewer of its lanes, or another order."""

    places: list[int]
    """The place in the run of each lane that is there."""
    missing: list[int]
    """The lanes that are not."""


def added_lanes(folder: Path, run: Run) -> Added | None:
    """Which lanes of a run the folder lacks. None if it has no checkpoint, if it has just these
    lanes, or one that `run` has not."""
    if checkpoint.latest(folder) is None:
        return None
    there, asked = description.of_folder(folder)["lanes"], description.of_run(run)["lanes"]
    if there == asked:
        return None
    places, missing = [], [*range(len(asked))]
    for settings in there:
        found = next((lane for lane in missing if asked[lane] == settings), None)
        if found is None:
            return None
        places.append(found)
        missing.remove(found)
    return Added(places, missing)


def merge(folder: Path, run: Run, added: Added) -> None:
    """Make one run of the lanes in a folder and of those that were added to it. A lane that
    diverged and took fewer steps has NaN as the terms of the others.

    Args:
        run: all lanes, in their order.
        added: which of them are in `folder`; the others, if any, are in `ADDED` there.
    """
    folders = [folder, folder / ADDED] if added.missing else [folder]
    parts = [checkpoint.restore(one, run.config.nets) for one in folders]
    kept = [
        checkpoint.restore_best(one, part.step, part.state)
        for one, part in zip(folders, parts, strict=True)
    ]
    order, steps = np.argsort([*added.places, *added.missing]), max(part.step for part in parts)

    def joined(*leaves: np.ndarray) -> np.ndarray:
        return np.concatenate(leaves)[order]

    state = jax.tree.map(joined, *(part.state for part in parts))
    traces = [jax.tree.map(partial(_lengthened, steps=steps), part.trace) for part in parts]
    best = None if None in kept else jax.tree.map(joined, *kept)
    aside = folder / MERGED
    checkpoint.create(aside, run)
    if added.missing:
        (aside / ADDED).touch()
    checkpoint.save(aside, state, jax.tree.map(joined, *traces), steps, best)
    finish(folder)


def _lengthened(terms: np.ndarray, steps: int) -> np.ndarray:
    """Terms [lanes, steps, ...] with NaN for the steps that were not taken."""
    lacking = ((0, 0), (0, steps - terms.shape[1]), *((0, 0),) * (terms.ndim - 2))
    return np.pad(np.asarray(terms), lacking, constant_values=np.nan)


def finish(folder: Path) -> None:
    """Put the run that `merge` has made in the place of its parts, from wherever a killed process
    left off. The state comes last: until then there is none, and the folder can be read by
    nothing."""
    aside = folder / MERGED
    step = checkpoint.latest(aside)
    if step is not None:
        checkpoint.remove_all(folder)
        if (aside / "trace").exists():
            shutil.rmtree(folder / "trace", ignore_errors=True)
            (aside / "trace").rename(folder / "trace")
        if (aside / description.NAME).exists():
            (aside / description.NAME).replace(folder / description.NAME)
        if (aside / ADDED).exists():
            shutil.rmtree(folder / ADDED, ignore_errors=True)
        (aside / str(step)).rename(folder / str(step))
    shutil.rmtree(aside, ignore_errors=True)
