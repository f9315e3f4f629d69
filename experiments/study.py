"""What the pages have in common: load the data, train, measure and record every run."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments import thresholds, training
from experiments.flags import QUICK_TEST, QUICK_TRAIN, Flags
from experiments.provenance import describe, identity
from vaejax import checkpoint, collapse, hosts, records, sweep
from vaejax.config import Run
from vaejax.data import cache, load
from vaejax.errors import LabError
from vaejax.train import State

# Beyond the seeds that a run may have, so that no key is used twice.
EVALUATION_SEED, FIGURE_SEED = 2**31, 2**31 + 1


class Data(NamedTuple):
    """A data set in memory, images flat."""

    shape: tuple[int, int, int]
    train: np.ndarray
    """[n, pixels] uint8."""
    test: np.ndarray
    labels: np.ndarray
    """Of the test images."""
    split: str
    """The training images, in TFDS syntax."""


def load_data(flags: Flags) -> Data:
    """Training and test images; their first few thousand with `--quick`."""
    train_set = load(flags.dataset, "train", limit=QUICK_TRAIN if flags.quick else None)
    test_set = load(flags.dataset, "test", limit=QUICK_TEST if flags.quick else None)
    count = len(train_set.images)
    return Data(
        train_set.images.shape[1:],
        train_set.images.reshape(count, -1),
        test_set.images.reshape(len(test_set.images), -1),
        test_set.labels,
        f"train[:{count}]" if flags.quick else "train",
    )


def first_images(data: Data, count: int) -> Data:
    """The data with so many of the training images, or all if there are fewer.

    Raises:
        LabError: fewer than two asked for, which have no covariance.
    """
    if count < 2:
        raise LabError(f"--images {count}: use two or more.")
    train = data.train[:count]
    return data._replace(train=train, split=f"train[:{len(train)}]")


def training_images(dataset: str, split: str) -> np.ndarray:
    """The images of a split, flat."""
    images = load(dataset, split).images
    return images.reshape(len(images), -1)


def set_up(flags: Flags) -> None:
    """Before all else that a study does: join the other processes, if there are any."""
    if flags.distributed:
        print("waiting for the other processes, up to five minutes", file=sys.stderr)
        hosts.connect(flags.coordinator, flags.processes, flags.process_id)
    keep_compiled_programs()


def keep_compiled_programs() -> None:
    """Have jax keep what it compiles in the cache directory, so that the next command starts
    faster; a `JAX_COMPILATION_CACHE_DIR` of the user's own is left as it is."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache.root() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def rows_of(run: Run, figures: Mapping[str, Any]) -> list[records.Row]:
    """Figures with an entry for each lane, as a row for each lane."""
    return [
        {name: np.asarray(figure)[lane] for name, figure in figures.items()}
        for lane in range(len(run.seeds))
    ]


def collapse_rows(run: Run, saved: checkpoint.Saved, images: np.ndarray) -> list[records.Row]:
    """The figures and the verdict of `vaejax.collapse` on these images, a row for each lane."""
    key = jax.random.key(EVALUATION_SEED)
    figures = collapse.measure(run.config, saved.state.params, images, key)
    rows = rows_of(run, figures)
    for row, diverged in zip(rows, np.asarray(saved.state.diverged), strict=True):
        if not diverged:
            found = collapse.judge(row)
            row |= {"collapse": found.verdict, "dead_units": found.dead_units}
    return rows


def execute(
    flags: Flags,
    folder: Path,
    runs: Sequence[Run],
    measure: Callable[[Run, checkpoint.Saved], Sequence[records.Row]],
    converged: training.Converged | None = None,
    begin: Callable[[Run], State | None] | None = None,
    **settings: Any,
) -> tuple[list[records.Row], list[str]]:
    """Train, measure and record every run that is not recorded yet with these epochs and
    `settings` of the measurement; a run already trained is only measured again. With `converged`
    the epochs are the most that a run may take: it ends once its trace says so. `begin` gives the
    state, on the host, that a run starts from; None: from fresh weights.

    Returns the rows of these runs, and a line for each lane that diverged: it has no row. That is
    in the first process: the others, which do the same but touch no file, end here.

    Raises:
        LabError: there are results already and no `--resume`, or those of other flags.
    """
    results = folder / "results.jsonl"
    mesh = sweep.mesh(flags.batch_devices)
    images = {split: training_images(flags.dataset, split) for split in {r.split for r in runs}}
    plans = {
        run.name: training.plan(flags, run, len(images[run.split]), converged is not None)
        for run in runs
    }
    hosts.once(partial(_refuse, flags, folder, runs, plans))

    def recorded(run: Run) -> list[records.Row]:
        wanted = {"run": run.name, "epochs": plans[run.name].epochs, **settings}
        return [row for row in records.read(results) if wanted.items() <= row.items()]

    def lanes_done() -> dict[str, set[int]]:
        return {run.name: {row["lane"] for row in recorded(run)} for run in runs}

    finished = hosts.once(lanes_done)
    left = [run for run in runs if len(finished[run.name]) < len(run.seeds)]
    splits = {run.split for run in left}
    replicas = {split: sweep.replicate(mesh, images[split]) for split in splits}
    firsts = hosts.once(partial(thresholds.first_thresholds, left, images))

    console = Console(stderr=True, quiet=not hosts.first())
    diverged: list[str] = []
    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[objective]}"),
    )
    with Progress(*columns, console=console) as progress:
        for run in left:
            done = finished[run.name]
            hosts.once(partial(checkpoint.create, folder / run.name, run))
            console.print(describe(run), highlight=False)
            for line in thresholds.collapse_warnings(run, firsts[run.name]):
                console.print(line, highlight=False, soft_wrap=True)
            saved = training.train_run(
                run,
                folder / run.name,
                lambda run=run: checkpoint.start(run, begin(run) if begin else None),
                partial(sweep.fit, mesh, images=replicas[run.split], chunk=flags.chunk),
                plans[run.name],
                progress,
                converged,
            )
            healthy = set(np.flatnonzero(~saved.state.diverged).tolist())
            if healthy - done:
                rows = measure(run, saved)
                about = {"epochs": plans[run.name].epochs, "steps": saved.step, **settings}
                new = [
                    identity(folder.name, run, lane)
                    | about
                    | {"threshold_scale": thresholds.threshold_scale(run, lane, firsts[run.name])}
                    | rows[lane]
                    for lane in sorted(healthy - done)
                ]
                hosts.once(partial(records.append, results, new))
            diverged += training.divergences(folder, run, saved, plans[run.name])
    if not hosts.first():
        sys.exit(bool(diverged))
    return [row for run in runs for row in recorded(run)], diverged


def refuse_divergence(diverged: Sequence[str]) -> None:
    """End the command if any lane diverged, once all that is healthy is recorded and shown."""
    if diverged:
        raise LabError(
            "Training diverged (a number was not finite):\n  "
            + "\n  ".join(diverged)
            + "\nThe other models are recorded. Lower --learning-rate, or --recon-scale."
        )


def _refuse(
    flags: Flags, folder: Path, runs: Sequence[Run], plans: Mapping[str, training.Plan]
) -> None:
    """Before anything is written: results that would be overwritten, other runs than those of the
    folder, or shorter ones."""
    if not flags.resume and any(folder.glob("*")):
        raise LabError(
            f"{folder} holds results already: continue or redraw them with --resume, or choose "
            "another --out."
        )
    for run in runs:
        step = checkpoint.latest(folder / run.name)
        if step is None:
            continue
        checkpoint.create(folder / run.name, run)
        trained = step // plans[run.name].steps_per_epoch
        if trained > plans[run.name].epochs:
            raise LabError(
                f"{folder / run.name} was trained for {trained} epochs already: ask for --epochs "
                f"{trained} or more, or another --out."
            )
