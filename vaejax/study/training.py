"""How long a run trains, and the training loop: resume, save checkpoints, show progress."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.progress import Progress

from vaejax import train
from vaejax.config import Config
from vaejax.errors import StoppedError
from vaejax.parallel import memory, processes
from vaejax.parallel.lanes import Lanes
from vaejax.run import Run
from vaejax.store import checkpoint
from vaejax.store.checkpoint import Best
from vaejax.study import environment
from vaejax.study.flags import Flags
from vaejax.study.progress import terms
from vaejax.trained import Trained

Converged = Callable[[Run, np.ndarray], np.ndarray]
"""Tells which lanes [lanes] of a run have converged, from the error [lanes, steps] of all its
steps, averaged over pixels. The run ends once all have."""
Fit = Callable[..., Iterator[tuple[Lanes, train.Trace]]]
"""`parallel.advance` with the images of a run filled in."""


def _ignore(*_: Any) -> None:
    pass


class Watch(NamedTuple):
    """What the first process calls while a run trains, to tell of it. None of it changes what is
    trained."""

    began: Callable[[train.Trace], None] = _ignore
    """With the trace [lanes, steps, ...] of all steps before, once, before the first new one."""
    trained: Callable[[train.Trace, int], None] = _ignore
    """With the trace since the last call, on the host, and the steps taken."""
    saving: Callable[[train.State, int], None] = _ignore
    """With the state on the host and the steps taken, before each checkpoint."""
    best: Callable[[train.State, bool], Best | None] = _ignore
    """`best(state, measured)`: the best state so far, to be saved with a checkpoint, see
    `lab.best.so_far`; None to keep none."""


UNWATCHED = Watch()
STEP_IMAGES = 30
"""About as many images as the optimizer takes time for, at each step."""
BLOCK = 1000
"""About how many steps a run that trains until it has converged takes before it checks again; a
block is a whole number of epochs."""


class Plan(NamedTuple):
    """How long a run trains."""

    epochs: int
    steps_per_epoch: int
    every: int
    """Epochs between checkpoints."""
    epochs_per_call: int
    """Epochs of one call of the compiled program."""

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch


def plan(
    flags: Flags, config: Config, images: int, until_converged: bool, epochs: int | None = None
) -> Plan:
    """How long to train a run on so many images: for so many epochs, or else as the flags say. A
    run that trains until it has converged does so in blocks of about `BLOCK` steps, with a
    checkpoint after each; the last may be shorter.

    Raises:
        LabError: there are fewer images than one batch.
    """
    steps = train.steps_per_epoch(config, images)
    epochs = epochs or flags.run_epochs(steps)
    if until_converged:
        block = min(epochs, max(1, BLOCK // steps))
        every = math.ceil((flags.checkpoint_every or 1) / block) * block
        return Plan(epochs, steps, every, block)
    return Plan(epochs, steps, flags.checkpoint_every or max(1, epochs // 10), 1)


def work(run: Run, plan: Plan) -> float:
    """How much the training of a run is, to compare runs: parameters times images, over all steps
    and lanes."""
    each = memory.parameters(run.config) * (run.config.batch_size + STEP_IMAGES)
    return float(each * len(run.seeds) * plan.steps)


def train_run(
    run: Run,
    folder: Path,
    initial: Callable[[], Trained],
    fit: Fit,
    plan: Plan,
    progress: Progress,
    converged: Converged | None = None,
    stopped_by: Callable[[], int | None] = lambda: None,
    watch: Watch = UNWATCHED,
) -> tuple[train.State, int]:
    """Train a run as planned, from its newest checkpoint or else from `initial()`, saving as it
    goes. Returns the state at the end, on the host, and the number of steps; the trace of all steps
    is in the folder.

    Raises:
        StoppedError: `stopped_by()` named a signal after an epoch; the checkpoint is saved.
    """

    step, error, state = _begin(run, folder, initial, watch)
    errors, done = [error], step // plan.steps_per_epoch
    task = progress.add_task(
        run.name,
        total=plan.epochs,
        completed=done,
        first=done,
        steps_per_epoch=plan.steps_per_epoch,
        work=work(run, plan) / plan.epochs,
        terms="",
    )

    def is_over() -> bool:
        at_a_block = step > 0 and step // plan.steps_per_epoch % plan.epochs_per_call == 0
        return step >= plan.steps or (
            converged is not None
            and at_a_block
            and bool(converged(run, np.concatenate(errors, 1)).all())
        )

    if is_over() or state.diverged.all():
        return state, step
    unsaved: list[train.Trace] = []
    calls = fit(
        run.config,
        run.knobs,
        state,
        epochs=plan.epochs - done,
        epochs_per_call=plan.epochs_per_call,
        trained=done,
    )
    del state  # it is large, and the lanes have it
    for lanes, trace in calls:
        unsaved.append(trace)
        errors.append(np.asarray(trace.error))
        step += trace.objective.shape[1]
        epoch = step // plan.steps_per_epoch
        progress.update(task, completed=epoch, terms=terms(trace))
        processes.once(partial(watch.trained, trace, step))
        over, stop = is_over(), stopped_by()
        due = over or epoch // plan.every > done // plan.every
        done = epoch
        if due or stop:
            state = lanes.on_host()
            processes.once(partial(_save, folder, state, unsaved, step, watch, due))
            unsaved.clear()
            if over or state.diverged.all():
                return state, step
            if stop:
                raise StoppedError(stop, f"after epoch {epoch} of {plan.epochs} of {run.name}")
            del state
        del lanes  # as large as the newer one that comes
    raise AssertionError("the last epoch ends the training")


def _begin(
    run: Run, folder: Path, initial: Callable[[], Trained], watch: Watch
) -> tuple[int, np.ndarray, train.State]:
    """From the newest checkpoint, or else from `initial()`: the steps taken, their errors
    [lanes, steps], and the state, in all processes."""

    def newest() -> list[np.ndarray]:
        is_new = checkpoint.latest(folder) is None
        found = initial() if is_new else checkpoint.restore(folder, run.config.nets)
        watch.began(found.trace)
        return [np.asarray(found.trace.error), *jax.tree.leaves(found.state)]

    error, *leaves = processes.arrays_once(newest)
    structure = jax.tree.structure(memory.shapes(run.config))
    return error.shape[1], error, jax.tree.unflatten(structure, leaves)


def _save(
    folder: Path,
    state: train.State,
    unsaved: list[train.Trace],
    step: int,
    watch: Watch,
    due: bool,
) -> None:
    """Save a checkpoint. One that is not due, of a run that a signal stops, is no candidate for the
    best state."""
    watch.saving(state, step)
    new = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *unsaved)
    checkpoint.save(folder, state, new, step, watch.best(state, due))
    environment.give_back_memory()  # orbax has used more than the state takes


def divergences(folder: Path, run: Run, state: train.State, step: int, plan: Plan) -> list[str]:
    """A line for each lane that diverged: when it did, and where its last good state is."""
    lines = []
    for lane in map(int, np.flatnonzero(state.diverged)):
        good = int(state.step[lane]) // plan.steps_per_epoch
        settings = ", ".join(f"{name} {value:g}" for name, value in run.lanes[lane].items())
        lines.append(
            f"{run.name} lane {lane} ({settings}) in epoch {good + 1}; its state after epoch "
            f"{good} is in {folder / run.name / str(step)}"
        )
    return lines
