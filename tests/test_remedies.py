"""KL warm-up, free bits and the learned decoder variance, each against its definition."""

import math
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from vaejax import loss, model, train
from vaejax.config import Config, knobs, stack
from vaejax.errors import LabError
from vaejax.measure.elbo import evaluate
from vaejax.trained import fit

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=3, encoder_widths=(8,), decoder_widths=(8,),
    likelihood="gaussian", batch_size=16,
)  # fmt: skip
LEARNED = replace(CONFIG, decoder_variance="learned")
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), dtype=np.uint8)
NOISE = np.random.default_rng(1).normal(0.5, 0.1, (512, 6))
KEY = jax.random.key(0)

kl_weight = jax.jit(loss.annealed_kl_weight)
slopes = jax.jit(jax.value_and_grad(loss.of_batch, has_aux=True), static_argnums=1)
"""Of the objective of a batch: (objective, (error, KL)) and its gradients."""


def weights(steps, **choices):
    lane = knobs(CONFIG, **choices)
    return np.asarray([kl_weight(lane, np.int32(step)) for step in steps])


@cache
def fresh(config, lanes=1):
    """Models as they start, all from seed 0."""
    return jax.vmap(partial(train.init, config))(np.zeros(lanes, np.uint32))


def params_of(config):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], fresh(config).params)


def test_linear_warm_up_is_a_straight_line_and_then_the_full_weight():
    got = weights([0, 1, 5, 9, 10, 11, 10_000], kl_weight=3.0, kl_warmup=10.0)
    np.testing.assert_allclose(got, [0, 0.3, 1.5, 2.7, 3, 3, 3], rtol=1e-6)


def test_cyclical_warm_up_is_the_schedule_of_fu_et_al():
    total, cycles, share = 64, 4, 0.5  # their T, M and R
    period = total // cycles
    tau = (np.arange(total) % period) / period  # equations 6 and 7, f linear
    want = np.where(tau <= share, tau / share, 1)
    got = weights(range(total), kl_warmup=share * period, kl_cycle=float(period))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_training_follows_the_schedule_by_its_own_steps_also_when_resumed():
    choices = {"recon_scale": 5.0, "kl_weight": 2.0, "kl_warmup": 6.0, "kl_cycle": 11.0}
    lane = stack([knobs(CONFIG, **choices)])
    halfway, first = train.train_lanes(CONFIG, lane, fresh(CONFIG), IMAGES, 2, clips=False)
    _, second = train.train_lanes(CONFIG, lane, halfway, IMAGES, 2, clips=False)
    trace = jax.tree.map(lambda *parts: np.concatenate(parts, 1)[0], first, second)
    weight = (trace.objective - 5 * trace.error) / trace.kl.sum(-1)
    np.testing.assert_allclose(weight, weights(range(16), **choices), atol=1e-4)


@pytest.mark.parametrize("warmup", [0.0, 10.0])
def test_a_cycle_without_a_warm_up_or_shorter_than_it_is_refused(warmup):
    message = rf"kl_cycle=5 needs a kl_warmup from 1 to 5 steps.*is {warmup:g}"
    with pytest.raises(LabError, match=message):
        knobs(CONFIG, kl_warmup=warmup, kl_cycle=5.0)


def test_free_bits_are_the_larger_of_the_allowance_and_the_kl_of_each_unit():
    kl = jnp.asarray([0.2, 0.5, 3.0])
    np.testing.assert_allclose(loss.with_free_bits(kl, jnp.float32(0.5)), [0.5, 0.5, 3])
    lane = knobs(CONFIG, recon_scale=2.0, kl_weight=4.0, free_bits=0.5)
    got = loss.objective(CONFIG, lane, jnp.float32(7), kl, jnp.zeros(()), jnp.int32(0))
    np.testing.assert_allclose(got, 2 * 7 + 4 * (0.5 + 0.5 + 3), rtol=1e-6)


def test_a_unit_within_its_free_bits_is_not_pushed_and_others_are_as_without():
    def of_the_biases(free_bits):
        lane = knobs(CONFIG, recon_scale=1e-30, free_bits=free_bits)  # the KL alone
        (_, (_, kl)), grads = slopes(params_of(CONFIG), CONFIG, lane, IMAGES, KEY, jnp.int32(0))
        return grads["encoder"]["params"]["Dense_1"]["bias"].reshape(2, 3), kl

    plain, kl = of_the_biases(0.0)
    order = np.argsort(kl)
    between = float(kl[order[:2]].mean())  # the smallest and the middle one
    freed, _ = of_the_biases(between)
    np.testing.assert_allclose(freed[:, order[0]], 0, atol=1e-30)  # of the scale alone
    np.testing.assert_allclose(freed[:, order[1:]], plain[:, order[1:]], atol=1e-6)
    assert np.abs(plain[:, order[0]]).max() > 1e-3


def test_free_bits_hold_the_batch_average_not_each_image():
    params, x = params_of(CONFIG), jnp.asarray(IMAGES / 255, jnp.float32)
    kl = loss.kl_divergence(*jax.jit(model.encode, static_argnums=0)(CONFIG, params, x))
    bits = 1.01 * float(kl.mean(0).max())
    assert (kl > bits).any()  # of some images
    lane = knobs(CONFIG, recon_scale=1e-30, free_bits=bits)
    (objective, (_, charged)), _ = slopes(params, CONFIG, lane, IMAGES, KEY, jnp.int32(0))
    np.testing.assert_allclose(charged, kl.mean(0), rtol=1e-5)
    np.testing.assert_allclose(objective, 3 * bits, rtol=1e-6)


def test_the_reported_likelihood_is_the_gaussian_of_the_learned_sigma():
    params = params_of(LEARNED) | {"log_sigma": np.log(np.full((), 0.3, np.float32))}
    evaluation = jax.jit(evaluate, static_argnums=0)(LEARNED, params, IMAGES, KEY)
    output = jax.jit(model.images_of, static_argnums=0)(LEARNED, params, evaluation.code)
    want = -stats.norm.logpdf(IMAGES / 255, np.asarray(output), 0.3).sum(-1)
    np.testing.assert_allclose(evaluation.recon, want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        evaluation.neg_elbo, want + evaluation.kl.sum(-1), rtol=1e-5, atol=1e-5
    )


def test_at_the_elbo_scale_the_objective_is_the_negative_elbo_of_the_learned_sigma():
    error, kl, log_sigma = jnp.asarray([0.1, 0.4]), jnp.ones((2, 3)), jnp.log(0.3)
    got = loss.objective(LEARNED, knobs(LEARNED), error, kl, log_sigma, jnp.int32(0))
    nll = error * 6 / (2 * 0.3**2) + 6 * math.log(0.3)  # without D/2 log 2 pi
    np.testing.assert_allclose(got, nll + 3, rtol=1e-5)


def test_the_best_sigma_squared_is_the_mean_squared_error():
    """The analytic optimum of the sigma-VAE (Rybkin et al. 2021)."""
    slope = jax.grad(lambda log_sigma: loss.reconstruction_term(jnp.float32(0.04), log_sigma))
    np.testing.assert_allclose(slope(jnp.log(0.2)), 0, atol=1e-5)
    assert slope(jnp.log(0.19)) < 0 < slope(jnp.log(0.21))


REMEDIES = [
    {},
    {"kl_warmup": 5.0},
    {"free_bits": 0.1},
    {"kl_warmup": 2.0, "kl_cycle": 8.0},
    {"free_bits": 0.1, "kl_warmup": 5.0, "recon_scale": 30.0},
]
NO_CODE = {"learning_rate": 1e-2, "kl_weight": 10.0}


@cache
def trained_on_noise():
    """A lane for each remedy; in the last one the KL is too dear for any code: all is noise."""
    lanes = stack([knobs(LEARNED, **choices) for choices in [*REMEDIES, NO_CODE]])
    images = np.clip(np.rint(NOISE * 255), 0, 255).astype(np.uint8)
    trained = fit(LEARNED, lanes, (0,) * 6, images, 40, epochs_per_call=40)
    return trained.state, trained.trace.objective


def test_sigma_is_learned_from_1_to_the_noise_of_the_pixels():
    np.testing.assert_array_equal(fresh(LEARNED, 6).params["log_sigma"], 0)
    state, _ = trained_on_noise()
    np.testing.assert_allclose(np.exp(state.params["log_sigma"])[-1], 0.1, rtol=0.05)


def test_remedies_compose_in_the_lanes_of_one_program():
    state, objective = trained_on_noise()
    assert not state.diverged.any()
    assert len(set(objective[:5, -1].tolist())) == 5  # of one seed, but none as another


@pytest.mark.parametrize("change", [{"likelihood": "bernoulli"}, {"model": "ae"}])
def test_what_has_no_decoder_variance_cannot_learn_it(change):
    with pytest.raises(LabError, match="decoder_variance='learned' needs"):
        replace(LEARNED, **change)
