"""vaejax.theory: principal components against scikit-learn, thresholds against matrices that are
computed in other ways. That these are the thresholds of training is what test_theory_threshold.py
shows."""

from dataclasses import replace

import numpy as np
import pytest
import sklearn.decomposition

from vaejax import theory
from vaejax.config import Config
from vaejax.data import load
from vaejax.errors import LabError
from vaejax.theory import components

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(12, 12)) * np.linspace(1, 30, 12)
IMAGES = np.clip(128 + RNG.normal(size=(200, 12)) @ MIXING.T, 0, 255).astype(np.uint8)
TEST = np.clip(128 + RNG.normal(size=(50, 12)) @ MIXING.T, 0, 255).astype(np.uint8)
CLOSE = 2e-5  # float32 eigenvectors of gaps of a few percent


def pca(images: np.ndarray, count: int) -> theory.PCA:
    return theory.principal_components(theory.moments(images), count)


@pytest.fixture(scope="module", params=[1, 5, 12])
def peer(request: pytest.FixtureRequest) -> sklearn.decomposition.PCA:
    return sklearn.decomposition.PCA(request.param).fit(IMAGES / 255)


def test_components_and_eigenvalues_are_those_of_sklearn(peer: sklearn.decomposition.PCA) -> None:
    space = pca(IMAGES, peer.n_components_)
    np.testing.assert_allclose(space.mean, peer.mean_, rtol=1e-6)
    # sklearn divides by n - 1; the sign of a component is free
    np.testing.assert_allclose(space.eigenvalues, peer.explained_variance_ * 199 / 200, rtol=CLOSE)
    cosines = (space.components * peer.components_).sum(1)
    np.testing.assert_allclose(space.components, cosines[:, None] * peer.components_, atol=CLOSE)
    np.testing.assert_allclose(abs(cosines), 1, rtol=1e-6)


def test_projections_are_those_of_sklearn(peer: sklearn.decomposition.PCA) -> None:
    space = pca(IMAGES, peer.n_components_)
    pixels = (TEST / 255).astype(np.float32)
    signs = np.sign((space.components * peer.components_).sum(1))
    want = peer.transform(TEST / 255) * signs
    np.testing.assert_allclose(theory.project(space, pixels), want, atol=CLOSE)


@pytest.mark.parametrize("images", [IMAGES, TEST], ids=["train", "test"])
def test_reconstruction_error_is_that_of_sklearn(peer, images: np.ndarray) -> None:
    """Of the first components of a larger space as of a space of just these."""
    back = peer.inverse_transform(peer.transform(images / 255))
    want = np.square(back - images / 255).mean()
    for kept in (peer.n_components_, 12):
        space = pca(IMAGES, kept)
        got = theory.reconstruction_mse(space, images, peer.n_components_)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("components", [0, -1, 13])
def test_more_components_than_pixels_are_refused(components: int) -> None:
    with pytest.raises(LabError, match=rf"^{components} principal components of 12 pixels"):
        pca(IMAGES, components)


def test_few_components_of_many_pixels_are_those_of_the_dense_solver() -> None:
    images = np.random.default_rng(3).integers(0, 256, (100, 60), np.uint8)
    few, all_of_them = pca(images, 3), pca(images, 60)
    np.testing.assert_allclose(few.eigenvalues, all_of_them.eigenvalues[:3], rtol=1e-6)
    overlap = np.abs(np.sum(few.components * all_of_them.components[:3], axis=1))
    np.testing.assert_allclose(overlap, 1, rtol=1e-4)
    np.testing.assert_array_equal(few.components, pca(images, 3).components)


@pytest.mark.parametrize("count", [1, 3, 4, 60])
def test_the_largest_eigenvalues_are_those_of_numpy(count: int) -> None:
    """Of 60, up to three by Lanczos."""
    images = np.random.default_rng(3).integers(0, 256, (100, 60), np.uint8)
    covariance = theory.moments(images).covariance
    want = np.linalg.eigvalsh(covariance)[::-1][:count]
    found = components.leading_eigenvalues(covariance, count)
    np.testing.assert_allclose(found, want, rtol=1e-9)
    assert (np.diff(found) <= 0).all()
    np.testing.assert_array_equal(found, components.leading_eigenvalues(covariance, count))
    nothing = components.leading_eigenvalues(np.zeros((60, 60)), count)
    np.testing.assert_array_equal(nothing, np.zeros(count))


@pytest.mark.parametrize("shape", [(11, 11), (11, 99), (99, 11)])
def test_too_many_pairs_of_pixels_and_images_are_refused(shape, monkeypatch) -> None:
    monkeypatch.setattr(components, "MOST", 10)
    with pytest.raises(LabError, match="products of 11 pixels or images"):
        pca(np.zeros(shape, np.uint8), 1)


@pytest.mark.parametrize("count", [2, 15, 39, 60])
def test_of_fewer_images_than_pixels_all_is_as_of_their_covariance(count: int) -> None:
    """15 have 14 directions; the further ones are any."""
    images = np.random.default_rng(3).integers(0, 256, (15, 60), np.uint8)
    images[:, 7] = 200
    few = theory.moments(images)
    assert few.images is not None
    dense = theory.Moments(few.mean, few.covariance)
    np.testing.assert_allclose(dense.covariance, np.cov(images.T / 255, bias=True), atol=1e-12)
    gaussian = Config(image_shape=(1, 60, 1), likelihood="gaussian", output="linear")
    bernoulli = Config(image_shape=(1, 60, 1))
    for config in (gaussian, replace(gaussian, decoder_variance="learned"),
                   bernoulli, replace(bernoulli, binarize=True)):  # fmt: skip
        found, expected = (theory.thresholds_of(config, each, count) for each in (few, dense))
        np.testing.assert_allclose(found, expected, rtol=1e-9)
        assert config.binarize or np.isinf(found[14:]).all()
    assert theory.constant_error(gaussian, few) == pytest.approx(
        theory.constant_error(gaussian, dense), rel=1e-12
    )
    space, expected = (theory.principal_components(each, count) for each in (few, dense))
    np.testing.assert_allclose(space.eigenvalues, expected.eigenvalues, atol=1e-12)
    np.testing.assert_allclose(space.components @ space.components.T, np.eye(count), atol=1e-6)
    known = min(count, 14)
    overlap = np.abs(np.sum(space.components * expected.components, axis=1))[:known]
    np.testing.assert_allclose(overlap, 1, rtol=1e-5)


def test_few_images_of_any_size_have_thresholds() -> None:
    images = np.random.default_rng(3).integers(0, 256, (3, 40_000), np.uint8)
    config = Config(image_shape=(200, 200, 1), likelihood="gaussian", output="linear")
    found = theory.thresholds(config, images, 40_000)
    x = images / 255 - (images / 255).mean(0)
    expected = np.sort(20_000 * 3 / np.linalg.svd(x, compute_uv=False)[:2] ** 2)
    np.testing.assert_allclose(found[:2], expected)
    assert np.isinf(found[2:]).all()


def test_moments_are_those_of_whole_numbers() -> None:
    """More images than are summed at once, all pixels near white, where rounding costs most."""
    images = np.random.default_rng(4).integers(250, 256, (2500, 5), np.uint8)
    exact = images.astype(np.int64)
    total = exact.sum(0)
    scatter = len(images) * exact.T @ exact - np.outer(total, total)
    mean, covariance, _ = theory.moments(images)
    np.testing.assert_allclose(mean, total / 2500 / 255, rtol=1e-15)
    np.testing.assert_array_equal(covariance, scatter / (255 * 2500) ** 2)


BERNOULLI = Config(image_shape=(3, 4, 1), latent_size=4)
BINARIZED = replace(BERNOULLI, binarize=True)
SQUARED = replace(BERNOULLI, likelihood="gaussian", output="linear")
SIGNED = replace(SQUARED, pixel_range="signed")
LEARNED = replace(SQUARED, decoder_variance="learned")
X = IMAGES / 255
CORRELATED = np.cov((X / np.sqrt(X.mean(0) * (1 - X.mean(0)))).T, bias=True)


def lambdas(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh(matrix)[::-1]


@pytest.mark.parametrize(
    ("config", "want"),
    [
        (SQUARED, 6 / lambdas(np.cov(X.T, bias=True))),
        (SIGNED, 6 / lambdas(np.cov(2 * X.T - 1, bias=True))),
        (LEARNED, X.var(0).sum() / 2 / lambdas(np.cov(X.T, bias=True))),
        (BERNOULLI, 12 / lambdas(CORRELATED)),
        (BINARIZED, 12 / lambdas(CORRELATED * (1 - np.eye(12)) + np.eye(12))),
    ],
    ids=["squared", "signed", "learned", "bernoulli", "binarized"],
)
def test_thresholds_are_those_of_dense_matrices_made_otherwise(
    config: Config, want: np.ndarray
) -> None:
    np.testing.assert_allclose(theory.thresholds(config, IMAGES, 12), want, rtol=1e-9)
    np.testing.assert_allclose(theory.thresholds(config, IMAGES, 3), want[:3], rtol=1e-9)


def test_thresholds_of_drawn_pixels_are_those_of_the_drawn_images() -> None:
    """In the limit of many draws, to the noise of 200,000 of them."""
    drawn = np.random.default_rng(5).random((1000, *X.shape)) < X
    images = 255 * drawn.reshape(-1, 12).astype(np.uint8)
    got, want = (theory.thresholds(BINARIZED, x, 4) for x in (images, IMAGES))
    np.testing.assert_allclose(got, want, rtol=0.01)
    # Pixels that are 0 or 1 already are drawn as they are.
    np.testing.assert_allclose(got, theory.thresholds(BERNOULLI, images, 4), rtol=1e-9)


@pytest.mark.parametrize("config", [SQUARED, LEARNED, BERNOULLI, BINARIZED])
@pytest.mark.parametrize("pixels", [6, 46], ids=["dense", "lanczos"])
def test_directions_without_variance_never_pay(config: Config, pixels: int) -> None:
    """Black pixels, white ones, more directions than there are pixels, fewer images than pixels."""
    config = replace(config, image_shape=(pixels, 1, 1))
    images = np.zeros((3, pixels), np.uint8)
    images[:, 0] = 255
    np.testing.assert_array_equal(theory.thresholds(config, images, 2), [np.inf, np.inf])
    images[:, 1:4] = [[0, 9, 30], [255, 8, 20], [0, 7, 10]]
    found = theory.thresholds(config, images, pixels + 5)
    varying = 3 if config.binarize else 2
    assert np.isfinite(found).tolist() == [True] * varying + [False] * (pixels + 5 - varying)
    assert (np.diff(found[:varying]) > 0).all()
    np.testing.assert_allclose(theory.thresholds(config, images, 2), found[:2], rtol=1e-9)


def test_a_threshold_needs_a_kl_and_a_direction() -> None:
    with pytest.raises(LabError, match=r"^An AE has no KL"):
        theory.thresholds(replace(SQUARED, model="ae"), IMAGES, 1)
    with pytest.raises(LabError, match=r"^Thresholds of 0 directions"):
        theory.thresholds(SQUARED, IMAGES, 0)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SQUARED, "training from scratch ends there as a rule"),
        (replace(SQUARED, decoder_widths=()), "a linear decoder has no better solution"),
        (replace(LEARNED, decoder_widths=()), "training from scratch"),
        (replace(BERNOULLI, decoder_widths=()), "training from scratch"),
    ],
)
def test_a_setting_below_the_threshold_is_warned_of(config: Config, words: str) -> None:
    warn = theory.collapse_warning
    assert words in (warn(config, [9.99], 10.0) or "")
    assert "recon_scale 9.99 is below 10, the" in (warn(config, [9.99, 10.0], 10.0) or "")
    assert "recon_scale 25, 29 are below 30, the" in (warn(config, [25.0, 31.0, 29.0], 30.0) or "")
    assert warn(config, [10.0, 11.0], 10.0) is None
    assert warn(config, [1.0], np.nan) is None


def check_first_thresholds(name: str, squared: float, bernoulli: float, binarized: float) -> None:
    images = load(name, "train").images
    base = Config(image_shape=images.shape[1:])
    configs = (
        replace(base, likelihood="gaussian", output="linear"),
        base,
        replace(base, binarize=True),
    )
    moments = theory.moments(images.reshape(len(images), -1))
    found = [theory.thresholds_of(config, moments, 1)[0] for config in configs]
    np.testing.assert_allclose(found, [squared, bernoulli, binarized], rtol=0.01)


def test_thresholds_of_digits() -> None:
    """Squared error: above 32, the scale of its ELBO."""
    check_first_thresholds("digits", 46.2, 19.2, 16.6)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "squared", "bernoulli", "binarized"),
    [("mnist", 76.6, 24.3, 24.2), ("cifar10", 27.9, 13.9, 13.8)],
)
def test_thresholds_of_the_real_sets(
    name: str, squared: float, bernoulli: float, binarized: float
) -> None:
    check_first_thresholds(name, squared, bernoulli, binarized)
