"""Has the posterior collapsed? Measurements at the encoder and at the decoder, and a verdict.

Encoder: how much does the image change its posterior (mutual information, posterior means)?
Decoder: how much does the code change the output (outputs of two codes, shuffled codes)? Drawn
codes prove nothing: the codes of two images differ even where both posteriors are the prior.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from vaejax import model
from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.measure.activity import ACTIVE_VARIANCE, active_directions
from vaejax.measure.batched import Images, over_lanes
from vaejax.measure.codes import information_figures, output_variance_ratio
from vaejax.measure.elbo import evaluate, summary
from vaejax.measure.pairing import Pairs, pairs

OUTPUT_VARIANCE_RATIO = 0.01
"""Below this share of the variance of the images, the outputs are one picture for all inputs: a
hundredth of the variance is a tenth of the contrast, faint beside the picture itself."""


class Collapse(NamedTuple):
    """What `judge_collapse` makes of the figures of one model."""

    verdict: Literal["healthy", "partial", "total"]
    """`total`: no unit is active. `partial`: some are dead. `healthy`: none is."""
    dead_units: tuple[int, ...]
    """The numbers of the units that are not active, from 0."""
    evidence: tuple[str, ...]
    """A line for each measurement, with the value to compare it with."""
    uses_code: bool = True
    """False if the outputs do not follow the code, whatever the posteriors are. True also where
    outputs were not measured."""
    by_few: tuple[int, ...] = ()
    """The dead units that would be active if a hundredth of the images counted, which have most of
    the variance: known of `posterior_figures`."""

    @property
    def headline(self) -> str:
        """The verdict on the posteriors, or that the decoder makes nothing of them."""
        verdict = self.verdict + (", but for a few inputs" if self.by_few else "")
        if self.uses_code or self.verdict == "total":
            return f"Posterior collapse: {verdict}"
        return f"The decoder makes no visible use of the code (posterior collapse: {verdict})"


def collapse_figures(
    config: Config, params: model.Params, images: Images, key: Key[Array, ""]
) -> dict[str, Array]:
    """Every figure of a split that a study of collapse asks for, by name and unit; arrays [lanes],
    or [lanes, latent] per unit, of stacked params.

    The total variance of a set is half the mean squared difference of its pairs.
    `output_variance_ratio` is the variance of the outputs over the variance of the images: 0 if the
    output ignores the input, 1 if it varies as much, NaN if all images are equal. A figure that a
    model does not have is NaN: the KL of an AE and its parts, the sigma of a Bernoulli decoder.

    Raises:
        LabError: a single image.
    """
    return over_lanes(_figures_of_one, config)(params, images, key)


def _figures_of_one(
    config: Config, params: model.Params, images: Images, key: Key[Array, ""]
) -> dict[str, Array]:
    """All figures of one model in one program: each operation outside of it would be a program of
    its own, to compile and to keep."""
    evaluate_key, pairs_key = jax.random.split(key)
    average = Pairs(*(change.mean() for change in pairs(config, params, images, pairs_key)))
    evaluation = evaluate(config, params, images, evaluate_key)
    figures = summary(evaluation)
    posteriors = (evaluation.mean, evaluation.logvar, evaluation.code)
    known = config.likelihood == "gaussian"
    return {
        **figures,
        **information_figures(figures["kl_nats"], *posteriors),
        "output_variance_ratio": output_variance_ratio(average.input_change, average.output_change),
        "random_output_ratio": output_variance_ratio(average.input_change, average.random_change),
        "shuffled_gap_nats": average.shuffled_gap,
        "code_distance": jnp.sqrt(average.code_change),
        "mean_distance": jnp.sqrt(average.mean_change),
        "active_directions": active_directions(evaluation.mean),
        "mean_variance_per_unit": jnp.var(evaluation.mean, axis=-2),
        "decoder_sigma": jnp.exp(model.log_sigma(config, params)) if known else jnp.array(jnp.nan),
    }


def judge_collapse(figures: Mapping[str, Any]) -> Collapse:
    """The verdict on one lane of `collapse_figures`, or on the `posterior_figures` of arrays, with
    their `output_figures` or without; numbers and lists, as in a row, will do. The evidence says
    what was not measured.

    A unit that is active by a few images alone, such as one row with a wrong number, counts as
    dead: without them (`bulk_variance_per_unit`) it is not active, and has less than half of its
    variance.

    Raises:
        LabError: no KL, so nothing that could collapse: an AE, or a model that diverged.
    """
    if figures["kl_nats"] is None or not math.isfinite(figures["kl_nats"]):
        raise LabError("No KL, no collapse: judge VAEs that have not diverged, not an AE.")
    whole = np.asarray(figures["mean_variance_per_unit"], float)
    bulk = np.asarray(figures.get("bulk_variance_per_unit", whole), float)
    by_few = (whole > ACTIVE_VARIANCE) & (bulk <= ACTIVE_VARIANCE) & (bulk < whole / 2)
    variances = np.where(by_few, bulk, whole).tolist()
    few, dead = (
        tuple(np.flatnonzero(units).tolist())
        for units in (by_few, np.asarray(variances) <= ACTIVE_VARIANCE)
    )
    verdict = "healthy" if not dead else "partial" if len(dead) < len(variances) else "total"
    evidence = _evidence(figures, variances, dead)
    if few:
        names = ", ".join(map(str, few))
        evidence += (f"Active by a hundredth of the inputs alone, and counted as dead: {names}",)
    return Collapse(verdict, dead, evidence, _uses_code(figures), few)


def _uses_code(figures: Mapping[str, Any]) -> bool:
    """Whether outputs vary, and shuffled codes cost something: as much as an output does that
    varies by `OUTPUT_VARIANCE_RATIO`, which adds twice this share of the variance to the error."""
    ratio = figures.get("output_variance_ratio")
    if ratio is None or math.isnan(ratio):
        return True
    shuffled = figures.get("shuffled_mse", math.inf)
    least = (1 + 2 * OUTPUT_VARIANCE_RATIO) * figures.get("reconstruction_mse", 0)
    return bool(ratio >= OUTPUT_VARIANCE_RATIO and shuffled >= least)


def _evidence(
    figures: Mapping[str, Any], variances: list[float], dead: tuple[int, ...]
) -> tuple[str, ...]:
    total = len(variances)
    names = f"; dead: {', '.join(map(str, dead))} (from 0)" if 0 < len(dead) < total else ""
    return (
        f"{total - len(dead)} of {total} units are active{names}; the largest variance of a "
        f"posterior mean over images is {max(variances):.3g} (active: above {ACTIVE_VARIANCE:g})",
        f"KL: {figures['kl_nats']:.3g} nats, {max(figures['kl_per_unit_nats']):.3g} of them in the "
        "largest unit (in collapse: 0)",
        f"Mutual information of image and code: {figures['mi_nats']:.3g} nats "
        f"(at most log n = {figures['mi_ceiling_nats']:.3g})",
        _how_outputs_vary(figures),
        _what_shuffling_does(figures),
        f"Codes of two images are {figures['code_distance']:.3g} apart, their posterior means "
        f"{figures['mean_distance']:.3g} (in collapse: 0, and codes differ by noise alone)",
    )


def _how_outputs_vary(figures: Mapping[str, Any]) -> str:
    if "output_variance_ratio" not in figures:
        return "Without both x and x_mean, how much outputs vary could not be compared"
    ratio = figures["output_variance_ratio"]
    if ratio is None or math.isnan(ratio):  # NaN is null in a row
        return "All images are equal: how much outputs vary cannot be compared"
    return (
        f"Outputs vary {float(ratio):.3g} times as much as the images "
        f"(in collapse: below {OUTPUT_VARIANCE_RATIO:g})"
    )


def _what_shuffling_does(figures: Mapping[str, Any]) -> str:
    """In nats where the likelihood is known, in squared error where only arrays are."""
    if "shuffled_gap_nats" in figures:
        return (
            f"Shuffling codes between images costs {figures['shuffled_gap_nats']:.3g} nats "
            "(in collapse: 0)"
        )
    if "shuffled_mse" in figures:
        return (
            "Shuffling codes between images changes the squared error of a pixel from "
            f"{figures['reconstruction_mse']:.3g} to {figures['shuffled_mse']:.3g} "
            "(in collapse: no change)"
        )
    return "Without both x and x_mean, what shuffled codes do to outputs could not be measured"
