"""A run on disk: its description, the newest state of its lanes, and the trace of all its steps.

    config.json        the description, written once
    <step>/            the state after so many steps, by orbax, and the checksums of everything;
                       with --keep-best also the best state so far; only the newest is kept
    trace/*.f32        the loss terms of every step, see `trace_files`

A state is written aside and renamed. The trace grows before the state does, and what it holds
beyond the newest state is written over: a killed process leaves the checkpoint before it. The
newest state is enough for a lane that diverged, too: it is the last good one (see `train.epoch`).
"""

import importlib
import inspect
import json
import math
import os
import re
import shutil
import zlib
from collections.abc import Iterable
from dataclasses import MISSING, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import type_handlers

from vaejax import sweep, train
from vaejax.config import Config, Knobs, Nets, knobs
from vaejax.errors import LabError, first_line
from vaejax.files import patiently
from vaejax.run import SOURCE, Run
from vaejax.store import records, trace_files

resource = importlib.import_module("resource") if os.name == "posix" else None

DEFAULTS = {
    choice.name: choice.default
    for choice in fields(Config)
    if choice.default is not MISSING and choice.name != "nets"
}
"""What a choice was before it existed: an older config.json lacks it."""
KNOB_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(knobs).parameters.items()
    if isinstance(parameter.default, float)
}
"""The same of knobs."""
SOURCE_DEFAULTS = {choice.name: choice.default for choice in fields(Run) if choice.name in SOURCE}
"""The same of where images come from."""
CHECKSUMS = "checksums.json"
FORMAT = 1
"""The format of a run's folder. Files of a higher one were written by a newer version."""


class Trained(NamedTuple):
    """A run, with the state of its models and the terms of all steps that led there."""

    run: Run
    state: train.State
    """The state of all lanes, on the host: numpy arrays, of keys the raw data."""
    trace: train.Trace
    """The loss terms of every step from the first on, on the host: arrays [lanes, steps, ...],
    mapped from disk where they were read from there."""

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.trace.objective.shape[1]


class Best(NamedTuple):
    """Of each lane the best state that was measured. `state.step` says how old it is."""

    state: train.State
    """Of all lanes, on the host."""
    neg_elbo: np.ndarray
    """[lanes]; nats, on images that were held out."""


def start(run: Run, state: train.State | None = None) -> Trained:
    """A run before its first step, from fresh weights or from a state on the host."""
    return Trained(run, state or sweep.init(run.config, run.seeds), _zero_trace(run, 0))


def one_lane(trained: Trained, lane: int) -> Trained:
    """One lane of a run, as a run of its own."""
    run = trained.run

    def take(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: np.asarray(leaf)[lane : lane + 1], tree)

    alone = replace(
        run,
        knobs=take(run.knobs),
        seeds=run.seeds[lane : lane + 1],
        labels={name: values[lane : lane + 1] for name, values in run.labels.items()},
    )
    return Trained(alone, take(trained.state), take(trained.trace))


def create(
    folder: Path, run: Run, images_digest: str | None = None, data_checksum: str | None = None
) -> None:
    """Make the folder of a run and write its config.json. If the folder has no checkpoint yet, an
    existing config.json is overwritten.

    Args:
        images_digest: tells the images of the run from others of the same name.
        data_checksum: of your own images, all of them: see `data_checksum_of`.

    Raises:
        LabError: the folder holds another run.
    """
    asked = run.to_json() | {"format": FORMAT, "images_digest": images_digest}
    asked["data_checksum"] = data_checksum
    if latest(folder) is None:
        records.write_json(folder / "config.json", asked)
        return
    there = _described(folder, images_digest)
    if there["images_digest"] not in (None, images_digest) and images_digest is not None:
        raise LabError(
            f"{folder} was trained on other images that are called {run.dataset} as well, or on "
            "other parts of them: restore that data set and its flags, or use another --out."
        )
    there["images_digest"] = images_digest
    differing = sorted(_differences(_of_training(there), _of_training(asked)))
    if differing:
        raise LabError(
            f"{folder} holds another run: {'; '.join(differing)}. Use the flags that it was "
            "made with, or another --out."
        )


def read_run(folder: Path, nets: Nets | None = None) -> Run:
    """The description of the run in a folder; give `nets` if its Config has nets of its own.

    Raises:
        LabError: there is no run, its config.json is damaged, or it was trained with other nets.
    """
    try:
        description = _with_defaults(_read_json(folder))
        known = {*DEFAULTS, "image_shape", "nets", "seed", *Knobs._fields}
        if unknown := sorted(set().union(description["config"], *description["lanes"]) - known):
            raise LabError(
                f"it has {', '.join(unknown)}, which this version of vaejax does not know."
            )
        return Run.from_json(description, nets)
    except LabError as error:
        raise LabError(f"{folder / 'config.json'}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder, error) from error


def _with_defaults(description: dict[str, Any]) -> dict[str, Any]:
    """A config.json with the choices and knobs that an older version did not have."""
    return description | {
        "config": DEFAULTS | description["config"],
        "lanes": [KNOB_DEFAULTS | lane for lane in description["lanes"]],
    }


def is_twin(folder: Path, run: Run, images_digest: str) -> bool:
    """Whether the run in a folder trained as `run` does, on the same images: all is the same but
    for its name, and for labels, which say nothing about the training.

    Raises:
        LabError: there is no run, or its config.json is damaged.
    """
    there = _described(folder, images_digest=None)
    asked = run.to_json() | {"format": FORMAT, "images_digest": images_digest}
    return not _differences(_of_training(there | {"name": run.name}), _of_training(asked))


def _described(folder: Path, images_digest: str | None) -> dict[str, Any]:
    """The description in a folder, with what an older version did not have; `images_digest` is that
    of a description without one."""
    older = {"format": FORMAT, "images_digest": images_digest, "start": None, **SOURCE_DEFAULTS}
    try:
        return older | _with_defaults(_read_json(folder))
    except (TypeError, KeyError) as error:
        raise _damaged(folder, error) from error


def _of_training(description: dict[str, Any]) -> dict[str, Any]:
    """A description without labels, which say nothing about the training, and without where images
    are and what is beside them: images may have moved, and others may have come."""
    left_out = ("labels", "path", "data_checksum")
    return {name: value for name, value in description.items() if name not in left_out}


def nets_of(folder: Path) -> str | None:
    """The name of the nets that the run in a folder was trained with, if they are not the MLPs of
    `vaejax.model`.

    Raises:
        LabError: there is no run, or its config.json is damaged.
    """
    try:
        return _read_json(folder)["config"].get("nets")
    except (TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder, error) from error


def data_checksum_of(folder: Path) -> str | None:
    """What tells your own images that the run in a folder was trained on from others; None of a
    data set that has a name.

    Raises:
        LabError: there is no run, or its config.json is damaged.
    """
    return _read_json(folder).get("data_checksum")


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
        if found.get("format", FORMAT) > FORMAT:
            raise LabError(f"{path} was written by a newer version of vaejax: update vaejax.")
        return found
    except (FileNotFoundError, NotADirectoryError):
        raise LabError(
            f"{folder} holds no config.json: give the folder of a run, such as "
            "checkpoints/mnist/latent_size/z2."
        ) from None
    except OSError as error:
        raise LabError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, TypeError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> LabError:
    return LabError(
        f"{folder / 'config.json'} is damaged ({error}): mend it, or move {folder} away and train "
        "again."
    )


def save(
    folder: Path, state: train.State, trace: train.Trace, step: int, best: Best | None = None
) -> None:
    """Write the checkpoint of a run after `step` steps, then delete the one before.

    Args:
        state: the state of all lanes, on the host.
        trace: the terms [lanes, steps, ...] of the steps since the checkpoint before.
        best: the best state so far, to be kept beside this one.

    Raises:
        LabError: it cannot be written.
    """
    # Asked beforehand: once a disk is full, orbax's threads print tracebacks of their own.
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves((state, trace, best))) * 1.2 + 2**20
    try:
        free = min(shutil.disk_usage(folder).free, _largest_file())
        if free < needed:
            raise OSError(f"it takes {needed / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free")
        before = step - trace.objective.shape[1]
        old = _trace_checksums(folder, trace, before) if before else {}
        trace_checksums = trace_files.extend(folder, trace, before, old)
        _remove(folder.glob(".[0-9]*"))  # what a killed process left
        aside = folder.resolve() / f".{step}"
        aside.mkdir()
        _orbax().save(aside / "state", args=ocp.args.PyTreeSave(state))
        if best is not None:
            _orbax().save(aside / "best", args=ocp.args.PyTreeSave(best))
        records.write_json(aside / CHECKSUMS, _checksums(folder, aside, trace_checksums))
        _remove([folder / str(step)])
        patiently(partial(aside.rename, folder / str(step)))
        _remove(path for path in _named(folder) if int(path.name) < step or _is_empty(path))
    except LabError:
        raise
    except Exception as error:  # orbax passes on whatever its storage layer raises
        raise LabError(
            f"Cannot write a checkpoint to {folder}: {first_line(error)}. Free some space or mend "
            "the permissions; --resume continues from what is there."
        ) from error


def _largest_file() -> float:
    """The size in bytes of the largest file that this process may write."""
    if resource is None:
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return math.inf if limit == resource.RLIM_INFINITY else limit


def latest(folder: Path) -> int | None:
    """The step of the newest checkpoint, None if there is none."""
    return max((int(path.name) for path in _named(folder) if not _is_empty(path)), default=None)


def _named(folder: Path) -> list[Path]:
    """The folders that are named as checkpoints are."""
    # Not `ocp.utils.checkpoint_steps`: it takes `backup_7` for a checkpoint, too.
    inside = list(folder.iterdir()) if folder.is_dir() else []
    return [path for path in inside if re.fullmatch("0|[1-9][0-9]*", path.name) and path.is_dir()]


def _is_empty(path: Path) -> bool:
    """Whether there is nothing in a folder, as when a process was killed between emptying and
    removing it."""
    try:
        return not any(path.iterdir())
    except FileNotFoundError:  # another process has written a newer one
        return True


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
    found = _restored(folder, nets)
    if not best:
        return found
    kept = restore_best(folder, found.step, found.state)
    if kept is None:
        raise LabError(f"{folder} holds no best state: it was trained without --keep-best.")
    return found._replace(state=kept.state)


def restore_best(folder: Path, step: int, state: train.State) -> Best | None:
    """The best state in the checkpoint of a step, if one was kept there. It has the shapes of
    `state`, any state of the run on the host. Only `restore` looks for damage."""
    path = folder / str(step) / "best"
    if not path.is_dir():
        return None
    lanes = np.empty(len(state.step), np.float32)
    best: Best = _read_state(path, Best(state, lanes))
    return best


def _restored(folder: Path, nets: Nets | None) -> Trained:
    run, step = read_run(folder, nets), latest(folder)
    if step is None:
        raise LabError(
            f"{folder} holds no checkpoint yet: train with the flags that the folder was made "
            "with, and --resume."
        )
    shapes = jax.eval_shape(train.init_lanes, run.config, np.asarray(run.seeds, np.uint32))
    shapes = shapes._replace(key=jax.eval_shape(jax.random.key_data, shapes.key))
    empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
    try:
        if not (folder / str(step) / "state").is_dir():
            return Trained(
                run, *_restore_older(folder, step, _Older(empty, _zero_trace(run, step)))
            )
        trace = trace_files.read(folder, run, step)
        _check_contents(folder, step, trace)
        state = _read_state(folder / str(step) / "state", empty)
        _check_shapes(folder, step, state, shapes)
        return Trained(run, state, trace)
    except LabError:
        raise
    except Exception as error:  # orbax passes on whatever its storage layer raises
        raise LabError(
            f"The checkpoint in {folder / str(step)} is damaged, or config.json beside it does not "
            f"fit it ({first_line(error)}): restore both from a copy, or move {folder} away and "
            "train again."
        ) from error


def _check_shapes(folder: Path, step: int, found: train.State, wanted: train.State) -> None:
    """Refuse a state that is not of the run that config.json describes."""
    shapes = [
        [getattr(leaf, "shape", None) for leaf in jax.tree.leaves(state)]
        for state in (found, wanted)
    ]
    if shapes[0] != shapes[1]:
        raise LabError(
            f"{folder / 'config.json'} does not fit the checkpoint in {folder / str(step)}: the "
            "arrays have other shapes. Restore the config.json that the run was trained with."
        )


def _check_contents(folder: Path, step: int, trace: train.Trace) -> None:
    """Raise ValueError for the first part of a checkpoint that is not what was saved. It comes
    before orbax reads, whose threads print tracebacks of their own at damaged files."""
    saved = _saved_checksums(folder, step)
    if saved is None:
        return
    of_trace = trace_files.checksums(folder, trace, step)
    found = _checksums(folder, folder / str(step), of_trace)
    for part in sorted(found.keys() | saved.keys()):
        if saved.get(part) != found.get(part):
            raise ValueError(f"the checksum of the {part} is not the one that was saved")


def _checksums(folder: Path, checkpoint: Path, of_trace: dict[str, int]) -> dict[str, Any]:
    """Of all that a checkpoint consists of: config.json, the trace, and the files of each state."""
    kept = [name for name in ("state", "best") if (checkpoint / name).is_dir()]
    states = {name: _file_checksums(checkpoint / name) for name in kept}
    return {"config": _config_checksum(folder), "trace": of_trace, **states}


def _config_checksum(folder: Path) -> int:
    """Of what config.json says, in any layout."""
    return zlib.crc32(json.dumps(_read_json(folder), sort_keys=True).encode())


def _file_checksums(folder: Path) -> dict[str, int]:
    """Of every file in a folder, at any depth."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _file_checksum(path) for path in files}


def _file_checksum(path: Path) -> int:
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _saved_checksums(folder: Path, step: int) -> dict[str, Any] | None:
    """The checksums in a checkpoint; None if it is of an older version, which had none."""
    path = folder / str(step) / CHECKSUMS
    return json.loads(path.read_bytes()) if path.exists() else None


def _trace_checksums(folder: Path, trace: train.Trace, steps: int) -> dict[str, int]:
    """The checksums of the trace over the first steps, which are on disk."""
    if not trace_files.hold(folder, trace, steps):
        # Checkpoints of the first version hold the trace themselves: it moves out of them once.
        return trace_files.extend(folder, restore(folder).trace, 0, {})
    saved = _saved_checksums(folder, steps)
    return saved["trace"] if saved else trace_files.checksums(folder, trace, steps)


class _Older(NamedTuple):
    """What one item of orbax held before the trace had files of its own."""

    state: train.State
    trace: train.Trace


def _restore_older(folder: Path, step: int, empty: _Older) -> _Older:
    older: _Older = _read_state(folder / str(step) / "default", empty)
    return older


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


def _read_state(folder: Path, like: Any) -> Any:
    """The arrays in a folder of orbax, in the tree and of the types of `like`."""
    types = ocp.checkpoint_utils.construct_restore_args(like)
    return _orbax().restore(folder.resolve(), ocp.args.PyTreeRestore(like, restore_args=types))


def _remove(folders: Iterable[Path]) -> None:
    """Delete folders. Each is renamed first, so that none is ever seen in part."""
    for path in list(folders):
        if path.exists():
            away = (
                path
                if path.name.startswith(".")
                else path.rename(path.with_name(f".{path.name}.old"))
            )
            shutil.rmtree(away)


def _zero_trace(run: Run, steps: int) -> train.Trace:
    """A trace of so many steps, all zeros: none yet, or the shapes that a checkpoint holds."""
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
