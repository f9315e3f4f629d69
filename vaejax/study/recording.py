"""Trains every run of a study that is not recorded yet, measures it and records its rows."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import Progress

from vaejax import parallel, train
from vaejax.config import Knobs
from vaejax.errors import LabError, StoppedError
from vaejax.parallel import processes
from vaejax.run import Run
from vaejax.store import checkpoint, findings, merging, records
from vaejax.store.records import RESULTS, Row
from vaejax.study import best, environment, signals, starts, training, training_log, twins
from vaejax.study.laboratory import Lab
from vaejax.study.progress import following
from vaejax.study.provenance import describe, grouped, identities
from vaejax.study.terminal import Terminal
from vaejax.theory import threshold
from vaejax.trained import Trained, begin

Measure = Callable[[Any, Trained], Sequence[Row]]
"""`measure(lab, trained)`: a row for each lane. The state comes without that of the optimizer."""
InitialState = Callable[[Any, Run], train.State | None]
"""`initial_state(lab, run)`: the state, on the host, that a run starts from; None for fresh
weights."""


class Recorded(NamedTuple):
    """What a study has found so far."""

    rows: list[Row]
    """The rows of all runs, in the order of `lab.runs`. Empty in every process but the first."""
    diverged: list[str]
    """A line for each lane that diverged: it has no row."""
    new: bool
    """Whether any row was not recorded before."""


class Predicted(NamedTuple):
    """What the images say of each lane of a run; NaN where the KL is not charged in the end."""

    thresholds: np.ndarray
    """The recon_scale below which the collapsed solution is stable."""
    units: np.ndarray
    """How many units would pay for their KL, if there were as many as directions."""


class Prepared(NamedTuple):
    """A study that may go on in its folder."""

    plans: dict[str, training.Plan]
    """How long each run trains, by its name."""
    wanted: dict[str, Row]
    """What the rows of each run must say to count, see `records.current`."""
    initial_state: InitialState | None
    """Where runs begin; None: at fresh weights."""


def prepare(
    lab: Lab[Any],
    settings: Sequence[str] = (),
    until_converged: bool = False,
    initial_state: InitialState | None = None,
) -> Prepared:
    """Everything that can be refused, before anything is trained or measured.

    Args:
        settings: the names of flags that change what is measured, but not the training.

    Raises:
        LabError: the folder holds results and there is no `--resume`, or they are of other flags.
    """
    initial_state = _choose_start(lab, initial_state)
    plans = plans_of(lab, until_converged)
    processes.once(partial(_prepare_folder, lab, plans))
    chosen = {name: getattr(lab.flags, name) for name in settings}
    wanted = {
        name: {"run": name, "epochs": plan.epochs, "test_digest": lab.test_digest, **chosen}
        for name, plan in plans.items()
    }
    return Prepared(plans, wanted, initial_state)


def record(
    lab: Lab[Any],
    prepared: Prepared,
    measure: Measure,
    converged: Callable[[Any, Run, np.ndarray], np.ndarray] | None = None,
    shown: Progress | None = None,
) -> Recorded:
    """Train, measure and record every run of `lab.runs` that is not recorded yet with these epochs,
    test images and settings. A run that is trained already is only measured again.

    Args:
        measure: called in the first process only.
        converged: `converged(lab, run, error)` tells which lanes have converged, see
            `training.Converged`; the epochs of a run are then the most that it may take.
        shown: where to show the training, if several studies do it in one place.

    Raises:
        StoppedError: a signal came during the training; what was trained is saved.
    """
    flags, (plans, wanted, initial_state) = lab.flags, prepared
    finished = processes.once(partial(_finished, lab, wanted))
    unfinished = [
        run
        for name, run in lab.runs.items()
        if len(finished[name]) < len(run.seeds) or processes.once(partial(_added, lab, run))
    ]
    replicas = {
        split: parallel.replicate(lab.images(split), flags.batch_devices)
        for split in dict.fromkeys(run.images.train for run in unfinished)
    }
    console = Terminal(stderr=True, quiet=not processes.is_first(), highlight=False)
    diverged: list[str] = []
    measured = False
    with following(console) if shown is None else nullcontext(shown) as progress:
        for run, before in zip(unfinished, [None, *unfinished], strict=False):
            _make_room(run, before)
            processes.once(partial(_announce, lab, run, plans[run.name], console))
            fit = partial(parallel.advance, images=replicas[run.images.train], chunk=flags.chunk)
            trainer = Trainer(lab, plans[run.name], fit, progress, initial_state, converged)
            state, step = trainer.train_lanes(run, range(len(run.seeds)), lab.folder / run.name)
            new = sorted(set(np.flatnonzero(~state.diverged).tolist()) - set(finished[run.name]))
            diverged += training.divergences(lab.folder, run, state, step, plans[run.name])
            del state  # it is measured as it is on disk
            if new:
                measured = True
                of_run = wanted[run.name] | {"steps": step}
                processes.once(partial(_measure, lab, run, measure, of_run, new))
    rows = records.read(lab.folder / RESULTS) if processes.is_first() else []
    return Recorded(records.current(rows, wanted), diverged, measured)


def _finished(lab: Lab[Any], wanted: Mapping[str, Row]) -> dict[str, list[int]]:
    """The lanes of each run that have a row that counts."""
    rows = records.current(records.read(lab.folder / RESULTS), wanted)
    return {name: [row["lane"] for row in rows if row["run"] == name] for name in wanted}


def _make_room(run: Run, before: Run | None) -> None:
    """Give back the memory that the run before has used, in this study or in the study before: with
    what jax has compiled, some 100 MB, unless this run has the same Config."""
    if before is None or before.config != run.config:
        jax.clear_caches()
    environment.give_back_memory(cycles=True)


def plans_of(lab: Lab[Any], until_converged: bool) -> dict[str, training.Plan]:
    """How long each run of a study trains, by its name."""
    return {
        name: training.plan(
            lab.flags,
            run.config,
            len(lab.images(run.images.train)),
            until_converged,
            lab.epochs.get(name),
        )
        for name, run in lab.runs.items()
    }


def _prepare_folder(lab: Lab[Any], plans: Mapping[str, training.Plan]) -> None:
    """Refuse, before anything is written: results that would be overwritten, other runs than those
    of the folder, or shorter ones. Then finish what an interrupted command has left, and have the
    runs that are there say which images they are measured on now."""
    if not lab.flags.resume and any(lab.folder.glob("[!.]*")):
        raise LabError(
            f"{lab.folder} holds results already: continue or redraw them with --resume, or choose "
            "another --out."
        )
    for run in lab.runs.values():
        _check_folder(lab.folder / run.name, run, plans[run.name])
    rows = records.read(lab.folder / RESULTS)
    lanes = {name: identities(lab.folder.name, run) for name, run in lab.runs.items()}
    in_place = [_in_place(row, lanes, lab.folder) for row in rows]
    findings.read_about(lab.folder)  # if it is damaged, better now than after the training
    if in_place != rows:
        records.write(lab.folder / RESULTS, in_place)
    for name, run in lab.runs.items():
        if checkpoint.latest(lab.folder / name) is not None:
            _open(lab.folder / name, run)


def _check_folder(folder: Path, run: Run, plan: training.Plan) -> None:
    """Refuse to train a run in a folder that holds another one, or one of more epochs."""
    merging.finish(folder)
    added = merging.added_lanes(folder, run)
    checkpoint.check(folder, run if added is None else run.of_lanes(added.places))
    trained = (checkpoint.latest(folder) or 0) // plan.steps_per_epoch
    if trained > plan.epochs:
        raise LabError(
            f"{folder} was trained for {trained} epochs already: ask for --epochs {trained} or "
            "more, or another --out."
        )
    if added and added.missing:
        _check_folder(folder / merging.ADDED, run.of_lanes(added.missing), plan)


def _in_place(row: Row, lanes: Mapping[str, Sequence[Row]], folder: Path) -> Row:
    """A row with the number that its lane has now: lanes that were added may stand before it.

    Args:
        lanes: what the row of each lane says of where it comes from, by the name of the run.

    Raises:
        LabError: it is of another study, or of a model that its run does not have.
    """
    run, lane = row.get("run", ""), row.get("lane")
    if run not in lanes or lane is None:
        return row
    alike = [number for number, identity in enumerate(lanes[run]) if _belongs(row, identity)]
    if not alike:
        raise LabError(
            f"{folder / RESULTS} holds a row of another study, or of a model with other settings, "
            f"under the name {run}: restore the file, or move it away; --resume measures again."
        )
    return row if lane in alike else row | {"lane": alike[0]}


def _belongs(row: Row, identity: Row) -> bool:
    """Whether a row may be of a lane, by all that both say of it."""
    names = ("study", "dataset", "split", "start", "seed", *Knobs._fields)
    return all(row.get(name, identity[name]) == identity[name] for name in names) and (
        row.get("config", {}).items() <= records.plain(identity["config"]).items()
    )


def _added(lab: Lab[Any], run: Run) -> bool:
    """Whether the folder of a run has fewer of its lanes, or has them in another order."""
    return merging.added_lanes(lab.folder / run.name, run) is not None


def _open(folder: Path, run: Run) -> None:
    """Have the folder of a run say what it is, unless it lacks lanes that will be added."""
    if merging.added_lanes(folder, run) is None:
        checkpoint.create(folder, run)


def _announce(lab: Lab[Any], run: Run, plan: training.Plan, console: Console) -> None:
    """Open the folder of a run, say what it is, warn of scales at which it must collapse, and note
    a latent size that limits it; take over what a sibling has trained."""
    _open(lab.folder / run.name, run)
    console.print(describe(run), soft_wrap=True)
    predicted = predict(lab, run)
    scales = [lane["recon_scale"] for lane in run.lanes]
    note = threshold.size_note(run.config.latent_size, scales, predicted.units.tolist())
    for line in (
        *collapse_warnings(run, predicted.thresholds),
        *([f"note: {note}"] if note else []),
    ):
        console.print(line, soft_wrap=True)
    twins.take_over(lab, run, plan, console)


def predict(lab: Lab[Any], run: Run) -> Predicted:
    """What the images that a run is trained on predict of its lanes."""
    if not threshold.charged_lanes(run).any():  # whatever the images are
        return Predicted(*(np.full(len(run.seeds), np.nan) for _ in Predicted._fields))
    thresholds = lab.thresholds(run.config, run.images.train)
    return Predicted(
        threshold.lane_thresholds(run, thresholds), threshold.lane_units(run, thresholds)
    )


def collapse_warnings(run: Run, thresholds: np.ndarray) -> list[str]:
    """A line for each threshold that lanes are below; NaN is none, infinite one of equal images."""
    scales = grouped(
        (float(at), lane["recon_scale"])
        for at, lane in zip(thresholds, run.lanes, strict=True)
        if not np.isnan(at)
    )
    lines = [threshold.collapse_warning(run.config, below, at) for at, below in scales.items()]
    return [f"warning: {line}" for line in lines if line]


def _choose_start(lab: Lab[Any], initial_state: InitialState | None) -> InitialState | None:
    """Where runs begin; with `--start` their descriptions say so."""
    start = lab.flags.start
    if start is None:
        return initial_state
    if initial_state is not None:
        raise LabError("This study chooses itself what it begins from: leave out --start.")
    runs = lab.runs.values()
    begins = processes.once(lambda: {run.name: starts.description(start, run) for run in runs})
    lab.runs = {run.name: replace(run, start=begins[run.name]) for run in runs}
    return starts.initial_state


class Trainer(NamedTuple):
    """Trains the runs of a study."""

    lab: Lab[Any]
    plan: training.Plan
    fit: training.Fit
    progress: Progress
    initial_state: InitialState | None
    converged: Callable[[Any, Run, np.ndarray], np.ndarray] | None

    def train_lanes(
        self, run: Run, lanes: Sequence[int], folder: Path, least: int = 0
    ) -> tuple[train.State, int]:
        """Train lanes of a run in a folder to their end, for at least so many steps. Those that the
        folder lacks train alone, until they are as far as the others. Returns the state of the
        lanes and the steps that they have taken."""
        own = run.of_lanes(lanes)
        if found := processes.once(partial(merging.added_lanes, folder, own)):
            added = merging.Added(*found)
            there, missing = ([lanes[place] for place in places] for places in added)
            _, step = self.go_on(run, there, folder, least)
            if missing:
                aside = folder / merging.ADDED
                processes.once(partial(_open, aside, run.of_lanes(missing)))
                _, longest = self.train_lanes(run, missing, aside, step)
                if longest > step:
                    plan = self.plan._replace(epochs=longest // self.plan.steps_per_epoch)
                    self._replace(plan=plan, converged=None).go_on(run, there, folder)
            processes.once(partial(merging.merge, folder, own, added))
        return self.go_on(run, lanes, folder, least)

    def initial(self, run: Run, lanes: Sequence[int]) -> Trained:
        """Lanes of a run before their first step."""
        state = self.initial_state(self.lab, run) if self.initial_state else None
        own = None if state is None else train.take_lanes(state, lanes)
        return begin(run.of_lanes(lanes), own)

    def go_on(
        self, run: Run, lanes: Sequence[int], folder: Path, least: int = 0
    ) -> tuple[train.State, int]:
        """Train and log lanes that a folder has, or that are new, for at least so many steps; the
        first signal stops them after its epoch."""
        lab, converged, own = self.lab, self.converged, run.of_lanes(lanes)

        def is_done(run: Run, error: np.ndarray) -> np.ndarray:
            assert converged is not None
            return converged(lab, run, error) & (error.shape[1] >= least)

        log = training_log.opened(lab.flags.log, folder, own, self.plan, lab.test)
        with signals.deferred() as stopped_by, log as watch:
            if lab.held_out is not None:
                watch = watch._replace(best=partial(best.so_far, folder, own, lab.held_out))
            found = training.train_run(
                own, folder, partial(self.initial, run, lanes), self.fit, self.plan, self.progress,
                is_done if converged else None, stopped_by, watch,
            )  # fmt: skip
            if stop := stopped_by():  # in the last epoch, or while it was saved
                raise StoppedError(stop, f"after the last epoch of {run.name}")
        return found


def _measure(
    lab: Lab[Any],
    run: Run,
    measure: Measure,
    facts: Row,
    lanes: Sequence[int],
) -> None:
    """Measure a trained run, and record the rows of these lanes."""
    rows = measure(lab, lab.trained(run.name))
    predicted = predict(lab, run)
    identity = identities(lab.folder.name, run)
    new = [
        identity[lane]
        | facts
        | {
            "threshold_scale": predicted.thresholds[lane],
            "units_that_pay": predicted.units[lane],
        }
        | rows[lane]
        for lane in lanes
    ]
    records.append(lab.folder / RESULTS, new)
