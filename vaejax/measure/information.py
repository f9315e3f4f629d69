"""How much the code says about the image: mutual information, and what it leaves of the KL."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

CHUNK = 128
"""How many codes are compared with all posteriors at once: with 10,000 images that takes 5 MB,
which fits into the cache of a core."""


@jax.jit
def mutual_information(
    mean: Float[Array, "*lanes n latent"],
    logvar: Float[Array, "*lanes n latent"],
    code: Float[Array, "*lanes n latent"],
) -> Float[Array, "*lanes"]:
    """`I(x; z) = mean_i [log q(z_i | x_i) - log 1/n sum_j q(z_i | x_j)]` in nats, with one code
    drawn for each image (Hoffman and Johnson 2016, "ELBO surgery"; He et al. 2019).

    It is an unbiased estimate of the information about which of these n images it was. No term is
    above `log n`. An estimate near this ceiling is limited by the number of images and does not
    measure the information in the code. For the distribution behind the images it is in expectation
    a lower bound (Poole et al. 2019).
    """
    n, latent = mean.shape[-2:]
    one_model = [rows.reshape(-1, n, latent) for rows in (mean, logvar, code)]
    return jax.lax.map(lambda rows: _information_of_one(*rows), one_model).reshape(mean.shape[:-2])


def _information_of_one(mean: Array, logvar: Array, code: Array) -> Array:
    n, latent = mean.shape
    mu, inverse_sigma, log_volume = mean.T, jnp.exp(-logvar / 2).T, logvar.sum(-1) / 2

    def information(index: Array, z: Array) -> Array:
        # Unit after unit, over all posteriors at once: no array [n, n, latent], and differences
        # rather than a matrix product of squares, which a narrow posterior would round away.
        def further(unit: Array, distance: Array) -> Array:
            return distance + jnp.square((z[unit] - mu[unit]) * inverse_sigma[unit])

        distance = jax.lax.fori_loop(0, latent, further, jnp.zeros(n))
        log_q = -log_volume - distance / 2  # but for a constant that all posteriors share
        # Relative to the posterior of its own image, whose term in the sum is then exactly 1.
        return jnp.log(n) - jax.nn.logsumexp(log_q - log_q[index])

    terms = jax.lax.map(lambda row: information(*row), (jnp.arange(n), code), batch_size=CHUNK)
    return terms.mean()


def marginal_kl(
    kl: Float[Array, "*lanes"], information: Float[Array, "*lanes"]
) -> Float[Array, "*lanes"]:
    """`KL(q(z) || p(z)) = KL - I(x; z)` in nats, from the KL averaged over images and the mutual
    information (Hoffman and Johnson 2016). The noise of I may make it slightly negative. Once I is
    near its ceiling `log n`, this is an artefact of n: it takes up what no longer fits into I."""
    return kl - information
