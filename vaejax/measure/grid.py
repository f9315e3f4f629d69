"""The likelihood of every image under a VAE of one or two latent units, integrated over all codes.

Importance samples are drawn around the posterior of the encoder. Where that misses the codes that
explain an image, no number of them finds these codes, and nothing says so. With one or two units a
grid over the prior needs no encoder.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vaejax import loss, model
from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.measure.batched import Images, map_images

MOST_UNITS = 2
REACH = 6.0
"""The grid ends at so many standard deviations of the prior."""
NODES = 401
"""Along each unit: the spacing is 0.03 standard deviations of the prior."""


class GridLikelihood(NamedTuple):
    """Per image of a split."""

    nll: Float[Array, "*lanes n"]
    """`-log p(x)`, in nats."""
    error: Float[Array, "*lanes n"]
    """How much it differs if only every second node along each unit counts, in nats. The sum over a
    grid converges fast: far below 1, the spacing is fine enough."""


def grid_nll(
    config: Config, params: model.Params, images: Images, key: Key[Array, ""], nodes: int = NODES
) -> GridLikelihood:
    """`-log` of the integral of `p(x | z) N(z; 0, I)` over all codes `z`, as a sum over a grid.
    Images are drawn as by `importance_nll` with the same key, if the config binarizes.

    Raises:
        LabError: an AE, or more than two latent units.
    """
    if config.model == "ae" or config.latent_size > MOST_UNITS:
        raise LabError(
            f"A grid over codes is for VAEs of one or {MOST_UNITS} latent units: this is a "
            f"{config.model} of {config.latent_size}."
        )

    def drawn(image: Array, key: Array) -> Array:
        pixel_key, _ = jax.random.split(key)
        return model.to_pixels(config, image, pixel_key)

    x = map_images(drawn, images, key, 500)
    log_sigma = model.log_sigma(config, params)
    axis = jnp.linspace(-REACH, REACH, nodes)
    spacing = 2 * REACH / (nodes - 1)
    two = config.latent_size == MOST_UNITS

    def log_weights(first: Array) -> Float[Array, "n nodes"]:
        """`log p(x, z)` times the area of a node, for a row of them."""
        z = jnp.stack([jnp.full_like(axis, first), axis], -1) if two else axis[:, None]
        slope, offset = _likelihood(config, model.decode(config, params, z), log_sigma)
        log_prior = config.latent_size * jnp.log(spacing / jnp.sqrt(2 * jnp.pi))
        return x @ slope.T + offset + log_prior - jnp.square(z).sum(-1) / 2

    def add(
        sums: tuple[Array, Array], row: tuple[Array, Array]
    ) -> tuple[tuple[Array, Array], None]:
        index, first = row
        log_w = log_weights(first)
        every_second = jax.nn.logsumexp(log_w[:, ::2], -1) + config.latent_size * jnp.log(2.0)
        coarse = jnp.where(index % 2 == 0, every_second, -jnp.inf)
        return (
            jnp.logaddexp(sums[0], jax.nn.logsumexp(log_w, -1)),
            jnp.logaddexp(sums[1], coarse),
        ), None

    nothing = jnp.full(len(x), -jnp.inf)
    rows = axis if two else jnp.zeros(1)
    with jax.default_matmul_precision("highest"):
        (fine, coarse), _ = jax.lax.scan(add, (nothing, nothing), (jnp.arange(len(rows)), rows))
    own = _own_term(config, x, log_sigma)
    return GridLikelihood(own - fine, jnp.abs(fine - coarse))


def _likelihood(
    config: Config, logits: Float[Array, "nodes pixels"], log_sigma: Float[Array, ""]
) -> tuple[Float[Array, "nodes pixels"], Float[Array, "nodes"]]:
    """`log p(x | z)` as `x @ slope + offset`, but for `_own_term` of the image. It is a product of
    matrices, and takes a hundredth of the time of each image with each node."""
    if config.likelihood == "bernoulli":
        slope = logits
    else:
        slope = model.mean_image(config, logits) * jnp.exp(-2 * log_sigma)
    return slope, -loss.neg_log_likelihood(config, logits, jnp.zeros_like(logits), log_sigma)


def _own_term(
    config: Config, x: Float[Array, "n pixels"], log_sigma: Float[Array, ""]
) -> Float[Array, "n"]:
    """What of `-log p(x | z)` depends on the image alone."""
    if config.likelihood == "bernoulli":
        return jnp.zeros(len(x))
    return jnp.square(x).sum(-1) * jnp.exp(-2 * log_sigma) / 2
