from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import diagnostics, theory, train
from vaejax.config import Config, knobs, stack
from vaejax.errors import LabError

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=2, encoder_widths=(8,), decoder_widths=(8,), batch_size=16
)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), dtype=np.uint8)


def lanes(config, *choices):
    return stack([knobs(config, **choice) for choice in choices])


def trained(config, choices, seeds, epochs, images=IMAGES):
    state = train.init_lanes(config, np.asarray(seeds, np.uint32))
    results = list(train.fit(config, lanes(config, *choices), state, images, epochs))
    return results[-1][0], [trace for _, trace in results]


def lane(tree, index):
    return [np.asarray(leaf[index]) for leaf in jax.tree.leaves(tree)]


def assert_same_bits(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_step_is_adam_on_the_gradient_of_the_objective():
    state, knob = train.init(CONFIG, jnp.uint32(3)), knobs(CONFIG, learning_rate=0.01)
    batch = jnp.asarray(IMAGES[:16])
    after, trace = train.step(CONFIG, knob, state, batch)
    noise_key = jax.random.fold_in(jax.random.split(state.key, 3)[2], 0)
    grads, _ = jax.grad(train.loss_fn, has_aux=True)(
        state.params, CONFIG, knob, batch, noise_key, state.step
    )
    adam = optax.adam(0.01)
    updates, _ = adam.update(grads, adam.init(state.params))
    expected = optax.apply_updates(state.params, updates)
    for got, want in zip(jax.tree.leaves(after.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)
    assert int(after.step) == 1
    np.testing.assert_allclose(trace.objective, 6 * trace.error + trace.kl.sum(), rtol=1e-6)


def test_the_learning_rate_falls_along_half_a_cosine_or_not_at_all():
    schedule = optax.cosine_decay_schedule(0.3, 40)
    for at in (0, 1, 10, 20, 39, 40, 1000):
        rates = [
            float(
                train.learning_rate(knobs(CONFIG, learning_rate=0.3, decay_steps=n), jnp.int32(at))
            )
            for n in (0.0, 40.0)
        ]
        assert rates[0] == np.float32(0.3)
        assert rates[1] == pytest.approx(np.asarray(schedule(at)), abs=1e-7)


def test_weights_stay_once_the_learning_rate_is_0():
    choices = [{"decay_steps": 4.0}, {}]
    early, _ = trained(CONFIG, choices, [0, 0], 1)
    late, _ = trained(CONFIG, choices, [0, 0], 2)
    assert_same_bits(lane(early.params, 0), lane(late.params, 0))
    pairs = zip(lane(early.params, 1), lane(late.params, 1), strict=True)
    assert any((a != b).any() for a, b in pairs)


@pytest.mark.parametrize("count", [64, 70])
def test_an_epoch_takes_every_image_at_most_once_and_all_that_fill_batches(count):
    state = train.init(CONFIG, jnp.uint32(0))
    order = np.asarray(train.epoch_order(CONFIG, state, count))
    assert order.shape == (4, 16)
    assert len(set(order.ravel())) == 64
    assert set(order.ravel()) <= set(range(count))


def test_epochs_and_seeds_have_orders_of_their_own_and_repeat_them():
    first, other = (train.init(CONFIG, jnp.uint32(seed)) for seed in (0, 1))
    second = first._replace(step=jnp.int32(4))
    orders = [np.asarray(train.epoch_order(CONFIG, s, 64)) for s in (first, second, other)]
    assert not any((orders[a] == orders[b]).all() for a, b in ((0, 1), (0, 2), (1, 2)))
    np.testing.assert_array_equal(orders[0], train.epoch_order(CONFIG, first, 64))


def test_one_compilation_serves_every_epoch_knob_and_seed(monkeypatch):
    calls = []
    original = train.loss_fn
    monkeypatch.setattr(train, "loss_fn", lambda *args: calls.append(1) or original(*args))
    config = Config(image_shape=(2, 3, 1), latent_size=3, batch_size=8)  # not traced before
    for rate, seed in ((1e-3, 0), (1e-2, 5)):
        trained(config, [{"learning_rate": rate}, {"recon_scale": 7.0}], [seed, seed + 1], 3)
    assert len(calls) == 1


def test_every_lane_is_its_own_single_run():
    choices = [{"learning_rate": 1e-3}, {"recon_scale": 40.0}, {"kl_weight": 0.5}]
    together, traces = trained(CONFIG, choices, [0, 1, 2], 3)
    for index, choice in enumerate(choices):
        alone, trace = trained(CONFIG, [choice], [index], 3)
        # XLA may round batched products otherwise: equal to a few float32 units, not bitwise.
        for got, want in zip(lane(together.params, index), lane(alone.params, 0), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(traces[-1].objective[index], trace[-1].objective[0], rtol=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (trained(CONFIG, [{}], [seed], 2)[0] for seed in (4, 4, 5))
    assert_same_bits(lane(first.params, 0), lane(again.params, 0))
    pairs = zip(lane(first.params, 0), lane(other.params, 0), strict=True)
    assert any((a != b).any() for a, b in pairs)


def test_epochs_in_two_parts_are_epochs_in_one():
    knob = lanes(CONFIG, {}, {"recon_scale": 3.0})
    state = train.init_lanes(CONFIG, np.asarray([0, 1], np.uint32))
    *_, (halfway, _) = train.fit(CONFIG, knob, state, IMAGES, 2)
    *_, (resumed, _) = train.fit(CONFIG, knob, halfway, IMAGES, 3)
    *_, (whole, _) = train.fit(CONFIG, knob, state, IMAGES, 5)
    raw = [jax.tree.leaves(s._replace(key=jax.random.key_data(s.key))) for s in (resumed, whole)]
    assert_same_bits(*raw)


@pytest.mark.parametrize("passes", [2, 5])
def test_epochs_of_several_to_a_call_are_epochs_one_by_one(passes):
    knob = lanes(CONFIG, {}, {"recon_scale": 3.0})
    state = train.init_lanes(CONFIG, np.asarray([0, 1], np.uint32))
    single = list(train.fit(CONFIG, knob, state, IMAGES, 5))
    several = list(train.fit(CONFIG, knob, state, IMAGES, 5, passes))
    assert [trace.error.shape[1] for _, trace in several] == {2: [8, 8, 4], 5: [20]}[passes]
    whole, parts = (
        np.concatenate([trace.objective for _, trace in results], 1)
        for results in (single, several)
    )
    np.testing.assert_array_equal(whole, parts)
    assert_same_bits(lane(single[-1][0].params, 1), lane(several[-1][0].params, 1))


def test_an_ae_trains_on_its_error_alone():
    config = replace(CONFIG, model="ae")
    choices = [{"recon_scale": 7.0, "kl_weight": 3.0}, {"recon_scale": 7.0, "kl_weight": 0.0}]
    state, (trace,) = trained(config, choices, [0, 0], 1)
    np.testing.assert_allclose(trace.objective, 7 * trace.error, rtol=1e-6)
    np.testing.assert_array_equal(trace.kl, 0)
    assert_same_bits(lane(state.params, 0), lane(state.params, 1))


def test_a_diverging_lane_is_rolled_back_and_touches_no_other():
    healthy, _ = trained(CONFIG, [{}, {}, {}], [0, 1, 2], 3)
    mixed, traces = trained(CONFIG, [{}, {"learning_rate": 1e38}, {}], [0, 1, 2], 3)
    assert mixed.diverged.tolist() == [False, True, False]
    assert not np.isfinite(traces[-1].objective[1]).all()
    for index in (0, 2):
        assert_same_bits(lane(mixed.params, index), lane(healthy.params, index))
    start = train.init_lanes(CONFIG, np.asarray([1], np.uint32))
    assert_same_bits(lane(mixed.params, 1), lane(start.params, 0))
    assert mixed.step.tolist() == [12, 0, 12]


def test_a_linear_autoencoder_learns_the_principal_components():
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(256, 2)) @ rng.normal(size=(2, 6)) * 25 + 128
    images = np.clip(mixed + rng.normal(size=(256, 6)) * 5, 0, 255).astype(np.uint8)
    config = Config(
        image_shape=(2, 3, 1), model="ae", latent_size=2, encoder_widths=(), decoder_widths=(),
        likelihood="gaussian", output="linear", batch_size=64,
    )  # fmt: skip
    state, _ = trained(config, [{"learning_rate": 1e-3}], [0], 4000, images)
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    mse = diagnostics.evaluate(config, params, images, jax.random.key(0)).mse.mean()
    best = theory.reconstruction_mse(theory.pca(images, 2), images, 2)
    assert best * (1 - 1e-5) < mse < best * 1.005


def test_dynamic_binarization_trains_on_the_bernoulli_mean_of_the_pixels():
    config = Config(image_shape=(2, 3, 1), latent_size=1, binarize=True, batch_size=64)
    images = np.full((64, 6), 51, np.uint8)  # p = 0.2 everywhere
    state, _ = trained(config, [{"learning_rate": 1e-2}], [0], 400, images)
    params = jax.tree.map(lambda leaf: leaf[0], state.params)
    recon = diagnostics.evaluate(config, params, np.tile(images, (50, 1)), jax.random.key(1)).recon
    entropy = -6 * (0.2 * np.log(0.2) + 0.8 * np.log(0.8))
    error = float(recon.std()) / np.sqrt(len(recon))
    assert abs(float(recon.mean()) - entropy) < 5 * error + 0.05


def test_too_few_images_for_a_batch_is_one_clear_error():
    state = train.init_lanes(CONFIG, np.asarray([0], np.uint32))
    with pytest.raises(LabError, match=r"10 training images fill no batch of 16.*--batch-size 10"):
        next(train.fit(CONFIG, lanes(CONFIG, {}), state, IMAGES[:10], 1))
