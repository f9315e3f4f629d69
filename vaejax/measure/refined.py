"""The likelihood of every image under a VAE of any latent size, and what its encoder costs.

`elbo.importance_nll` draws its codes from the encoder's posterior. Where that misses the codes that
explain an image, more of them do not help. Here the posterior of each image is refined first, by
gradient ascent on the ELBO of this image alone. What the ELBO gains by that is the amortization
gap, and what it still lacks is the approximation gap (Cremer et al. 2018, "Inference Suboptimality
in Variational Autoencoders").
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from vaejax import loss, model, train
from vaejax.config import Config, Posterior
from vaejax.measure.batched import Images, map_images
from vaejax.measure.elbo import CodeError, code_error, from_weights, refuse_ae

LEARNING_RATE = 0.05
"""Of Adam, at the first step of the ascent. It falls to 0 as half a cosine."""
STEP_PAIRS, JUDGED_PAIRS = 2, 50
"""Noise is drawn in pairs, e and -e: so many for each step, and to judge a posterior."""
LOOKED_AT = 50
"""Codes of the prior for each start: the ascent begins at the likeliest of them."""
START_LOGVAR = (-4.0, 0.0)
"""The range in which the log variances of such a start are; within it they are the encoder's."""
FROM_PRIOR = 0.1
"""The share of the importance samples that come from the prior."""


class RefinedEstimate(NamedTuple):
    """Per image of a split."""

    neg_elbo: Float[Array, "*lanes n"]
    """Of the encoder's posterior, in nats, averaged over 100 codes."""
    refined_neg_elbo: Float[Array, "*lanes n"]
    """Of the refined posterior, in nats, with the same noise."""
    nll: Float[Array, "*lanes n"]
    """An upper bound, in expectation, on `-log p(x)`, in nats; tight as the samples grow."""
    effective_samples: Float[Array, "*lanes n"]
    """`(sum w)^2 / sum w^2`, from 1 (one weight says it all) to the number of samples."""


def refined_nll(
    config: Config,
    params: model.Params,
    images: Images,
    key: Key[Array, ""],
    samples: int = 200,
    steps: int = 200,
    starts: int = 2,
    batch_size: int = 100,
) -> RefinedEstimate:
    """The refined posterior of each image, and `-log p(x)` from a mixture of posteriors.

    The ascent begins at the encoder's posterior and at likely codes drawn from the prior, with the
    encoder's variances. The refined posterior is the best of those where it ends and of the
    encoder's own. The mixture q is all of them, each weighted by the exponential of its ELBO, and
    the prior. The estimate is `-log 1/k sum_i p(x, z_i) / q(z_i)` (the balance heuristic, Veach and
    Guibas 1995). Posteriors are chosen with one noise and measured with another, so that both
    numbers stay bounds. Pixels are drawn as by `importance_nll` with the same key, if the config
    binarizes.

    Args:
        samples: importance samples of each image.
        steps: of the ascent from each start.
        starts: how many codes of the prior it begins at, beside the encoder's posterior.

    Raises:
        LabError: an AE, which has no likelihood.
    """
    refuse_ae(config, "refined_nll")
    size = config.latent_size

    def one(image: Array, key: Array) -> RefinedEstimate:
        pixel_key, code_key = jax.random.split(key)
        x = model.to_pixels(config, image, pixel_key)
        start_key, step_key, choice_key, elbo_key, sample_key = jax.random.split(code_key, 5)
        own, error = model.encode(config, params, x), code_error(config, params, x)
        begun = _starts(own, error, model.standard_normal(start_key, (starts, LOOKED_AT, size)))
        noise = model.standard_normal(step_key, (steps, STEP_PAIRS, size))
        ended = _ascended(begun, error, noise)
        found = Posterior(*(jnp.concatenate([a[None], b]) for a, b in zip(own, ended, strict=True)))
        choosing, judging = (
            model.standard_normal(key, (JUDGED_PAIRS, size)) for key in (choice_key, elbo_key)
        )
        neg_elbos = jax.vmap(lambda q: _neg_elbo(q, error, choosing))(found)
        best = Posterior(*(each[neg_elbos.argmin()] for each in found))
        log_w = _log_weights(found, -neg_elbos, error, sample_key, samples)
        return RefinedEstimate(
            _neg_elbo(own, error, judging), _neg_elbo(best, error, judging), *from_weights(log_w)
        )

    return map_images(one, images, key, batch_size)


def _neg_elbo(
    q: Posterior, error: CodeError, noise: Float[Array, "pairs latent"]
) -> Float[Array, ""]:
    """The negative ELBO of one posterior [latent], in nats, from codes on both sides of its
    mean."""
    z = q.mean + jnp.exp(q.logvar / 2) * jnp.concatenate([noise, -noise])
    return error(z).mean() + loss.kl_divergence(*q).sum()


def _starts(
    own: Posterior, error: CodeError, drawn: Float[Array, "starts looked_at latent"]
) -> Posterior:
    """Where the ascent begins: the encoder's posterior, and the likeliest code of each group."""
    likeliest = error(drawn).argmin(-1)
    means = jnp.concatenate([own.mean[None], drawn[jnp.arange(len(drawn)), likeliest]])
    within = jnp.clip(own.logvar, *START_LOGVAR)
    logvars = [own.logvar[None], jnp.broadcast_to(within, means[1:].shape)]
    return Posterior(means, jnp.concatenate(logvars))


def _ascended(
    begun: Posterior, error: CodeError, noise: Float[Array, "steps pairs latent"]
) -> Posterior:
    """Posteriors [starts, latent] after a step of Adam for each noise."""
    rates = LEARNING_RATE * (1 + jnp.cos(jnp.pi * jnp.arange(len(noise)) / len(noise))) / 2

    def together(q: Posterior, noise: Array) -> Array:
        return jax.vmap(lambda one: _neg_elbo(one, error, noise))(q).sum()

    def step(state: tuple[Posterior, Any], now: tuple[Array, Array]) -> tuple[Any, None]:
        (q, memory), (rate, noise) = state, now
        change, memory = train.ADAM.update(jax.grad(together)(q, noise), memory)
        return (jax.tree.map(lambda old, by: old - rate * by, q, change), memory), None

    (ended, _), _ = jax.lax.scan(step, (begun, train.ADAM.init(begun)), (rates, noise))
    return ended


def _log_weights(
    found: Posterior,
    elbos: Float[Array, "parts"],
    error: CodeError,
    key: Key[Array, ""],
    samples: int,
) -> Float[Array, "samples"]:
    """`log p(x, z) - log q(z)` of codes drawn from the mixture of these posteriors and the prior.
    As many codes come from each of them as its weight says, up to one."""
    shares = jnp.append((1 - FROM_PRIOR) * jax.nn.softmax(elbos), FROM_PRIOR)
    means, logvars = (jnp.pad(each, ((0, 1), (0, 0))) for each in found)  # the prior: 0 and 0
    place_key, noise_key = jax.random.split(key)
    places = (jnp.arange(samples) + jax.random.uniform(place_key)) / samples
    parts = jnp.searchsorted(jnp.cumsum(shares)[:-1], places, side="right")

    def log_weight(part: Array, noise: Array) -> Array:
        z = means[part] + jnp.exp(logvars[part] / 2) * noise
        log_q = -(jnp.square(z - means) * jnp.exp(-logvars) + logvars).sum(-1) / 2
        return -jnp.square(z).sum() / 2 - error(z) - jax.nn.logsumexp(log_q, b=shares)

    noise = model.standard_normal(noise_key, (samples, means.shape[1]))
    return jax.lax.map(lambda drawn: log_weight(*drawn), (parts, noise))
