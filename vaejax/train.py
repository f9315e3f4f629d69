"""Training as pure functions: one step of one model, an epoch as one compiled program, and `fit`,
which trains many models ("lanes") at once. No files, no prints, no evaluation.

Randomness: a lane's key is `jax.random.key(seed)`. It is split once, for the initial weights, the
order of the images and the noise; an epoch's order is then a function of (key, epoch) and a step's
noise one of (key, step), so that a run resumed from any epoch is the run that never stopped.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, Key, UInt8, UInt32

from vaejax import loss, model
from vaejax.config import Config, Knobs
from vaejax.errors import LabError

OPTIMIZER = optax.scale_by_adam()
"""Adam (Kingma and Ba 2015) without its learning rate, which is a knob: `step` multiplies by it."""

PRNG = "threefry2x32"
"""JAX's random generator. It is named, so that a seed means the same whatever JAX's default is."""


class State(NamedTuple):
    """All that training changes. With lanes, every array has a leading lane axis."""

    params: model.Params
    opt_state: Any
    key: Key[Array, "*lanes"]
    """On the host (see `sweep.to_host`) the raw data of the key: numpy has no keys."""
    step: Int[Array, "*lanes"]
    """Steps taken. A diverged lane counts to the last epoch that it ended with finite numbers."""
    diverged: Bool[Array, "*lanes"]


class Trace(NamedTuple):
    """The loss terms of each step, averaged over its batch. What `fit` yields has a leading lane
    axis."""

    objective: Float[Array | np.ndarray, "*steps"]
    error: Float[Array | np.ndarray, "*steps"]
    """Averaged over pixels: nats (Bernoulli) or squared error (Gaussian)."""
    kl: Float[Array | np.ndarray, "*steps latent"]
    """Nats of each latent unit; 0 for an AE."""


def init(config: Config, seed: UInt32[Array, ""]) -> State:
    """The state of one model before its first step."""
    key = jax.random.key(seed, impl=PRNG)
    params = model.init(config, key_for(key, Use.INIT))
    return State(params, OPTIMIZER.init(params), key, jnp.zeros((), jnp.int32), jnp.zeros((), bool))


class Use(IntEnum):
    """What a key of a model is used for."""

    INIT = 0
    ORDER = 1
    NOISE = 2
    BRANCH = 3


def key_for(
    key: Key[Array, ""], use: Use, count: Int[Array, ""] | int | None = None
) -> Key[Array, ""]:
    """The key of one use, or of one step or epoch of it. No two of them are the same, and none is
    the key that it comes from."""
    key = jax.random.fold_in(key, use)
    return key if count is None else jax.random.fold_in(key, count)


def loss_fn(
    params: model.Params,
    config: Config,
    knobs: Knobs,
    images: UInt8[Array, "batch pixels"],
    key: Key[Array, ""],
    step: Int[Array, ""],
) -> tuple[Float[Array, ""], Trace]:
    """The objective of a batch at a step, and its terms."""
    pixel_key, code_key = jax.random.split(key)
    x = model.to_pixels(config, images, pixel_key)
    posterior = model.encode(config, params, x)
    z = model.draw_code(config, posterior, code_key)
    error = loss.reconstruction_error(config, model.decode(config, params, z), x).mean()
    kl = loss.kl_divergence(posterior.mean, posterior.logvar).mean(0)
    if config.model == "ae":
        kl, knobs = jnp.zeros_like(kl), knobs._replace(kl_weight=jnp.zeros(()))
    objective = loss.objective(knobs, error, kl, model.log_sigma(config, params), step)
    return objective, Trace(objective, error, kl)


def learning_rate(knobs: Knobs, step: Int[Array, ""]) -> Float[Array, ""]:
    """The learning rate at a step: half a cosine from `learning_rate` to 0 over `decay_steps`
    (Loshchilov and Hutter 2017); constant if `decay_steps` is 0."""
    decay = jnp.asarray(knobs.decay_steps)
    passed = jnp.where(decay > 0, jnp.minimum(step / jnp.maximum(decay, 1), 1), 0)
    return jnp.asarray(knobs.learning_rate) * (1 + jnp.cos(jnp.pi * passed)) / 2


def learning_rates(knobs: Knobs, steps: int) -> np.ndarray:
    """The learning rate of each lane [lanes] at each of its first steps: [lanes, steps], float64 on
    the host."""
    of_lanes = jax.vmap(jax.vmap(learning_rate, (0, None)), (None, 0), 1)
    return np.asarray(of_lanes(knobs, jnp.arange(steps)), float)


def clipped(grads: Any, clip_norm: Float[Array | np.ndarray, ""] | None) -> Any:
    """The gradients of all parameters, scaled down together to the norm `clip_norm` if theirs is
    larger (Pascanu et al. 2013); as they are if it is 0 or None. It is
    `optax.clip_by_global_norm`, whose threshold cannot differ between lanes."""
    if clip_norm is None:
        return grads
    norm = jnp.sqrt(sum(jnp.sum(grad**2) for grad in jax.tree.leaves(grads)))
    kept = (jnp.asarray(clip_norm) == 0) | (norm < clip_norm)
    return jax.tree.map(lambda grad: jnp.where(kept, grad, grad / norm * clip_norm), grads)


def without_idle_clipping(knobs: Knobs) -> Knobs:
    """Knobs on the host, with None as `clip_norm` if no lane clips. The program then has no
    clipping in it: XLA rounds differently where it compiles even a clipping that does nothing."""
    return knobs if np.any(knobs.clip_norm) else knobs._replace(clip_norm=None)


@partial(jax.jit, static_argnums=0)
def step(
    config: Config, knobs: Knobs, state: State, images: UInt8[Array, "batch pixels"]
) -> tuple[State, Trace]:
    """One Adam step of one model on one batch."""
    key = key_for(state.key, Use.NOISE, state.step)
    grads, trace = jax.grad(loss_fn, has_aux=True)(
        state.params, config, knobs, images, key, state.step
    )
    updates, opt_state = OPTIMIZER.update(clipped(grads, knobs.clip_norm), state.opt_state)
    rate = learning_rate(knobs, state.step)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    params = optax.apply_updates(state.params, updates)
    return state._replace(params=params, opt_state=opt_state, step=state.step + 1), trace


def steps_per_epoch(config: Config, count: int) -> int:
    """Full batches in `count` images.

    Raises:
        LabError: not even one.
    """
    if count < config.batch_size:
        raise LabError(
            f"{count} training images fill no batch of {config.batch_size}: use "
            f"--batch-size {count} or less."
        )
    return count // config.batch_size


def epoch_order(config: Config, state: State, count: int) -> Int[Array, "steps batch"]:
    """Which of `count` images each step of the coming epoch takes: every image once, in a fresh
    order; the images at the end that fill no batch are left out."""
    steps = steps_per_epoch(config, count)
    key = key_for(state.key, Use.ORDER, state.step // steps)
    order = jax.random.permutation(key, count)
    return order[: steps * config.batch_size].reshape(steps, config.batch_size)


def epoch(
    config: Config,
    knobs: Knobs,
    state: State,
    images: UInt8[Array, "n pixels"],
    mesh: Mesh | None = None,
) -> tuple[State, Trace]:
    """One pass of one model over the images, in full batches: at the end of the random order some
    may be left out. With a mesh, the devices along its axis "batch" share
    each batch: XLA sums their gradients.

    If a loss term of some step, or any number at the end of the epoch, is not finite, the model is
    returned as it was before the epoch, with `diverged` set: no NaN or infinity ever stays in the
    state.
    """
    order = epoch_order(config, state, len(images))
    if mesh is not None:
        order = jax.lax.with_sharding_constraint(order, NamedSharding(mesh, P(None, "batch")))
    new, trace = jax.lax.scan(
        lambda state, batch: step(config, knobs, state, images[batch]), state, order
    )
    numbers = jax.tree.leaves((new.params, new.opt_state, trace))
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()
    kept = jax.tree.map(partial(jnp.where, finite & ~state.diverged), new, state)
    return kept._replace(diverged=state.diverged | ~finite), trace


@partial(jax.jit, static_argnums=0)
def init_lanes(config: Config, seeds: UInt32[Array | np.ndarray, "lanes"]) -> State:
    """`init` of every lane. In turn, not side by side: that compiles in two
    thirds of the time."""
    return jax.lax.map(partial(init, config), jnp.asarray(seeds))


def branch(state: State, lanes: Sequence[int]) -> State:
    """Copies of some lanes of a state on the host, to go on from: with a fresh count of steps, and
    with noise and orders of their own."""
    copies = jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(lanes)], state)
    keys = jax.random.wrap_key_data(copies.key, impl=PRNG)
    key = jax.random.key_data(jax.vmap(partial(key_for, use=Use.BRANCH))(keys))
    return copies._replace(key=np.asarray(key), step=np.zeros_like(copies.step))


@partial(jax.jit, static_argnums=(0, 4, 5))
def epoch_lanes(
    config: Config,
    knobs: Knobs,
    state: State,
    images: UInt8[Array, "n pixels"],
    passes: int,
    mesh: Mesh | None = None,
) -> tuple[State, Trace]:
    """`passes` epochs of every lane, over one copy of the images: on one device, or with the lanes
    divided along the axis "lanes" of a mesh (see `vaejax.sweep`)."""

    def one(knobs: Knobs, state: State) -> tuple[State, Trace]:
        state, trace = jax.lax.scan(
            lambda state, _: epoch(config, knobs, state, images, mesh), state, length=passes
        )
        return state, jax.tree.map(lambda steps: steps.reshape(-1, *steps.shape[2:]), trace)

    if mesh is None or mesh.size == 1:
        if len(state.step) == 1:  # an axis of one lane would cost time
            alone = one(*jax.tree.map(lambda leaf: leaf[0], (knobs, state)))
            return jax.tree.map(lambda leaf: leaf[None], alone)
        return jax.vmap(one)(knobs, state)
    trained = jax.vmap(one, spmd_axis_name="lanes")(knobs, state)
    return jax.lax.with_sharding_constraint(trained, NamedSharding(mesh, P("lanes")))


def fit(
    config: Config,
    knobs: Knobs,
    state: State,
    images: UInt8[Array | np.ndarray, "n pixels"],
    epochs: int,
    passes: int = 1,
) -> Iterator[tuple[State, Trace]]:
    """Train every lane for `epochs` more epochs.

    Lanes are models of one Config that differ in knobs (arrays [lanes]) and seed (in `state`, from
    `init_lanes`). They train side by side in one compiled program, each on its own order of the
    same images. `sweep.fit` is faster for many lanes: it takes all cores or devices.

    Yields the state, and the trace of the steps since the last yield, after every `passes` epochs
    (fewer at the end). With few images an epoch is only a step or two: many epochs per yield then
    keep the host out of the loop.

    Raises:
        LabError: fewer images than one batch.
    """
    steps_per_epoch(config, len(images))
    images, knobs = jnp.asarray(images), without_idle_clipping(knobs)
    for done in range(0, epochs, passes):
        state, trace = epoch_lanes(config, knobs, state, images, min(passes, epochs - done))
        yield state, trace
