"""How long a run trains, and the training loop: resume, save checkpoints, show progress."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from rich.progress import Progress

from vaejax import hosts, sweep, train
from vaejax.config import Config
from vaejax.errors import StoppedError
from vaejax.lab.flags import Flags
from vaejax.lab.progress import terms
from vaejax.run import Run
from vaejax.store import checkpoint
from vaejax.store.checkpoint import Trained

Converged = Callable[[Run, np.ndarray], np.ndarray]
"""Tells which lanes [lanes] of a run have converged, from the error [lanes, steps] of all its
steps, averaged over pixels. The run ends once all have."""
Fit = Callable[..., Iterator[tuple[sweep.Lanes, train.Trace]]]
"""`sweep.fit` with the images of a run filled in."""

BLOCK = 1000
"""About how many steps a run that trains until it has converged takes before it checks again; a
block is a whole number of epochs."""


class Plan(NamedTuple):
    """How long a run trains."""

    epochs: int
    steps_per_epoch: int
    every: int
    """Epochs between checkpoints."""
    passes: int
    """Epochs in one call of the compiled program."""


def plan(flags: Flags, config: Config, images: int, until_converged: bool) -> Plan:
    """How long to train a run on so many images. A run that trains until it has converged does so
    in blocks of about `BLOCK` steps, with a checkpoint after each.

    Raises:
        LabError: there are fewer images than one batch.
    """
    steps = train.steps_per_epoch(config, images)
    epochs = flags.run_epochs(steps)
    if until_converged:
        block = min(epochs, max(1, BLOCK // steps))
        every = math.ceil((flags.checkpoint_every or 1) / block) * block
        return Plan(math.ceil(epochs / block) * block, steps, every, block)
    return Plan(epochs, steps, flags.checkpoint_every or max(1, epochs // 10), 1)


def run_steps(flags: Flags, config: Config, images: int) -> float:
    """The steps of a run on so many images, as a number that a knob may be.

    Raises:
        LabError: there are fewer images than one batch.
    """
    steps = train.steps_per_epoch(config, images)
    return float(flags.run_epochs(steps) * steps)


def train_run(
    run: Run,
    folder: Path,
    initial: Callable[[], Trained],
    fit: Fit,
    plan: Plan,
    progress: Progress,
    converged: Converged | None = None,
    stopped_by: Callable[[], int | None] = lambda: None,
) -> tuple[train.State, int]:
    """Train a run as planned, from its newest checkpoint or else from `initial()`, saving as it
    goes. Returns the state at the end, on the host, and the number of steps; the trace of all steps
    is in the folder.

    Raises:
        StoppedError: `stopped_by()` named a signal after an epoch; the checkpoint is saved.
    """

    def newest() -> list[np.ndarray]:
        is_new = checkpoint.latest(folder) is None
        found = initial() if is_new else checkpoint.restore(folder, run.config.nets)
        # Of the trace all processes need what `converged` asks for. It is a copy: the files of the
        # trace are mapped, and Windows cuts nothing off a mapped file.
        error = np.array(found.trace.error) if converged else np.empty((len(run.seeds), 0))
        return [np.asarray(found.step), error, *jax.tree.leaves(found.state)]

    first_step, before, *leaves = hosts.arrays_once(newest)
    state: train.State = jax.tree.unflatten(sweep.structure(run.config), leaves)
    step, errors = int(first_step), [before]
    first = step // plan.steps_per_epoch
    task = progress.add_task(
        run.name,
        total=plan.epochs,
        completed=first,
        steps_per_epoch=plan.steps_per_epoch,
        terms="",
    )

    def is_over() -> bool:
        if step >= plan.epochs * plan.steps_per_epoch:
            return True
        return (
            converged is not None
            and step > 0
            and bool(converged(run, np.concatenate(errors, 1)).all())
        )

    if is_over() or state.diverged.all():
        return state, step
    unsaved: list[train.Trace] = []
    for lanes, trace in fit(
        run.config, run.knobs, state, epochs=plan.epochs - first, passes=plan.passes
    ):
        unsaved.append(trace)
        step += trace.objective.shape[1]
        errors.append(np.asarray(trace.error))
        epoch = step // plan.steps_per_epoch
        progress.update(task, completed=epoch, terms=terms(trace))
        over, stop = is_over(), stopped_by()
        if over or stop or (epoch - first) % plan.every == 0:
            state = sweep.collect(lanes)
            new = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *unsaved)
            hosts.once(partial(checkpoint.save, folder, state, new, step))
            unsaved.clear()
            over = over or bool(state.diverged.all())
        if over:
            break
        if stop:
            raise StoppedError(stop, f"after epoch {epoch} of {plan.epochs} of {run.name}")
    return state, step


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
