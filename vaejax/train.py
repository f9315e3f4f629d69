"""Training as pure functions: one step of one model, an epoch, and epochs of many models ("lanes")
at once as one compiled program. No files, no prints, no evaluation, no loop on the host: that is
`vaejax.fit`.

Randomness: a lane's key is `jax.random.key(seed)`. It is split once, for the initial weights, the
order of the images and the noise; an epoch's order is then a function of (key, epoch) and a step's
noise one of (key, step), so that a run resumed from any epoch is the run that never stopped.
"""

from collections.abc import Sequence
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, Key, UInt8, UInt32

from vaejax import loss, model
from vaejax.config import Config, Knobs
from vaejax.errors import LabError

ADAM = optax.scale_by_adam()
"""Adam with the constants of its paper, for whatever is no model."""

PRNG = "threefry2x32"
"""JAX's random generator. It is named, so that a seed means the same whatever JAX's default is."""


class State(NamedTuple):
    """All that training changes. With lanes, every array has a leading lane axis."""

    params: model.Params
    opt_state: Any
    key: Key[Array, "*lanes"]
    """On the host the raw data of the key: numpy has no keys."""
    step: Int[Array, "*lanes"]
    """Steps taken. A diverged lane counts to the last epoch that it ended with finite numbers."""
    diverged: Bool[Array, "*lanes"]


class Trace(NamedTuple):
    """The loss terms of each step, averaged over its batch; with lanes, a leading lane axis."""

    objective: Float[Array | np.ndarray, "*steps"]
    error: Float[Array | np.ndarray, "*steps"]
    """Averaged over pixels: nats (Bernoulli) or squared error (Gaussian)."""
    kl: Float[Array | np.ndarray, "*steps latent"]
    """Nats of each latent unit; 0 for an AE."""


def optimizer(config: Config) -> optax.GradientTransformation:
    """The optimizer of a Config without its learning rate, which is a knob: `step` multiplies by
    it."""
    if config.optimizer == "rmsprop":
        return optax.scale_by_rms(eps=config.epsilon)
    return optax.scale_by_adam(config.beta1, eps=config.epsilon)


@partial(jax.jit, static_argnums=0)
def init(config: Config, seed: UInt32[Array, ""]) -> State:
    """The state of one model before its first step."""
    key = jax.random.key(seed, impl=PRNG)
    params = model.init(config, key_for(key, Use.INIT))
    opt_state = optimizer(config).init(params)
    return State(params, opt_state, key, jnp.zeros((), jnp.int32), jnp.zeros((), bool))


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


def clipped(grads: Any, clip_norm: Float[Array | np.ndarray, ""]) -> Any:
    """The gradients of all parameters, scaled down together to the norm `clip_norm` if theirs is
    larger (Pascanu et al. 2013); as they are if it is 0."""
    limit = jnp.where(clip_norm == 0, jnp.inf, clip_norm)
    return optax.clip_by_global_norm(limit).update(grads, optax.EmptyState())[0]


def step(
    config: Config,
    knobs: Knobs,
    state: State,
    images: UInt8[Array, "batch pixels"],
    clips: bool,
) -> tuple[State, Trace]:
    """One step of one model on one batch, along the gradient of `loss.of_batch`.

    Args:
        clips: whether `knobs.clip_norm` is heeded. XLA rounds otherwise where it compiles even a
            clipping that does nothing, so where no lane clips, the program has none.
    """
    key = key_for(state.key, Use.NOISE, state.step)
    (objective, terms), grads = jax.value_and_grad(loss.of_batch, has_aux=True)(
        state.params, config, knobs, images, key, state.step
    )
    if clips:
        grads = clipped(grads, knobs.clip_norm)
    updates, opt_state = optimizer(config).update(grads, state.opt_state)
    rate = learning_rate(knobs, state.step)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    params = optax.apply_updates(state.params, updates)
    after = state._replace(params=params, opt_state=opt_state, step=state.step + 1)
    return after, Trace(objective, *terms)


def steps_per_epoch(config: Config, count: int) -> int:
    """Full batches in `count` images."""
    if count < config.batch_size:
        raise LabError(
            f"{count} training images fill no batch of {config.batch_size}: use "
            f"a batch_size of {count} or less."
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
    clips: bool,
    shared: bool = False,
) -> tuple[State, Trace]:
    """One pass of one model over the images, in full batches: at the end of the random order some
    may be left out. If batches are `shared`, it is by the devices along the axis "batch" of the
    mesh: XLA sums their gradients.

    If a loss term of some step, or any number at the end of the epoch, is not finite, the model is
    returned as it was before the epoch, with `diverged` set: no NaN or infinity ever stays in the
    state.
    """
    order = epoch_order(config, state, len(images))
    if shared:
        order = jax.lax.with_sharding_constraint(order, P(None, "batch"))
    new, trace = jax.lax.scan(
        lambda state, batch: step(config, knobs, state, images[batch], clips), state, order
    )
    numbers = jax.tree.leaves((new.params, new.opt_state, trace))
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()
    kept = jax.tree.map(partial(jnp.where, finite & ~state.diverged), new, state)
    return kept._replace(diverged=state.diverged | ~finite), trace


@partial(jax.jit, static_argnums=(0, 4, 5, 6))
def train_lanes(
    config: Config,
    knobs: Knobs,
    state: State,
    images: UInt8[Array, "n pixels"],
    epochs: int,
    clips: bool,
    mesh: Mesh | None = None,
) -> tuple[State, Trace]:
    """So many epochs of every lane, over one copy of the images: on one device, or with the lanes
    divided along the axis "lanes" of a mesh (see `vaejax.parallel`). There each device has a
    program of its own lanes: left to XLA, convolutions of different lanes are one convolution."""
    shared = mesh is not None and mesh.shape["batch"] > 1

    def of_model(images: Any, knobs: Knobs, state: State) -> tuple[State, Trace]:
        one = partial(epoch, config, knobs, images=images, clips=clips, shared=shared)
        state, trace = jax.lax.scan(lambda state, _: one(state), state, length=epochs)
        return state, jax.tree.map(lambda steps: steps.reshape(-1, *steps.shape[2:]), trace)

    def of_lanes(images: Any, knobs: Knobs, state: State) -> tuple[State, Trace]:
        if len(state.step) > 1:
            return jax.vmap(of_model, in_axes=(None, 0, 0))(images, knobs, state)
        alone = of_model(images, *jax.tree.map(lambda leaf: leaf[0], (knobs, state)))
        return jax.tree.map(lambda leaf: leaf[None], alone)  # an axis of one lane costs time

    if mesh is None:
        return of_lanes(images, knobs, state)
    lanes = P("lanes")
    over = jax.shard_map(
        of_lanes, mesh=mesh, in_specs=(P(), lanes, lanes), out_specs=lanes, axis_names={"lanes"}
    )
    return over(images, knobs, state)


def take_lanes(tree: Any, lanes: Sequence[int]) -> Any:
    """Some lanes of arrays with a leading lane axis, on the host."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[np.asarray(lanes)], tree)


def branch(state: State, lanes: Sequence[int]) -> State:
    """Copies of some lanes of a state on the host, to go on from: with a fresh count of steps, and
    with noise and orders of their own."""
    copies = take_lanes(state, lanes)
    keys = jax.random.wrap_key_data(copies.key, impl=PRNG)
    key = jax.random.key_data(jax.vmap(partial(key_for, use=Use.BRANCH))(keys))
    return copies._replace(key=np.asarray(key), step=np.zeros_like(copies.step))
