"""vaejax.collapse: channels of known information, linear models, and where the verdict turns."""

import json
import math
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from vaejax import collapse, diagnostics, loss, model, records
from vaejax.collapse import judge, measure, mutual_information, pairs
from vaejax.config import Config
from vaejax.errors import LabError

CONFIG = Config(image_shape=(2, 2, 1), latent_size=3, encoder_widths=(5,), decoder_widths=(5,))
LINEAR = Config(
    image_shape=(2, 2, 1),
    latent_size=4,
    encoder_widths=(),
    decoder_widths=(),
    likelihood="gaussian",
    output="linear",
)
KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (300, 4), np.uint8)
IDENTITY, NOTHING = np.eye(4), np.zeros((4, 4))
MANY = 18_000  # images, where pairs are drawn often
SE = 5  # standard errors that a Monte Carlo estimate may be off: 6e-7 of all keys are further


def dense(kernel: np.ndarray, bias: np.ndarray) -> dict[str, Any]:
    layer = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    return {"params": {"Dense_0": layer}}


def linear(encode: np.ndarray, sigma: float, decode: np.ndarray) -> model.Params:
    """Posterior `N(x encode, sigma^2)`, output `z decode`."""
    bias = np.repeat([0, 2 * math.log(sigma)], 4)
    encoder = dense(np.hstack([encode, NOTHING]), bias)
    return {"encoder": encoder, "decoder": dense(decode, np.zeros(4))}


def random_params(config: Config, seed: int = 0) -> model.Params:
    leaves, tree = jax.tree.flatten(jax.eval_shape(partial(model.init, config), KEY))
    rng = np.random.default_rng(seed)
    drawn = [jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) for leaf in leaves]
    return jax.tree.unflatten(tree, drawn)


def stacked(*lanes: model.Params) -> model.Params:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *lanes)


def measured(config: Config, params: model.Params, images: np.ndarray = IMAGES) -> dict[str, Any]:
    """The figures of a single model."""
    return diagnostics.lane_of(measure(config, stacked(params), images, KEY), 0)


@cache
def jitted_pairs(config: Config) -> Any:
    return jax.jit(partial(pairs, config))


def compiled_pairs(config: Config, params: model.Params, images: np.ndarray) -> Any:
    """In float64, on the host."""
    return jax.tree.map(np.float64, jitted_pairs(config)(params, images, KEY))


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
    [(2, 1, 1.0), (5, 3, 0.3), (127, 2, 0.3), (128, 2, 0.3), (129, 10, 1.0), (300, 2, 1e-3)],
)
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


def test_chunks_do_not_matter(monkeypatch) -> None:
    channel = posterior(300, 2, 0.3)
    whole = mutual_information(*channel)
    monkeypatch.setattr(collapse, "CHUNK", 7)
    function: Any = mutual_information
    chunked = function.__wrapped__(*channel)  # traced anew
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)


def test_lanes_have_the_information_of_single_models() -> None:
    lanes = [posterior(140, 2, sigma) for sigma in (0.1, 0.5, 2.0)]
    alone = [mutual_information(*lane) for lane in lanes]
    together = mutual_information(*(jnp.stack(rows) for rows in zip(*lanes, strict=True)))
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    assert together[0] > together[1] > together[2]


@pytest.mark.parametrize("ratios", [[0.5], [3.0], [1.0, 3.0], [0.2, 1.0, 2.0]])
def test_a_gaussian_channel_has_its_closed_form(ratios: list[float]) -> None:
    """`1/2 log(1 + signal variance / noise variance)`, and units add up."""
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


def test_two_images_in_equal_parts_are_one_bit() -> None:
    mean = jnp.where(jnp.arange(1000)[:, None] < 500, -5.0, 5.0) * jnp.ones(3)
    code = mean + 0.1 * jax.random.normal(KEY, mean.shape)
    got = mutual_information(mean, jnp.full_like(mean, 2 * math.log(0.1)), code)
    np.testing.assert_allclose(got, math.log(2), rtol=1e-5)


def test_a_posterior_that_is_the_same_for_all_images_says_nothing() -> None:
    mean, logvar, code = posterior(777, 5, 0.3)
    got = mutual_information(mean * 0 + 2, logvar * 0 - 1, code)
    np.testing.assert_allclose(got, 0, atol=1e-6)


@pytest.mark.parametrize("sigma", [1e-12, 1e-4, 0.1, 1.0, 10.0])
def test_information_lies_between_0_and_both_bounds(sigma: float) -> None:
    """`log n`, and the KL to any prior; from 0 up to the noise of the estimate."""
    mean, logvar, code = posterior(300, 2, sigma)
    got = mutual_information(mean, logvar, code)
    assert -0.1 < got <= math.log(300) * (1 + 1e-6)
    assert got < loss.kl_divergence(mean, logvar).sum(-1).mean() + 0.1
    if sigma < 1e-3:
        np.testing.assert_allclose(got, math.log(300), rtol=1e-5)


@pytest.mark.parametrize("n", [2, 3, 10, 1001])
def test_partners_are_one_circle_through_all_images(n: int) -> None:
    """So nobody is its own partner, and each is the partner of one."""
    got = np.asarray(collapse.partners(KEY, n))
    image, seen = 0, set()
    for _ in range(n):
        image = got[image]
        seen.add(int(image))
    assert seen == set(range(n))
    if n > 3:
        assert not np.array_equal(got, collapse.partners(jax.random.key(1), n))


SIGNED = replace(CONFIG, likelihood="gaussian", output="tanh", pixel_range="signed")


@pytest.mark.parametrize(
    "config",
    [replace(CONFIG, model="ae"), replace(SIGNED, model="ae"), CONFIG],
    ids=["ae", "signed", "vae"],
)
def test_pairs_are_those_of_a_plain_loop(config: Config, monkeypatch) -> None:
    """With a known partner, one pair at a time; codes are means: of an AE, or by a tiny noise."""
    images, partner = IMAGES[:11], np.roll(np.arange(11), -4)
    monkeypatch.setattr(collapse, "partners", lambda key, n: jnp.asarray(partner))
    params = random_params(config)
    if config.model == "vae":
        last = params["encoder"]["params"]["Dense_1"]
        last["kernel"] = last["kernel"].at[:, 3:].set(0)
        last["bias"] = last["bias"].at[3:].set(-40)
    got = pairs(config, params, images, KEY, batch_size=4)
    unit = images / 255
    x = jnp.asarray(unit * 2 - 1 if config.pixel_range == "signed" else unit, jnp.float32)
    for index, other in enumerate(partner):
        means = [model.encode(config, params, x[row]).mean for row in (index, other)]
        logits = [model.decode(config, params, mean) for mean in means]
        outputs = [np.asarray(model.images_of(config, params, mean)) for mean in means]
        recon = [loss.neg_log_likelihood(config, one, x[index], jnp.zeros(())) for one in logits]
        want = {
            "shuffled_gap": recon[1] - recon[0],
            "input_change": np.square(unit[index] - unit[other]).mean(),
            "output_change": np.square(outputs[0] - outputs[1]).mean(),
            "mean_change": np.square(means[0] - means[1]).sum(),
            "code_change": np.square(means[0] - means[1]).sum(),
        }
        for name, value in want.items():
            one = getattr(got, name)[index]
            np.testing.assert_allclose(one, value, rtol=1e-3, atol=1e-5, err_msg=name)
    assert (got.random_change > 0).all()
    assert {len(change) for change in got} == {11}


def test_no_pair_depends_on_the_batch_size() -> None:
    config = replace(CONFIG, binarize=True)
    whole, batched = (
        pairs(config, random_params(config), IMAGES[:11], KEY, batch_size=size) for size in (99, 4)
    )
    for got, want in zip(batched, whole, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_lanes_are_paired_and_measured_like_single_models() -> None:
    lanes = [random_params(CONFIG, seed) for seed in range(2)]
    together = measure(CONFIG, stacked(*lanes), IMAGES[:40], KEY)
    for lane, params in enumerate(lanes):
        alone = measured(CONFIG, params, IMAGES[:40])
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            got = together[name][lane]
            np.testing.assert_allclose(got, value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_shuffled_codes_cost_what_a_linear_decoder_says() -> None:
    """The squared errors of the two means: drawn codes add the same noise to both, on average."""
    unit, decode = IMAGES[:2] / 255, np.random.default_rng(2).normal(size=(4, 4))
    images = np.tile(IMAGES[:2], (MANY // 2, 1))
    got = compiled_pairs(LINEAR, linear(IDENTITY / 2, 0.4, decode), images)
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
    images = np.tile(IMAGES, (MANY // 300, 1))
    got = compiled_pairs(LINEAR, linear(IDENTITY, 0.4, IDENTITY), images)
    assert_mean(got.code_change - got.mean_change, 4 * 2 * 0.4**2)


def test_binarized_pixels_are_drawn_once_for_code_and_error() -> None:
    """Code and output repeat x, so that only the partner's code costs anything, and always."""
    config = replace(LINEAR, likelihood="bernoulli", output="sigmoid", binarize=True)
    params = linear(IDENTITY, 1e-6, 20 * IDENTITY)
    params["decoder"]["params"]["Dense_0"]["bias"] = jnp.full(4, -10.0)
    grey = np.full((500, 4), 128, np.uint8)
    got = pairs(config, params, grey, KEY)
    np.testing.assert_allclose(got.shuffled_gap, 10 * got.mean_change, atol=1e-2)  # bits apart
    assert abs(got.mean_change.mean() - 2) < SE / math.sqrt(500) * 1.5
    np.testing.assert_array_equal(got.input_change, 0)  # of the images, not of what is drawn


def test_two_images_swap_the_codes_that_they_have() -> None:
    """Drawn once: whichever of the two is asked, the same two codes are compared."""
    config = replace(CONFIG, binarize=True)
    got = pairs(config, random_params(config), np.full((2, 4), 128, np.uint8), KEY)
    for change in (got.mean_change, got.code_change, got.output_change):
        np.testing.assert_allclose(change[0], change[1], rtol=1e-4)
        assert change[0] > 0


def test_a_model_that_ignores_its_input_has_collapsed() -> None:
    """Its drawn codes differ all the same: they are noise."""
    got = measured(
        LINEAR, linear(NOTHING, 1.0, RNG.normal(size=(4, 4)) / 9), np.tile(IMAGES, (9, 1))
    )
    for name in ("mi_nats", "kl_nats", "marginal_kl_nats"):
        np.testing.assert_allclose(got[name], 0, atol=1e-6, err_msg=name)
    for name in ("output_variance_ratio", "mean_distance", "mean_variance_per_unit"):
        np.testing.assert_array_equal(got[name], 0, err_msg=name)
    np.testing.assert_allclose(got["shuffled_gap_nats"], 0, atol=0.05)
    np.testing.assert_allclose(got["code_distance"], math.sqrt(2 * 4), rtol=0.05)
    assert judge(got).verdict == "total"


def test_a_decoder_that_ignores_the_code_is_in_the_evidence_not_in_the_verdict() -> None:
    got = measured(LINEAR, linear(3 * IDENTITY, 0.1, NOTHING))
    for name in ("output_variance_ratio", "random_output_ratio", "shuffled_gap_nats"):
        np.testing.assert_array_equal(got[name], 0, err_msg=name)
    assert got["mi_nats"] > 3
    verdict = judge(got)
    assert verdict.verdict == "healthy"
    assert any("Outputs vary 0 times" in line for line in verdict.evidence)


def test_a_model_that_repeats_its_input_says_all_there_is_to_say() -> None:
    assert len(np.unique(IMAGES, axis=0)) == 300
    got = measured(LINEAR, linear(2 * IDENTITY, 1e-4, IDENTITY / 2))
    np.testing.assert_allclose(got["mi_nats"], math.log(300), rtol=1e-5)
    np.testing.assert_allclose(got["mi_ceiling_nats"], math.log(300), rtol=1e-6)
    np.testing.assert_allclose(got["output_variance_ratio"], 1, rtol=1e-5)
    np.testing.assert_allclose(got["code_distance"], got["mean_distance"], rtol=1e-3)
    np.testing.assert_allclose(got["mean_variance_per_unit"], (IMAGES / 255 * 2).var(0), rtol=1e-4)
    assert judge(got).verdict == "healthy"


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_outputs_of_random_codes_differ_as_a_linear_decoder_says(factor: float) -> None:
    """`(|W mu|^2 averaged over images + |W|^2) / D`, for codes drawn from N(0, I)."""
    images = np.tile(IMAGES, (MANY // 300, 1))
    decode = factor * np.random.default_rng(1).normal(size=(4, 4))
    got = compiled_pairs(LINEAR, linear(IDENTITY, 1.0, decode), images)
    of_images = np.square(IMAGES / 255 @ decode).sum(1).mean()
    assert_mean(got.random_change, (of_images + np.square(decode).sum()) / 4)


def test_half_the_change_of_pairs_is_the_variance() -> None:
    """Of the images, and of a decoder that shrinks their pixels unequally."""
    images, shrink = np.tile(IMAGES, (MANY // 300, 1)), np.array([1.0, 0.5, 0.1, 0.0])
    got = compiled_pairs(LINEAR, linear(IDENTITY, 1.0, np.diag(shrink)), images)
    variances = (IMAGES / 255).var(0)
    assert_mean(got.input_change / 2, variances.mean())
    assert_mean(got.output_change / 2, (variances * shrink**2).mean())


def test_the_figures_are_those_of_the_evaluation_and_more() -> None:
    got = measured(CONFIG, random_params(CONFIG))
    evaluate_key, pairs_key = jax.random.split(KEY)
    evaluation = diagnostics.evaluate(CONFIG, random_params(CONFIG), IMAGES, evaluate_key)
    for name, value in diagnostics.summary(evaluation).items():
        np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=1e-5, err_msg=name)
    parts = got["mi_nats"] + got["marginal_kl_nats"]
    np.testing.assert_allclose(parts, got["kl_nats"], rtol=1e-5)
    exact = direct(evaluation.mean, evaluation.logvar, evaluation.code)
    np.testing.assert_allclose(got["mi_nats"], exact, rtol=1e-3)
    variances = np.var(evaluation.mean, axis=0)
    np.testing.assert_allclose(got["mean_variance_per_unit"], variances, rtol=1e-4)
    paired = jitted_pairs(CONFIG)(random_params(CONFIG), IMAGES, pairs_key)
    average = jax.tree.map(np.mean, paired)
    for name, value in {
        "output_variance_ratio": average.output_change / average.input_change,
        "random_output_ratio": average.random_change / average.input_change,
        "shuffled_gap_nats": average.shuffled_gap,
        "code_distance": math.sqrt(average.code_change),
        "mean_distance": math.sqrt(average.mean_change),
    }.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-3, err_msg=name)
    assert math.isnan(got["decoder_sigma"])  # a Bernoulli likelihood has none


def test_the_sigma_of_each_lane_is_its_own() -> None:
    config = replace(LINEAR, decoder_variance="learned")
    lanes = [
        linear(IDENTITY, 1.0, IDENTITY) | {"log_sigma": jnp.float32(log_sigma)}
        for log_sigma in (-2, 0.5)
    ]
    got = measure(config, stacked(*lanes), IMAGES, KEY)
    np.testing.assert_allclose(got["decoder_sigma"], np.exp([-2, 0.5]), rtol=1e-5)
    precision = np.exp([4, -1])
    one = measured(LINEAR, lanes[0])
    want = one["shuffled_gap_nats"] * precision
    np.testing.assert_allclose(got["shuffled_gap_nats"], want, rtol=1e-3)
    assert one["decoder_sigma"] == 1


def test_an_ae_has_distances_and_changes_but_no_information() -> None:
    config = replace(CONFIG, model="ae")
    got = measured(config, random_params(config))
    for name in ("mi_nats", "kl_nats", "marginal_kl_nats"):
        assert np.isnan(got[name]).all()
    for name in ("output_variance_ratio", "shuffled_gap_nats", "mean_variance_per_unit"):
        assert np.isfinite(got[name]).all()
    assert got["code_distance"] == got["mean_distance"] > 0
    for figures in (got, json.loads(json.dumps(records.plain(got)))):
        with pytest.raises(LabError, match="No KL"):
            judge(figures)


def test_equal_images_have_no_ratio_and_one_image_no_partner() -> None:
    params = random_params(CONFIG)
    got = measured(CONFIG, params, np.tile(IMAGES[:1], (7, 1)))
    assert math.isnan(got["output_variance_ratio"])
    assert math.isnan(got["random_output_ratio"])
    for figures in (got, json.loads(json.dumps(records.plain(got)))):
        verdict = judge(figures)
        assert verdict.verdict == "total"
        assert any("All images are equal" in line for line in verdict.evidence)
    with pytest.raises(LabError, match="two or more"):
        measured(CONFIG, params, IMAGES[:1])


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
    got = judge(figures)
    assert (got.verdict, got.dead_units) == (verdict, dead)
    as_arrays = {name: np.asarray(value, np.float32) for name, value in figures.items()}
    if ratio != 0.01:  # which float32 holds as a little less
        assert judge(as_arrays)[:2] == (verdict, dead)


def test_dead_units_are_those_that_are_not_active() -> None:
    variances = np.array([0, 0.0099, 0.01, ALIVE, 0.0101, 3], np.float32)
    mean = jnp.tile(jnp.asarray([[-1.0], [1.0]]), (8, 6)) * np.sqrt(variances)
    variances = jnp.var(mean, axis=0)
    got = judge(HEALTHY | {"mean_variance_per_unit": np.asarray(variances)})
    active = np.flatnonzero(diagnostics.active_units(mean))
    assert sorted([*active, *got.dead_units]) == list(range(6))


def test_the_evidence_names_every_number_and_what_it_is_held_against() -> None:
    units, kl, information, outputs, shuffled, distances = judge(
        HEALTHY | {"mean_variance_per_unit": [0.5, 0.001, 0.002]}
    ).evidence
    for line, numbers in {
        units: ["1 of 3", "dead: 1, 2", "0.5", "above 0.01"],
        kl: ["12.3 nats", "5.67"],
        information: ["6.78 nats", "9.21"],
        outputs: ["0.765 times", "below 0.01"],
        shuffled: ["43.2 nats"],
        distances: ["2.46", "2.13"],
    }.items():
        for number in numbers:
            assert number in line
    assert "dead" not in judge(HEALTHY).evidence[0]
