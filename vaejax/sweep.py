"""Any grid of knobs and seeds in one program, on any number of devices.

A grid is a list of lanes. A mesh has two axes: along "lanes" devices train different models and
never speak to each other; along "batch" they share each batch and sum its gradients. Lanes that do
not fit into memory at once take turns in chunks of one size, so that one program serves them all.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, UInt8

from vaejax import hosts, train
from vaejax.config import Config, Knobs, knobs, stack
from vaejax.errors import LabError

MEMORY_SHARE = 0.7
"""Of a device's memory that lanes may take."""
LANES = P("lanes")
INIT_LANES = 64
"""Lanes drawn at once: fresh weights are small beside what training them takes."""


def grid(
    config: Config, seeds: Sequence[int], **values: Sequence[Any]
) -> tuple[Knobs, tuple[int, ...]]:
    """A lane for every combination of the values of each knob, and for every seed of each (seeds
    vary fastest): their knobs, arrays [lanes], and their seeds.

    Raises:
        LabError: a number out of its range.
    """
    choices = itertools.product(*values.values())
    lanes = [knobs(config, **dict(zip(values, choice, strict=True))) for choice in choices]
    return stack([lane for lane in lanes for _ in seeds]), tuple(seeds) * len(lanes)


def mesh(batch_devices: int = 1) -> Mesh:
    """All devices of all processes, so many of them to each batch.

    Raises:
        LabError: they cannot be divided so.
    """
    devices = jax.device_count()
    if not 1 <= batch_devices <= devices or devices % batch_devices:
        raise LabError(
            f"{devices} devices cannot share batches {batch_devices} at a time: use a "
            f"--batch-devices that divides {devices}."
        )
    axes = {"lanes": devices // batch_devices, "batch": batch_devices}
    return jax.make_mesh(tuple(axes.values()), tuple(axes), (AxisType.Auto, AxisType.Auto))


def lane_bytes(config: Config, images: int) -> int:
    """About what one lane takes of a device while it trains on so many images: parameters, their
    two moments, gradients, and the states before and after an epoch; the activations of a batch;
    the order of the images. On the safe side of what XLA reports."""
    params = jax.eval_shape(lambda: train.init(config, jnp.uint32(0)).params)
    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    hidden = sum(config.encoder_widths) + sum(config.decoder_widths)
    activations = config.batch_size * (6 * config.pixels + 2 * hidden)
    return 4 * (9 * weights + activations + 5 * images)


def chunk_size(config: Config, lanes: int, images: int, across: int = 1) -> int:
    """How many of so many lanes to train at once, divided among `across` devices: all, or as few
    equal chunks as fit in their memory beside the images.

    Raises:
        LabError: not even one fits.
    """
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        memory = stats["bytes_limit"]
    else:  # a CPU, which shares the memory of its host with the others
        memory = (
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
        )
    room = MEMORY_SHARE * memory - images * config.pixels
    each = int(room // lane_bytes(config, images))
    if each < 1:
        raise LabError(
            f"One model and the {images} images take more than the {memory / 2**30:.1f} GiB of "
            f"{device.device_kind}: use fewer images, a smaller --batch-size or smaller --widths."
        )
    chunks = -(-lanes // (each * across))
    return -(-lanes // chunks)


def init(config: Config, seeds: Sequence[int]) -> train.State:
    """`train.init_lanes`, on the host."""
    parts = [
        to_host(train.init_lanes(config, np.asarray(seeds[start : start + INIT_LANES], np.uint32)))
        for start in range(0, len(seeds), INIT_LANES)
    ]
    return _joined(parts, len(seeds))


def replicate(mesh: Mesh, images: UInt8[np.ndarray, "n pixels"]) -> UInt8[Array, "n pixels"]:
    """A copy of the images on every device."""
    return _put(mesh, P(), images)


def fit(
    mesh: Mesh,
    config: Config,
    knobs: Knobs,
    state: train.State,
    images: UInt8[Array, "n pixels"],
    epochs: int,
    passes: int = 1,
    chunk: int | None = None,
) -> Iterator[tuple[Callable[[], train.State], train.Trace]]:
    """`train.fit`, spread over a mesh, `chunk` lanes at once (None: as many as fit in memory).
    State and knobs are on the host, as `init` and `grid` give them, the images on the devices, as
    `replicate` puts them.

    Yields a function that brings the state to the host, and the trace since the last yield, on the
    host. A chunk is made to fill the mesh, and the last one filled up with copies of the last lane,
    which are left out again.

    Raises:
        LabError: fewer images than one batch, a batch that its devices cannot share, or too little
            memory for one lane.
    """
    train.steps_per_epoch(config, len(images))
    if config.batch_size % mesh.shape["batch"]:
        raise LabError(
            f"{mesh.shape['batch']} devices cannot share a batch of {config.batch_size}: change "
            "--batch-size or --batch-devices."
        )
    lanes, across = len(knobs.learning_rate), mesh.shape["lanes"]
    chunk = chunk or hosts.once(partial(chunk_size, config, lanes, len(images), across))
    size = -(-min(chunk, lanes) // across) * across
    chunks = [
        np.minimum(np.arange(start, start + size), lanes - 1) for start in range(0, lanes, size)
    ]
    states, weights = (
        [jax.tree.map(lambda leaf, rows=rows: leaf[rows], tree) for rows in chunks]
        for tree in (state, knobs)
    )
    stays = len(chunks) == 1  # on the devices; several take turns there
    if stays:
        states = [_place(mesh, states[0])]
    for done in range(0, epochs, passes):
        traces = []
        for turn, placed in enumerate(states):
            placed = placed if stays else _place(mesh, placed)
            after, trace = train.epoch_lanes(
                config,
                _put(mesh, LANES, weights[turn]),
                placed,
                images,
                min(passes, epochs - done),
                mesh,
            )
            states[turn] = after if stays else to_host(after)
            traces.append(to_host(trace))
        yield partial(_collected, list(states), lanes), _joined(traces, lanes)


def to_host(tree: Any) -> Any:
    """Arrays of any sharding, whole, as numpy arrays; keys as their data."""

    def leaf_to_host(leaf: Any) -> np.ndarray:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            leaf = multihost_utils.process_allgather(leaf, tiled=True)  # others hold some of it
        return np.asarray(leaf)

    return jax.tree.map(leaf_to_host, tree)


def _collected(states: list[train.State], lanes: int) -> train.State:
    return _joined([to_host(state) for state in states], lanes)


def _joined(parts: list[Any], lanes: int) -> Any:
    """Chunks as the lanes that they hold, without what filled the last one up."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:lanes], *parts)


def _place(mesh: Mesh, state: train.State) -> train.State:
    placed = _put(mesh, LANES, state)
    return placed._replace(key=jax.random.wrap_key_data(placed.key))


def _put(mesh: Mesh, spec: P, tree: Any) -> Any:
    """Host arrays, the same in every process, on the devices of a mesh."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__), tree
    )
