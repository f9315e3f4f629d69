"""vaejax.theory: principal components against scikit-learn, the threshold of collapse against the
second derivatives of the objective."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.decomposition

from vaejax import loss, model, theory
from vaejax.config import Config, Knobs, knobs
from vaejax.errors import LabError

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(12, 12)) * np.linspace(1, 30, 12)
IMAGES = np.clip(128 + RNG.normal(size=(200, 12)) @ MIXING.T, 0, 255).astype(np.uint8)
TEST = np.clip(128 + RNG.normal(size=(50, 12)) @ MIXING.T, 0, 255).astype(np.uint8)
CLOSE = 2e-5  # float32 eigenvectors of gaps of a few percent


@pytest.fixture(scope="module", params=[1, 5, 12])
def peer(request: pytest.FixtureRequest) -> sklearn.decomposition.PCA:
    return sklearn.decomposition.PCA(request.param).fit(IMAGES / 255)


def test_components_and_eigenvalues_are_those_of_sklearn(peer: sklearn.decomposition.PCA) -> None:
    space = theory.pca(IMAGES, peer.n_components_)
    np.testing.assert_allclose(space.mean, peer.mean_, rtol=1e-6)
    # sklearn divides by n - 1; the sign of a component is free
    np.testing.assert_allclose(space.eigenvalues, peer.explained_variance_ * 199 / 200, rtol=CLOSE)
    cosines = (space.components * peer.components_).sum(1)
    np.testing.assert_allclose(space.components, cosines[:, None] * peer.components_, atol=CLOSE)
    np.testing.assert_allclose(abs(cosines), 1, rtol=1e-6)


def test_projections_are_those_of_sklearn(peer: sklearn.decomposition.PCA) -> None:
    space = theory.pca(IMAGES, peer.n_components_)
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
        space = theory.pca(IMAGES, kept)
        got = theory.reconstruction_mse(space, images, peer.n_components_)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-12)


def test_the_training_error_is_the_variance_left_out() -> None:
    space = theory.pca(IMAGES, 12)
    for kept in range(1, 12):
        error = theory.reconstruction_mse(space, IMAGES, kept)
        np.testing.assert_allclose(error * 12, space.eigenvalues[kept:].sum(), rtol=1e-4)


def test_components_are_orthonormal_by_falling_variance() -> None:
    space = theory.pca(IMAGES, 12)
    np.testing.assert_allclose(space.components @ space.components.T, np.eye(12), atol=1e-6)
    assert (np.diff(space.eigenvalues) < 0).all()
    total = (IMAGES / 255).var(0).sum()
    np.testing.assert_allclose(space.eigenvalues.sum(), total, rtol=1e-6)


def test_fewer_images_than_pixels_leave_no_variance_for_the_rest() -> None:
    space = theory.pca(IMAGES[:4], 12)
    np.testing.assert_allclose(space.eigenvalues[3:], 0, atol=1e-7)  # float32 rounding of 0.1
    assert space.eigenvalues[2] > 1e-3


@pytest.mark.parametrize("components", [0, -1, 13])
def test_more_components_than_pixels_are_refused(components: int) -> None:
    with pytest.raises(LabError, match=rf"^{components} principal components of 12 pixels"):
        theory.pca(IMAGES, components)


def test_few_components_of_many_pixels_are_those_of_the_dense_solver() -> None:
    images = np.random.default_rng(3).integers(0, 256, (100, 60), np.uint8)
    few, all_of_them = theory.pca(images, 3), theory.pca(images, 60)
    np.testing.assert_allclose(few.eigenvalues, all_of_them.eigenvalues[:3], rtol=1e-6)
    overlap = np.abs(np.sum(few.components * all_of_them.components[:3], axis=1))
    np.testing.assert_allclose(overlap, 1, rtol=1e-4)
    np.testing.assert_array_equal(few.components, theory.pca(images, 3).components)


def test_images_too_large_for_a_covariance_are_refused() -> None:
    with pytest.raises(LabError, match="Images of 20000 pixels"):
        theory.pca(np.zeros((2, 20_000), np.uint8), 1)


LINEAR = Config(
    image_shape=(2, 2, 1),
    latent_size=1,
    encoder_widths=(),
    decoder_widths=(),
    likelihood="gaussian",
    output="linear",
)
DEEP = replace(
    LINEAR,
    encoder_widths=(5,),
    decoder_widths=(4, 4),
    encoder_activation="tanh",
    decoder_activation="tanh",
)
SIGNED = replace(LINEAR, pixel_range="signed")
MANY = np.random.default_rng(1).integers(0, 256, (30, 4), np.uint8)
TWO = np.resize([MANY[0], 255 - MANY[0]], MANY.shape)
ROUNDING = 1e-5


@cache
def curvatures(config: Config) -> Any:
    """The eigenvalues of the Hessian of the objective, averaged over images and over codes (by
    Gauss-Hermite quadrature), where the posterior is the prior and the output the mean image; a
    compiled function of pixels and knobs. All but the last layers are as they were drawn."""
    nodes, masses = np.polynomial.hermite_e.hermegauss(24)
    params = model.init(config, jax.random.key(1))
    for net in ("encoder", "decoder"):
        layers = params[net]["params"]
        last = f"Dense_{len(layers) - 1}"
        layers[last] = jax.tree.map(jnp.zeros_like, layers[last])

    def objective(params: model.Params, x: jax.Array, weights: Knobs) -> jax.Array:
        mean, logvar = model.encode(config, params, x)

        def error_at(node: jax.Array) -> jax.Array:
            logits = model.decode(config, params, mean + jnp.exp(logvar / 2) * node)
            return loss.reconstruction_error(config, logits, x).mean()

        errors = jax.vmap(error_at)(jnp.asarray(nodes, jnp.float32))
        error = (errors * (masses / masses.sum()).astype(np.float32)).sum()
        kl = loss.kl_divergence(mean, logvar).mean(0)
        return loss.objective(weights, error, kl, jnp.zeros(()), jnp.zeros((), int))

    @jax.jit
    def of(x: jax.Array, weights: Knobs) -> jax.Array:
        params["decoder"]["params"][last]["bias"] = x.mean(0)
        flat, tree = jax.flatten_util.ravel_pytree(params)
        with jax.default_matmul_precision("highest"):
            hessian = jax.hessian(lambda flat: objective(tree(flat), x, weights))(flat)
        return jnp.linalg.eigvalsh(hessian)

    return of


@pytest.mark.parametrize("images", [MANY, TWO], ids=["many", "two"])
@pytest.mark.parametrize(
    ("config", "awake"),
    [(LINEAR, 1.02), (SIGNED, 1.02), (DEEP, 4.0)],
    ids=["linear", "signed", "deep"],
)
def test_the_collapsed_solution_is_stable_below_the_threshold_and_a_saddle_above(
    config: Config, awake: float, images: np.ndarray
) -> None:
    """Below it whatever the net. Just above it for a linear one; a net whose hidden layers do not
    happen to be linear has to turn them first."""
    x = model.to_pixels(config, jnp.asarray(images), jax.random.key(0))
    largest = float(np.linalg.eigvalsh(np.cov(x.T, bias=True))[-1])
    for kl_weight in (1.0, 0.3):
        threshold = theory.threshold_scale(largest, 4, kl_weight)
        below, above = (
            curvatures(config)(
                x, knobs(config, recon_scale=times * threshold, kl_weight=kl_weight)
            )[0]
            for times in (0.98, awake)
        )
        assert below > -ROUNDING
        assert above < -10 * ROUNDING


def test_two_images_awake_at_two_over_their_mean_squared_difference() -> None:
    largest = float(theory.pca(IMAGES[:2], 1).eigenvalues[0])
    apart = np.square(IMAGES[0] / 255 - IMAGES[1] / 255).mean()
    assert theory.threshold_scale(largest, 12) == pytest.approx(2 / apart, rel=1e-5)
    assert theory.threshold_scale(largest, 12, 3.0) == pytest.approx(6 / apart, rel=1e-5)
