"""vaejax.train: a step, an epoch, lanes side by side, and what they are reproduced from."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vaejax import loss, parallel, train
from vaejax.config import Config, knobs, stack
from vaejax.measure import batched, elbo
from vaejax.parallel.devices import to_host
from vaejax.theory import components

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=2, encoder_widths=(8,), decoder_widths=(8,), batch_size=16
)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), dtype=np.uint8)
THREE = [{}, {"recon_scale": 3.0}, {"decay_steps": 4.0}]
epoch_order = jax.jit(train.epoch_order, static_argnums=(0, 2))
step = jax.jit(train.step, static_argnums=(0, 4))


def lanes(config, *choices):
    return stack([knobs(config, **choice) for choice in choices])


def fresh(seeds, nets=CONFIG):
    """Fresh weights depend on the nets alone: one program draws them for most Configs here."""
    return jax.vmap(partial(train.init, nets))(np.asarray(seeds, np.uint32))


def one_model(state, index=0):
    """One lane, as a model of its own; of a state on the host."""
    one = jax.tree.map(lambda leaf: leaf[index], state)
    return one._replace(key=jax.random.wrap_key_data(one.key))


def single(seed):
    return one_model(to_host(fresh([seed])))


def trained(config, choices, seeds, epochs, images=IMAGES, nets=CONFIG):
    """The state of lanes, and the trace."""
    return train.train_lanes(
        config, lanes(config, *choices), fresh(seeds, nets), jnp.asarray(images), epochs, False
    )


def evaluated(config, params, images):
    return batched.over_lanes(elbo.evaluate, config)(params, images, jax.random.key(1))


def lane(tree, index):
    return [np.asarray(leaf)[index] for leaf in jax.tree.leaves(tree)]


def assert_same_bits(a, b):
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("choices", "optimizer"),
    [
        ({"binarize": True}, optax.adam(0.01)),
        ({"optimizer": "rmsprop", "epsilon": 1e-6}, optax.rmsprop(0.01, eps=1e-6)),
        ({"beta1": 0.5, "epsilon": 1e-4}, optax.adam(0.01, b1=0.5, eps=1e-4)),
    ],
)
def test_three_steps_are_those_of_the_optimizer_of_the_config(choices, optimizer):
    config = replace(CONFIG, **choices)
    state = one_model(to_host(fresh([3], replace(CONFIG, optimizer=config.optimizer))))
    knob, own_key = knobs(config, learning_rate=0.01), state.key

    @jax.jit
    def wanted(params, opt_state, batch, number):
        key = train.key_for(own_key, train.Use.NOISE, number)
        slopes = jax.grad(loss.of_batch, has_aux=True)
        grads, _ = slopes(params, config, knob, batch, key, number)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state

    params, opt_state = state.params, jax.jit(optimizer.init)(state.params)
    for number in range(3):
        batch = IMAGES[16 * number : 16 * number + 16]
        params, opt_state = wanted(params, opt_state, batch, number)
        state, _ = step(config, knob, state, batch, False)
    for got, want in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_a_step_clips_the_gradient_that_adam_sees():
    state, batch = single(3), jnp.asarray(IMAGES[:16])

    def moment(clip_norm):
        after, _ = step(CONFIG, knobs(CONFIG, clip_norm=clip_norm), state, batch, True)
        return float(np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(after.opt_state.mu))))

    assert moment(0.01) == pytest.approx(0.1 * 0.01, rel=1e-5)  # mu is 0.1 times the gradient
    assert moment(0.0) == moment(1e6) > moment(0.01)


def test_the_learning_rate_of_a_lane_falls_along_half_a_cosine_or_not_at_all():
    choices = [(0.3, 0), (0.3, 40), (0.1, 3)]
    knob = lanes(CONFIG, *({"learning_rate": a, "decay_steps": float(n)} for a, n in choices))
    rates = train.learning_rates(knob, 50)
    assert (type(rates), rates.shape, rates.dtype) == (np.ndarray, (3, 50), np.float64)
    assert set(rates[0]) == {np.float32(0.3)}
    for of_lane, choice in zip(rates[1:], choices[1:], strict=True):
        schedule = jax.jit(optax.cosine_decay_schedule(*choice))
        np.testing.assert_allclose(of_lane, schedule(np.arange(50)), atol=1e-7)


def test_an_epoch_takes_the_steps_of_its_order():
    """Of each lane, and the trace holds their terms."""
    lanes_state, trace = trained(CONFIG, THREE, [0, 1, 2], 1)
    for index, choice in enumerate(THREE):
        state, objective = single(index), []
        for batch in np.asarray(epoch_order(CONFIG, state, len(IMAGES))):
            state, terms = step(CONFIG, knobs(CONFIG, **choice), state, IMAGES[batch], False)
            objective.append(terms.objective)
        np.testing.assert_allclose(trace.objective[index], objective, rtol=1e-5)
        for got, want in zip(
            lane(lanes_state.params, index), jax.tree.leaves(state.params), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_weights_stay_once_the_learning_rate_is_0():
    early, _ = trained(CONFIG, THREE, [0, 0, 0], 1)
    late, _ = trained(CONFIG, THREE, [0, 0, 0], 2)
    assert_same_bits(lane(early.params, 2), lane(late.params, 2))
    pairs = zip(lane(early.params, 0), lane(late.params, 0), strict=True)
    assert any((a != b).any() for a, b in pairs)


@pytest.mark.parametrize("count", [64, 70])
def test_an_epoch_takes_every_image_at_most_once_and_all_that_fill_batches(count):
    order = np.asarray(epoch_order(CONFIG, single(0), count))
    assert order.shape == (4, 16)
    assert len(set(order.ravel())) == 64
    assert set(order.ravel()) <= set(range(count))


def test_epochs_and_seeds_have_orders_of_their_own_and_repeat_them():
    first, other = (single(seed) for seed in (0, 1))
    second = first._replace(step=jnp.int32(4))
    orders = [np.asarray(epoch_order(CONFIG, s, 64)) for s in (first, second, other)]
    assert not any((orders[a] == orders[b]).all() for a, b in ((0, 1), (0, 2), (1, 2)))
    np.testing.assert_array_equal(orders[0], epoch_order(CONFIG, first, 64))


DRAWN_WITH = (train.Use.ORDER, train.Use.NOISE)


def keys_of(key):
    """Every key with which a model draws in 20 steps and epochs."""
    key = jax.random.wrap_key_data(key)
    counted = [train.key_for(key, use, count) for use in DRAWN_WITH for count in range(20)]
    return [
        tuple(jax.random.key_data(one).tolist())
        for one in (train.key_for(key, train.Use.INIT), *counted)
    ]


def test_no_two_uses_of_a_key_share_it():
    for key in parallel.init(CONFIG, [0, 1]).key:
        assert len({*keys_of(key), tuple(key.tolist())}) == 1 + 1 + 40


def test_a_branch_goes_on_from_the_weights_of_lanes_with_noise_and_orders_of_its_own():
    state = to_host(trained(CONFIG, THREE, [0, 1, 2], 1)[0])
    copies = [2, 0, 2]
    branched = train.branch(state, copies)
    for index, copied in enumerate(copies):
        for part in ("params", "opt_state", "diverged"):
            assert_same_bits(
                lane(getattr(branched, part), index), lane(getattr(state, part), copied)
            )
        assert not {*keys_of(branched.key[index])} & {*keys_of(state.key[copied])}
    assert branched.step.tolist() == [0, 0, 0]
    assert state.step.tolist() == [4, 4, 4]
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(branched))

    def order(state, index, step):
        one = one_model(state, index)._replace(step=np.int32(step))
        return np.asarray(epoch_order(CONFIG, one, 64))

    orders = [order(branched, 0, 0), order(branched, 1, 0)]
    orders += [order(state, copied, step) for copied in (2, 0) for step in (0, 4)]
    assert len({tuple(found.ravel()) for found in orders}) == len(orders)


def test_an_ae_trains_on_its_error_alone():
    config = replace(CONFIG, model="ae")
    choices = [{"recon_scale": 7.0, "kl_weight": weight} for weight in (3.0, 0.0, 1.0)]
    state, trace = trained(config, choices, [0, 0, 1], 1)
    np.testing.assert_allclose(trace.objective, 7 * np.asarray(trace.error), rtol=1e-6)
    np.testing.assert_array_equal(trace.kl, 0)
    assert_same_bits(lane(state.params, 0), lane(state.params, 1))


def test_a_diverging_lane_is_rolled_back_and_touches_no_other():
    healthy, _ = trained(CONFIG, [{}, {}, {}], [0, 1, 2], 2)
    mixed, trace = trained(CONFIG, [{}, {"learning_rate": 1e38}, {}], [0, 1, 2], 2)
    assert mixed.diverged.tolist() == [False, True, False]
    assert not np.isfinite(np.asarray(trace.objective)[1]).all()
    for index in (0, 2):
        assert_same_bits(lane(mixed.params, index), lane(healthy.params, index))
    start = fresh([1])
    assert_same_bits(lane(mixed.params, 1), lane(start.params, 0))
    assert mixed.step.tolist() == [8, 0, 8]


def test_a_linear_autoencoder_learns_the_principal_components():
    rng = np.random.default_rng(1)
    mixed = rng.normal(size=(256, 2)) @ rng.normal(size=(2, 6)) * 25 + 128
    images = np.clip(mixed + rng.normal(size=(256, 6)) * 5, 0, 255).astype(np.uint8)
    config = Config(
        image_shape=(2, 3, 1), model="ae", latent_size=2, encoder_widths=(), decoder_widths=(),
        likelihood="gaussian", output="linear", batch_size=64,
    )  # fmt: skip
    state, _ = trained(config, [{"learning_rate": 1e-3}], [0], 4000, images, config)
    mse = np.asarray(evaluated(config, state.params, images).mse).mean()
    best = components.reconstruction_mse(
        components.principal_components(components.moments(images), 2), images, 2
    )
    assert best * (1 - 1e-5) < mse < best * 1.005
