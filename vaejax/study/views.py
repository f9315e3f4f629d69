"""Pictures that trained models make: of flat images, of codes from the prior, of posteriors."""

from functools import partial

import jax
import numpy as np
from jaxtyping import Float, UInt8

from vaejax import model
from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.measure.batched import lane_of, over_lanes
from vaejax.measure.elbo import reconstructions
from vaejax.run import Run
from vaejax.show.cloud import Cloud
from vaejax.study.keys import figure_key
from vaejax.trained import Trained, one_lane

Pictures = Float[np.ndarray, "n height width channels"]
"""Pixels in [0, 1]."""


def unit_pixels(images: UInt8[np.ndarray, "n pixels"], shape: tuple[int, int, int]) -> Pictures:
    """Flat bytes as pictures of this height, width and number of channels."""
    return images.reshape(-1, *shape).astype(np.float32) / 255


def lane_at(run: Run, recon_scale: float) -> int:
    """The first lane with this scale, which is the lane of the first seed."""
    return [lane["recon_scale"] for lane in run.lanes].index(recon_scale)


def chosen_lane(trained: Trained, lane: int) -> Trained:
    """One lane of a run, as a run of its own.

    Raises:
        LabError: there is no such lane.
    """
    if not 0 <= lane < len(trained.run.seeds):
        raise LabError(f"--lane {lane}: this run has lanes 0 to {len(trained.run.seeds) - 1}.")
    return one_lane(trained, lane)


def outputs(trained: Trained, lane: int, images: UInt8[np.ndarray, "n pixels"]) -> Pictures:
    """What one lane makes of flat images, decoding its posterior means."""
    config = trained.run.config
    params = jax.tree.map(lambda leaf: leaf[None], lane_of(trained.state.params, lane))
    decoded = over_lanes(reconstructions, config)(params, images, figure_key())
    return _pictures(config, decoded)


def drawn_outputs(
    trained: Trained, lane: int, images: UInt8[np.ndarray, "n pixels"], draws: int
) -> Float[np.ndarray, "draws n height width channels"]:
    """What one lane makes of flat images, decoding `draws` codes drawn from each posterior.

    In a wide code that carries nothing, `outputs` may differ from all of these: the posterior means
    are at 0, and the codes that the decoder was trained on are at a distance of about the square
    root of the latent size.
    """
    config, params = trained.run.config, lane_of(trained.state.params, lane)
    _, codes = _drawn_codes(config, params, images, draws)
    flat = _decoded(config, params, codes)
    return np.asarray(flat).reshape(draws, len(images), *config.image_shape)


def posterior_means(
    trained: Trained, lane: int, images: UInt8[np.ndarray, "n pixels"]
) -> Float[np.ndarray, "n latent"]:
    """The posterior means of flat images in one lane."""
    found = _posterior(trained.run.config, lane_of(trained.state.params, lane), images)
    return np.asarray(found.mean)


def decoded(trained: Trained, lane: int, codes: Float[np.ndarray, "n latent"]) -> Pictures:
    """What one lane decodes from codes."""
    config, params = trained.run.config, lane_of(trained.state.params, lane)
    return _pictures(config, _decoded(config, params, codes))


def samples(trained: Trained, lane: int, count: int) -> Pictures:
    """What one lane makes of codes drawn from the prior."""
    config = trained.run.config
    params = lane_of(trained.state.params, lane)
    return _pictures(config, _samples(config, params, count))


def strip(trained: Trained, lane: int, images: UInt8[np.ndarray, "2 pixels"]) -> Pictures:
    """Five pictures of two flat images: input, output, input, output, output of a random code."""
    inputs = unit_pixels(images, trained.run.config.image_shape)
    made = outputs(trained, lane, images)
    return np.concatenate([inputs[:1], made[:1], inputs[1:], made[1:], samples(trained, lane, 1)])


def cloud(
    trained: Trained, lane: int, images: UInt8[np.ndarray, "n pixels"], draws: int = 300
) -> Cloud:
    """Codes drawn for a few flat images, in the two units in which their posterior means are
    farthest apart."""
    config, params = trained.run.config, lane_of(trained.state.params, lane)
    posterior, codes = _drawn_codes(config, params, images, draws)
    units = np.argsort(-np.ptp(np.asarray(posterior.mean), axis=0), kind="stable")[:2]
    codes = np.asarray(codes).swapaxes(0, 1)  # [images, draws, latent]
    return Cloud(codes[..., units], np.asarray(posterior.mean)[:, units])


# What only figures show is compiled whole: one operation after the other, each would be a program.


@partial(jax.jit, static_argnums=0)
def _posterior(config: Config, params: model.Params, images: jax.Array) -> model.Posterior:
    return model.encode(config, params, model.to_pixels(config, images, figure_key()))


@partial(jax.jit, static_argnums=(0, 3))
def _drawn_codes(
    config: Config, params: model.Params, images: jax.Array, draws: int
) -> tuple[model.Posterior, Float[jax.Array, "draws n latent"]]:
    """The posterior of each flat image, and codes drawn from it."""
    keys = jax.random.split(figure_key(), draws + 1)
    posterior = model.encode(config, params, model.to_pixels(config, images, keys[0]))
    return posterior, jax.vmap(lambda key: model.draw_code(config, posterior, key))(keys[1:])


_decoded = jax.jit(model.images_of, static_argnums=0)


@partial(jax.jit, static_argnums=(0, 2))
def _samples(config: Config, params: model.Params, count: int) -> jax.Array:
    return model.sample(config, params, figure_key(), count)


def _pictures(config: Config, flat: jax.Array) -> Pictures:
    return np.asarray(flat).reshape(-1, *config.image_shape)
