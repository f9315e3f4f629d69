"""Has the posterior collapsed? What the code says about the image, what the output does, a verdict.

Evidence comes from both ends: how much an image moves its posterior (mutual information, posterior
means) and how much the code moves the output (images of two codes, shuffled codes). The codes that
are drawn prove nothing: those of two images differ even where the posterior is the prior.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from vaejax import diagnostics, loss, model
from vaejax.config import Config
from vaejax.diagnostics import ACTIVE_VARIANCE
from vaejax.errors import LabError

OUTPUT_VARIANCE_RATIO = 0.01
"""Below this share of the variance of the images, the outputs are one picture for all inputs: a
hundredth of the variance is a tenth of the contrast, faint beside the picture itself."""
CHUNK = 128
"""Codes set against all posteriors at once: 5 MB for 10,000 images, within the cache of a core."""


class Pairs(NamedTuple):
    """Per image of a split (n of them), each beside its partner, another image of the split."""

    shuffled_gap: Float[Array, "*lanes n"]
    """Nats that `-log p(x | z)` grows by if z is the partner's code. The KL is the same whoever has
    the code, so this is what shuffling the codes does to the negative ELBO."""
    input_change: Float[Array, "*lanes n"]
    """Squared difference of the two images, averaged over pixels in [0, 1]; of the images before
    they are binarized, whose pixels are the means that a decoder could output."""
    output_change: Float[Array, "*lanes n"]
    """The same, of the mean images decoded from the two posterior means."""
    random_change: Float[Array, "*lanes n"]
    """The same, of the mean images decoded from the posterior mean and from a draw of N(0, I)."""
    mean_change: Float[Array, "*lanes n"]
    """Squared Euclidean distance of the two posterior means."""
    code_change: Float[Array, "*lanes n"]
    """Squared Euclidean distance of the two codes drawn."""


class Collapse(NamedTuple):
    """What `judge` makes of the figures of one model."""

    verdict: Literal["healthy", "partial", "total"]
    """`total`: no unit is active. `partial`: some are dead. `healthy`: none is."""
    dead_units: tuple[int, ...]
    """From 0."""
    evidence: tuple[str, ...]
    """A line for each measurement, with what it is to be held against."""


@jax.jit
def mutual_information(
    mean: Float[Array, "*lanes n latent"],
    logvar: Float[Array, "*lanes n latent"],
    code: Float[Array, "*lanes n latent"],
) -> Float[Array, "*lanes"]:
    """`I(x; z) = mean_i [log q(z_i | x_i) - log 1/n sum_j q(z_i | x_j)]` in nats, with one code
    drawn for each image (Hoffman and Johnson 2016, "ELBO surgery"; He et al. 2019).

    Unbiased for the information about which of these n images it was. No term is above `log n`, the
    ceiling: near it, I says how many images there are and no longer what the code knows. For the
    distribution behind the images it is in expectation a lower bound (Poole et al. 2019).
    """
    n, latent = mean.shape[-2:]
    one_model = [rows.reshape(-1, n, latent) for rows in (mean, logvar, code)]
    return jax.lax.map(lambda rows: _one_lane(*rows), one_model).reshape(mean.shape[:-2])


def _one_lane(mean: Array, logvar: Array, code: Array) -> Array:
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
    """`KL(q(z) || p(z)) = KL - I(x; z)` in nats, of the KL averaged over images: the two parts add
    up to it (Hoffman and Johnson 2016). Slightly negative at times, by the noise of I. Once I is
    near `log n` it is an artefact of n: what no longer fits into I is found here."""
    return kl - information


def partners(key: Key[Array, ""], n: int) -> Int[Array, "n"]:
    """Another image for each of n images, all of them once: the next one in a random circle."""
    circle = jax.random.permutation(key, n)
    return jnp.zeros(n, circle.dtype).at[circle].set(jnp.roll(circle, -1))


class _Side(NamedTuple):
    image: UInt8[Array, "*n pixels"]
    mean: Float[Array, "*n latent"]
    code: Float[Array, "*n latent"]


def pairs(
    config: Config,
    params: model.Params,
    images: UInt8[Array | np.ndarray, "n pixels"],
    key: Key[Array, ""],
    batch_size: int = 1000,
) -> Pairs:
    """What changes from each image to another one, at the input, in the code and at the output.

    Raises:
        LabError: a single image, which has no partner.
    """
    if len(images) < 2:
        raise LabError("One image cannot be compared with another: use two or more.")
    order_key, draw_key = jax.random.split(key)

    def draw(image: Array, key: Array) -> tuple[Array, _Side]:
        pixel_key, code_key = jax.random.split(key)
        x = model.to_pixels(config, image, pixel_key)
        posterior = model.encode(config, params, x)
        return x, _Side(image, posterior.mean, model.draw_code(config, posterior, code_key))

    def compare(rows: tuple[Array, _Side], key: Array) -> Pairs:
        image, other = rows
        x, own = draw(image, key)  # the same pixels and the same code as before

        def recon(code: Array) -> Array:
            logits = model.decode(config, params, code)
            return loss.neg_log_likelihood(config, logits, x, model.log_sigma(config, params))

        prior_code = jax.random.normal(jax.random.fold_in(key, 2), own.mean.shape)
        output, other_output, random_output = (
            model.images_of(config, params, z) for z in (own.mean, other.mean, prior_code)
        )
        return Pairs(
            recon(other.code) - recon(own.code),
            jnp.square((own.image.astype(jnp.int32) - other.image) / 255).mean(),  # 0 if equal
            jnp.square(output - other_output).mean(),
            jnp.square(output - random_output).mean(),
            jnp.square(own.mean - other.mean).sum(),
            jnp.square(own.code - other.code).sum(),
        )

    images = jnp.asarray(images)
    sides = diagnostics.map_images(lambda *row: draw(*row)[1], images, draw_key, batch_size)
    others = jax.tree.map(lambda rows: rows[partners(order_key, len(images))], sides)
    return diagnostics.map_images(compare, (images, others), draw_key, batch_size)


def measure(
    config: Config,
    params: model.Params,
    images: UInt8[Array | np.ndarray, "n pixels"],
    key: Key[Array, ""],
) -> dict[str, Array]:
    """Every figure of a split that a study of collapse asks for, by name and unit; arrays [lanes],
    or [lanes, latent] per unit, of stacked params.

    Total variance is half the mean squared difference of pairs: `output_variance_ratio` is that of
    the outputs over that of the images, 0 if the output ignores the input, 1 if it varies as much,
    and NaN if all images are equal. What a model has not is NaN: the KL of an AE and its parts, the
    sigma of a Bernoulli decoder.

    Raises:
        LabError: a single image.
    """
    evaluate_key, pairs_key = jax.random.split(key)
    evaluation = diagnostics.over_lanes(diagnostics.evaluate, config)(params, images, evaluate_key)
    paired = diagnostics.over_lanes(pairs, config)(params, images, pairs_key)
    figures = diagnostics.summary(evaluation)
    information = mutual_information(evaluation.mean, evaluation.logvar, evaluation.code)
    average = Pairs(*(change.mean(-1) for change in paired))
    varied = jnp.where(average.input_change > 0, average.input_change, jnp.nan)
    sigma = jnp.exp(jax.vmap(partial(model.log_sigma, config))(params))
    if config.likelihood == "bernoulli":
        sigma = jnp.full_like(sigma, jnp.nan)
    return figures | {
        "mi_nats": information,
        "mi_ceiling_nats": jnp.full_like(information, math.log(len(images))),
        "marginal_kl_nats": marginal_kl(figures["kl_nats"], information),
        "output_variance_ratio": average.output_change / varied,
        "random_output_ratio": average.random_change / varied,
        "shuffled_gap_nats": average.shuffled_gap,
        "code_distance": jnp.sqrt(average.code_change),
        "mean_distance": jnp.sqrt(average.mean_change),
        "mean_variance_per_unit": jnp.var(evaluation.mean, axis=-2),
        "decoder_sigma": sigma,
    }


def judge(figures: Mapping[str, Any]) -> Collapse:
    """The verdict on one lane of `measure`, as numbers and lists or as read back from a row.

    Raises:
        LabError: no KL, so nothing that could collapse: an AE, or a model that diverged.
    """
    if figures["kl_nats"] is None or not math.isfinite(figures["kl_nats"]):
        raise LabError("No KL, no collapse: judge VAEs that have not diverged, not an AE.")
    variances = [float(variance) for variance in figures["mean_variance_per_unit"]]
    dead = tuple(unit for unit, variance in enumerate(variances) if variance <= ACTIVE_VARIANCE)
    ratio = figures["output_variance_ratio"]
    ratio = math.nan if ratio is None else float(ratio)  # NaN is null in a row
    verdict = "healthy" if not dead else "partial" if len(dead) < len(variances) else "total"
    return Collapse(verdict, dead, _evidence(figures, variances, dead, ratio))


def _evidence(
    figures: Mapping[str, Any], variances: list[float], dead: tuple[int, ...], ratio: float
) -> tuple[str, ...]:
    total = len(variances)
    names = f"; dead: {', '.join(map(str, dead))} (from 0)" if 0 < len(dead) < total else ""
    varies = (
        "All images are equal: how much outputs vary cannot be compared"
        if math.isnan(ratio)
        else f"Outputs vary {ratio:.3g} times as much as the images "
        f"(ignoring the code: below {OUTPUT_VARIANCE_RATIO:g})"
    )
    return (
        f"{total - len(dead)} of {total} units are active{names}; the largest variance of a "
        f"posterior mean over images is {max(variances):.3g} (active: above {ACTIVE_VARIANCE:g})",
        f"KL: {figures['kl_nats']:.3g} nats, {max(figures['kl_per_unit_nats']):.3g} of them in the "
        "largest unit (0: the posterior is the prior)",
        f"Mutual information of image and code: {figures['mi_nats']:.3g} nats "
        f"(at most log n = {figures['mi_ceiling_nats']:.3g})",
        varies,
        f"Shuffling codes between images costs {figures['shuffled_gap_nats']:.3g} nats "
        "(0: the code does not matter)",
        f"Codes of two images are {figures['code_distance']:.3g} apart, their posterior means "
        f"{figures['mean_distance']:.3g} (means that coincide: codes differ by noise alone)",
    )
