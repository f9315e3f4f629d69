"""What `--log` writes while a run trains, in the folder of the run:

    log/metrics.jsonl    a line for each epoch and lane
    log/LANE/            a folder for each lane, of event files for TensorBoard

An entry is the average over an epoch, or over a block of epochs in a run that trains until it has
converged. The trace on disk has every step up to the checkpoint that a run goes on from:
metrics.jsonl is written anew from it. TensorBoard gets another event file, which tells it to forget
what came after that checkpoint. No number comes from the training program but the trace that it
yields anyway.
"""

import importlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from vaejax import train
from vaejax.errors import LabError
from vaejax.files import write_bytes
from vaejax.run import Run
from vaejax.store import records
from vaejax.study import views
from vaejax.study.flags import LogFormat
from vaejax.study.training import Plan, Watch
from vaejax.trained import begin

FOLDER, METRICS = "log", "metrics.jsonl"
ACROSS = 8
"""Pictures in a row."""

rates = jax.jit(jax.vmap(train.learning_rate, (0, None)))


class Entry(NamedTuple):
    """The averages of all lanes over the steps from one entry to the next."""

    epoch: int
    step: int
    """The last one."""
    scalars: Mapping[str, np.ndarray]
    """objective, error, kl_nats and learning_rate, each [lanes]. The learning rate is that of the
    last step."""
    kl: np.ndarray
    """Nats of each latent unit: [lanes, latent]."""


def entries(run: Run, plan: Plan, trace: train.Trace, last: int) -> Iterator[Entry]:
    """The entries of a trace [lanes, steps, ...] that ends at step `last`."""
    count, block = trace.objective.shape[1], plan.epochs_per_call * plan.steps_per_epoch
    for start in range(0, count, block):
        part = jax.tree.map(lambda terms, at=start: np.asarray(terms[:, at : at + block]), trace)
        step, kl = last - count + min(start + block, count), part.kl.mean(1)
        averages = {"objective": part.objective.mean(1), "error": part.error.mean(1)}
        rate = np.asarray(rates(run.knobs, np.int32(step - 1)))
        scalars = averages | {"kl_nats": kl.sum(-1), "learning_rate": rate}
        yield Entry(step // plan.steps_per_epoch, step, scalars, kl)


def lines(found: Iterable[Entry]) -> bytes:
    """Entries as lines of JSON, one for each lane; numbers that are not finite are null."""
    rows = [
        {"epoch": entry.epoch, "step": entry.step, "lane": lane}
        | {name: float(values[lane]) for name, values in entry.scalars.items()}
        for entry in found
        for lane in range(len(entry.kl))
    ]
    return "".join(json.dumps(records.plain(row)) + "\n" for row in rows).encode()


def lane_names(run: Run) -> list[str]:
    """A name for each lane, of a folder: its number, and what differs between lanes."""
    differing = [name for name in run.lanes[0] if len({lane[name] for lane in run.lanes}) > 1]
    return [
        "_".join([f"lane{index:02}", *(f"{name}={lane[name]:g}" for name in differing)])
        for index, lane in enumerate(run.lanes)
    ]


def tiled(pictures: views.Pictures) -> UInt8[np.ndarray, "tall wide channels"]:
    """Whole rows of `ACROSS` pictures, as one picture."""
    _, height, width, channels = pictures.shape
    rows = pictures.reshape(-1, ACROSS, height, width, channels).swapaxes(1, 2)
    pixels = rows.reshape(-1, ACROSS * width, channels)
    return np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)


def drawn(
    run: Run, state: train.State, lane: int, images: UInt8[np.ndarray, "across pixels"]
) -> dict[str, np.ndarray]:
    """Pictures of one lane, by name: flat images above what it makes of them, and samples."""
    trained = begin(run, state)
    inputs = views.unit_pixels(images, run.config.image_shape)
    pairs = np.concatenate([inputs, views.outputs(trained, lane, images)])
    return {
        "reconstructions": tiled(pairs),
        "samples": tiled(views.samples(trained, lane, ACROSS**2)),
    }


@contextmanager
def opened(
    formats: Sequence[LogFormat], folder: Path, run: Run, plan: Plan, images: np.ndarray
) -> Iterator[Watch]:
    """What is called as the run in a folder trains, to log it in these formats. Flat images
    [n, pixels] are those whose reconstructions are drawn."""
    with ExitStack() as stack:
        watches = []
        if "jsonl" in formats:
            watches.append(lines_watch(folder / FOLDER / METRICS, run, plan))
        if "tensorboard" in formats:
            shown = np.resize(images, (ACROSS, images.shape[1]))  # some again, if there are few
            of_events = events_watch(folder / FOLDER, run, plan, shown)
            watches.append(stack.enter_context(of_events))
        logs = [watch[:3] for watch in watches]  # the best state is none of their business
        yield Watch(*(partial(_each, calls) for calls in zip(*logs, strict=True)))


def _each(calls: Sequence[Callable[..., None]], *arguments: Any) -> None:
    for call in calls:
        call(*arguments)


def lines_watch(path: Path, run: Run, plan: Plan) -> Watch:
    """Writes metrics.jsonl."""

    def began(trace: train.Trace) -> None:
        write_bytes(path, lines(entries(run, plan, trace, trace.objective.shape[1])))

    def trained(trace: train.Trace, step: int) -> None:
        append(path, lines(entries(run, plan, trace, step)))

    return Watch(began, trained)


@contextmanager
def events_watch(
    folder: Path, run: Run, plan: Plan, images: UInt8[np.ndarray, "across pixels"]
) -> Iterator[Watch]:
    """Writes event files. A folder that has none yet gets all epochs so far."""
    writers: list[Any] = []

    def began(trace: train.Trace) -> None:
        step, is_new = trace.objective.shape[1], not any(folder.glob("*/events*"))
        writers.extend(event_writer(folder / name, step) for name in lane_names(run))
        if is_new:
            trained(trace, step)

    def trained(trace: train.Trace, step: int) -> None:
        for entry in entries(run, plan, trace, step):
            add(writers, entry)

    def saving(state: train.State, step: int) -> None:
        for lane, writer in enumerate(writers):
            for name, picture in drawn(run, state, lane, images).items():
                writer.add_image(name, picture, step, dataformats="HWC")
            writer.flush()

    try:
        yield Watch(began, trained, saving)
    finally:
        for writer in writers:
            writer.close()


def append(path: Path, text: bytes) -> None:
    """Add lines to a file.

    Raises:
        LabError: it cannot be written.
    """
    try:
        with path.open("ab") as file:
            file.write(text)
    except OSError as error:
        raise LabError(
            f"Cannot write {path}: {error.strerror}. Free some space, or leave out --log; --resume "
            "continues from the newest checkpoint."
        ) from error


def event_writer(folder: Path, step: int) -> Any:
    """A writer of a new event file, after which TensorBoard forgets all that the files before it
    say of later steps than this one."""
    package = importlib.import_module("tensorboardX")
    # The name of a file has the second in which it was made: a number tells it from another.
    number = len(list(folder.glob("events*")))
    return package.SummaryWriter(str(folder), purge_step=step + 1, filename_suffix=f".{number:04}")


def add(writers: Sequence[Any], entry: Entry) -> None:
    """Write the entry of each lane with its writer."""
    for lane, writer in enumerate(writers):
        for name, values in entry.scalars.items():
            writer.add_scalar(name, float(values[lane]), entry.step)
        if np.isfinite(entry.kl[lane]).all():  # a histogram knows no NaN
            writer.add_histogram("kl_per_unit_nats", entry.kl[lane], entry.step)
        writer.flush()
