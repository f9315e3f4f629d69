"""The recon_scale below which the collapsed solution of a VAE is stable, from the images alone, and
what is predicted above it. docs/why_it_collapses.md derives the formulas.

With C the covariance of the pixels, m their mean and `P = diag(m (1 - m))`, a unit that begins to
code lowers the objective if and only if `2 s lambda > kl_weight` for an eigenvalue lambda of C
(squared error), or `s lambda > kl_weight` for one of `P^-1/2 C P^-1/2` (Bernoulli), where `s =
recon_scale / D`. If the decoder variance is learned, its value at the collapsed solution, `tr C /
D`, divides s: `2 recon_scale lambda > kl_weight tr C`. At kl_weight 1 and the scale of the ELBO
that says that the largest eigenvalue is above the mean one, which holds unless all are equal.
"""

import math
from collections.abc import Sequence

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.run import Run
from vaejax.theory import components
from vaejax.theory.components import Moments

Thresholds = Float[np.ndarray, "count"]
Scales = float | Float[np.ndarray, "*scales"]


def thresholds(config: Config, images: components.Images, count: int) -> Thresholds:
    """The recon_scale, at kl_weight 1, above which encoding a direction of the images lowers the
    error term by more than its KL costs; in rising order, inf for a direction without variance.
    Below the first one the collapsed solution is stable.

    Squared error: `D / (2 lambda)`, with lambda the eigenvalues of the pixel covariance C in the
    model's pixel range; with a learned variance `tr C / (2 lambda)`. Bernoulli: `D / lambda`, with
    the eigenvalues of `P^-1/2 C P^-1/2`; pixels that are always 0 or always 1 are left out, and
    with `config.binarize` the diagonal of C is P. All are thresholds of the collapsed
    solution (see above): only for squared error of a fixed variance do they stay where they are
    once units wake. Images of floats are vectors that are no pixels, taken as they are: their
    thresholds are those of squared error.

    Raises:
        LabError: an AE, which has no KL; no direction is asked for; or there are too many pixels
            for a covariance.
    """
    return thresholds_of(config, components.moments(images), count)


def thresholds_of(config: Config, moments: Moments, count: int) -> Thresholds:
    """`thresholds` of images with these moments."""
    if config.model == "ae":
        raise LabError("An AE has no KL to pay for, and no threshold: use model='vae'.")
    if count < 1:
        raise LabError(f"Thresholds of {count} directions: ask for 1 or more.")
    matrix, price = moments.products, config.pixels / 2
    if config.likelihood == "bernoulli":
        matrix, price = _standardized(moments, config.binarize), float(config.pixels)
    elif config.decoder_variance == "learned":
        price = np.trace(matrix) / 2
    else:
        price /= config.pixel_width**2  # the covariance of 2 x - 1 is 4 C
    eigenvalues = np.zeros(count)
    if known := min(count, len(matrix)):
        eigenvalues[:known] = components.leading_eigenvalues(matrix, known)
    rounding = len(matrix) * np.finfo(float).eps * max(eigenvalues[0], 0)
    pays = eigenvalues > rounding
    return np.where(pays, price / np.where(pays, eigenvalues, 1), np.inf)


def _standardized(moments: Moments, binarize: bool) -> Float[np.ndarray, "m m"]:
    """`P^-1/2 C P^-1/2` with `P = diag(m (1 - m))`, or a matrix of the same eigenvalues but for
    zeros; pixels that are always 0 or 1 are left out."""
    variance = moments.mean * (1 - moments.mean)
    kept = variance > 0
    spread = np.sqrt(variance[kept])
    if moments.images is not None and not binarize:
        rows = moments.centred()[:, kept] / spread
        return rows @ rows.T
    standardized = moments.covariance[np.ix_(kept, kept)]
    if binarize:
        np.fill_diagonal(standardized, variance[kept])
    standardized /= spread
    standardized /= spread[:, None]
    return standardized


def charged_lanes(run: Run) -> Bool[np.ndarray, "lanes"]:
    """Which lanes have a threshold: those of a VAE in which every nat of KL has a cost at the end
    of training. A lane with free bits, a KL weight of 0 or a cyclical warm-up has none."""
    return np.array(
        [
            run.config.model == "vae"
            and lane["kl_weight"] > 0
            and not lane["free_bits"]
            and not lane["kl_cycle"]
            for lane in run.lanes
        ]
    )


def lane_thresholds(run: Run, thresholds: Thresholds) -> Float[np.ndarray, "lanes"]:
    """The recon_scale below which the collapsed solution is stable in each lane of a run, from the
    `thresholds` of its images; NaN in a lane that does not pay for all of its KL."""
    charged = charged_lanes(run)
    weights = np.where(charged, [lane["kl_weight"] for lane in run.lanes], 1)
    return np.where(charged, weights * thresholds[0], np.nan)


def lane_units(run: Run, thresholds: Thresholds) -> Float[np.ndarray, "lanes"]:
    """How many units would pay for their KL in each lane of a run if there were as many as images
    have directions, from the `thresholds` of all directions; NaN in a lane that does not pay for
    all of its KL."""
    charged = charged_lanes(run)
    scale, weight = (
        np.asarray(knob, float) for knob in (run.knobs.recon_scale, run.knobs.kl_weight)
    )
    weight = np.where(charged, weight, 1)
    units = predicted_units(thresholds, scale, weight, len(thresholds))
    return np.where(charged, units, np.nan)


def predicted_units(
    thresholds: Thresholds, recon_scale: Scales, kl_weight: Scales, latent_size: int
) -> Int[np.ndarray, "*scales"]:
    """How many units pay for their KL: one for each threshold below `recon_scale / kl_weight`, at
    most `latent_size`. `thresholds` needs as many entries, and `kl_weight` is positive. With a
    learned variance these are the first to wake: each lowers the variance, and with it the
    thresholds of the rest."""
    return np.asarray((_gains(thresholds, recon_scale, kl_weight, latent_size) > 1).sum(-1))


def predicted_kl(
    thresholds: Thresholds, recon_scale: Scales, kl_weight: Scales, latent_size: int
) -> Float[np.ndarray, "*scales"]:
    """KL of an image in nats, `1/2 sum log(recon_scale / (kl_weight * threshold))` over the
    predicted units: exact for the best linear VAE with squared error, and near the threshold for
    any net that sees all pixels."""
    gains = _gains(thresholds, recon_scale, kl_weight, latent_size)
    return np.asarray(np.log(np.maximum(gains, 1)).sum(-1) / 2)


def predicted_gain(
    thresholds: Thresholds, recon_scale: Scales, kl_weight: Scales, latent_size: int
) -> Float[np.ndarray, "*scales"]:
    """How much lower, in units of kl_weight times a nat, the objective of the best linear VAE with
    squared error is than at the collapsed solution."""
    gains = np.maximum(_gains(thresholds, recon_scale, kl_weight, latent_size), 1)
    return np.asarray((gains - 1 - np.log(gains)).sum(-1) / 2)


def predictions(
    thresholds: Thresholds, recon_scale: Scales, kl_weight: Scales, latent_size: int
) -> dict[str, np.ndarray]:
    """What the best linear VAE with squared error has at each scale: units, KL and gain, by the
    names that they have in rows."""
    where = thresholds, recon_scale, kl_weight, latent_size
    return {
        "predicted_units": predicted_units(*where),
        "predicted_kl_nats": predicted_kl(*where),
        "predicted_gain_nats": predicted_gain(*where),
    }


def _gains(
    thresholds: Thresholds, recon_scale: Scales, kl_weight: Scales, latent_size: int
) -> Float[np.ndarray, "*scales units"]:
    return np.asarray(recon_scale / np.asarray(kl_weight))[..., None] / thresholds[:latent_size]


def units_off(
    thresholds: Thresholds,
    scales: Float[np.ndarray, "scales"],
    units: Int[np.ndarray, "scales"],
    margin: float,
) -> Int[np.ndarray, "scales"]:
    """Distance of `units` from the predicted number at each scale (at kl_weight 1). A unit whose
    threshold is within a factor `margin` of the scale may count or not."""
    fewest, most = (
        predicted_units(thresholds, scales * factor, 1.0, len(thresholds))
        for factor in (1 / margin, margin)
    )
    return np.maximum(np.maximum(fewest - units, units - most), 0)


def onset(scales: Sequence[float], active: Sequence[float]) -> float:
    """The scale at which units wake, from their number at each of some rising scales: `sqrt(a b)`,
    with b the smallest scale from which on there is always an active unit, and a the scale before
    it. 0 if all are awake, infinite if the last is asleep."""
    asleep = [index for index, units in enumerate(active) if units < 1]
    last = asleep[-1] if asleep else -1
    if last == len(scales) - 1:
        return math.inf
    return math.sqrt(scales[last] * scales[last + 1]) if asleep else 0.0


def collapse_warning(config: Config, recon_scales: Sequence[float], threshold: float) -> str | None:
    """One line about the scales that are below the threshold; None if none is. The threshold is
    infinite if the images are all equal."""
    if math.isinf(threshold):
        return (
            "the training images are all equal: a code has nothing to say about them, and no "
            "latent unit pays for its KL at any recon_scale."
        )
    below = [f"{scale:g}" for scale in recon_scales if scale < threshold]
    if not below:
        return None
    consequence = (
        "the collapsed solution is stable whatever the encoder and decoder, and training from "
        "scratch ends there as a rule"
    )
    linear = config.nets is None and not config.decoder_widths and config.output == "linear"
    if linear and config.decoder_variance == "fixed":
        consequence = "a linear decoder has no better solution than the collapsed one"
    verb = "is" if len(below) == 1 else "are"
    return (
        f"recon_scale {', '.join(below)} {verb} below {threshold:.4g}, the threshold of these "
        f"images: {consequence}. Raise recon_scale or lower kl_weight."
    )


def size_note(
    latent_size: int, recon_scales: Sequence[float], units: Sequence[float]
) -> str | None:
    """One line about the scale at which the most units would pay, if that is more than the latent
    size; `units` are those of each scale (`lane_units`)."""
    most = max(range(len(units)), key=lambda lane: np.nan_to_num(units[lane]))
    if not units[most] > latent_size:
        return None
    plural = "" if latent_size == 1 else "s"
    return (
        f"{latent_size} latent unit{plural}, but by the linear theory {units[most]:.0f} would pay "
        f"for their KL at recon_scale {recon_scales[most]:g}: there the latent size, not the "
        "scale, is likely to limit the reconstructions."
    )


def constant_error(config: Config, moments: Moments) -> float:
    """The error of the mean image, averaged over pixels in [0, 1]: for squared error the variance
    of a pixel, for cross entropy its entropy in nats."""
    if config.likelihood == "gaussian":
        return float(moments.products.trace() / config.pixels)
    mean = moments.mean
    return float((scipy.special.entr(mean) + scipy.special.entr(1 - mean)).mean())
