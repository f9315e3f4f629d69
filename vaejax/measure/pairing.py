"""What changes from an image to another one: at the input, in the code and at the output."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from vaejax import model
from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.measure.batched import Images, map_images
from vaejax.measure.elbo import code_error


class Pairs(NamedTuple):
    """For each of the n images of a split: what changes from it to its partner, another image."""

    shuffled_gap: Float[Array, "*lanes n"]
    """How many nats `-log p(x | z)` grows if z is the partner's code. The KL stays the same, so
    this is what shuffling the codes does to the negative ELBO."""
    input_change: Float[Array, "*lanes n"]
    """Squared difference of the two images, averaged over pixels in [0, 1]. Images that are
    binarized are compared before that: their grey pixels are the means that a decoder outputs."""
    output_change: Float[Array, "*lanes n"]
    """Squared difference of the mean images decoded from the two posterior means."""
    random_change: Float[Array, "*lanes n"]
    """Squared difference of the mean images decoded from the posterior mean and from a draw of
    N(0, I)."""
    mean_change: Float[Array, "*lanes n"]
    """Squared Euclidean distance of the two posterior means."""
    code_change: Float[Array, "*lanes n"]
    """Squared Euclidean distance of the two codes drawn."""


def partners(key: Key[Array, ""], n: int) -> Int[Array, "n"]:
    """A partner for each of n images: the next image in a random cyclic order."""
    if n < 2:
        raise LabError("One image cannot be compared with another: use two or more.")
    circle = jax.random.permutation(key, n)
    return jnp.zeros(n, circle.dtype).at[circle].set(jnp.roll(circle, -1))


class _Side(NamedTuple):
    image: UInt8[Array, "*n pixels"]
    mean: Float[Array, "*n latent"]
    code: Float[Array, "*n latent"]


def pairs(
    config: Config, params: model.Params, images: Images, key: Key[Array, ""], batch_size: int = 500
) -> Pairs:
    """What changes from each image to another one, at the input, in the code and at the output.

    Raises:
        LabError: a single image, which has no partner.
    """
    order_key, draw_key = jax.random.split(key)

    def draw(image: Array, key: Array) -> _Side:
        pixel_key, code_key = jax.random.split(key)
        posterior = model.encode(config, params, model.to_pixels(config, image, pixel_key))
        return _Side(image, posterior.mean, model.draw_code(config, posterior, code_key))

    def compare(rows: tuple[_Side, _Side], key: Array) -> Pairs:
        own, other = rows
        pixel_key, _ = jax.random.split(key)
        x = model.to_pixels(config, own.image, pixel_key)  # the same pixels as before
        recon = code_error(config, params, x)
        prior_code = jax.random.normal(jax.random.fold_in(key, 2), own.mean.shape)

        def visit(mean_output: Array, code: tuple[Array, Array]) -> tuple[Array, Any]:
            is_mean, z = code
            output = model.images_of(config, params, z)
            mean_output = jnp.where(is_mean, output, mean_output)
            return mean_output, (recon(z), jnp.square(mean_output - output).mean())

        # A loop: a decoder that is called once for each code is compiled as often.
        codes = jnp.stack([own.mean, own.code, other.code, other.mean, prior_code])
        nothing = jnp.zeros(x.shape, x.dtype)
        _, (errors, changes) = jax.lax.scan(visit, nothing, (jnp.arange(len(codes)) == 0, codes))
        _, own_error, other_error, _, _ = errors
        *_, to_other, to_random = changes
        return Pairs(
            other_error - own_error,
            jnp.square((own.image.astype(jnp.int32) - other.image) / 255).mean(),  # 0 if equal
            to_other,
            to_random,
            jnp.square(own.mean - other.mean).sum(),
            jnp.square(own.code - other.code).sum(),
        )

    images = jnp.asarray(images)
    sides = map_images(draw, images, draw_key, batch_size)
    partner = partners(order_key, len(images))
    others = jax.tree.map(lambda rows: rows[partner], sides)
    return map_images(compare, (sides, others), draw_key, batch_size)
