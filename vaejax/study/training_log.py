"""What `--log` writes at each checkpoint, in the folder of the run:

    log/metrics.jsonl    a line for each epoch and lane
    log/LANE/            a folder for each lane, of event files for TensorBoard

An entry is the average over an epoch, or over a block of epochs in a run that trains until it has
converged. All is taken from the trace on disk: metrics.jsonl is written anew, and an event file has
what the files before it lack. The name of an event file ends with the step of its checkpoint.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from vaejax import show, train
from vaejax.errors import LabError
from vaejax.files import write_bytes
from vaejax.run import Run
from vaejax.store import records, trace_files
from vaejax.study import views
from vaejax.study.flags import LogFormat
from vaejax.study.plans import Plan
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


def write(
    formats: Sequence[LogFormat],
    folder: Path,
    run: Run,
    plan: Plan,
    state: train.State,
    step: int,
    images: UInt8[np.ndarray, "n pixels"],
) -> None:
    """Write the log of a run in these formats, after its checkpoint of a step. TensorBoard also
    shows what the models make of the first flat images."""
    if not formats:
        return
    found = list(entries(run, plan, trace_files.read(folder, run, step)))
    if "jsonl" in formats:
        write_bytes(folder / FOLDER / METRICS, lines(found))
    if "tensorboard" in formats:
        shown = np.resize(images, (ACROSS, images.shape[1]))  # some again, if there are few
        for lane, name in enumerate(lane_names(run)):
            place = folder / FOLDER / name
            written = max((int(path.suffix[1:]) for path in place.glob("events*")), default=0)
            if new := [entry for entry in found if entry.step > written]:
                write_events(place, new, lane, drawn(run, state, lane, shown))


def entries(run: Run, plan: Plan, trace: train.Trace) -> Iterator[Entry]:
    """The entries of the trace [lanes, steps, ...] of all steps."""
    count, block = trace.objective.shape[1], plan.epochs_per_call * plan.steps_per_epoch
    for start in range(0, count, block):
        part = jax.tree.map(lambda terms, at=start: np.asarray(terms[:, at : at + block]), trace)
        step, kl = min(start + block, count), part.kl.mean(1)
        averages = {"objective": part.objective.mean(1), "error": part.error.mean(1)}
        rate = np.asarray(rates(run.knobs, np.int32(step - 1)))
        scalars = averages | {"kl_nats": kl.sum(-1), "learning_rate": rate}
        yield Entry(step // plan.steps_per_epoch, step, scalars, kl)


def lines(found: Iterable[Entry]) -> bytes:
    """Entries as lines of JSON, one for each lane; numbers that are not finite are null."""
    return records.lines(
        {"epoch": entry.epoch, "step": entry.step, "lane": lane}
        | {name: values[lane] for name, values in entry.scalars.items()}
        for entry in found
        for lane in range(len(entry.kl))
    )


def lane_names(run: Run) -> list[str]:
    """A name for each lane, of a folder: its number, and what differs between lanes."""
    return [
        "_".join([f"lane{index:02}", *(f"{name}={lane[name]:g}" for name in run.differing)])
        for index, lane in enumerate(run.lanes)
    ]


def drawn(
    run: Run, state: train.State, lane: int, images: UInt8[np.ndarray, "across pixels"]
) -> dict[str, np.ndarray]:
    """Pictures of one lane, by name: flat images above what it makes of them, and samples."""
    trained = begin(run, state)
    inputs = views.unit_pixels(images, run.config.image_shape)
    found = {
        "reconstructions": np.concatenate([inputs, views.outputs(trained, lane, images)]),
        "samples": views.samples(trained, lane, ACROSS**2),
    }
    return {
        name: np.round(255 * show.pictures.tile(pictures, ACROSS)).astype(np.uint8)
        for name, pictures in found.items()
    }


def write_events(
    folder: Path, found: Sequence[Entry], lane: int, pictures: Mapping[str, np.ndarray]
) -> None:
    """Write an event file of the entries of one lane, with pictures at the last one."""
    package, last = importlib.import_module("tensorboardX"), found[-1].step
    try:
        with package.SummaryWriter(str(folder), filename_suffix=f".{last:09}") as writer:
            for entry in found:
                for name, values in entry.scalars.items():
                    writer.add_scalar(name, float(values[lane]), entry.step)
                if np.isfinite(entry.kl[lane]).all():  # a histogram knows no NaN
                    writer.add_histogram("kl_per_unit_nats", entry.kl[lane], entry.step)
            for name, picture in pictures.items():
                writer.add_image(name, picture, last, dataformats="HWC")
    except OSError as error:
        raise LabError(
            f"Cannot write {folder}: {error.strerror}. Free some space, or leave out --log; "
            "--resume continues from the newest checkpoint."
        ) from error
