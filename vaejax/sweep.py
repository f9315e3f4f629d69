"""Any number of lanes on any number of devices: `train.fit`, spread over a mesh.

A mesh has two axes. Devices along "lanes" train different models and never communicate. Devices
along "batch" share each batch and sum its gradients. Lanes that do not fit into memory together
are trained in chunks of one size, which take turns, so that one compiled program serves them all.

On a CPU a chunk is as many lanes as the cache of one core holds, and each core trains a chunk of
its own. Many lanes in one program would wait for memory at each step, and the steps of a small net
are too short to be shared by several cores.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, UInt8

from vaejax import hosts, train
from vaejax.config import Config, Knobs
from vaejax.errors import LabError

CORE_CACHE = 2**20
"""Bytes of cache that a core of a CPU has to itself, about. It does not depend on the machine: the
number of lanes in a program changes how XLA rounds."""
MEMORY_SHARE = 0.7
"""The share of a device's memory that lanes may take."""
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much memory the container of a process has: cgroups of version 2 and 1."""
LANES = P("lanes")
INIT_LANES = 64
"""How many lanes `init` draws at once. Training takes much more memory than drawing weights."""


def mesh(batch_devices: int = 1) -> Mesh:
    """All devices of all processes, `batch_devices` of them to each batch.

    Raises:
        LabError: the number of devices cannot be divided so.
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
    """An upper estimate of the device memory that one lane takes while it trains on `images`
    images: parameters, their two moments, gradients, and the states before and after an epoch; the
    activations of a batch; the order of the images."""
    return 4 * (9 * parameters(config) + 5 * images) + _activation_bytes(config)


def parameters(config: Config) -> int:
    """How many numbers a lane trains."""
    return sum(leaf.size for leaf in jax.tree.leaves(_shapes(config).params))


def _activation_bytes(config: Config) -> int:
    """What the batch takes in the gradient of a step: for nets of your own, as XLA reports."""
    if config.nets is None:
        hidden = sum(config.encoder_widths) + sum(config.decoder_widths)
        return 4 * config.batch_size * (6 * config.pixels + 2 * hidden)
    number: Any = jax.ShapeDtypeStruct((), jnp.float32)
    knobs = Knobs(*(number for _ in Knobs._fields))
    images = jax.ShapeDtypeStruct((config.batch_size, config.pixels), jnp.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0, impl=train.PRNG))
    step = jax.ShapeDtypeStruct((), jnp.int32)

    def gradient(params: Any, *inputs: Any) -> Any:
        return jax.grad(train.loss_fn, has_aux=True)(params, config, *inputs)

    inputs = (_shapes(config).params, knobs, images, key, step)
    memory = jax.jit(gradient).lower(*inputs).compile().memory_analysis()
    return int(memory.temp_size_in_bytes + memory.argument_size_in_bytes) if memory else 0


def host_memory() -> int:
    """The bytes of memory that this process may use: those of the machine, or of its container if
    that has fewer."""
    limits = [psutil.virtual_memory().total]
    for path in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
            limits.append(int(path.read_text()))
    return min(limits)


def chunk_size(config: Config, lanes: int, images: int, across: int = 1) -> int:
    """The number of lanes to train at once on `across` groups of devices: all `lanes` if they fit
    into memory beside the images, else the size of the smallest number of equal chunks that fit.

    Raises:
        LabError: not even one lane fits.
    """
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        memory = stats["bytes_limit"]
    else:  # CPU devices share the memory of their host
        memory = host_memory() // jax.local_device_count()
    room = MEMORY_SHARE * memory - images * config.pixels
    each = int(room // lane_bytes(config, images))
    if each < 1:
        raise LabError(
            f"One model and the {images} images take more than {MEMORY_SHARE:.0%} of the "
            f"{memory / 2**30:.1f} GiB of {device.device_kind}: use fewer images, a smaller "
            "--batch-size or smaller --widths."
        )
    chunks = math.ceil(lanes / (each * across))
    return math.ceil(lanes / chunks)


def lanes_in_cache(config: Config) -> int:
    """How many lanes keep all that a step reads and writes in the cache of a core, at least one:
    parameters, two moments and gradients, and the activations of a batch. Nets of your own train
    one by one: XLA convolves slowly on a CPU where every lane has kernels of its own."""
    if config.nets is not None:
        return 1
    return max(1, CORE_CACHE // (16 * parameters(config) + _activation_bytes(config)))


def cores() -> int:
    """The cores of the CPU that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def init(config: Config, seeds: Sequence[int]) -> train.State:
    """`train.init_lanes`, brought to the host."""
    parts = [
        to_host(train.init_lanes(config, np.asarray(seeds[start : start + INIT_LANES], np.uint32)))
        for start in range(0, len(seeds), INIT_LANES)
    ]
    return _joined(parts, len(seeds))


def structure(config: Config) -> Any:
    """The tree of a state, without its arrays."""
    return jax.tree.structure(_shapes(config))


@cache
def _shapes(config: Config) -> Any:
    """The state of one model, with shapes for arrays. Tracing it takes time at start-up."""
    return jax.eval_shape(partial(train.init, config), jax.ShapeDtypeStruct((), np.uint32))


def replicate(mesh: Mesh, images: UInt8[np.ndarray, "n pixels"]) -> UInt8[Array, "n pixels"]:
    """A copy of the images on every device of a mesh."""
    return _put(mesh, P(), images)


class Lanes(NamedTuple):
    """The state of all lanes wherever it is; `collect` brings it to the host."""

    chunks: tuple[train.State, ...]
    """The state of each chunk. On accelerators it is on the devices if it is the only one, else on
    the host."""
    number: int


def collect(lanes: Lanes) -> train.State:
    """The state of all lanes on the host."""
    return _joined([to_host(state) for state in lanes.chunks], lanes.number)


def fit(
    config: Config,
    knobs: Knobs,
    state: train.State,
    images: UInt8[Array, "n pixels"],
    epochs: int,
    passes: int = 1,
    chunk: int | None = None,
    trained: int = 0,
) -> Iterator[tuple[Lanes, train.Trace]]:
    """`train.fit` on the mesh of the images, at most `chunk` lanes at once (None: as many as fit
    in memory).

    The states have had `trained` epochs before: what is yielded comes after each multiple of
    `passes` epochs from the first one on, so that a run goes on as if it had never stopped.

    State and knobs are on the host, as `init` and `config.grid` give them; the images are on the
    devices, as `replicate` puts them. Yields the lanes for `collect`, and the trace since the last
    yield, on the host.

    Raises:
        LabError: the images are on no mesh, there are fewer than one batch, a batch cannot be
            shared by its devices, or memory is too small for one lane.
    """
    mesh = _mesh_of(images)
    train.steps_per_epoch(config, len(images))
    if config.batch_size % mesh.shape["batch"]:
        raise LabError(
            f"{mesh.shape['batch']} devices cannot share a batch of {config.batch_size}: change "
            "--batch-size or --batch-devices."
        )
    lanes, across = len(knobs.learning_rate), mesh.shape["lanes"]
    most = chunk or hosts.once(partial(chunk_size, config, lanes, len(images), across))
    on_cores = mesh.size == 1 and jax.default_backend() == "cpu"
    chunks, at_once = (
        _by_core(config, lanes, most) if on_cores else (_divided(lanes, most, across), 1)
    )
    knobs = train.without_idle_clipping(knobs)
    weights = [_put(mesh, LANES, _take(knobs, rows)) for rows in chunks]
    states = [_take(state, rows) for rows in chunks]
    # On an accelerator, a chunk that takes turns with others leaves the devices after its turn.
    stays = on_cores or len(chunks) == 1
    if stays:
        # Copies: of a host's array that it shares, jax keeps the memory well after the last use.
        states = [_place(mesh, jax.tree.map(np.array, state)) for state in states]
    del state  # it may be large

    @cache
    def compiled(passes: int) -> Callable[..., Any]:
        first = states[0] if stays else _place(mesh, states[0])
        program = train.epoch_lanes.lower(config, weights[0], first, images, passes, mesh)
        # Cores that always have a chunk each need no help from each other. It changes no bit.
        busy = at_once > 1 and len(chunks) % at_once == 0
        return program.compile({"xla_cpu_multi_thread_eigen": False} if busy else None)

    def train_chunk(program: Callable[..., Any], turn: int) -> train.Trace:
        before = states[turn] if stays else _place(mesh, states[turn])
        after, trace = program(weights[turn], before, images)
        states[turn] = after if stays else to_host(after)
        return to_host(trace)

    with ThreadPoolExecutor(at_once) as workers:
        for count in _calls(epochs, passes, trained):
            program = compiled(count)  # once, not in each thread
            spread = map if at_once == 1 else workers.map
            traces = list(spread(partial(train_chunk, program), range(len(chunks))))
            yield Lanes(tuple(states), lanes), _joined(traces, lanes)


def _calls(epochs: int, passes: int, trained: int) -> Iterator[int]:
    """How many epochs each call of the program trains: it ends at a multiple of `passes`, counted
    from the first epoch of all, or with the last one."""
    last = trained + epochs
    while trained < last:
        end = min(trained - trained % passes + passes, last)
        yield end - trained
        trained = end


def _divided(lanes: int, most: int, across: int = 1) -> list[np.ndarray]:
    """Lanes in as few chunks as possible, of one size: at most `most`, and then as many more as
    fill `across` groups of devices. The last chunk is filled up with copies of the last lane."""
    size = math.ceil(lanes / math.ceil(lanes / most) / across) * across
    return [
        np.minimum(np.arange(start, start + size), lanes - 1) for start in range(0, lanes, size)
    ]


def _by_core(config: Config, lanes: int, most: int) -> tuple[list[np.ndarray], int]:
    """Chunks for the cores of a CPU, as many for each if there are lanes enough; and how many
    chunks train at once, so that no more than `most` lanes do."""
    number = math.ceil(lanes / min(most, lanes_in_cache(config)) / cores()) * cores()
    chunks = _divided(lanes, math.ceil(lanes / number))
    fitting = len(chunks) if most >= lanes else max(1, most // len(chunks[0]))
    return chunks, min(cores(), fitting)


def to_host(tree: Any) -> Any:
    """Whole arrays, whatever their sharding, as numpy arrays; for keys their raw data."""

    def leaf_to_host(leaf: Any) -> np.ndarray:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            leaf = hosts.gathered(leaf, tiled=True)  # others hold some of it
        return np.asarray(leaf)

    return jax.tree.map(leaf_to_host, tree)


def _mesh_of(images: Array) -> Mesh:
    if not isinstance(images.sharding, NamedSharding) or not isinstance(images.sharding.mesh, Mesh):
        raise LabError("These images are on no mesh: put them there with sweep.replicate.")
    return images.sharding.mesh


def _take(tree: Any, lanes: np.ndarray) -> Any:
    """Some lanes, in rising order: not copied if none stands twice."""
    first, last = int(lanes[0]), int(lanes[-1])
    rows = slice(first, last + 1) if last - first == len(lanes) - 1 else lanes
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _joined(parts: list[Any], lanes: int) -> Any:
    """The lanes of all chunks, without the copies that fill up the last one."""
    if len(parts) == 1:
        return jax.tree.map(lambda leaf: leaf[:lanes], parts[0])
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:lanes], *parts)


def _place(mesh: Mesh, state: train.State) -> train.State:
    placed = _put(mesh, LANES, state)
    return placed._replace(key=jax.random.wrap_key_data(placed.key, impl=train.PRNG))


def _put(mesh: Mesh, spec: P, tree: Any) -> Any:
    """Host arrays, the same in every process, on the devices of a mesh."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__), tree
    )
