"""Which latent units carry something, and how far all codes together are from the prior."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

ACTIVE_VARIANCE = 0.01
"""A latent unit is active if its posterior mean varies more than this over images (Burda et al.
2016, section 5.2)."""


@jax.jit
def active_units(mean: Float[Array, "*lanes n latent"]) -> Bool[Array, "*lanes latent"]:
    """Whether each unit is active, from the posterior means of a split."""
    return jnp.var(mean, axis=-2) > ACTIVE_VARIANCE


@jax.jit
def direction_variances(mean: Float[Array, "*lanes n latent"]) -> Float[Array, "*lanes latent"]:
    """The variance of the posterior means of a split along the principal directions of latent
    space, falling. A rotation of the latent space does not change them."""
    centred = mean - mean.mean(-2, keepdims=True)
    covariance = jnp.einsum("...ni,...nj->...ij", centred, centred) / mean.shape[-2]
    return jnp.linalg.eigvalsh(covariance)[..., ::-1]


@jax.jit
def active_directions(mean: Float[Array, "*lanes n latent"]) -> Int[Array, "*lanes"]:
    """The number of orthogonal directions in latent space along which the variance of the posterior
    means exceeds `ACTIVE_VARIANCE`.

    A rotation of the latent space does not change this number. It may change the number of active
    units: a linear VAE aligns its units with the principal directions only slowly. Until then a
    direction may be spread over several units without making any of them active. In a code that is
    wider than what the images pay for, every unit may carry a little of many directions.
    """
    return (direction_variances(mean) > ACTIVE_VARIANCE).sum(-1)


@jax.jit
def code_distance_to_prior(code: Float[Array, "*lanes n latent"]) -> Float[Array, "*lanes"]:
    """How far the codes of a whole split together, one drawn for each image, are from the prior:
    the squared 2-Wasserstein distance between N(0, I) and the Gaussian of their mean m and
    covariance C, `|m|^2 + tr(C + I - 2 C^(1/2))`, in squared code units. It is 0 only for the
    prior's moments, and the latent size if every code is 0."""
    mean = code.mean(-2)
    centred = code - mean[..., None, :]
    with jax.default_matmul_precision("highest"):
        covariance = jnp.swapaxes(centred, -1, -2) @ centred / code.shape[-2]
    spread = jnp.sqrt(jnp.linalg.eigvalsh(covariance).clip(0))
    return jnp.square(mean).sum(-1) + jnp.square(spread - 1).sum(-1)
