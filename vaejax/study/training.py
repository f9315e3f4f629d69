"""Trains a run of a study: goes on from its newest checkpoint, saves new ones, adds lanes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, UInt8

from vaejax import parallel, train
from vaejax.errors import StoppedError
from vaejax.parallel import memory, processes
from vaejax.run import Run
from vaejax.store import checkpoint, merging
from vaejax.study import best, environment, signals, training_log
from vaejax.study.laboratory import Lab
from vaejax.study.plans import Plan
from vaejax.study.progress import Bars
from vaejax.trained import begin


class Trainer(NamedTuple):
    """Trains the lanes of one run of a study."""

    lab: Lab[Any]
    run: Run
    plan: Plan
    images: UInt8[Array, "n pixels"]
    """The training images of the run, on the devices."""
    bars: Bars
    initial_state: Callable[[Lab[Any], Run], train.State | None] | None = None
    """As of a `Study`; None: fresh weights."""
    converged: Callable[[Lab[Any], Run, np.ndarray], np.ndarray] | None = None
    """As of a `Study`: the run ends once all lanes have converged, at most after its plan."""

    def train_lanes(
        self, lanes: Sequence[int], folder: Path, least: int = 0
    ) -> tuple[train.State, int]:
        """Train lanes of the run in a folder to their end, for at least so many steps. Those that
        the folder lacks train alone, until they are as far as the others. Returns the state of the
        lanes, on the host, and the steps that they have taken; the trace is in the folder."""
        own = self.run.of_lanes(lanes)
        if found := processes.once(partial(merging.added_lanes, folder, own)):
            added = merging.Added(*found)
            there, missing = ([lanes[place] for place in places] for places in added)
            _, step = self._go_on(there, folder, least)
            if missing:
                aside = folder / merging.ADDED
                processes.once(partial(open_folder, aside, self.run.of_lanes(missing)))
                _, longest = self.train_lanes(missing, aside, step)
                if longest > step:
                    plan = self.plan._replace(epochs=longest // self.plan.steps_per_epoch)
                    self._replace(plan=plan, converged=None)._go_on(there, folder)
            processes.once(partial(merging.merge, folder, own, added))
        return self._go_on(lanes, folder, least)

    def _go_on(self, lanes: Sequence[int], folder: Path, least: int = 0) -> tuple[train.State, int]:
        """`train_lanes` of lanes that a folder has, or that are new; the first signal stops them
        after its epoch."""
        run = self.run.of_lanes(lanes)
        with signals.deferred() as stopped_by:
            state, step = self._train(run, lanes, folder, least, stopped_by)
            if stop := stopped_by():  # in the last epoch, or while it was saved
                raise StoppedError(stop, f"after the last epoch of {run.name}")
        return state, step

    def _train(
        self,
        run: Run,
        lanes: Sequence[int],
        folder: Path,
        least: int,
        stopped_by: Callable[[], int | None],
    ) -> tuple[train.State, int]:
        """The loop: epochs, and a checkpoint after some of them."""
        plan, (error, state) = self.plan, self._begin(run, lanes, folder)
        errors, step = [error], error.shape[1]
        done = step // plan.steps_per_epoch
        bar = self.bars.add_run(run, plan, done)
        if self._is_over(run, errors, least) or state.diverged.all():
            return state, step
        calls = parallel.advance(
            run.config,
            run.knobs,
            state,
            self.images,
            epochs=plan.epochs - done,
            epochs_per_call=plan.epochs_per_call,
            chunk=self.lab.flags.chunk,
            trained=done,
        )
        del state  # it is large, and the lanes have it
        unsaved: list[train.Trace] = []
        for now, trace in calls:
            unsaved.append(trace)
            errors.append(np.asarray(trace.error))
            step += trace.objective.shape[1]
            epoch = step // plan.steps_per_epoch
            self.bars.show(bar, epoch, trace)
            over, stop = self._is_over(run, errors, least), stopped_by()
            due = over or epoch // plan.every > done // plan.every
            done = epoch
            if due or stop:
                environment.give_back()  # room for one more copy of the state
                state = now.on_host()
                processes.once(partial(self._save, run, folder, state, unsaved, step, due))
                unsaved.clear()
                if over or state.diverged.all():
                    return state, step
                if stop:
                    raise StoppedError(stop, f"after epoch {epoch} of {plan.epochs} of {run.name}")
                del state
            del now  # as large as the newer one that comes
        raise AssertionError("the last epoch ends the training")

    def _begin(
        self, run: Run, lanes: Sequence[int], folder: Path
    ) -> tuple[np.ndarray, train.State]:
        """From the newest checkpoint, or else from the first step: the errors [lanes, steps] of the
        steps taken, and the state, in all processes."""

        def newest() -> list[np.ndarray]:
            if checkpoint.latest(folder) is not None:
                found = checkpoint.restore(folder, run.config.nets)
                self._write_log(run, folder, found.state, found.step)  # it may be a new wish
            else:
                state = self.initial_state and self.initial_state(self.lab, self.run)
                found = begin(run, state and train.take_lanes(state, lanes))
            return [np.asarray(found.trace.error), *jax.tree.leaves(found.state)]

        error, *leaves = processes.arrays_once(newest)
        structure = jax.tree.structure(memory.shapes(run.config))
        return error, jax.tree.unflatten(structure, leaves)

    def _is_over(self, run: Run, errors: Sequence[np.ndarray], least: int) -> bool:
        """Whether all epochs are trained, or after a block all lanes have converged."""
        step = sum(error.shape[1] for error in errors)
        epoch = step // self.plan.steps_per_epoch
        if step >= self.plan.steps or self.converged is None:
            return step >= self.plan.steps
        if not step or step < least or epoch % self.plan.epochs_per_call:
            return False
        return bool(self.converged(self.lab, run, np.concatenate(errors, 1)).all())

    def _save(
        self,
        run: Run,
        folder: Path,
        state: train.State,
        unsaved: Sequence[train.Trace],
        step: int,
        due: bool,
    ) -> None:
        """Save a checkpoint. One that is not due, of a run that a signal stops, is no candidate for
        the best state."""
        kept = None
        if self.lab.held_out is not None:
            kept = best.so_far(folder, run, self.lab.held_out, state, due)
        trace = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *unsaved)
        checkpoint.save(folder, state, trace, step, kept)
        self._write_log(run, folder, state, step)

    def _write_log(self, run: Run, folder: Path, state: train.State, step: int) -> None:
        formats, images = self.lab.flags.log, self.lab.test
        training_log.write(formats, folder, run, self.plan, state, step, images)


def open_folder(folder: Path, run: Run) -> None:
    """Have the folder of a run say what it is, unless it lacks lanes that will be added."""
    if merging.added_lanes(folder, run) is None:
        checkpoint.create(folder, run)


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
