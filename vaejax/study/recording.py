"""Trains every run of a study that is not recorded yet, measures it and records its rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from vaejax import parallel
from vaejax.config import Knobs
from vaejax.errors import LabError
from vaejax.parallel import processes
from vaejax.run import Run
from vaejax.store import checkpoint, findings, merging, records
from vaejax.store.records import RESULTS, Row
from vaejax.study import environment, starts
from vaejax.study.laboratory import Lab
from vaejax.study.plans import Plan, plans_of
from vaejax.study.progress import Bars
from vaejax.study.provenance import describe, grouped, identities
from vaejax.study.runner import Study
from vaejax.study.terminal import Terminal
from vaejax.study.training import Trainer, divergences, open_folder
from vaejax.theory import threshold


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


def prepare(study: Study, lab: Lab[Any]) -> dict[str, Row]:
    """Refuse everything that can be refused, before anything is trained or measured. Returns what
    the rows of each run must say to count, see `records.current`."""
    if start := lab.flags.start:
        if study.initial_state is not None:
            raise LabError("This study chooses itself what it begins from: leave out --start.")
        runs = lab.runs.values()
        begins = processes.once(lambda: {run.name: starts.description(start, run) for run in runs})
        lab.runs = {run.name: replace(run, start=begins[run.name]) for run in runs}
    plans = plans_of(study, lab)
    processes.once(partial(_prepare_folder, lab, plans))
    chosen = {name: getattr(lab.flags, name) for name in study.settings}
    return {
        name: {"run": name, "epochs": plan.epochs, "test_digest": lab.test_digest, **chosen}
        for name, plan in plans.items()
    }


def record(study: Study, lab: Lab[Any], wanted: Mapping[str, Row]) -> Recorded:
    """Train, measure and record every run of `lab.runs` of which not all rows are there yet that
    say what is wanted. A run that is trained already is only measured again, or its log written."""
    flags, plans = lab.flags, plans_of(study, lab)
    initial_state = starts.initial_state if flags.start else study.initial_state
    finished = processes.once(partial(_finished, lab, wanted))
    unfinished = [
        run
        for name, run in lab.runs.items()
        if len(finished[name]) < len(run.seeds)
        or flags.log
        or processes.once(partial(merging.added_lanes, lab.folder / name, run)) is not None
    ]
    on_devices = {
        split: parallel.replicate(lab.images(split), flags.batch_devices)
        for split in dict.fromkeys(run.images.train for run in unfinished)
    }
    console = Terminal(stderr=True, quiet=not processes.is_first(), highlight=False)
    diverged: list[str] = []
    measured = False
    config = None
    with Bars(console) as bars:
        for run in unfinished:
            if run.config != config:
                environment.free_memory()
            config, plan, folder = run.config, plans[run.name], lab.folder / run.name
            processes.once(partial(_open_run, lab, run, plan, console))
            images = on_devices[run.images.train]
            trainer = Trainer(lab, run, plan, images, bars, initial_state, study.converged)
            state, step = trainer.train_lanes(range(len(run.seeds)), folder)
            new = sorted(set(np.flatnonzero(~state.diverged).tolist()) - set(finished[run.name]))
            diverged += divergences(lab.folder, run, state, step, plan)
            del state  # it is measured as it is on disk
            if new:
                measured = True
                facts = wanted[run.name] | {"steps": step}
                processes.once(partial(_measure, lab, run, study.measure, facts, new))
    rows = records.read(lab.folder / RESULTS) if processes.is_first() else []
    return Recorded(records.current(rows, wanted), diverged, measured)


def _finished(lab: Lab[Any], wanted: Mapping[str, Row]) -> dict[str, list[int]]:
    """The lanes of each run that have a row that counts."""
    rows = records.current(records.read(lab.folder / RESULTS), wanted)
    return {name: [row["lane"] for row in rows if row["run"] == name] for name in wanted}


def _prepare_folder(lab: Lab[Any], plans: Mapping[str, Plan]) -> None:
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
            open_folder(lab.folder / name, run)


def _check_folder(folder: Path, run: Run, plan: Plan) -> None:
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


def _open_run(lab: Lab[Any], run: Run, plan: Plan, console: Console) -> None:
    """Open the folder of a run, say what it is, warn of scales at which it must collapse, and note
    a latent size that limits it; take over what another study has trained."""
    open_folder(lab.folder / run.name, run)
    predicted = predict(lab, run)
    scales = [lane["recon_scale"] for lane in run.lanes]
    note = threshold.size_note(run.config.latent_size, scales, predicted.units.tolist())
    for line in (
        describe(run),
        *collapse_warnings(run, predicted.thresholds),
        *([f"note: {note}"] if note else []),
        *_reuse_trained_run(lab, run, plan),
    ):
        console.print(line, soft_wrap=True)


def _reuse_trained_run(lab: Lab[Any], run: Run, plan: Plan) -> list[str]:
    """Copy the checkpoint of a run in `lab.other_studies` that is the same but for its name and its
    labels, and trained for as long; returns a line that says so. A run that has a checkpoint of its
    own keeps it."""
    own = lab.folder / run.name
    others = (path.parent for study in lab.other_studies for path in study.glob("*/config.json"))
    for other in others if checkpoint.latest(own) is None else ():
        if checkpoint.latest(other) == plan.steps and checkpoint.is_twin(other, run):
            found = checkpoint.restore(other, run.config.nets)
            checkpoint.save(own, found.state, found.trace, plan.steps)
            return [f"{run.name} is {other.name} of {other.parent.name}, which is trained already"]
    return []


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


def _measure(
    lab: Lab[Any],
    run: Run,
    measure: Callable[[Any, Any], Sequence[Row]],
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
