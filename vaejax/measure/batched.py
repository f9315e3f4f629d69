"""Lifts a function of one image, or of one model, to whole splits and to many lanes."""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, UInt8

from vaejax.config import Config

AT_ONCE = 64
"""Lanes that an accelerator measures at once: enough to keep it busy, and a bound on the memory."""
Images = UInt8[Array | np.ndarray, "n pixels"]
"""The images of a split, flat."""


def map_images(
    one: Callable[[Any, Array], Any], images: Any, key: Key[Array, ""], batch_size: int
) -> Any:
    """`one(image, key of the image)` for every row of `images`, an array or a tree of arrays with
    equally many rows.

    The rows are vectorized in batches of one size: the last one is padded, and the padding is cut
    off again. The key of an image is a function of (key, index of the image), and matrix products
    run at full precision: up to rounding, no result depends on the batch size.
    """
    count = len(jax.tree.leaves(images)[0])
    batch_size = min(batch_size, count)
    extra = -count % batch_size
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count + extra))
    padded = jax.tree.map(
        lambda rows: jnp.pad(jnp.asarray(rows), ((0, extra),) + ((0, 0),) * (rows.ndim - 1)), images
    )
    batched = jax.tree.map(
        lambda rows: rows.reshape(-1, batch_size, *rows.shape[1:]), (padded, keys)
    )
    with jax.default_matmul_precision("highest"):
        results = jax.lax.map(lambda batch: jax.vmap(one)(*batch), batched)
    return jax.tree.map(lambda rows: rows.reshape(-1, *rows.shape[2:])[:count], results)


@functools.cache
def over_lanes(function: Callable[..., Any], config: Config, *static: Any) -> Callable[..., Any]:
    """Lift `function(config, params, images, key, *static)` to parameters with a leading lane axis,
    and compile it. All lanes get the same images and the same key.

    On an accelerator `AT_ONCE` lanes are measured at once. On a CPU they take turns: that takes as
    long, a fraction of the memory, and one program for any number of lanes.
    """

    def of_model(params: Any, images: Any, key: Any) -> Any:
        return function(config, params, images, key, *static)

    if jax.default_backend() != "cpu":
        return jax.jit(side_by_side(of_model))
    # LLVM at level 3, the default, unrolls the loops that draw a few numbers for each image. They
    # get no faster, and compiling takes up to twice as long. Where JAX_DISABLE_MOST_OPTIMIZATIONS
    # asks for a lower level, that one stays.
    lower = not jax.config.read("jax_disable_most_optimizations")
    of_lane = jax.jit(
        of_model, compiler_options={"xla_backend_optimization_level": 2} if lower else {}
    )

    def in_turn(params: Any, images: Any, key: Any) -> Any:
        images = jax.device_put(images)
        lanes = range(len(jax.tree.leaves(params)[0]))
        return _stacked([of_lane(lane_of(params, lane), images, key) for lane in lanes])

    return in_turn


def _stacked(lanes: list[Any]) -> Any:
    """The results of all lanes as one, with a lane axis. They may be large: each array of theirs is
    let go once it is copied. (`device_put` compiles nothing; `jnp.asarray` would.)"""
    structure, leaves = jax.tree.structure(lanes[0]), [jax.tree.leaves(lane) for lane in lanes]
    lanes.clear()
    numbers = range(structure.num_leaves)
    stacked = [jax.device_put(np.stack([lane.pop(0) for lane in leaves])) for _ in numbers]
    return jax.tree.unflatten(structure, stacked)


def side_by_side(of_model: Callable[..., Any]) -> Callable[..., Any]:
    """`of_model(params, images, key)` of every lane of `params`, `AT_ONCE` at once."""

    def lifted(params: Any, images: Any, key: Any) -> Any:
        size = min(AT_ONCE, len(jax.tree.leaves(params)[0]))
        return jax.lax.map(lambda lane: of_model(lane, images, key), params, batch_size=size)

    return lifted


def lane_of(stacked: Any, lane: int) -> Any:
    """One lane of stacked arrays, as numpy arrays: jax would compile a program for the slice."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[lane], stacked)
