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

from vaejax import hosts, sweep, train
from vaejax.errors import LabError, StoppedError
from vaejax.lab import about, best, signals, starts, surroundings, training, training_log, twins
from vaejax.lab.laboratory import Lab
from vaejax.lab.progress import following
from vaejax.lab.provenance import describe, grouped, identities
from vaejax.lab.report import Terminal
from vaejax.run import Run
from vaejax.store import checkpoint, records
from vaejax.store.records import RESULTS, Row
from vaejax.theory import threshold

Measure = Callable[[Any, checkpoint.Trained], Sequence[Row]]
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


def record(
    lab: Lab[Any],
    measure: Measure,
    settings: Sequence[str] = (),
    converged: Callable[[Any, Run, np.ndarray], np.ndarray] | None = None,
    initial_state: InitialState | None = None,
    shown: Progress | None = None,
) -> Recorded:
    """Train, measure and record every run of `lab.runs` that is not recorded yet with these epochs
    and settings. A run that is trained already is only measured again.

    Args:
        measure: called in the first process only.
        settings: the names of flags that change what is measured, but not the training.
        converged: `converged(lab, run, error)` tells which lanes have converged, see
            `training.Converged`; the epochs of a run are then the most that it may take.
        initial_state: None: every run starts from fresh weights.
        shown: where to show the training, if several studies do it in one place.

    Raises:
        LabError: the folder holds results and there is no `--resume`, or they are of other flags.
        StoppedError: a signal came during the training; what was trained is saved.
    """
    flags = lab.flags
    initial_state = _choose_start(lab, initial_state)
    mesh = sweep.mesh(flags.batch_devices)
    plans = plans_of(lab, converged is not None)
    hosts.once(partial(_refuse, lab, plans))
    chosen = {name: getattr(flags, name) for name in settings}
    facts = {name: {"epochs": plan.epochs, **chosen} for name, plan in plans.items()}
    wanted = {name: {"run": name, **of_run} for name, of_run in facts.items()}
    finished = hosts.once(
        lambda: {
            name: [row["lane"] for row in rows]
            for name, rows in _recorded(lab.folder, wanted).items()
        }
    )
    unfinished = [run for name, run in lab.runs.items() if len(finished[name]) < len(run.seeds)]
    replicas = {
        split: sweep.replicate(mesh, lab.images(split))
        for split in dict.fromkeys(run.split for run in unfinished)
    }
    console = Terminal(stderr=True, quiet=not hosts.is_first(), highlight=False)
    diverged: list[str] = []
    measured = False
    with following(console) if shown is None else nullcontext(shown) as progress:
        for run, before in zip(unfinished, [None, *unfinished], strict=False):
            _make_room(run, before)
            hosts.once(partial(_announce, lab, run, plans[run.name], console))
            fit = partial(sweep.fit, images=replicas[run.split], chunk=flags.chunk)
            begin = partial(_begin, lab, run, initial_state)
            state, step = _train(lab, run, begin, fit, plans[run.name], progress, converged)
            new = sorted(set(np.flatnonzero(~state.diverged).tolist()) - set(finished[run.name]))
            diverged += training.divergences(lab.folder, run, state, step, plans[run.name])
            del state  # it is measured as it is on disk
            if new:
                measured = True
                of_run = facts[run.name] | {"steps": step}
                hosts.once(partial(_measure, lab, run, measure, of_run, new))
    rows = _recorded(lab.folder, wanted).values() if hosts.is_first() else ()
    return Recorded([row for of_run in rows for row in of_run], diverged, measured)


def _recorded(folder: Path, wanted: Mapping[str, Row]) -> dict[str, list[Row]]:
    """Of the results of a study the rows of lanes that say what is wanted, for each name."""
    rows = [row for row in records.read(folder / RESULTS) if "lane" in row]
    return {
        name: [row for row in rows if of_run.items() <= row.items()]
        for name, of_run in wanted.items()
    }


def _make_room(run: Run, before: Run | None) -> None:
    """Give back the memory that the run before has used, in this study or in the study before: with
    what jax has compiled, some 100 MB, unless this run has the same Config."""
    if before is None or before.config != run.config:
        jax.clear_caches()
    surroundings.give_back_memory(cycles=True)


def plans_of(lab: Lab[Any], until_converged: bool) -> dict[str, training.Plan]:
    """How long each run of a study trains, by its name."""
    return {
        name: training.plan(lab.flags, run.config, len(lab.images(run.split)), until_converged)
        for name, run in lab.runs.items()
    }


def _refuse(lab: Lab[Any], plans: Mapping[str, training.Plan]) -> None:
    """Refuse, before anything is written: results that would be overwritten, other runs than those
    of the folder, or shorter ones."""
    if not lab.flags.resume and any(lab.folder.glob("[!.]*")):
        raise LabError(
            f"{lab.folder} holds results already: continue or redraw them with --resume, or choose "
            "another --out."
        )
    for name, run in lab.runs.items():
        folder = lab.folder / name
        step = checkpoint.latest(folder)
        if step is None:
            continue
        checkpoint.create(folder, run, lab.images_digest, lab.data_checksum)
        trained = step // plans[name].steps_per_epoch
        if trained > plans[name].epochs:
            raise LabError(
                f"{folder} was trained for {trained} epochs already: ask for --epochs {trained} or "
                "more, or another --out."
            )
    for row in records.read(lab.folder / RESULTS):
        run = lab.runs.get(row.get("run", ""))
        if run is not None and not _belongs(row, lab.folder.name, run):
            raise LabError(
                f"{lab.folder / RESULTS} holds a row of another study, or of a model with other "
                f"settings, under the name {run.name}: restore the file, or move it away; --resume "
                "measures again."
            )
    about.read(lab.folder)  # if it is damaged, better now than after the training


def _belongs(row: Row, study: str, run: Run) -> bool:
    """Whether a row may be of this run, by all that both say of it."""
    lane = row.get("lane")
    if not isinstance(lane, int) or not 0 <= lane < len(run.lanes):
        return lane is None
    of_run = {"study": study, "dataset": run.dataset, "split": run.split, **run.lanes[lane]}
    config = records.plain(run.to_json()["config"])
    if row.get("start") != run.start:
        return False
    return all(row.get(name, value) == value for name, value in records.plain(of_run).items()) and (
        row.get("config", {}).items() <= config.items()
    )


def _announce(lab: Lab[Any], run: Run, plan: training.Plan, console: Console) -> None:
    """Open the folder of a run, say what it is, warn of scales at which it must collapse, and note
    a latent size that limits it; take over what a sibling has trained."""
    checkpoint.create(lab.folder / run.name, run, lab.images_digest, lab.data_checksum)
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
    thresholds = lab.thresholds(run.config, run.split)
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
    begins = hosts.once(lambda: {run.name: starts.description(start, run) for run in runs})
    lab.runs = {run.name: replace(run, start=begins[run.name]) for run in runs}
    return starts.initial_state


def _train(
    lab: Lab[Any],
    run: Run,
    begin: Callable[[], checkpoint.Trained],
    fit: training.Fit,
    plan: training.Plan,
    progress: Progress,
    converged: Callable[[Any, Run, np.ndarray], np.ndarray] | None,
) -> tuple[train.State, int]:
    """Train and log a run; the first signal stops it after its epoch."""
    folder, asked = lab.folder / run.name, partial(converged, lab) if converged else None
    log = training_log.opened(lab.flags.log, folder, run, plan, lab.test)
    with signals.deferred() as stopped_by, log as watch:
        if lab.held_out is not None:
            watch = watch._replace(best=partial(best.so_far, folder, run, lab.held_out))
        found = training.train_run(
            run, folder, begin, fit, plan, progress, asked, stopped_by, watch
        )
        if stop := stopped_by():  # in the last epoch, or while it was saved
            raise StoppedError(stop, f"after the last epoch of {run.name}")
    return found


def _begin(lab: Lab[Any], run: Run, initial_state: InitialState | None) -> checkpoint.Trained:
    return checkpoint.start(run, initial_state(lab, run) if initial_state else None)


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
            "images_digest": lab.images_digest,
            "threshold_scale": predicted.thresholds[lane],
            "units_that_pay": predicted.units[lane],
        }
        | rows[lane]
        for lane in lanes
    ]
    records.append(lab.folder / RESULTS, new)
