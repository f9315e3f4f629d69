"""remedies: the knobs of each remedy, the best Gaussian decoder that a model can be, and how the
page judges rows that are made by hand."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaejax as vj
from experiments import remedies
from experiments.remedies import ALL, LEARNED
from tests import handmade, tiny

STEPS = 22
TRAIN, TEST = (
    vj.data.load("digits", split).images.reshape(-1, 64) / 255 for split in ("train", "test")
)


@pytest.fixture(scope="module")
def rows(finished) -> list[vj.store.Row]:
    return tiny.rows_of(finished("remedies"))


@pytest.fixture(scope="module")
def trained(finished) -> dict[str, vj.store.Trained]:
    return {run: vj.store.restore(finished("remedies") / run) for run in ("fixed", "learned")}


def test_a_row_for_every_remedy_and_seed_with_the_knobs_of_its_name(rows) -> None:
    assert [(row["remedy"], row["seed"]) for row in rows] == [(r, s) for r in ALL for s in (0, 1)]
    told = ("recon_scale", "kl_warmup", "kl_cycle", "free_bits")
    found = {row["remedy"]: tuple(row[name] for name in told) for row in rows}
    assert found == {
        "baseline": (1, 0, 0, 0),
        "warm-up": (1, 11, 0, 0),
        "cyclical": (1, 3, 6, 0),
        "free bits": (1, 0, 0, 0.5),
        "true ELBO": (32, 0, 0, 0),
        "warm-up at the ELBO": (32, 11, 0, 0),
        "cyclical at the ELBO": (32, 3, 6, 0),
        "free bits at the ELBO": (32, 0, 0, 0.5),
        "scale 6000": (6000, 0, 0, 0),
        "learned variance": (32, 0, 0, 0),
    }
    for row in rows:
        variance = "learned" if row["remedy"] == LEARNED else "fixed"
        assert row["config"]["decoder_variance"] == variance


def test_all_remedies_of_a_seed_start_alike_and_take_as_many_steps(trained, rows) -> None:
    """The same weights, batches and noise: the terms of the first batch are the same numbers."""
    start: dict[int, list[Any]] = {0: [], 1: []}
    for row in rows:
        trace = trained[row["run"]].trace
        assert row["steps"] == trace.error.shape[1] == STEPS
        first = trace.error[row["lane"], 0], trace.kl[row["lane"], 0].sum()
        start[row["seed"]].append(first)
    for of_seed in start.values():
        assert len(of_seed) == len(ALL) == 10
        np.testing.assert_allclose(of_seed, of_seed[:1] * len(ALL), rtol=1e-5)
    assert abs(start[0][0][0] - start[1][0][0]) > 1e-4


@pytest.fixture(scope="module")
def weights_of():
    """The weight of the KL at each of 4680 steps, for some knobs."""
    config = vj.Config(image_shape=(8, 8, 1), likelihood="gaussian")
    of_steps = jax.jit(jax.vmap(vj.loss.annealed_kl_weight, (None, 0)))
    steps = jnp.arange(4680)
    return lambda chosen: np.asarray(of_steps(vj.knobs(config, **chosen), steps))


@pytest.mark.parametrize("steps", [22, *range(29, 41), 100, 4680])
def test_every_warm_up_is_over_before_the_run_is(steps, weights_of) -> None:
    flags = remedies.RemediesFlags()
    baseline, *others = remedies.remedies(flags, steps).values()
    assert baseline == {"recon_scale": 1}
    for chosen in others:
        weights = weights_of(chosen)[:steps]
        assert weights[-1] == 1
        from_nothing = (weights == 0).sum()
        assert from_nothing == (4 if "kl_cycle" in chosen else 1 if "kl_warmup" in chosen else 0)


def relu_net(layers: Any, inputs: np.ndarray) -> np.ndarray:
    one, two = layers["Dense_0"], layers["Dense_1"]
    return np.maximum(inputs @ one["kernel"] + one["bias"], 0) @ two["kernel"] + two["bias"]


def test_the_fitted_variance_is_the_mean_squared_error_of_codes_on_training_images(
    trained, rows
) -> None:
    """Against a forward pass in numpy, with noise of its own."""
    rng = np.random.default_rng(0)
    for row in rows:
        params = vj.measure.lane_of(trained[row["run"]].state.params, row["lane"])
        mean, logvar = np.split(relu_net(params["encoder"]["params"], TRAIN), 2, axis=1)
        code = mean + np.exp(logvar / 2) * rng.normal(size=mean.shape)
        output = 1 / (1 + np.exp(-relu_net(params["decoder"]["params"], code)))
        want = np.sqrt(np.square(output - TRAIN).mean())
        assert row["fitted_sigma"] == pytest.approx(want, rel=5e-3)
        if row["remedy"] == LEARNED:
            assert row["decoder_sigma"] == pytest.approx(float(np.exp(params["log_sigma"])))


def test_the_nll_of_a_decoder_without_a_code_is_that_of_a_gaussian(finished, trained) -> None:
    """With the prior for a posterior, all weights are equal: the NLL has a closed form, whatever
    the variance."""
    lab = tiny.open_lab("remedies", finished("remedies").parent)
    for name, declared in (("fixed", 1.0), ("learned", 0.3)):
        params = jax.tree.map(np.zeros_like, trained[name].state.params)
        if name == "learned":
            params["log_sigma"] = np.full_like(params["log_sigma"], math.log(declared))
        blind = trained[name]._replace(state=trained[name].state._replace(params=params))
        for row in remedies.measure(lab, blind):
            fitted = np.sqrt(np.square(TRAIN - 0.5).mean())
            assert row["fitted_sigma"] == pytest.approx(fitted, rel=1e-5)
            error = np.square(TEST - 0.5).mean()
            for sigma, figure in ((declared, "nll_nats"), (fitted, "nll_fitted_nats")):
                want = 32 * (np.log(2 * np.pi * sigma**2) + error / sigma**2)
                assert row[figure] == pytest.approx(want, rel=1e-4)
            assert row["nll_fitted_ess"] == pytest.approx(5, rel=1e-4)
            assert row["collapse"] == "total"


def test_what_has_diverged_is_left_out_of_figures_and_decides_nothing(finished, rows) -> None:
    left = [row for row in rows if row["remedy"] != "warm-up"]
    found = handmade.verdicts("remedies", left)
    assert found["B4, learned variance has the least nll_fitted_nats"] is None
    assert found["B4, warm-up"] is None
    lab = tiny.open_lab("remedies", finished("remedies").parent)

    def titles(rows: list[vj.store.Row]) -> dict[str, list[str]]:
        """What each figure shows, in the order of its pictures."""
        figures = remedies.figures(lab, rows)
        assert len(figures) == 3
        return {
            name: [
                text
                for axes in figure.axes
                for text in (axes.get_title(loc="left"), axes.get_title(), axes.get_ylabel())
                if text
            ]
            for name, figure in figures.items()
        }

    with_it, without = titles(rows), titles(left)
    for name in ("samples", "reconstructions"):
        assert with_it[name] != without[name]
        left_out = re.compile("warm-up(?! at the ELBO)")
        assert [title for title in with_it[name] if not left_out.match(title)] == without[name]
