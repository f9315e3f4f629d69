"""What to say about a loss that someone has written, from the thresholds of their images."""

import math

import numpy as np
from jaxtyping import Float

from vaejax.theory.linear import decoder_variance
from vaejax.theory.threshold import predicted_kl, predicted_units
from vaejax.theory.weighting import WrittenLoss, lab_weights, written_kl_weight


def advice(
    loss: WrittenLoss,
    image_shape: tuple[int, int, int],
    thresholds: Float[np.ndarray, "pixels"],
    of: str = "pixels in [0, 1]",
) -> str:
    """One paragraph: what this loss is in the lab's terms, on which side of the threshold it is,
    how many units will pay, and which weight of the KL to write instead. `thresholds` are those of
    all directions of the images, for pixels in [0, 1] and this kind of error; or for what `of`
    names instead of pixels."""
    ratio = lab_weights(loss, image_shape).ratio
    first = float(thresholds[0])
    in_lab_terms = _in_lab_terms(loss, image_shape, ratio, of)
    if math.isinf(first):
        return f"{in_lab_terms} These images do not vary, so no unit can pay at any weight."
    side, units = _side(ratio, first), _units(loss, ratio, thresholds)
    change = _change(loss, image_shape, ratio, thresholds)
    return f"{in_lab_terms} {side} {units} What to change: {change}"


def elbo_ratio(loss: WrittenLoss, image_shape: tuple[int, int, int]) -> float:
    """The recon_scale, at kl_weight 1 and for pixels in [0, 1], at which this loss is the negative
    ELBO: of Bernoulli pixels, or of a Gaussian of standard deviation 1 in its own pixel range."""
    pixels = math.prod(image_shape)
    return pixels if loss.error == "bce" else pixels / 2 / loss.pixel_std**2


def written_sigma(
    loss: WrittenLoss, image_shape: tuple[int, int, int], ratio: float
) -> float | None:
    """The standard deviation of the Gaussian decoder that a recon_scale for pixels in [0, 1]
    amounts to, in the pixel range of this loss; None for cross entropy."""
    if loss.error == "bce":
        return None
    return decoder_variance(ratio, math.prod(image_shape)) ** 0.5 / loss.pixel_std


def _in_lab_terms(
    loss: WrittenLoss, image_shape: tuple[int, int, int], ratio: float, of: str
) -> str:
    beta = elbo_ratio(loss, image_shape) / ratio
    text = (
        f"In the lab's terms, for {of}, your loss is recon_scale {ratio:.6g} at "
        f"kl_weight 1: an effective beta of {beta:.6g}"
    )
    if (sigma := written_sigma(loss, image_shape, ratio)) is not None:
        text += f", or a Gaussian decoder of sigma {sigma:.4g}"
        if loss.pixel_std != 1:
            text += f" in your pixel range ({sigma * loss.pixel_std:.4g} in [0, 1])"
    return f"{text}."


def _side(ratio: float, first: float) -> str:
    if ratio > first:
        return (
            f"That is {ratio / first:.3g} times the threshold of these images, {first:.4g}: ABOVE "
            "it, where training leaves the collapsed solution."
        )
    return (
        f"That is {ratio / first:.3g} times the threshold of these images, {first:.4g}: BELOW it. "
        "The collapsed solution is stable whatever the encoder and decoder, and training from "
        "scratch ends there as a rule: every image comes out as the mean image."
    )


def _units(loss: WrittenLoss, ratio: float, thresholds: np.ndarray) -> str:
    units = int(predicted_units(thresholds, ratio, 1.0, len(thresholds)))
    if not units:
        return "By the linear theory no unit pays for its KL."
    most = loss.latent_size or len(thresholds)
    kl = float(predicted_kl(thresholds, ratio, 1.0, most))
    if units > most:
        return (
            f"By the linear theory {_units_pay(units)}, and you have {most} ({kl:.3g} nats "
            "of KL): the latent size, not the weight, is likely to limit the reconstructions."
        )
    return f"By the linear theory {_units_pay(units)} ({kl:.3g} nats of KL)."


def _change(
    loss: WrittenLoss,
    image_shape: tuple[int, int, int],
    ratio: float,
    thresholds: np.ndarray,
) -> str:
    first, elbo = float(thresholds[0]), elbo_ratio(loss, image_shape)
    wanted = max(elbo, 2 * first)  # just above the threshold units wake too slowly to see
    target, collapse, at_elbo = (
        f"{written_kl_weight(loss, image_shape, scale):.4g}" for scale in (wanted, first, elbo)
    )
    name = "the ELBO" if loss.error == "bce" else "the ELBO of a Gaussian of sigma 1"
    if wanted > elbo:
        place = "below" if elbo <= first else "too near"
        name = f"twice the threshold ({name}, at {at_elbo}, is {place} the threshold)"
    most = loss.latent_size or len(thresholds)
    pay = _units_pay(int(predicted_units(thresholds, wanted, 1.0, most)))
    now = f"{loss.kl_weight:.4g}"
    if ratio <= first:
        return (
            f"write a KL weight of {target} instead of {now}, or multiply the error by "
            f"{wanted / ratio:.6g}. That is {name}: {pay}. Collapse ends below a KL weight of "
            f"{collapse}."
        )
    if math.isclose(ratio, wanted):
        return f"nothing against collapse. Your loss is {name}, and collapses from {collapse} on."
    if ratio < 2 * first:
        return (
            f"units wake slowly so near the threshold. A KL weight of {target} instead of {now} is "
            f"{name}: {pay}. From {collapse} on the loss collapses."
        )
    return (
        f"nothing against collapse, as long as the KL weight is below {collapse}. At {target} it "
        f"is {name}: {pay}. A lower weight gives sharper reconstructions, and a code of more KL."
    )


def _units_pay(units: int) -> str:
    return "1 unit pays for its KL" if units == 1 else f"{units} units pay for their KL"
