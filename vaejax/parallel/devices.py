"""Arrays on a mesh of devices, and back on the host.

A mesh has two axes. Devices along "lanes" train different models and never communicate. Devices
along "batch" share each batch and sum its gradients.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, UInt8

from vaejax import train
from vaejax.parallel import placement, processes

LANES = P("lanes")


def cores() -> int:
    """The cores of the CPU that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def replicate(
    images: UInt8[np.ndarray, "n pixels"], batch_devices: int = 1
) -> UInt8[Array, "n pixels"]:
    """A copy of the images on every device of all processes. Training on it takes all of them,
    `batch_devices` to each batch.

    Raises:
        LabError: the number of devices cannot be divided so.
    """
    axes = placement.mesh_axes(jax.device_count(), batch_devices)
    kinds = (AxisType.Auto, AxisType.Auto)
    return put(jax.make_mesh(tuple(axes.values()), tuple(axes), kinds), P(), images)


def mesh_of(images: Array) -> Mesh:
    """The mesh that `replicate` has put images on."""
    sharding: Any = images.sharding
    return sharding.mesh


def put(mesh: Mesh, spec: P, tree: Any) -> Any:
    """Host arrays, the same in every process, on the devices of a mesh."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(
        lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__), tree
    )


def put_state(mesh: Mesh, state: train.State) -> train.State:
    """The state of lanes from the host on the devices of a mesh."""
    placed = put(mesh, LANES, state)
    return placed._replace(key=jax.random.wrap_key_data(placed.key, impl=train.PRNG))


def to_host(tree: Any) -> Any:
    """Whole arrays, whatever their sharding, as numpy arrays; for keys their raw data."""

    def leaf_to_host(leaf: Any) -> np.ndarray:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            leaf = processes.gathered(leaf, tiled=True)  # others hold some of it
        return np.asarray(leaf)

    return jax.tree.map(leaf_to_host, tree)
