"""Any number of lanes on any number of devices.

Lanes that do not fit into memory together are trained in chunks of one size, which take turns.

On a CPU a chunk is as many lanes as the cache of one core holds, and each core trains a chunk of
its own. Many lanes in one program would wait for memory at each step, and the steps of a small net
are too short to be shared by several cores.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, UInt8

from vaejax import train
from vaejax.config import Config, Knobs
from vaejax.errors import LabError
from vaejax.parallel import devices, memory, placement, processes


def init(config: Config, seeds: Sequence[int]) -> train.State:
    """The state of each lane before its first step, on the host. It is drawn once for each seed,
    and by one program for all seeds and all Configs of the same nets."""
    nets = _nets_of(config)
    drawn = {seed: devices.to_host(train.init(nets, jnp.uint32(seed))) for seed in set(seeds)}
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(drawn[seed] for seed in seeds))


def _nets_of(config: Config) -> Config:
    """The Config without what changes no fresh weight; nets of your own may use all of it."""
    if config.nets is not None:
        return config
    names = (
        "image_shape", "latent_size", "encoder_widths", "decoder_widths", "decoder_variance",
        "optimizer",
    )  # fmt: skip
    return Config(likelihood="gaussian", **{name: getattr(config, name) for name in names})


class Lanes(NamedTuple):
    """The state of all lanes wherever it is."""

    chunks: tuple[train.State, ...]
    """The state of each chunk. On accelerators it is on the devices if it is the only one, else on
    the host."""
    number: int

    def on_host(self) -> train.State:
        """The state of all lanes on the host."""
        return _joined([devices.to_host(state) for state in self.chunks], self.number)


def advance(
    config: Config,
    knobs: Knobs,
    state: train.State,
    images: UInt8[Array, "n pixels"],
    epochs: int,
    epochs_per_call: int = 1,
    chunk: int | None = None,
    trained: int = 0,
) -> Iterator[tuple[Lanes, train.Trace]]:
    """Train every lane for so many more epochs, at most `chunk` lanes at once (None: as many as fit
    in memory). Lanes are models of one Config that differ in knobs and in their seed, which is in
    `state`. Each takes the same images in an order of its own.

    The states have had `trained` epochs before: what is yielded comes after each multiple of
    `epochs_per_call` epochs from the first one on, so that a run goes on as if it had never
    stopped. With few images an epoch is only a step or two: many epochs to a call then keep the
    host out of the loop.

    State and knobs are on the host, as `init` and `config.grid` give them; the images are on the
    devices, as `devices.replicate` puts them. Yields the lanes, and the trace since the last yield,
    on the host.

    Raises:
        LabError: fewer images than one batch, a batch that its devices cannot share, or too little
            memory for one lane.
    """
    mesh, number, clips = devices.mesh_of(images), len(state.step), bool(np.any(knobs.clip_norm))
    chunks, at_once, stays = _place(config, mesh, number, len(images), chunk)
    weights = [devices.put(mesh, devices.LANES, _take(knobs, lanes)) for lanes in chunks]
    states = [_take(state, lanes) for lanes in chunks]
    if stays:
        # Copies: of a host's array that it shares, jax keeps the memory well after the last use.
        states = [devices.put_state(mesh, jax.tree.map(np.array, state)) for state in states]
    del state  # it may be large

    def placed(turn: int) -> train.State:
        return states[turn] if stays else devices.put_state(mesh, states[turn])

    @cache
    def compiled(count: int) -> Callable[..., Any]:
        over = mesh if mesh.size > 1 else None
        program = train.train_lanes.lower(config, weights[0], placed(0), images, count, clips, over)
        # Cores that always have a chunk each need no help from each other. It changes no bit.
        busy = at_once > 1 and len(chunks) % at_once == 0
        return program.compile({"xla_cpu_multi_thread_eigen": False} if busy else None)

    def train_chunk(program: Callable[..., Any], turn: int) -> train.Trace:
        after, trace = program(weights[turn], placed(turn), images)
        states[turn] = after if stays else devices.to_host(after)
        return devices.to_host(trace)

    with ThreadPoolExecutor(at_once) as workers:
        for count in placement.calls(epochs, epochs_per_call, trained):
            program = compiled(count)  # once, not in each thread
            traces = list(workers.map(partial(train_chunk, program), range(len(chunks))))
            yield Lanes(tuple(states), number), _joined(traces, number)


def _place(
    config: Config, mesh: Mesh, lanes: int, images: int, chunk: int | None
) -> placement.Placement:
    """Where lanes train, once all that can be refused has been."""
    train.steps_per_epoch(config, images)
    if config.batch_size % mesh.shape["batch"]:
        raise LabError(
            f"{mesh.shape['batch']} devices cannot share a batch of {config.batch_size}: change "
            "batch_size or batch_devices."
        )
    across = mesh.shape["lanes"]
    fitting = partial(memory.lanes_that_fit, config, images)
    most = chunk or processes.once(fitting) * across
    if mesh.size == 1 and jax.default_backend() == "cpu":
        in_cache = memory.lanes_in_cache(config)
        return placement.on_cores(lanes, most, devices.cores(), in_cache)
    return placement.on_devices(lanes, most, across)


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
