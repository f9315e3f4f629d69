"""experiments.views, and the reconstructions that it draws, against the functions of the model."""

import math
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import views
from experiments.flags import Flags
from experiments.study import Data
from vaejax import checkpoint, diagnostics, model, train
from vaejax.config import Config, Run

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (11, 48), np.uint8)
TEST = RNG.integers(0, 256, (7, 48), np.uint8)
DATA = Data((4, 4, 3), IMAGES, TEST, np.zeros(7, np.int32), "train")
FLAGS = Flags(dataset="digits", seeds=(5, 6), likelihood="gaussian", widths=(6,), batch_size=5)
CONFIG = FLAGS.config(DATA.shape, latent_size=4)
SIGNED = replace(CONFIG, pixel_range="signed", output="tanh")
BINARIZED = replace(CONFIG, likelihood="bernoulli", binarize=True)
SCALES = (1.0, 0.1, 6000.0)
KEY = jax.random.key(0)


def run_of(config: Config = CONFIG, flags: Flags = FLAGS) -> Run:
    return flags.run("grid", "train", config, SCALES)


@cache
def initial(config: Config) -> checkpoint.Saved:
    return checkpoint.start(run_of(config))


def saved_of(config: Config = CONFIG) -> checkpoint.Saved:
    """Models as they start, but with decoders that care about the code."""
    saved = initial(config)
    wider = jax.tree.map(lambda leaf: 3 * leaf + 0.1, saved.state.params)
    return saved._replace(state=saved.state._replace(params=wider))


def test_a_lane_is_found_by_its_scale_and_is_that_of_the_first_seed() -> None:
    run = run_of()
    assert [views.lane_at(run, scale) for scale in SCALES] == [0, 2, 4]
    assert {run.seeds[views.lane_at(run, scale)] for scale in SCALES} == {5}


def test_bytes_become_images_in_reading_order() -> None:
    unit = views.unit_pixels(DATA, IMAGES)
    assert unit.shape == (11, 4, 4, 3)
    assert unit[2, 1, 3, 0] == np.float32(IMAGES[2, 21]) / np.float32(255)
    np.testing.assert_allclose(views.mean_image(DATA), unit.mean(0), rtol=1e-6)


@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 2500])
def test_the_error_of_the_mean_image_is_the_variance_of_the_pixels(count: int) -> None:
    """Of any other image: that, and the squared distance from the mean."""
    images = RNG.integers(0, 256, (count, 48), np.uint8)
    mean = (images / 255).mean(0)
    variance = (images / 255).var(0).mean()
    got = views.error_of(mean.reshape(DATA.shape), images)
    np.testing.assert_allclose(got, variance, rtol=1e-6, atol=1e-12)
    off = RNG.normal(size=48)
    got = views.error_of((mean + off).reshape(DATA.shape), images)
    np.testing.assert_allclose(got, variance + np.square(off).mean(), rtol=1e-6)


@pytest.mark.parametrize("config", [CONFIG, SIGNED])
def test_outputs_are_the_decoded_posterior_means_of_one_lane(config: Config) -> None:
    run, saved = run_of(config), saved_of(config)
    got = views.outputs(DATA, run, saved, 3, TEST)
    assert got.shape == (7, 4, 4, 3)
    assert 0 <= got.min() < got.max() <= 1
    params = jax.tree.map(lambda leaf: leaf[3], saved.state.params)
    x = jnp.asarray(TEST / 255 * (2 if config is SIGNED else 1) - (config is SIGNED))
    want = model.images_of(config, params, model.encode(config, params, x).mean)
    np.testing.assert_allclose(got.reshape(7, 48), want, rtol=1e-4, atol=1e-6)


def test_reconstructions_are_of_every_image_in_its_place_whatever_the_batch() -> None:
    """Binarized, so that the pixels drawn for each image count as well."""
    params = jax.tree.map(lambda leaf: leaf[0], saved_of(BINARIZED).state.params)
    keys = jax.vmap(lambda index: jax.random.fold_in(KEY, index))(jnp.arange(11))
    x = jax.vmap(partial(model.to_pixels, BINARIZED))(jnp.asarray(IMAGES), keys)
    want = model.images_of(BINARIZED, params, model.encode(BINARIZED, params, x).mean)
    for batch_size in (4, 11, 1000):
        got = diagnostics.reconstructions(BINARIZED, params, IMAGES, KEY, batch_size)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_the_strip_is_two_images_their_outputs_and_one_of_a_random_code() -> None:
    run, saved = run_of(), saved_of()
    got = views.strip(DATA, run, saved, 1, TEST[:2])
    np.testing.assert_array_equal(got[[0, 2]], views.unit_pixels(DATA, TEST[:2]))
    np.testing.assert_array_equal(got[[1, 3]], views.outputs(DATA, run, saved, 1, TEST[:2]))
    others = views.strip(DATA, run, saved, 1, TEST[2:4])
    np.testing.assert_array_equal(got[4], others[4])
    assert abs(got[4] - got[1]).max() > 1e-3


def test_the_cloud_shows_the_two_units_whose_means_are_farthest_apart() -> None:
    """Units 3 and 1; every draw is anew, about the mean, with the deviation of its unit."""
    linear = replace(CONFIG, encoder_widths=())
    run, saved = run_of(linear), saved_of()
    kernel, bias = np.zeros((6, 48, 8), np.float32), np.zeros((6, 8), np.float32)
    kernel[2, 0, :4] = [0.1, 3, 0, -9]
    bias[2] = [50, 0, 70, 0, *np.log(np.square([1, 0.5, 1, 2]))]
    saved.state.params["encoder"] = {"params": {"Dense_0": {"kernel": kernel, "bias": bias}}}
    two = TEST[np.argsort(TEST[:, 0])[[0, -1]]]
    cloud = views.cloud(run, saved, 2, two, draws=1500)
    np.testing.assert_allclose(cloud.means, two[:, :1] / 255 * [-9, 3], rtol=1e-5)
    assert cloud.codes.shape == (2, 1500, 2)
    noise = (cloud.codes - cloud.means[:, None]) / [2, 0.5]
    flat = noise.transpose(1, 0, 2).reshape(1500, 4)  # independent in all four
    np.testing.assert_allclose(flat.mean(0), 0, atol=5 / math.sqrt(1500))
    np.testing.assert_allclose(np.cov(flat.T), np.eye(4), atol=5 * math.sqrt(2 / 1500))


def traced(steps: int) -> tuple[Run, checkpoint.Saved]:
    """Six lanes with a trace that says which lane, step and unit a number comes from."""
    run = run_of()
    lane, step = np.arange(6.0)[:, None], np.arange(steps)
    error = 1000 * lane + step
    kl = (error + 0.5)[..., None] * [0.1, 0.2, 0.3, 0.4]
    return run, saved_of()._replace(trace=train.Trace(error, error, kl))


def test_the_ends_of_training_are_its_first_step_and_its_last_hundred() -> None:
    _, saved = traced(150)
    saved.trace.kl[4, 7] = 9000
    ends = views.ends_of_training(saved, 4)
    want = {
        "kl_first_nats": 4000.5,
        "kl_peak_nats": 36000,
        "kl_last_nats": 4100,
        "recon_first": 4000,
        "recon_last": 4099.5,
    }
    assert ends == pytest.approx(want)


def test_the_terms_are_drawn_at_every_step_a_line_for_each_scale() -> None:
    run, saved = traced(5)
    error, kl = views.term_panels(run, saved, "here", 0.25)
    assert (error.floor, kl.floor) == (("constant image", 0.25), None)
    for panel, above in ((error, 0), (kl, 0.5)):
        assert list(panel.lines) == ["scale 1", "scale 0.1", "scale 6000"]
        for first_lane, line in zip((0, 2, 4), panel.lines.values(), strict=True):
            assert list(line.x) == [1, 2, 3, 4, 5]
            seeds = 1000.0 * first_lane + above + np.array([0, 1000])
            np.testing.assert_allclose(line.y, np.arange(5)[:, None] + seeds)


SHARP = RNG.uniform(size=(9, 8, 8, 1))


@pytest.mark.parametrize("contrast", [1, 0.9, 0.5, 0])
def test_sharpness_is_the_share_of_power_that_is_left(contrast: float) -> None:
    """All of it for the images themselves; none for their mean, whatever its edges."""
    mean = SHARP.mean(0)
    got = views.sharpness(mean + contrast * (SHARP - mean), SHARP, mean)
    assert got["high_frequency_share"] == pytest.approx(contrast**2)
    np.testing.assert_allclose(got["power_ratio"], [contrast**2] * 4)
    np.testing.assert_array_equal(got["cycles_per_image"], [1, 2, 3, 4])
    assert got["half_power_cycles"] == (4 if contrast**2 > 0.5 else 0)


def test_a_spectrum_has_the_ratios_of_all_seeds_at_each_frequency() -> None:
    ratios = {"of two": [[0.9, 0.5, None], [0.8, 0.4, 0.1]], "of one": [[1, 1, 1]]}
    panel = views.spectrum_panel("title", ratios, [1.0, 2.0, 3.0])
    assert panel.mark == ("half of Nyquist", 1.5)
    two, one = panel.lines.values()
    np.testing.assert_array_equal(two.y, [[0.9, 0.8], [0.5, 0.4], [np.nan, 0.1]])
    assert one.y == [[1], [1], [1]]


PAIR = RNG.uniform(size=(2, 4, 4, 3))
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
    """Along the line through both images, and the worse output counts."""
    got = views.distances(outputs, PAIR)
    want = {"distance_to_mean": to_mean, "distance_to_nearer": to_nearer}
    assert got == pytest.approx(want, abs=1e-12)
