"""measure.collapse: channels of known information, linear models, and where the verdict turns.

What costs here is compiling: models are measured two at a time, on 300 images, so that tests share
their programs.
"""

import json
import math
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from tests.test_elbo import KEY, SE, compiled, dense, random_params, stacked
from vaejax import loss, model
from vaejax.config import Config
from vaejax.errors import LabError
from vaejax.measure.batched import lane_of, over_lanes
from vaejax.measure.collapse import collapse_figures, judge_collapse
from vaejax.measure.elbo import evaluate, summary
from vaejax.measure.information import mutual_information
from vaejax.measure.pairing import pairs, partners
from vaejax.store import records

CONFIG = Config(image_shape=(3, 2, 1), latent_size=4, encoder_widths=(5,), decoder_widths=(5,))
AE = replace(CONFIG, model="ae")
SIGNED_AE = replace(AE, likelihood="gaussian", output="tanh", pixel_range="signed")
LINEAR = Config(
    image_shape=(2, 2, 1),
    latent_size=4,
    encoder_widths=(),
    decoder_widths=(),
    likelihood="gaussian",
    output="linear",
)
BITS = replace(LINEAR, likelihood="bernoulli", output="sigmoid", binarize=True)
RNG = np.random.default_rng(0)
N = 300  # images
IMAGES = RNG.integers(0, 256, (N, 6), np.uint8)
FOUR = IMAGES[:, :4]  # pixels, of images for LINEAR and BITS
IDENTITY, NOTHING = np.eye(4), np.zeros((4, 4))
MANY = 18_000  # images, where pairs are drawn often


def linear(encode: np.ndarray, sigma: float, decode: np.ndarray) -> model.Params:
    """Posterior `N(x encode, sigma^2)`, output `z decode`."""
    bias = np.repeat([0, 2 * math.log(sigma)], 4)
    encoder = dense(np.hstack([encode, NOTHING]), bias)
    return {"encoder": encoder, "decoder": dense(decode, np.zeros(4))}


def measured(config: Config, images: np.ndarray, *models: model.Params) -> list[dict[str, Any]]:
    """The figures of each model."""
    figures = collapse_figures(config, stacked(*models), images, KEY)
    return [lane_of(figures, lane) for lane in range(len(models))]


def many_pairs(params: model.Params, images: np.ndarray) -> Any:
    """Pairs of a linear model, of few images repeated; in float64, on the host."""
    repeated = np.tile(images, (MANY // len(images), 1))
    return jax.tree.map(np.float64, compiled(pairs, LINEAR)(params, repeated, KEY))


def assert_mean(draws: np.ndarray, exact: float) -> None:
    assert abs(draws.mean() - exact) < SE * draws.std() / math.sqrt(len(draws))


def posterior(n: int, latent: int, sigma: float) -> list[Any]:
    """Means, log variances and codes of n unlike posteriors, float32."""
    rng = np.random.default_rng(n)
    mean, noise = rng.normal(size=(2, n, latent))
    logvar = 2 * math.log(sigma) + rng.normal(size=(n, latent)) / 2
    code = mean + np.exp(logvar / 2) * noise
    return [jnp.asarray(rows, jnp.float32) for rows in (mean, logvar, code)]


def direct(mean: Any, logvar: Any, code: Any) -> float:
    """Mutual information in float64, all densities at once."""
    mean, logvar, code = map(np.float64, (mean, logvar, code))
    squares = np.square(code[:, None] - mean) / np.exp(logvar)
    log_q = -(squares + logvar + math.log(2 * math.pi)).sum(-1) / 2
    log_aggregated = scipy.special.logsumexp(log_q, axis=1) - math.log(len(mean))
    return (np.diag(log_q) - log_aggregated).mean()


@pytest.mark.parametrize(
    ("n", "latent", "sigma"),
    [(2, 1, 1.0), (5, 3, 0.3), (127, 2, 0.3), (128, 2, 0.3), (129, 10, 1.0),
     *((N, 4, sigma) for sigma in (1e-12, 1e-3, 10.0))],
)  # fmt: skip
def test_information_is_that_of_a_direct_computation(n: int, latent: int, sigma: float) -> None:
    """Below, at and above one chunk of 128, with a remainder and without."""
    channel = posterior(n, latent, sigma)
    np.testing.assert_allclose(mutual_information(*channel), direct(*channel), rtol=1e-4, atol=1e-6)


def test_narrow_posteriors_are_not_rounded_away() -> None:
    """Pairs of neighbours two deviations apart, far from 0, where squares have no digits left."""
    sigma, n = 1e-3, 200
    mean = 3 + np.arange(n)[:, None] // 2 * 0.1 + np.arange(n)[:, None] % 2 * 2 * sigma
    code = mean + sigma * np.random.default_rng(0).normal(size=(n, 1))
    channel = [jnp.asarray(rows, jnp.float32) for rows in (mean, mean * 0, code)]
    channel[1] += 2 * math.log(sigma)
    exact = direct(*channel)
    assert math.log(n / 2) < exact < math.log(n) - 0.1
    np.testing.assert_allclose(mutual_information(*channel), exact, rtol=1e-4)


@pytest.mark.parametrize(
    "ratios", [[0.5, 0.0, 0.0], [3.0, 0.0, 0.0], [1.0, 3.0, 0.0], [0.2, 1.0, 2.0]]
)
def test_a_gaussian_channel_has_its_closed_form(ratios: list[float]) -> None:
    """`1/2 log(1 + signal variance / noise variance)`, and units add up; one without a signal adds
    nothing."""
    n, sigma = 5000, 0.5
    rng = np.random.default_rng(len(ratios))
    deviation = sigma * np.sqrt(ratios)
    mean = deviation * rng.normal(size=(n, len(ratios)))
    code = mean + sigma * rng.normal(size=mean.shape)
    channel = [jnp.asarray(rows, jnp.float32) for rows in (mean, mean * 0, code)]
    channel[1] += 2 * math.log(sigma)
    exact = np.log1p(ratios).sum() / 2
    # the information of each draw, of which `exact` is the expectation
    draws = np.square(code) / (sigma**2 + deviation**2) - np.square((code - mean) / sigma)
    assert abs(mutual_information(*channel) - exact) < SE * draws.sum(1).std() / 2 / math.sqrt(n)


def circle(key: Any, n: int) -> np.ndarray:
    return np.asarray(jax.jit(partners, static_argnums=1)(key, n))


@pytest.mark.parametrize("n", [2, 3, 10, 1001])
def test_partners_are_one_circle_through_all_images(n: int) -> None:
    """So nobody is its own partner, and each is the partner of one."""
    got = circle(KEY, n)
    image, seen = 0, set()
    for _ in range(n):
        image = got[image]
        seen.add(int(image))
    assert seen == set(range(n))
    if n > 3:
        assert not np.array_equal(got, circle(jax.random.key(1), n))


@pytest.mark.parametrize("config", [SIGNED_AE, CONFIG], ids=["signed ae", "vae"])
def test_pairs_are_those_of_a_plain_loop(config: Config) -> None:
    """One pair at a time, with the partner that the key gives an image; codes are means: of an AE,
    or by a tiny noise."""
    partner = circle(jax.random.split(KEY)[0], N)
    params = jax.tree.map(np.copy, random_params(config))
    if config.model == "vae":
        last = params["encoder"]["params"]["Dense_1"]
        last["kernel"][:, 4:] = 0
        last["bias"][4:] = -40
    got = lane_of(over_lanes(pairs, config)(stacked(params, params), IMAGES, KEY), 0)
    unit = (IMAGES / 255).astype(np.float32)

    @jax.jit
    def changes(own: Any, other: Any) -> dict[str, Any]:
        x, of_other = (2 * row - 1 if config is SIGNED_AE else row for row in (own, other))
        means = [model.encode(config, params, row).mean for row in (x, of_other)]
        logits = [model.decode(config, params, mean) for mean in means]
        outputs = [model.images_of(config, params, mean) for mean in means]
        recon = [loss.neg_log_likelihood(config, one, x, jnp.zeros(())) for one in logits]
        return {
            "shuffled_gap": recon[1] - recon[0],
            "input_change": jnp.square(own - other).mean(),
            "output_change": jnp.square(outputs[0] - outputs[1]).mean(),
            "mean_change": jnp.square(means[0] - means[1]).sum(),
            "code_change": jnp.square(means[0] - means[1]).sum(),
        }

    for index in range(11):
        for name, value in changes(unit[index], unit[partner[index]]).items():
            one = getattr(got, name)[index]
            np.testing.assert_allclose(one, value, rtol=1e-3, atol=1e-5, err_msg=name)
    assert (got.random_change > 0).all()
    assert {len(change) for change in got} == {N}


def test_shuffled_codes_cost_what_a_linear_decoder_says() -> None:
    """The squared errors of the two means: drawn codes add the same noise to both, on average."""
    unit, decode = FOUR[:2] / 255, np.random.default_rng(2).normal(size=(4, 4))
    got = many_pairs(linear(IDENTITY / 2, 0.4, decode), FOUR[:2])
    error = np.square(unit[:, None] / 2 @ decode - unit).sum(-1) / 2  # of whose code, of image
    shuffled = got.input_change > 0  # or else the partner is the same picture, another draw
    assert 0.4 < shuffled.mean() < 0.6
    for image in range(2):
        own = np.arange(MANY) % 2 == image
        of_other, of_same = got.shuffled_gap[own & shuffled], got.shuffled_gap[own & ~shuffled]
        assert_mean(of_other, error[1 - image, image] - error[image, image])
        assert_mean(of_same, 0)
        assert of_same.std() > 0.1


def test_drawn_codes_are_further_apart_than_means_by_both_their_noises() -> None:
    got = many_pairs(linear(IDENTITY, 0.4, IDENTITY), FOUR)
    assert_mean(got.code_change - got.mean_change, 4 * 2 * 0.4**2)


def test_binarized_pixels_are_drawn_once_for_code_and_error() -> None:
    """Code and output repeat x, so that only the partner's code costs anything, and always."""
    params = linear(IDENTITY, 1e-6, 20 * IDENTITY)
    params["decoder"]["params"]["Dense_0"]["bias"] = np.full(4, -10, np.float32)
    got = compiled(pairs, BITS)(params, np.full((N, 4), 128, np.uint8), KEY)
    np.testing.assert_allclose(got.shuffled_gap, 10 * got.mean_change, atol=1e-2)  # bits apart
    assert abs(got.mean_change.mean() - 2) < SE / math.sqrt(N) * 1.5
    np.testing.assert_array_equal(got.input_change, 0)  # of the images, not of what is drawn


def test_two_images_swap_the_codes_that_they_have() -> None:
    """Drawn once: whichever of the two is asked, the same two codes are compared."""
    got = compiled(pairs, BITS)(random_params(BITS), np.full((2, 4), 128, np.uint8), KEY)
    for change in (got.mean_change, got.code_change, got.output_change):
        np.testing.assert_allclose(change[0], change[1], rtol=1e-4)
        assert change[0] > 0


IGNORES_INPUT = linear(NOTHING, 1.0, np.random.default_rng(4).normal(size=(4, 4)) / 9)
IGNORES_CODE = linear(3 * IDENTITY, 0.1, NOTHING)
REPEATS_INPUT = linear(2 * IDENTITY, 1e-4, IDENTITY / 2)
SHOWS_CODE = linear(IDENTITY, 1.0, IDENTITY)


def test_a_model_that_ignores_its_input_has_collapsed() -> None:
    """Its drawn codes differ all the same: they are noise."""
    got, _ = measured(LINEAR, FOUR, IGNORES_INPUT, IGNORES_CODE)
    for name in ("mi_nats", "kl_nats", "marginal_kl_nats"):
        np.testing.assert_allclose(got[name], 0, atol=1e-6, err_msg=name)
    for name in ("output_variance_ratio", "mean_distance", "mean_variance_per_unit"):
        np.testing.assert_array_equal(got[name], 0, err_msg=name)
    assert judge_collapse(got).verdict == "total"
    drawn = many_pairs(IGNORES_INPUT, FOUR)
    error = SE / math.sqrt(N)  # of an average over images, in standard deviations
    assert abs(got["shuffled_gap_nats"]) < error * drawn.shuffled_gap.std()
    assert abs(got["code_distance"] ** 2 - 2 * 4) < error * drawn.code_change.std()
    assert_mean(drawn.shuffled_gap, 0)
    assert_mean(drawn.code_change, 2 * 4)
    np.testing.assert_array_equal(drawn.output_change, 0)


def test_a_decoder_that_ignores_the_code_is_in_the_evidence_not_in_the_verdict() -> None:
    _, got = measured(LINEAR, FOUR, IGNORES_INPUT, IGNORES_CODE)
    for name in ("output_variance_ratio", "random_output_ratio", "shuffled_gap_nats"):
        np.testing.assert_array_equal(got[name], 0, err_msg=name)
    assert got["mi_nats"] > 3
    verdict = judge_collapse(got)
    assert verdict.verdict == "healthy"
    assert any("Outputs vary 0 times" in line for line in verdict.evidence)


def test_a_model_that_repeats_its_input_says_all_there_is_to_say() -> None:
    assert len(np.unique(FOUR, axis=0)) == N
    got, _ = measured(LINEAR, FOUR, REPEATS_INPUT, SHOWS_CODE)
    np.testing.assert_allclose(got["mi_nats"], math.log(N), rtol=1e-5)
    np.testing.assert_allclose(got["mi_ceiling_nats"], math.log(N), rtol=1e-6)
    np.testing.assert_allclose(got["output_variance_ratio"], 1, rtol=1e-5)
    np.testing.assert_allclose(got["code_distance"], got["mean_distance"], rtol=1e-3)
    np.testing.assert_allclose(got["mean_variance_per_unit"], (FOUR / 255 * 2).var(0), rtol=1e-4)
    assert judge_collapse(got).verdict == "healthy"


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_outputs_of_random_codes_differ_as_a_linear_decoder_says(factor: float) -> None:
    """`(|W mu|^2 averaged over images + |W|^2) / D`, for codes drawn from N(0, I)."""
    decode = factor * np.random.default_rng(1).normal(size=(4, 4))
    got = many_pairs(linear(IDENTITY, 1.0, decode), FOUR)
    of_images = np.square(FOUR / 255 @ decode).sum(1).mean()
    assert_mean(got.random_change, (of_images + np.square(decode).sum()) / 4)


def test_the_figures_of_lanes_are_those_of_single_models_and_more() -> None:
    """Of models that are evaluated and paired alone, with the two keys that the key splits into."""
    models = [random_params(CONFIG, seed) for seed in range(2)]
    got = collapse_figures(CONFIG, stacked(*models), IMAGES, KEY)
    evaluations, all_pairs = (
        stacked(*(compiled(function, CONFIG)(one, IMAGES, key) for one in models))
        for function, key in zip((evaluate, pairs), jax.random.split(KEY), strict=True)
    )
    evaluation = jax.tree.map(jnp.asarray, evaluations)
    averages = summary(evaluation)
    for name, value in averages.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    average = jax.tree.map(lambda changes: changes.mean(-1), all_pairs)
    channels = zip(evaluation.mean, evaluation.logvar, evaluation.code, strict=True)
    wanted = {
        "mi_nats": [direct(*channel) for channel in channels],
        "mi_ceiling_nats": [math.log(N)] * 2,
        "output_variance_ratio": average.output_change / average.input_change,
        "random_output_ratio": average.random_change / average.input_change,
        "shuffled_gap_nats": average.shuffled_gap,
        "code_distance": np.sqrt(average.code_change),
        "mean_distance": np.sqrt(average.mean_change),
        "active_directions": [
            (np.linalg.eigvalsh(np.cov(mean.T)) > 0.01).sum() for mean in evaluations.mean
        ],
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-3, err_msg=name)
    parts = got["mi_nats"] + got["marginal_kl_nats"]
    np.testing.assert_allclose(parts, got["kl_nats"], rtol=1e-5)
    variances = evaluations.mean.var(-2)
    np.testing.assert_allclose(got["mean_variance_per_unit"], variances, rtol=1e-4)
    assert np.isnan(got["decoder_sigma"]).all()  # a Bernoulli likelihood has none
    others = {"marginal_kl_nats", "mean_variance_per_unit", "decoder_sigma"}
    assert got.keys() == averages.keys() | wanted.keys() | others


def test_the_sigma_of_each_lane_is_its_own() -> None:
    config = replace(LINEAR, decoder_variance="learned")
    lanes = [SHOWS_CODE | {"log_sigma": np.float32(log_sigma)} for log_sigma in (-2, 0.5)]
    got = collapse_figures(config, stacked(*lanes), FOUR, KEY)
    np.testing.assert_allclose(got["decoder_sigma"], np.exp([-2, 0.5]), rtol=1e-5)
    precision = np.exp([4, -1])
    _, one = measured(LINEAR, FOUR, REPEATS_INPUT, SHOWS_CODE)
    want = one["shuffled_gap_nats"] * precision
    np.testing.assert_allclose(got["shuffled_gap_nats"], want, rtol=1e-3)
    assert one["decoder_sigma"] == 1


def test_an_ae_has_distances_and_changes_but_no_information() -> None:
    got, _ = measured(AE, IMAGES, random_params(AE), random_params(AE, 1))
    for name in ("mi_nats", "kl_nats", "marginal_kl_nats"):
        assert np.isnan(got[name]).all()
    for name in ("output_variance_ratio", "shuffled_gap_nats", "mean_variance_per_unit"):
        assert np.isfinite(got[name]).all()
    assert got["code_distance"] == got["mean_distance"] > 0
    for figures in (got, json.loads(json.dumps(records.plain(got)))):
        with pytest.raises(LabError, match="No KL"):
            judge_collapse(figures)


def test_equal_images_have_no_ratio_and_one_image_no_partner() -> None:
    lanes = [random_params(CONFIG, seed) for seed in range(2)]
    got, _ = measured(CONFIG, np.tile(IMAGES[:1], (N, 1)), *lanes)
    assert math.isnan(got["output_variance_ratio"])
    assert math.isnan(got["random_output_ratio"])
    for figures in (got, json.loads(json.dumps(records.plain(got)))):
        verdict = judge_collapse(figures)
        assert verdict.verdict == "total"
        assert any("All images are equal" in line for line in verdict.evidence)
    one_image = partial(collapse_figures, CONFIG, stacked(*lanes), IMAGES[:1])
    with pytest.raises(LabError, match="two or more"):
        jax.eval_shape(one_image, KEY)  # traced only, which is quicker


HEALTHY = {
    "kl_nats": 12.34,
    "kl_per_unit_nats": [4.56, 5.67, 2.11],
    "mi_nats": 6.78,
    "mi_ceiling_nats": 9.21,
    "output_variance_ratio": 0.765,
    "shuffled_gap_nats": 43.2,
    "code_distance": 2.46,
    "mean_distance": 2.13,
    "mean_variance_per_unit": [0.5, 0.9, 0.87],
}
DEAD = 0.01
ALIVE = float(np.nextafter(np.float32(0.01), np.float32(1), dtype=np.float32))


@pytest.mark.parametrize(
    ("variances", "ratio", "verdict", "dead"),
    [
        ([0.5, 0.9, 0.87], 0.765, "healthy", ()),
        ([0.5, ALIVE, 0.87], 0.01, "healthy", ()),
        ([0.5, DEAD, 0.87], 0.765, "partial", (1,)),
        ([0.0, 0.9, DEAD], 0.01, "partial", (0, 2)),
        ([0.5, 0.9, 0.87], 0.00999, "healthy", ()),
        ([DEAD, DEAD, DEAD], 0.765, "total", (0, 1, 2)),
        ([ALIVE, DEAD, DEAD], 0.765, "partial", (1, 2)),
        ([0.5, 0.9, 0.87], None, "healthy", ()),
    ],
)
def test_the_verdict_turns_at_its_thresholds(variances, ratio, verdict, dead) -> None:
    figures: dict[str, Any] = HEALTHY | {
        "mean_variance_per_unit": variances,
        "output_variance_ratio": ratio,
    }
    got = judge_collapse(figures)
    assert (got.verdict, got.dead_units) == (verdict, dead)
    as_arrays = {name: np.asarray(value, np.float32) for name, value in figures.items()}
    if ratio != 0.01:  # which float32 holds as a little less
        assert judge_collapse(as_arrays)[:2] == (verdict, dead)
