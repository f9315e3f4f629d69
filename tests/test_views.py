"""study.views against the functions of the model, and two_images.distances on a line."""

import math
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import two_images
from vaejax import model
from vaejax.config import Config
from vaejax.run import Run
from vaejax.study import views
from vaejax.study.flags import Flags
from vaejax.study.keys import figure_key
from vaejax.study.laboratory import Lab
from vaejax.trained import Trained, begin

RNG = np.random.default_rng(0)
SHAPE = (4, 4, 3)
IMAGES = RNG.integers(0, 256, (7, 48), np.uint8)
FLAGS = Flags(dataset="digits", seeds=(5, 6), likelihood="gaussian", widths=(6,), batch_size=5)
CONFIG = FLAGS.config(SHAPE, latent_size=4)
SIGNED = replace(CONFIG, pixel_range="signed", output="tanh")
SCALES = (1.0, 0.1, 6000.0)


def run_of(config: Config) -> Run:
    return FLAGS.run("grid", "train", config, SCALES)


@cache
def initial() -> Trained:
    return begin(run_of(CONFIG))


def trained_of(config: Config = CONFIG) -> Trained:
    """Models as they start, but with decoders that care about the code."""
    state = initial().state
    wider = jax.tree.map(lambda leaf: 3 * leaf + np.float32(0.1), state.params)
    return initial()._replace(run=run_of(config), state=state._replace(params=wider))


def test_a_lane_is_found_by_its_scale_and_is_that_of_the_first_seed() -> None:
    run = run_of(CONFIG)
    assert [views.lane_at(run, scale) for scale in SCALES] == [0, 2, 4]
    assert {run.seeds[views.lane_at(run, scale)] for scale in SCALES} == {5}


def test_bytes_become_images_in_reading_order() -> None:
    unit = views.unit_pixels(IMAGES, SHAPE)
    assert unit.shape == (7, *SHAPE)
    assert unit[2, 1, 3, 0] == np.float32(IMAGES[2, 21]) / np.float32(255)
    lab = Lab(FLAGS, Path(), SHAPE, IMAGES, IMAGES[:2], np.zeros(2, np.int32), "train")
    np.testing.assert_allclose(lab.mean_image, unit.mean(0), rtol=1e-6)
    np.testing.assert_array_equal(lab.pictures(IMAGES), unit)


@pytest.mark.parametrize("config", [CONFIG, SIGNED], ids=["unit", "signed"])
def test_outputs_are_the_decoded_posterior_means_of_one_lane(config: Config) -> None:
    trained = trained_of(config)
    got = views.outputs(trained, 3, IMAGES)
    assert got.shape == (7, *SHAPE)
    assert 0 <= got.min() < got.max() <= 1
    params = jax.tree.map(lambda leaf: leaf[3], trained.state.params)
    x = jnp.asarray(IMAGES / 255 * (2 if config is SIGNED else 1) - (config is SIGNED))
    means = jax.jit(partial(model.encode, config))(params, x).mean
    want = jax.jit(partial(model.images_of, config))(params, means)
    np.testing.assert_allclose(got.reshape(7, 48), want, rtol=1e-4, atol=1e-6)
    found = views.posterior_means(trained, 3, IMAGES)
    np.testing.assert_allclose(found, means, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(views.decoded(trained, 3, found), got, rtol=1e-4, atol=1e-6)


def test_samples_are_the_decoded_draws_of_one_lane() -> None:
    trained = trained_of()
    codes = np.asarray(jax.random.normal(figure_key(), (2, 4)))
    got = views.samples(trained, 3, 2)
    np.testing.assert_allclose(got, views.decoded(trained, 3, codes), rtol=1e-4, atol=1e-6)
    assert abs(got - views.samples(trained, 4, 2)).max() > 1e-3


def test_the_strip_is_two_images_their_outputs_and_one_of_a_random_code() -> None:
    trained = trained_of()
    got = views.strip(trained, 1, IMAGES[:2])
    np.testing.assert_array_equal(got[[0, 2]], views.unit_pixels(IMAGES[:2], SHAPE))
    np.testing.assert_array_equal(got[[1, 3]], views.outputs(trained, 1, IMAGES[:2]))
    others = views.strip(trained, 1, IMAGES[2:4])
    np.testing.assert_array_equal(got[4], others[4])
    assert abs(got[4] - got[1]).max() > 1e-3


def test_the_cloud_shows_the_two_units_whose_means_are_farthest_apart() -> None:
    """Units 3 and 1; every draw is anew, about the mean, with the deviation of its unit."""
    trained = trained_of(replace(CONFIG, encoder_widths=()))
    kernel, bias = np.zeros((6, 48, 8), np.float32), np.zeros((6, 8), np.float32)
    kernel[2, 0, :4] = [0.1, 3, 0, -9]
    bias[2] = [50, 0, 70, 0, *np.log(np.square([1, 0.5, 1, 2]))]
    trained.state.params["encoder"] = {"params": {"Dense_0": {"kernel": kernel, "bias": bias}}}
    two = IMAGES[np.argsort(IMAGES[:, 0])[[0, -1]]]
    cloud = views.cloud(trained, 2, two, draws=1500)
    np.testing.assert_allclose(cloud.means, two[:, :1] / 255 * [-9, 3], rtol=1e-5)
    assert cloud.codes.shape == (2, 1500, 2)
    noise = (cloud.codes - cloud.means[:, None]) / [2, 0.5]
    flat = noise.transpose(1, 0, 2).reshape(1500, 4)  # independent in all four
    np.testing.assert_allclose(flat.mean(0), 0, atol=5 / math.sqrt(1500))
    np.testing.assert_allclose(np.cov(flat.T), np.eye(4), atol=5 * math.sqrt(2 / 1500))


PAIR = RNG.uniform(size=(2, *SHAPE))
AVERAGE = PAIR.mean(0, keepdims=True).repeat(2, 0)


@pytest.mark.parametrize(
    ("outputs", "to_mean", "to_nearer"),
    [
        (AVERAGE, 0, 0.5),
        (PAIR, 0.5, 0),
        (PAIR[::-1], 0.5, 0),
        (PAIR[[0, 0]], 0.5, 0),
        (np.stack([AVERAGE[0], PAIR[0]]), 0.5, 0.5),
        (0.8 * AVERAGE + 0.2 * PAIR, 0.1, 0.4),
        (2 * PAIR - AVERAGE, 1, 0.5),
    ],
    ids=["average", "images", "swapped", "one image", "one of each", "between", "beyond"],
)
def test_distances_are_in_units_of_the_distance_of_the_images(
    outputs: np.ndarray, to_mean: float, to_nearer: float
) -> None:
    """Along the line through both images, averaged over draws, and the worse output counts."""
    apart = np.linalg.norm(outputs[0] - outputs[1]) / np.linalg.norm(PAIR[0] - PAIR[1])
    got = two_images.distances(outputs[None], PAIR)
    want = {
        "distance_to_mean": to_mean, "distance_to_nearer": to_nearer, "outputs_apart": apart
    }  # fmt: skip
    assert got == pytest.approx(want, abs=1e-12)
    both = two_images.distances(np.stack([outputs, AVERAGE]), PAIR)
    want = {
        "distance_to_mean": to_mean / 2,
        "distance_to_nearer": to_nearer / 2 + 0.25,
        "outputs_apart": apart / 2,
    }
    assert both == pytest.approx(want, abs=1e-12)


def test_drawn_outputs_are_decoded_from_codes_of_the_posterior() -> None:
    """With a linear decoder their mean is the output of the posterior mean, and their spread that
    of the codes."""
    trained = trained_of(replace(CONFIG, decoder_widths=(), output="linear"))
    kernel = RNG.normal(size=(6, 4, 48)).astype(np.float32)
    decoder = {"Dense_0": {"kernel": kernel, "bias": np.zeros((6, 48), np.float32)}}
    trained.state.params["decoder"] = {"params": decoder}
    drawn = views.drawn_outputs(trained, 2, IMAGES[:2], 4000).reshape(4000, 2, -1)
    means = views.outputs(trained, 2, IMAGES[:2]).reshape(2, -1)
    params = jax.tree.map(lambda leaf: leaf[2], trained.state.params)
    x = jnp.asarray(IMAGES[:2] / np.float32(255))
    deviation = np.exp(np.asarray(model.encode(trained.run.config, params, x).logvar) / 2)
    want = np.sqrt(np.square(deviation) @ np.square(kernel[2]))
    error = np.abs(drawn.mean(0) - means) / want * math.sqrt(4000)
    assert error.max() < 5
    np.testing.assert_allclose(drawn.std(0), want, rtol=5 / math.sqrt(2 * 4000))
