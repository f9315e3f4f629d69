"""vaejax.study.Lab: latent sizes as numbers, the Config of one, and what principal components and
the best linear VAE keep of images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vaejax.config import PixelRange
from vaejax.errors import LabError
from vaejax.measure import sharpness
from vaejax.study import Flags, Lab

RNG = np.random.default_rng(0)
SHAPE = (4, 4, 1)
IMAGES = np.clip(
    128 + RNG.normal(size=(60, 16)) @ (RNG.normal(size=(16, 16)) * np.linspace(2, 30, 16)), 0, 255
).astype(np.uint8)
TEST = RNG.integers(0, 256, (9, 16), np.uint8)
FLAGS = Flags(dataset="digits", likelihood="gaussian", widths=(6, 3))
EIGENVALUES = np.linalg.eigvalsh(np.cov(IMAGES.T / 255, bias=True))[::-1]


def lab(**changes: Any) -> Lab[Flags]:
    flags = replace(FLAGS, **changes)
    return Lab(flags, Path("unused"), SHAPE, IMAGES, TEST, np.zeros(9, np.int32), "train")


@pytest.mark.parametrize(
    ("paying", "size"), [(0, 2), (1, 2), (2, 2), (3, 4), (4, 4), (5, 8), (8, 8), (9, 16), (16, 16)]
)
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_enough_is_the_number_of_units_that_pay_up_to_a_power_of_two_from_two_on(
    paying: int, size: int, weight: float
) -> None:
    """A direction pays from a scale of D / 2 over its variance on, times the weight of the KL."""
    bounds = [0, *(8 / EIGENVALUES), 1e9]
    scale = weight * (bounds[paying] + min(bounds[paying + 1], 2 * bounds[paying] + 1)) / 2
    assert (scale * EIGENVALUES > weight * 8).sum() == paying
    assert lab(kl_weight=weight).latent_sizes(["enough"], scale) == [size]


def test_numbers_are_what_they_are_in_their_order_and_each_once() -> None:
    work = lab()
    assert work.latent_sizes([10, 3], 1.0) == [10, 3]
    assert work.latent_sizes([16, "enough", 3], 1e9) == [16, 3]
    assert work.latent_sizes(["enough", 3, 16], 1e9) == [16, 3]
    assert work.latent_sizes([3, "enough"], 1e9) == [3, 16]


def test_the_scale_of_the_elbo_has_a_name() -> None:
    for likelihood, scale in (("gaussian", 8.0), ("bernoulli", 16.0)):
        work = lab(likelihood=likelihood)
        assert work.latent_sizes(["enough"], "elbo") == work.latent_sizes(["enough"], scale)
    assert lab().latent_sizes(["enough"], "elbo") < lab().latent_sizes(["enough"], 800.0)


def test_enough_for_fewer_images_is_less() -> None:
    """Four images have three directions, and there is no more to tell them apart by."""
    work = lab()
    assert work.latent_sizes([1, "enough"], 1e9, "train[:4]") == [1, 4]
    assert work.latent_sizes([2, "enough"], 1e9, "train[7:9]") == [2]
    assert work.latent_sizes([1, "enough"], 1e9) == [1, 16]


def test_with_nothing_to_pay_no_number_is_enough() -> None:
    free = lab(kl_weight=0.0)
    assert free.latent_sizes([2, 3], 1.0) == [2, 3]
    with pytest.raises(LabError, match=r"^--latent-sizes enough: with --kl-weight 0 all units pay"):
        free.latent_sizes([2, "enough"], 1.0)


@pytest.mark.parametrize(
    ("size", "encoder", "decoder"),
    [(1, (6, 3), (3, 6)), (2, (6, 4), (4, 6)), (3, (6, 6), (6, 6)), (9, (18, 18), (18, 18))],
)
def test_no_hidden_layer_is_narrower_than_mean_and_variance_of_the_code(
    size: int, encoder: tuple[int, ...], decoder: tuple[int, ...]
) -> None:
    found = lab().sized(size)
    assert (found.encoder_widths, found.decoder_widths) == (encoder, decoder)
    assert found == lab().config(latent_size=size, encoder_widths=encoder, decoder_widths=decoder)


def test_what_a_study_chooses_wins_over_the_width_of_the_code() -> None:
    found = lab().sized(9, decoder_widths=(2,), batch_size=5)
    assert (found.encoder_widths, found.decoder_widths, found.batch_size) == ((18, 18), (2,), 5)
    assert lab(widths=()).sized(9).encoder_widths == ()


@pytest.mark.parametrize("count", [1, 5, 16, 40])
def test_images_are_compressed_to_their_projections_on_singular_vectors(count: int) -> None:
    """Of the training images. All that there are keep an image as it is."""
    centre = IMAGES.mean(0) / 255
    kept = np.linalg.svd(IMAGES / 255 - centre, full_matrices=False)[2][:count]
    want = centre + (TEST / 255 - centre) @ kept.T @ kept
    found = lab().compressed(TEST, count)
    assert found.shape == (9, *SHAPE)
    np.testing.assert_allclose(found.reshape(9, 16), want, atol=1e-5)
    if count >= 16:
        np.testing.assert_allclose(found, lab().pictures(TEST), atol=1e-5)


@pytest.mark.parametrize("pixel_range", ["unit", "signed"])
@pytest.mark.parametrize(("size", "weight"), [(3, 1.0), (3, 2.0), (16, 1.0), (40, 1.0)])
def test_the_best_linear_vae_decodes_the_posterior_means_of_probabilistic_pca(
    size: int, weight: float, pixel_range: PixelRange
) -> None:
    """At a scale at which five directions of sixteen pay, if the weight is 1."""
    width = 2 if pixel_range == "signed" else 1
    work = lab(pixel_range=pixel_range, output="linear")
    scale = 8.5 / EIGENVALUES[4] / width**2
    noise = weight * 16 / (2 * scale)
    axes = np.linalg.eigh(np.cov(IMAGES.T / 255, bias=True))[1][:, ::-1][:, :size]
    columns = axes * np.sqrt(np.maximum(width**2 * EIGENVALUES[:size] - noise, 0))
    precision = columns.T @ columns + noise * np.eye(columns.shape[1])
    centre = IMAGES.mean(0) / 255
    mean = np.linalg.solve(precision, columns.T @ (width * (TEST / 255 - centre)).T)
    settings = {"recon_scale": scale, "kl_weight": weight}
    found = work.best_linear(work.config(latent_size=size), settings, TEST)
    assert found.shape == (9, *SHAPE)
    want = centre + (columns @ mean).T / width
    np.testing.assert_allclose(found.reshape(9, 16), want, atol=1e-5)
    assert (np.abs(columns).sum(0) > 0).sum() == (min(size, 5) if weight == 1 else 2)


def test_sharpness_is_about_the_mean_of_the_training_images() -> None:
    work = lab()
    outputs = (work.pictures(TEST) / 2).astype(np.float32)
    inputs, mean = (TEST / 255).reshape(9, *SHAPE), (IMAGES.mean(0) / 255).reshape(SHAPE)
    found, want = work.sharpness(outputs, TEST), sharpness(outputs, inputs, mean)
    assert list(found) == list(want)
    for name, value in want.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4)


def test_the_sharpness_of_principal_components_has_names_of_its_own() -> None:
    work = lab()
    found, want = work.sharpness_of_pca(TEST, 5), work.sharpness(work.compressed(TEST, 5), TEST)
    assert list(found) == [f"pca_{name}" for name in want]
    for name, value in want.items():
        np.testing.assert_array_equal(found[f"pca_{name}"], value)
