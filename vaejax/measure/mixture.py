"""Where the codes of a model lie, as a density that one can draw from, and what it draws.

A VAE is trained so that its codes together are like N(0, I). An AE is not: its codes lie where they
happen to. Gaussians fitted to the codes of training images say where (Ghosh et al. 2020, "From
Variational to Deterministic Autoencoders", section 4.1: "ex-post density estimation").
"""

import numpy as np
from jaxtyping import Float, UInt8
from sklearn.mixture import GaussianMixture

FIT_SEED, DRAW_SEED = 0, 1
"""Where the fit starts, and what is drawn from it: the same for every model."""


def draw_from_mixture(
    codes: Float[np.ndarray, "n latent"], parts: int, count: int
) -> Float[np.ndarray, "count latent"]:
    """New codes from a mixture of `parts` Gaussians, each with a covariance matrix of its own,
    fitted to codes by expectation maximization. One Gaussian has their mean and covariance.

    Args:
        parts: Gaussians, at most as many as there are codes.
    """
    # Starting from k-means with several threads would round differently from run to run.
    mixture = GaussianMixture(
        min(parts, len(codes)), max_iter=1000, init_params="k-means++", random_state=FIT_SEED
    )
    mixture.fit(np.asarray(codes, np.float64))
    mixture.random_state = DRAW_SEED
    drawn, _ = mixture.sample(count)  # one Gaussian after the other
    return np.random.default_rng(DRAW_SEED).permutation(drawn).astype(np.float32)


def nearest(
    images: Float[np.ndarray, "n *shape"], among: UInt8[np.ndarray, "m pixels"]
) -> tuple[np.ndarray, np.ndarray]:
    """Which of some images, bytes, is nearest to each of other images of any shape, pixels in
    [0, 1]: its index [n], and its squared error, averaged over pixels [n]."""
    images = images.reshape(len(images), -1)
    best = np.zeros(len(images), int)
    least = np.full(len(images), np.inf, np.float32)
    for start in range(0, len(among), 5000):
        part = among[start : start + 5000].astype(np.float32) / 255
        squares = np.square(part).sum(1) - 2 * images @ part.T
        index = squares.argmin(1)
        found = squares[np.arange(len(images)), index]
        best = np.where(found < least, start + index, best)
        least = np.minimum(found, least)
    errors = (least + np.square(images).sum(1)) / images.shape[1]
    return best, errors.clip(0)
