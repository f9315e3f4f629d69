"""How much memory lanes take, and how much there is."""

from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil

from vaejax import loss, train
from vaejax.config import Config, Knobs
from vaejax.errors import LabError

CORE_CACHE = 2**20
"""Bytes of cache that a core of a CPU has to itself, about: the same on every machine, since the
number of lanes in a program changes how XLA rounds."""
MEMORY_SHARE = 0.7
"""The share of a device's memory that lanes may take."""
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much memory the container of a process has: cgroups of version 2 and 1."""


@cache
def shapes(config: Config) -> train.State:
    """The state of one model, with shapes for arrays. Tracing it takes time at start-up."""
    return jax.eval_shape(partial(train.init, config), jax.ShapeDtypeStruct((), np.uint32))


def parameters(config: Config) -> int:
    """How many numbers a lane trains."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(config).params))


def lane_bytes(config: Config, images: int) -> int:
    """An upper estimate of the device memory that one lane takes while it trains on `images`
    images: parameters, their two moments, gradients, and the states before and after an epoch; the
    activations of a batch; the order of the images."""
    return 4 * (9 * parameters(config) + 5 * images) + _activation_bytes(config)


def _activation_bytes(config: Config) -> int:
    """What the batch takes in the gradient of a step: for nets of your own, as XLA reports."""
    if config.nets is None:
        decoded = config.batch_size * max(1, config.importance_samples)
        of_encoder = config.batch_size * 2 * sum(config.encoder_widths)
        return 4 * (of_encoder + decoded * (6 * config.pixels + 2 * sum(config.decoder_widths)))
    number: Any = jax.ShapeDtypeStruct((), jnp.float32)
    knobs = Knobs(*(number for _ in Knobs._fields))
    images = jax.ShapeDtypeStruct((config.batch_size, config.pixels), jnp.uint8)
    state = shapes(config)
    gradient = jax.jit(jax.grad(loss.of_batch, has_aux=True), static_argnums=1)
    lowered = gradient.lower(state.params, config, knobs, images, state.key, state.step)
    memory = lowered.compile().memory_analysis()
    return int(memory.temp_size_in_bytes + memory.argument_size_in_bytes) if memory else 0


def host_memory() -> int:
    """The bytes of memory that this process may use: those of the machine, or of its container if
    that has fewer."""
    limits = [psutil.virtual_memory().total]
    for path in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
            limits.append(int(path.read_text()))
    return min(limits)


def lanes_that_fit(config: Config, images: int) -> int:
    """How many lanes fit into the memory of a device, beside so many images."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    # CPU devices share the memory of their host.
    memory = stats.get("bytes_limit") or host_memory() // jax.local_device_count()
    room = MEMORY_SHARE * memory - images * config.pixels
    fitting = int(room // lane_bytes(config, images))
    if fitting < 1:
        raise LabError(
            f"One model and the {images} images take more than {MEMORY_SHARE:.0%} of the "
            f"{memory / 2**30:.1f} GiB of {device.device_kind}: use fewer images, a smaller "
            "batch_size or smaller widths."
        )
    return fitting


def lanes_in_cache(config: Config) -> int:
    """How many lanes keep all that a step reads and writes in the cache of a core, at least one:
    parameters, two moments and gradients, and the activations of a batch. Nets of your own train
    one by one: XLA convolves slowly on a CPU where every lane has kernels of its own."""
    if config.nets is not None:
        return 1
    return max(1, CORE_CACHE // (16 * parameters(config) + _activation_bytes(config)))
