"""A run on disk: its description, the newest state of its lanes, and the trace of all its steps.

    config.json        see `description`
    <step>/            the state after so many steps, by orbax, and `checksums` of everything; with
                       --keep-best also the best state so far; only the newest is kept
    trace/*.f32        see `trace_files`
    added/             lanes that are added to the run, see `merging`

A state is written aside and renamed. The trace grows before the state does, and what it holds
beyond the newest state is written over: a killed process leaves the checkpoint before it. The
newest state is enough for a lane that diverged, too: it is the last good one (see `train.epoch`).
"""

import math
import re
import resource
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import type_handlers

from vaejax import train
from vaejax.config import Nets
from vaejax.errors import LabError, first_line
from vaejax.parallel import memory
from vaejax.run import Run
from vaejax.store import checksums, description, trace_files
from vaejax.store.description import nets_of as nets_of
from vaejax.store.description import read_run
from vaejax.trained import Trained


class Best(NamedTuple):
    """Of each lane the best state that was measured. `state.step` says how old it is."""

    state: train.State
    """Of all lanes, on the host."""
    neg_elbo: np.ndarray
    """[lanes]; nats, on images that were held out."""


def create(folder: Path, run: Run) -> None:
    """Make the folder of a run and write its config.json. If there is one of a run that trains in
    the same way, it now says where the images are, which of them are for test, and the labels."""
    if "[" in str(folder.resolve()):
        raise LabError(f"{folder}: orbax reads no checkpoint below a [ in its path. Rename it.")
    check(folder, run)
    description.write(folder, run)


def check(folder: Path, run: Run) -> None:
    """Refuse a folder with a checkpoint of another run: one that does not train in the same way."""
    if latest(folder) is None:
        return
    there, asked = description.of_folder(folder), description.of_run(run)
    if differing := "; ".join(description.differences(there, asked)):
        said = f"{folder} holds another run: {differing}. "
        if "decay_steps" in differing:  # nobody may have asked for them
            said += "(--epochs decides decay_steps if the learning rate falls over the whole run.) "
        raise LabError(f"{said}Use the flags that it was made with, or another --out.")
    if there != asked:
        raise LabError(
            f"{folder} was trained on other images that are called {run.images.dataset} as well, "
            "or on other parts of them: restore that data set and its flags, or use another --out."
        )


def is_twin(folder: Path, run: Run) -> bool:
    """Whether the run in a folder trained as `run` does, on the same images: all is the same but
    for its name, and for labels, which say nothing about the training."""
    return description.of_folder(folder) | {"name": run.name} == description.of_run(run)


def latest(folder: Path) -> int | None:
    """The step of the newest checkpoint, None if there is none."""
    return max((int(path.name) for path in _checkpoints(folder)), default=None)


def _checkpoints(folder: Path) -> list[Path]:
    # Not `ocp.utils.checkpoint_steps`: it takes `backup_7` for a checkpoint, too.
    inside = list(folder.iterdir()) if folder.is_dir() else []
    return [path for path in inside if re.fullmatch("0|[1-9][0-9]*", path.name) and path.is_dir()]


def write(folder: Path | str, trained: Trained) -> None:
    """Write trained models, such as `vaejax.fit` gives, as a run of their own: for `restore`, and
    for the commands that read a run.

    Raises:
        LabError: it cannot be written, or the folder holds another run.
    """
    create(Path(folder), trained.run)
    save(Path(folder), trained.state, trained.trace, trained.step)


def save(
    folder: Path, state: train.State, trace: train.Trace, step: int, best: Best | None = None
) -> None:
    """Write the checkpoint of a run after `step` steps, then delete the one before.

    Args:
        state: the state of all lanes, on the host.
        trace: the terms [lanes, steps, ...] of the steps since the checkpoint before.
        best: the best state so far, to be kept beside this one.
    """
    # Asked beforehand: once a disk is full, orbax's threads print tracebacks of their own.
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves((state, trace, best))) * 1.2 + 2**20
    try:
        largest, _ = resource.getrlimit(resource.RLIMIT_FSIZE)  # of a file; -1: any
        free = min(shutil.disk_usage(folder).free, largest if largest >= 0 else math.inf)
        if free < needed:
            raise OSError(f"it takes {needed / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free")
        before = step - trace.objective.shape[1]
        old = checksums.read(folder / str(before))["trace"] if before else {}
        of_trace = trace_files.extend(folder, trace, before, old)
        for left in folder.glob(".[0-9]*"):  # by a killed process
            shutil.rmtree(left)
        aside = folder.resolve() / f".{step}"
        aside.mkdir()
        _orbax().save(aside / "state", args=ocp.args.PyTreeSave(state))
        if best is not None:
            _orbax().save(aside / "best", args=ocp.args.PyTreeSave(best))
        checksums.write(folder, aside, of_trace)
        if (folder / str(step)).exists():  # the run is written once more
            shutil.rmtree(folder / str(step))
        aside.rename(folder / str(step))
        remove_all(folder, but=step)
    except LabError:
        raise
    except Exception as error:  # orbax passes on whatever its storage layer raises
        raise LabError(
            f"Cannot write a checkpoint to {folder}: {first_line(error)}. Free some space or mend "
            "the permissions; --resume continues from what is there."
        ) from error


def remove_all(folder: Path, but: int | None = None) -> None:
    """Delete the checkpoints of a run, but that of one step. Each is renamed first, so that none is
    ever seen in part."""
    for path in _checkpoints(folder):
        if path.name != str(but):
            shutil.rmtree(path.rename(path.with_name(f".{path.name}.old")))


def restore(folder: Path | str, nets: Nets | None = None, best: bool = False) -> Trained:
    """The run in a folder, as its newest checkpoint left it; give `nets` if its Config has nets of
    its own.

    Args:
        best: instead of the newest state, that of least held-out negative ELBO of each lane.

    Raises:
        LabError: there is no run or no checkpoint, it is damaged, it was trained with other nets,
            or no best state was kept.
    """
    folder = Path(folder)
    run, step = read_run(folder, nets), latest(folder)
    if step is None:
        raise LabError(
            f"{folder} holds no checkpoint yet: train with the flags that the folder was made "
            "with, and --resume."
        )
    try:
        trace = trace_files.read(folder, run, step)
        checksums.check(folder, folder / str(step), trace)
        state = _read_state(folder / str(step) / "state", _like(run))
    except Exception as error:  # orbax passes on whatever its storage layer raises
        raise LabError(
            f"The checkpoint in {folder / str(step)} is damaged, or config.json beside it does not "
            f"fit it ({first_line(error)}): restore both from a copy, or move {folder} away and "
            "train again."
        ) from error
    if best:
        kept = restore_best(folder, step, state)
        if kept is None:
            raise LabError(f"{folder} holds no best state: it was trained without --keep-best.")
        state = kept.state
    return Trained(run, state, trace)


def restore_best(folder: Path, step: int, state: train.State) -> Best | None:
    """The best state in the checkpoint of a step, if one was kept there. It has the shapes of
    `state`, any state of the run on the host. Only `restore` looks for damage."""
    path = folder / str(step) / "best"
    if not path.is_dir():
        return None
    return _read_state(path, Best(state, np.empty(len(state.step), np.float32)))


def _like(run: Run) -> train.State:
    """A state of the run in which no number means anything, on the host."""
    one, lanes = memory.shapes(run.config), len(run.seeds)
    one = one._replace(key=jax.eval_shape(jax.random.key_data, one.key))
    return jax.tree.map(lambda leaf: np.empty((lanes, *leaf.shape), leaf.dtype), one)


def _read_state(folder: Path, like: Any) -> Any:
    """The arrays in a folder of orbax, in the tree and of the types of `like`."""
    types = ocp.checkpoint_utils.construct_restore_args(like)
    return _orbax().restore(folder.resolve(), ocp.args.PyTreeRestore(like, restore_args=types))


def _orbax() -> ocp.Checkpointer:
    """The checkpointer of the process that calls: by itself orbax would have all processes write
    and wait for each other. By itself it would also take twice the memory of a state to save it:
    for a copy, and for the compressed one, which weights make hardly smaller."""
    this = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=this, active_processes={this})
    handlers = type_handlers.create_type_handler_registry(
        (np.ndarray, type_handlers.NumpyHandler(deepcopy_host_arrays=False)),
        (jax.Array, type_handlers.ArrayHandler()),  # of which it warns if it is missing
    )
    handler = ocp.PyTreeCheckpointHandler(
        use_compression=False, multiprocessing_options=alone, type_handler_registry=handlers
    )
    return ocp.Checkpointer(handler, multiprocessing_options=alone)
