"""Whatever `knobs` accepts trains a step to finite numbers; the rest is refused with one message.

The knobs are drawn anew; the Configs are few, so that few programs are compiled."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaejax import train
from vaejax.config import Config, Knobs, knobs
from vaejax.errors import LabError

SMALL: dict[str, Any] = {
    "image_shape": (2, 3, 1),
    "latent_size": 2,
    "encoder_widths": (4,),
    "decoder_widths": (4,),
    "batch_size": 8,
}
CONFIGS = {
    "bernoulli": Config(**SMALL),
    "learned variance": Config(
        **SMALL, likelihood="gaussian", decoder_variance="learned", output="linear"
    ),
    "ae": Config(**SMALL, model="ae", likelihood="gaussian", output="tanh", pixel_range="signed"),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 6), np.uint8)


@cache
def fresh(name: str) -> train.State:
    return train.init(CONFIGS[name], jnp.uint32(0))


def powers(lowest: int, highest: int) -> st.SearchStrategy[float]:
    """Positive numbers, evenly over their orders of magnitude."""
    return st.floats(lowest, highest).map(lambda exponent: 10.0**exponent)


STEPS = st.integers(0, 10**6).map(float)
ACCEPTED: dict[str, st.SearchStrategy[float]] = {
    "learning_rate": powers(-8, 0),
    "decay_steps": STEPS,
    "recon_scale": powers(-6, 8),
    "kl_weight": st.just(0.0) | powers(-6, 3),
    "kl_warmup": STEPS,
    "free_bits": st.just(0.0) | powers(-6, 3),
    "clip_norm": st.just(0.0) | powers(-6, 3),
}
"""Each alone is in its range."""
ANY = st.floats() | st.sampled_from([0.0, -0.0, -1.0, 0.5, 7.5, 1e-46, 1e39])


def made_or_refused(make: Callable[..., Any], *arguments: Any, **chosen: Any) -> Any:
    """What a call makes, or the message of its LabError."""
    try:
        return make(*arguments, **chosen)
    except LabError as error:
        return str(error)


step_of = jax.jit(train.step, static_argnums=(0, 4))


def step(name: str, numbers: Knobs, taken: int) -> tuple[train.State, train.Trace]:
    state = fresh(name)._replace(step=jnp.int32(taken))
    return step_of(CONFIGS[name], numbers, state, jnp.asarray(IMAGES), True)


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(st.fixed_dictionaries(ACCEPTED), st.booleans(), st.integers(0, 10**6))
def test_a_step_of_any_knobs_in_their_ranges_is_finite(
    name: str, drawn: dict[str, float], cyclic: bool, taken: int
) -> None:
    """At any step of the schedules, also in cycles of twice the warm-up."""
    chosen: dict[str, Any] = drawn | {"kl_cycle": 2 * drawn["kl_warmup"] * cyclic}
    state, trace = step(name, knobs(CONFIGS[name], **chosen), taken)
    for leaf in jax.tree.leaves((state.params, state.opt_state, trace)):
        assert np.isfinite(leaf).all()
    assert int(state.step) == taken + 1


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(Knobs._fields), ANY, st.sampled_from([0.0, 1.0, 7.0]))
def test_any_number_is_stored_as_a_float32_or_refused_by_name(
    name: str, value: float, warmup: float
) -> None:
    chosen: dict[str, Any] = {"kl_warmup": warmup, name: value}
    stored = made_or_refused(knobs, CONFIGS["bernoulli"], **chosen)
    if isinstance(stored, str):
        assert f"{name}=" in stored
        assert "\n" not in stored
        return
    for number in stored:
        assert number.dtype == np.float32
        assert np.isfinite(number)
        assert number >= 0
    assert stored.learning_rate > 0
    assert stored.recon_scale > 0
    assert float(getattr(stored, name)) == pytest.approx(value, rel=1e-7, abs=1e-45)
    for count in ("decay_steps", "kl_warmup", "kl_cycle"):
        assert float(getattr(stored, count)).is_integer()
