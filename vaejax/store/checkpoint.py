"""A run on disk: its description, the newest state of its lanes, and the trace of all its steps.

    config.json        the description; where its images are, and which are for test, may change
    added/             lanes that are added to the run, as a run of their own, until they are as far
    <step>/            the state after so many steps, by orbax, and the checksums of everything;
                       with --keep-best also the best state so far; only the newest is kept
    trace/*.f32        the loss terms of every step, see `trace_files`

A state is written aside and renamed. The trace grows before the state does, and what it holds
beyond the newest state is written over: a killed process leaves the checkpoint before it. The
newest state is enough for a lane that diverged, too: it is the last good one (see `train.epoch`).
"""

import json
import math
import re
import resource
import shutil
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import type_handlers

from vaejax import train
from vaejax.config import Nets
from vaejax.errors import LabError, first_line
from vaejax.run import Run
from vaejax.store import records, trace_files
from vaejax.trained import Trained

CHECKSUMS = "checksums.json"
ADDED, MERGED = "added", "merged"
"""Folders in that of a run: of the lanes that are added to it, until they are as far as the others,
and in which `merge` then puts all together."""
DIGEST = "other training images"
"""What `_differences` says where they are not the same."""
FORMAT = 2
"""The format of a run's folder. A folder of another one is refused."""


class Best(NamedTuple):
    """Of each lane the best state that was measured. `state.step` says how old it is."""

    state: train.State
    """Of all lanes, on the host."""
    neg_elbo: np.ndarray
    """[lanes]; nats, on images that were held out."""


def create(folder: Path, run: Run) -> None:
    """Make the folder of a run and write its config.json. If there is one of a run that trains in
    the same way, it now says where the images are, which of them are for test, and the labels.

    Raises:
        LabError: the folder holds another run.
    """
    check(folder, run)
    asked = run.to_json() | {"format": FORMAT}
    path = folder / "config.json"
    if latest(folder) is None or _read_json(folder) != records.plain(asked):
        records.write_json(path, asked)


def check(folder: Path, run: Run) -> None:
    """Refuse a folder with a checkpoint of another run: one that does not train in the same way.

    Raises:
        LabError: names what differs.
    """
    if latest(folder) is None:
        return
    differing = _differences(_training(_read_json(folder), folder), of_training(run))
    if {*differing} == {DIGEST}:
        raise LabError(
            f"{folder} was trained on other images that are called {run.images.dataset} as well, "
            "or on other parts of them: restore that data set and its flags, or use another --out."
        )
    if differing:
        listed = "; ".join(line for line in differing if line != DIGEST)
        raise LabError(
            f"{folder} holds another run: {listed}. Use the flags that it was made with, or "
            "another --out."
        )


def read_run(folder: Path, nets: Nets | None = None) -> Run:
    """The description of the run in a folder; give `nets` if its Config has nets of its own.

    Raises:
        LabError: there is no run, its config.json is damaged, or it was trained with other nets.
    """
    description = _read_json(folder)
    try:
        return Run.from_json(description, nets)
    except LabError as error:
        raise LabError(f"{folder / 'config.json'}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder, error) from error


def is_twin(folder: Path, run: Run) -> bool:
    """Whether the run in a folder trained as `run` does, on the same images: all is the same but
    for its name, and for labels, which say nothing about the training.

    Raises:
        LabError: there is no run, or its config.json is damaged.
    """
    there = _training(_read_json(folder), folder)
    return not _differences(there | {"name": run.name}, of_training(run))


def of_training(run: Run) -> dict[str, Any]:
    """The description of a run as JSON, without what says nothing about its training: labels, where
    the images are, and which of them are for test."""
    return _training(records.plain(run.to_json()), Path())


def _training(description: dict[str, Any], folder: Path) -> dict[str, Any]:
    try:
        known = ("dataset", "train", "resize", "colour", "train_digest", "held_out_digest")
        images = {name: description["images"][name] for name in known}
        names = ("name", "config", "lanes", "start")
        return {name: description[name] for name in names} | {"images": images}
    except (TypeError, KeyError) as error:
        raise _damaged(folder, error) from error


class Added(NamedTuple):
    """How a run differs from one in a folder that has fewer of its lanes, or another order."""

    places: list[int]
    """The place in the run of each lane that the folder has."""
    missing: list[int]
    """The lanes that the folder lacks."""


def added_lanes(folder: Path, run: Run) -> Added | None:
    """Which lanes of a run the folder lacks. None if it has no checkpoint, if it has just these
    lanes, or one that `run` has not.

    Raises:
        LabError: config.json is damaged.
    """
    if latest(folder) is None:
        return None
    there = _training(_read_json(folder), folder)["lanes"]
    asked = of_training(run)["lanes"]
    if there == asked:
        return None
    left = dict(enumerate(asked))
    places = []
    for settings in there:
        found = next((lane for lane, wanted in left.items() if wanted == settings), None)
        if found is None:
            return None
        places.append(found)
        del left[found]
    return Added(places, list(left))


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


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError("it is no JSON object")
        if found.get("format") != FORMAT:
            raise LabError(
                f"{path} is of another version of vaejax: use that version, or move {folder} away "
                "and train again."
            )
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
        old = _trace_checksums(folder, before) if before else {}
        trace_checksums = trace_files.extend(folder, trace, before, old)
        _remove(folder.glob(".[0-9]*"))  # what a killed process left
        aside = folder.resolve() / f".{step}"
        aside.mkdir()
        _orbax().save(aside / "state", args=ocp.args.PyTreeSave(state))
        if best is not None:
            _orbax().save(aside / "best", args=ocp.args.PyTreeSave(best))
        records.write_json(aside / CHECKSUMS, _checksums(folder, aside, trace_checksums))
        _remove([folder / str(step)])
        aside.rename(folder / str(step))
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
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return math.inf if limit == resource.RLIM_INFINITY else limit


def merge(folder: Path, run: Run, added: Added) -> None:
    """Make one run of the lanes in a folder and of those that were added to it. A lane that
    diverged and took fewer steps has NaN as the terms of the others.

    Args:
        run: all lanes, in their order.
        added: which of them are in `folder`; the others, if any, are in `ADDED` there.

    Raises:
        LabError: a checkpoint cannot be read or written.
    """
    folders = [folder, folder / ADDED] if added.missing else [folder]
    parts = [restore(one, run.config.nets) for one in folders]
    kept = [
        restore_best(one, part.step, part.state) for one, part in zip(folders, parts, strict=True)
    ]
    order, steps = np.argsort([*added.places, *added.missing]), max(part.step for part in parts)

    def joined(*leaves: np.ndarray) -> np.ndarray:
        return np.concatenate(leaves)[order]

    traces = [jax.tree.map(partial(_lengthened, steps=steps), part.trace) for part in parts]
    state, trace = (
        jax.tree.map(joined, *trees) for trees in ([part.state for part in parts], traces)
    )
    best = None if None in kept else jax.tree.map(joined, *kept)
    aside = folder / MERGED
    shutil.rmtree(aside, ignore_errors=True)
    create(aside, run)
    if added.missing:
        (aside / ADDED).touch()
    save(aside, state, trace, steps, best)
    finish_merging(folder)


def _lengthened(terms: np.ndarray, steps: int) -> np.ndarray:
    """Terms [lanes, steps, ...] with NaN for the steps that were not taken."""
    lacking = ((0, 0), (0, steps - terms.shape[1]), *((0, 0),) * (terms.ndim - 2))
    return np.pad(np.asarray(terms), lacking, constant_values=np.nan)


def finish_merging(folder: Path) -> None:
    """Put the run that `merge` has made in the place of its parts, from wherever a killed process
    left off. The state comes last: until then there is none, and the folder can be read by
    nothing."""
    aside = folder / MERGED
    step = latest(aside)
    if step is not None:
        _remove(_named(folder))
        for part in ("trace", "config.json"):
            if (aside / part).exists():
                _remove([folder / part] if (aside / part).is_dir() else [])
                (aside / part).replace(folder / part)
        if (aside / ADDED).exists():
            shutil.rmtree(folder / ADDED, ignore_errors=True)
        (aside / str(step)).rename(folder / str(step))
    shutil.rmtree(aside, ignore_errors=True)


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
    saved = json.loads((folder / str(step) / CHECKSUMS).read_bytes())
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
    """Of what config.json says about the training, in any layout."""
    said = _training(_read_json(folder), folder)
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())


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


def _trace_checksums(folder: Path, steps: int) -> dict[str, int]:
    """The checksums of the trace over the first steps, which are on disk."""
    return json.loads((folder / str(steps) / CHECKSUMS).read_bytes())["trace"]


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


def _differences(there: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """What of the training differs, a line for each setting; `DIGEST` for the images."""
    lines = [
        DIGEST
        if name.endswith("_digest")
        else f"{name} is {old.get(name)}, asked is {new.get(name)}"
        for old, new in (
            (there["images"], asked["images"]),
            (there["config"], asked["config"]),
            *(({name: there[name]}, {name: asked[name]}) for name in ("name", "start")),
        )
        for name in dict.fromkeys((*old, *new))
        if old.get(name) != new.get(name)
    ]
    return lines + _lane_differences(there["lanes"], asked["lanes"])


def _lane_differences(there: list[dict[str, Any]], asked: list[dict[str, Any]]) -> list[str]:
    """The seeds and knobs in which lanes differ, with the values that they have."""
    if there == asked:
        return []
    lines = []
    for name in there[0]:
        old, new = (sorted({lane[name] for lane in lanes}) for lanes in (there, asked))
        if old != new:
            said = (" ".join(f"{value:g}" for value in values) for values in (old, new))
            lines.append("{} is {}, asked is {}".format(name, *said))
    return lines or [f"it has {len(there)} models in other combinations, asked are {len(asked)}"]
