"""How long a run trains, and its training: resumed, saved as it goes, shown."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import Progress

from experiments.flags import Flags
from vaejax import checkpoint, hosts, train
from vaejax.config import Config, Run

Converged = Callable[[Run, train.Trace], np.ndarray]
"""Which lanes of a run have converged, from the trace of all its steps: it ends with the last."""
Fit = Callable[..., Iterator[tuple[Callable[[], train.State], train.Trace]]]
"""`sweep.fit` on the images of a run, from its Config on."""

RATE_PIXELS = 784
BLOCK = 1000
"""Steps after which a study that trains until it has converged asks whether it has."""
MOVED = 0.02
"""Of the unit that a study gives: a change from block to block that counts as none."""


def gentle_rate(flags: Flags, pixels: int) -> float:
    """`--learning-rate` for images of up to `RATE_PIXELS`, and lower in proportion for larger ones:
    a step of Adam moves every weight alike, and what a unit sees of an image by as much as that has
    pixels."""
    return flags.learning_rate * min(1, RATE_PIXELS / pixels)


def run_steps(flags: Flags, config: Config, images: int) -> float:
    """Steps of a run of so many images, as a number that a knob may be.

    Raises:
        LabError: fewer images than one batch.
    """
    steps = train.steps_per_epoch(config, images)
    return float(flags.run_epochs(steps) * steps)


def settled(error: np.ndarray, unit: float) -> np.ndarray:
    """In which lanes the root mean square of a squared error [lanes, steps] has moved by less than
    `MOVED` units between the last three blocks of `BLOCK` steps; a lane that diverged moves no
    more."""
    blocks = error.shape[1] // BLOCK
    if blocks < 3:
        return np.zeros(len(error), bool)
    finite = np.isfinite(error).all(1, keepdims=True)
    error = np.where(finite, error[:, : blocks * BLOCK], 0)
    averages = error.reshape(len(error), blocks, BLOCK).mean(-1)
    moved = np.abs(np.diff(np.sqrt(averages[:, -3:]), axis=1))
    return (moved < MOVED * unit).all(1)


class Plan(NamedTuple):
    """How long a run trains."""

    epochs: int
    steps_per_epoch: int
    every: int
    """Epochs between checkpoints."""
    passes: int
    """Epochs in one call of the compiled program."""


def plan(flags: Flags, run: Run, images: int, until_converged: bool) -> Plan:
    """How long to train a run on so many images. Until it has converged: in blocks of steps, with
    a checkpoint after each.

    Raises:
        LabError: fewer images than one batch.
    """
    steps = train.steps_per_epoch(run.config, images)
    epochs = flags.run_epochs(steps)
    if until_converged:
        block = min(epochs, max(1, BLOCK // steps))
        every = -(-(flags.checkpoint_every or 1) // block) * block
        return Plan(-(-epochs // block) * block, steps, every, block)
    return Plan(epochs, steps, flags.checkpoint_every or max(1, epochs // 10), 1)


def train_run(
    run: Run,
    folder: Path,
    begin: Callable[[], checkpoint.Saved],
    fit: Fit,
    plan: Plan,
    progress: Progress,
    converged: Converged | None,
) -> checkpoint.Saved:
    """Train a run as planned, from its newest checkpoint or as it begins, saving as it goes."""

    def newest() -> checkpoint.Saved:
        return begin() if checkpoint.latest(folder) is None else checkpoint.restore(folder)[1]

    saved = hosts.once(newest)
    epoch = start = saved.step // plan.steps_per_epoch

    def settled() -> bool:
        return converged is not None and saved.step > 0 and bool(converged(run, saved.trace).all())

    task = progress.add_task(run.name, total=plan.epochs, completed=epoch, objective="")
    if settled() or saved.state.diverged.all():
        return saved
    for collect, trace in fit(
        run.config, run.knobs, saved.state, epochs=plan.epochs - epoch, passes=plan.passes
    ):
        saved = saved.extended(saved.state, trace)
        epoch = saved.step // plan.steps_per_epoch
        last = epoch == plan.epochs or settled()
        if last or (epoch - start) % plan.every == 0:
            saved = saved._replace(state=collect())
            hosts.once(partial(checkpoint.save, folder, saved))
            last = last or bool(saved.state.diverged.all())
        recent = trace.objective.mean(1)
        ends = [recent.min(), recent.max()] if len(recent) > 4 else recent
        separator = " to " if len(recent) > 4 else ", "
        objective = separator.join(f"{value:.4g}" for value in ends)
        progress.update(task, completed=epoch, objective=f"objective {objective}")
        if last:
            break
    return saved


def divergences(folder: Path, run: Run, saved: checkpoint.Saved, plan: Plan) -> list[str]:
    """A line for each lane that diverged: when, and where its last good state is."""
    lines = []
    for lane in map(int, np.flatnonzero(saved.state.diverged)):
        good = int(saved.state.step[lane]) // plan.steps_per_epoch
        knobs = ", ".join(f"{name} {value:g}" for name, value in run.lane(lane).items())
        lines.append(
            f"{run.name} lane {lane} ({knobs}) in epoch {good + 1}; its state after epoch {good} "
            f"is in {folder / run.name / str(saved.step)}"
        )
    return lines
