"""What the pages have in common: load the data, train, measure and record every run."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.flags import QUICK_TEST, QUICK_TRAIN, Flags
from experiments.provenance import describe, identity
from vaejax import checkpoint, records, train
from vaejax.config import Run
from vaejax.data import cache, load
from vaejax.errors import LabError

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


def keep_compiled_programs() -> None:
    """Have jax keep what it compiles in the cache directory, so that the next command starts
    faster; a `JAX_COMPILATION_CACHE_DIR` of the user's own is left as it is."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache.root() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def unit_pixels(data: Data, images: np.ndarray) -> np.ndarray:
    """Flat bytes as images [n, height, width, channels] with pixels in [0, 1]."""
    return images.reshape(-1, *data.shape).astype(np.float32) / 255


def train_run(
    run: Run, folder: Path, images: jax.Array, epochs: int, every: int, progress: Progress
) -> checkpoint.Saved:
    """Train a run up to `epochs`, from its newest checkpoint if there is one, saving as it goes."""
    done = checkpoint.latest(folder)
    saved = checkpoint.start(run) if done is None else checkpoint.restore(folder)[1]
    task = progress.add_task(run.name, total=epochs, completed=saved.epoch, objective="")
    if saved.state.diverged.all():
        return saved
    for state, trace in train.fit(run.config, run.knobs, saved.state, images, epochs - saved.epoch):
        saved = checkpoint.Saved(state, saved.history.extended(trace))
        all_diverged = bool(state.diverged.all())
        if saved.epoch % every == 0 or saved.epoch == epochs or all_diverged:
            checkpoint.save(folder, saved)
        objective = ", ".join(f"{value:.4g}" for value in saved.history.objective[-1])
        progress.update(task, completed=saved.epoch, objective=f"objective {objective}")
        if all_diverged:
            break
    return saved


def execute(
    flags: Flags,
    folder: Path,
    data: Data,
    runs: Sequence[Run],
    measure: Callable[[Run, train.State], Sequence[records.Row]],
    **settings: Any,
) -> tuple[list[records.Row], list[str]]:
    """Train, measure and record every run that is not recorded yet with these epochs and
    `settings` of the measurement; a run already trained is only measured again.

    Returns the rows of these runs, and a line for each lane that diverged: it has no row.

    Raises:
        LabError: there are results already and no `--resume`, or those of other flags.
    """
    results = folder / "results.jsonl"
    if not flags.resume and any(folder.glob("*")):
        raise LabError(
            f"{folder} holds results already: continue or redraw them with --resume, or choose "
            "another --out."
        )
    epochs = flags.run_epochs(len(data.train))
    every = flags.checkpoint_every or max(1, epochs // 10)
    settings = {"epochs": epochs, **settings}
    _refuse_other_flags(folder, runs, len(data.train), epochs)

    def recorded(run: Run) -> list[records.Row]:
        wanted = {"run": run.name, **settings}
        return [row for row in records.read(results) if wanted.items() <= row.items()]

    console = Console(stderr=True)
    images = jnp.asarray(data.train)
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
        for run in runs:
            done = {row["lane"] for row in recorded(run)}
            if len(done) == len(run.seeds):
                continue
            checkpoint.create(folder / run.name, run)
            console.print(describe(run), highlight=False)
            saved = train_run(run, folder / run.name, images, epochs, every, progress)
            healthy = set(np.flatnonzero(~np.asarray(saved.state.diverged)).tolist())
            if healthy - done:
                rows = measure(run, saved.state)
                new = sorted(healthy - done)
                records.append(
                    results,
                    [identity(folder.name, run, lane) | settings | rows[lane] for lane in new],
                )
            diverged += _divergences(folder, run, saved, len(images))
    return [row for run in runs for row in recorded(run)], diverged


def refuse_divergence(diverged: Sequence[str]) -> None:
    """End the command if any lane diverged, once all that is healthy is recorded and shown."""
    if diverged:
        raise LabError(
            "Training diverged (a number was not finite):\n  "
            + "\n  ".join(diverged)
            + "\nThe other models are recorded. Lower --learning-rate, or --recon-scale."
        )


def _refuse_other_flags(folder: Path, runs: Sequence[Run], images: int, epochs: int) -> None:
    """Before anything is written: batches that can be filled, runs that are those of the folder."""
    for run in runs:
        train.steps_per_epoch(run.config, images)
        trained = checkpoint.latest(folder / run.name)
        if trained is None:
            continue
        checkpoint.create(folder / run.name, run)
        if trained > epochs:
            raise LabError(
                f"{folder / run.name} was trained for {trained} epochs already: ask for --epochs "
                f"{trained} or more, or another --out."
            )


def _divergences(folder: Path, run: Run, saved: checkpoint.Saved, images: int) -> list[str]:
    steps = train.steps_per_epoch(run.config, images)
    lines = []
    for lane in map(int, np.flatnonzero(saved.state.diverged)):
        good = int(saved.state.step[lane]) // steps
        knobs = ", ".join(f"{name} {value:g}" for name, value in run.lane(lane).items())
        lines.append(
            f"{run.name} lane {lane} ({knobs}) in epoch {good + 1}; its state after epoch {good} "
            f"is in {folder / run.name / str(saved.epoch)}"
        )
    return lines
