"""The keys of measurements and figures: fixed, so that every study draws the same noise."""

from functools import partial

import jax
from jaxtyping import Array, Key

from vaejax.train import PRNG

EVALUATION_SEED, FIGURE_SEED = 2**31, 2**31 + 1
"""Seeds beyond those that a run may have, so that no key is used twice."""


def evaluation_key() -> Key[Array, ""]:
    """The key of what is measured on a trained model."""
    return jax.random.key(EVALUATION_SEED, impl=PRNG)


@partial(jax.jit, static_argnums=0)
def evaluation_keys(count: int) -> tuple[Key[Array, ""], ...]:
    """Keys for several measurements. The first ones do not depend on how many follow."""
    return tuple(jax.random.split(evaluation_key(), count))


def figure_key() -> Key[Array, ""]:
    """The key of what is drawn for a figure."""
    return jax.random.key(FIGURE_SEED, impl=PRNG)
