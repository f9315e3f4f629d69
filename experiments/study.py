"""What the pages have in common: load the data, train, measure and record every run."""

import functools
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.flags import QUICK_TEST, QUICK_TRAIN, Flags
from vaejax import checkpoint, loss, records, train
from vaejax.config import Run
from vaejax.data import cache, load
from vaejax.errors import LabError

EVALUATION_SEED = 2**31  # beyond the seeds that a run may have, so that no key is used twice


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
    """Train a run up to `epochs`, from its newest checkpoint if there is one, saving as it goes.

    Raises:
        LabError: the folder holds another run, or one trained for longer.
    """
    checkpoint.create(folder, run)
    done = checkpoint.latest(folder)
    saved = checkpoint.start(run) if done is None else checkpoint.restore(folder)[1]
    if saved.epoch > epochs:
        raise LabError(
            f"{folder} was trained for {saved.epoch} epochs already: ask for --epochs "
            f"{saved.epoch} or more, or another --out."
        )
    task = progress.add_task(run.name, total=epochs, completed=saved.epoch, objective="")
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
) -> list[records.Row]:
    """Train, measure and record every run that is not recorded yet; returns all rows.

    Raises:
        LabError: there are results already and no `--resume`; or, once everything else is
            recorded, some lanes diverged.
    """
    results = folder / "results.jsonl"
    if not flags.resume and any(folder.glob("*")):
        raise LabError(
            f"{folder} holds results already: continue or redraw them with --resume, or choose "
            "another --out."
        )
    console = Console(stderr=True)
    epochs = flags.run_epochs(len(data.train))
    every = flags.checkpoint_every or max(1, epochs // 10)
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
            checkpoint.create(folder / run.name, run)
            recorded = {
                row["lane"]
                for row in records.read(results)
                if (row["run"], row["epochs"]) == (run.name, epochs)
            }
            if len(recorded) == len(run.seeds):
                continue
            console.print(describe(run), highlight=False)
            saved = train_run(run, folder / run.name, images, epochs, every, progress)
            rows = [
                identity(folder, run, lane, epochs) | row
                for lane, row in enumerate(measure(run, saved.state))
                if lane not in recorded and not saved.state.diverged[lane]
            ]
            records.append(results, rows)
            diverged += _divergences(folder, run, saved, len(images))
    rows = [row for row in records.read(results) if row["epochs"] == epochs]
    if diverged:
        raise LabError(
            "Training diverged (a number was not finite):\n  "
            + "\n  ".join(diverged)
            + f"\nThe other models are recorded in {results}. Lower --learning-rate, or "
            "--recon-scale."
        )
    return rows


def lane_of(stacked: Any, lane: int) -> Any:
    """One lane of stacked arrays."""
    return jax.tree.map(lambda leaf: leaf[lane], stacked)


def describe(run: Run) -> str:
    """One line: the net, what it is trained on, and the sigma and beta that this amounts to."""
    config = run.config
    widths = (*config.encoder_widths, config.latent_size, *config.decoder_widths)
    net = "-".join(map(str, (config.pixels, *widths, config.pixels)))
    scales = []
    for index in range(len(run.seeds)):
        lane, (sigma, beta) = run.lane(index), effective(run, index)
        scales.append(
            f"recon_scale {lane['recon_scale']:g}, kl_weight {lane['kl_weight']:g}: effective "
            f"sigma {_show(sigma)}, beta {_show(beta)}"
        )
    distinct = "; ".join(dict.fromkeys(scales))
    return f"{run.name}: {config.model} {net}, {config.likelihood}, {len(scales)} lanes; {distinct}"


def effective(run: Run, lane: int) -> tuple[float, float]:
    """Effective decoder sigma (NaN if there is none) and beta of one lane."""
    sigma, beta = (
        loss.effective_sigma(run.config, run.knobs),
        loss.effective_beta(run.config, run.knobs),
    )
    return float(sigma[lane]), float(beta[lane])


def identity(folder: Path, run: Run, lane: int, epochs: int) -> records.Row:
    """What a row says about where it comes from."""
    sigma, beta = effective(run, lane)
    described = run.to_json()
    return {
        "study": folder.name,
        "dataset": run.dataset,
        "split": run.split,
        "run": run.name,
        "lane": lane,
        "latent_size": run.config.latent_size,
        "epochs": epochs,
        **run.lane(lane),
        "effective_sigma": sigma,
        "effective_beta": beta,
        "config": described["config"],
        **provenance(),
    }


@functools.cache
def provenance() -> dict[str, Any]:
    """Versions, device and commit of this process."""
    packages = ("jax", "flax", "optax", "numpy")
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages},
        "device": jax.devices()[0].device_kind,
        "commit": git.stdout.strip() or None,
    }


def _show(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.4g}"


def _divergences(folder: Path, run: Run, saved: checkpoint.Saved, images: int) -> list[str]:
    steps = images // run.config.batch_size
    lines = []
    for lane in map(int, np.flatnonzero(saved.state.diverged)):
        good = int(saved.state.step[lane]) // steps
        knobs = ", ".join(f"{name} {value:g}" for name, value in run.lane(lane).items())
        lines.append(
            f"{run.name} lane {lane} ({knobs}) in epoch {good + 1}; its state after epoch {good} "
            f"is in {folder / run.name / str(saved.epoch)}"
        )
    return lines
