"""A run on disk: `config.json`, written once, and beside it the newest orbax checkpoint.

Both are written aside and renamed, so a killed process leaves the checkpoint before it. Restoring
needs the folder and nothing else. Only the newest is kept: a lane that diverged holds its last good
state in it (see `train.epoch`).
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from vaejax import records, sweep, train
from vaejax.config import Run
from vaejax.errors import LabError


class Saved(NamedTuple):
    """What a checkpoint holds."""

    state: train.State
    """Of all lanes, on the host: numpy arrays, keys as their data."""
    trace: train.Trace
    """The terms of every step from the first one on, on the host: arrays [lanes, steps]."""

    @property
    def step(self) -> int:
        return self.trace.objective.shape[1]

    def extended(self, state: train.State, trace: train.Trace) -> "Saved":
        """After some more steps."""
        pairs = zip(self.trace, trace, strict=True)
        return Saved(state, train.Trace(*(np.concatenate(pair, 1) for pair in pairs)))


def start(run: Run, state: train.State | None = None) -> Saved:
    """A run before its first step: from fresh weights, or from this state on the host."""
    return Saved(state or sweep.init(run.config, run.seeds), _zero_trace(run, 0))


def create(folder: Path, run: Run) -> None:
    """Make the folder of a run. A run that never reached a checkpoint gives way.

    Raises:
        LabError: the folder holds another run.
    """
    if latest(folder) is not None:
        there, asked = read_run(folder).to_json(), run.to_json()
        differing = sorted(_differences(there, asked))
        if differing:
            raise LabError(
                f"{folder} holds another run: {'; '.join(differing)}. Use the flags that it was "
                "made with, or another --out."
            )
    else:
        records.write_json(folder / "config.json", run.to_json())


def read_run(folder: Path) -> Run:
    """The description of the run in a folder.

    Raises:
        LabError: no run there, or its config.json is damaged.
    """
    path = folder / "config.json"
    try:
        return Run.from_json(json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        raise LabError(
            f"{folder} holds no config.json: give the folder of a run, such as "
            "checkpoints/mnist/latent_size/z2."
        ) from None
    except OSError as error:
        raise LabError(f"Cannot read {path}: {error.strerror}.") from error
    except (LabError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LabError(f"{path} is damaged ({error}): delete {folder} and train again.") from error


def save(folder: Path, saved: Saved) -> None:
    """Write a checkpoint, then delete the one before.

    Raises:
        LabError: it cannot be written.
    """
    # Asked beforehand: once a disk is full, orbax's threads print tracebacks of their own.
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(saved)) * 1.2 + 2**20
    remedy = "Free some space or mend the permissions; --resume continues from what is there."
    options = _options(max_to_keep=1, cleanup_tmp_directories=True)
    try:
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise OSError(f"it takes {needed / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free")
        with ocp.CheckpointManager(folder.resolve(), options=options) as manager:
            manager.save(saved.step, args=ocp.args.StandardSave(saved))
    except Exception as error:  # orbax passes on whatever its storage layer raises
        raise LabError(
            f"Cannot write a checkpoint to {folder}: {_first_line(error)}. {remedy}"
        ) from error


def latest(folder: Path) -> int | None:
    """The step of the newest checkpoint, None if there is none."""
    steps = ocp.utils.checkpoint_steps(folder.resolve()) if folder.is_dir() else []
    return max(steps, default=None)


def restore(folder: Path) -> tuple[Run, Saved]:
    """The run in a folder and its newest checkpoint.

    Raises:
        LabError: no run or no checkpoint there, or a damaged one.
    """
    run, step = read_run(folder), latest(folder)
    if step is None:
        raise LabError(f"{folder} holds no checkpoint yet: train it on with --resume.")
    shapes = jax.eval_shape(train.init_lanes, run.config, np.asarray(run.seeds, np.uint32))
    shapes = shapes._replace(key=jax.eval_shape(jax.random.key_data, shapes.key))
    state = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
    target = Saved(state, _zero_trace(run, step))
    try:
        with ocp.CheckpointManager(folder.resolve(), options=_options()) as manager:
            return run, manager.restore(step, args=ocp.args.StandardRestore(target))
    except Exception as error:  # orbax passes on whatever its storage layer raises
        raise LabError(
            f"The checkpoint in {folder / str(step)} is damaged ({_first_line(error)}): delete "
            f"{folder} and train again."
        ) from error


def _options(**more: Any) -> ocp.CheckpointManagerOptions:
    """For the process that calls: orbax would have all of them write and wait for each other."""
    if jax.process_count() > 1:
        this = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(primary_host=this, active_processes={this})
        more |= {"multiprocessing_options": alone, "create": False}
    return ocp.CheckpointManagerOptions(**more)


def _zero_trace(run: Run, steps: int) -> train.Trace:
    """A trace of this length, all zeros: none yet, or the shapes that a checkpoint holds."""
    terms = np.zeros((len(run.seeds), steps), np.float32)
    return train.Trace(terms, terms, np.zeros((*terms.shape, run.config.latent_size), np.float32))


def _differences(there: Any, asked: Any, path: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(asked, dict):
        names = there.keys() | asked.keys()
        return [
            line
            for name in names
            for line in _differences(there.get(name), asked.get(name), f"{path}.{name}".strip("."))
        ]
    return [] if there == asked else [f"{path} is {there}, asked is {asked}"]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
