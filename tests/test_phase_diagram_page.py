"""phase_diagram: its nets and scales, what the page says of nets whose figures are known, and how
it judges rows that are made by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import vaejax as vj
from experiments import phase_diagram
from tests import tiny

IMAGES = vj.data.load("digits", "train").images.reshape(-1, 64)
MOMENTS = vj.theory.moments(IMAGES)


@pytest.fixture(scope="module")
def lab(finished) -> Any:
    return tiny.open_lab("phase_diagram", finished("phase_diagram").parent)


@pytest.fixture(scope="module")
def trained(lab) -> dict[str, vj.store.Trained]:
    return {run: lab.trained(run) for run in lab.runs}


def test_a_row_says_at_which_multiple_of_the_threshold_it_is(finished) -> None:
    for row in tiny.rows_of(finished("phase_diagram")):
        net, likelihood = row["run"].split("-")
        assert net == "linear"
        assert row["config"]["likelihood"] == likelihood
        config = vj.Config(image_shape=(8, 8, 1), likelihood=likelihood)
        first = vj.theory.thresholds_of(config, MOMENTS, 1)[0]
        assert row["recon_scale"] == pytest.approx(row["times"] * first, rel=1e-3)
        assert (row["steps"], row["decay_steps"], row["kl_warmup"]) == (44, 44, 11)
        assert len(row["threshold_times"]) == 2


def test_the_images_are_the_first_ones_and_the_threshold_is_of_them(tmp_path) -> None:
    few = tiny.open_lab("phase_diagram", tmp_path, "--train-images", 256)
    np.testing.assert_array_equal(few.train, IMAGES[:256])
    run = few.runs["linear-gaussian"]
    assert run.images.train == few.split == "train[:256]"
    first = vj.theory.thresholds(run.config, IMAGES[:256], 1)[0]
    assert run.lanes[2]["recon_scale"] == pytest.approx(0.9 * first, rel=1e-3)
    np.testing.assert_allclose(vj.study.recording.predict(few, run).thresholds, first)


def test_every_net_has_both_likelihoods_and_the_scale_of_the_elbo(lab) -> None:
    flags = phase_diagram.PhaseDiagramFlags(dataset="digits", seeds=(7, 8))
    found = {run.name: run for run in phase_diagram.runs(replace(lab, flags=flags))}
    assert list(found) == [
        f"{net}-{likelihood}"
        for likelihood in ("gaussian", "bernoulli")
        for net in ("linear", "mlp1", "mlp2")
    ]
    for name, run in found.items():
        net, likelihood = name.split("-")
        config = run.config
        assert config.likelihood == likelihood
        depth = {"linear": 0, "mlp1": 1, "mlp2": 2}[net]
        assert len(config.encoder_widths) == len(config.decoder_widths) == depth
        scales = {lane["recon_scale"] for lane in run.lanes}
        assert config.elbo_scale in scales
        assert len(run.seeds) == 2 * len(scales) == 2 * 9
        assert sorted(scales) == [lane["recon_scale"] for lane in run.lanes[::2]]


def blind(trained: vj.store.Trained, spread: float = 0.0, off: float = 0.0) -> vj.store.Trained:
    """A linear net whose decoder shows the mean image whatever the code, `off` by so much in the
    pixel range, and whose encoder is the prior, but for posterior means that are one pixel's, times
    `spread` over all units alike."""
    run, state, _ = trained
    params = {
        side: {"params": {"Dense_0": {k: np.zeros_like(v) for k, v in layers.items()}}}
        for side in ("encoder", "decoder")
        for layers in [state.params[side]["params"]["Dense_0"]]
    }
    mean, size = MOMENTS.mean, run.config.latent_size
    if run.config.likelihood == "bernoulli":
        with np.errstate(divide="ignore"):
            mean = np.clip(np.log(mean / (1 - mean)), -40, 40)
    if run.config.pixel_range == "signed":
        mean = 2 * mean - 1
    params["decoder"]["params"]["Dense_0"]["bias"][:] = mean + off
    lively = int(np.argmax(np.diag(MOMENTS.covariance)))
    params["encoder"]["params"]["Dense_0"]["kernel"][:, lively, :size] = spread / math.sqrt(size)
    return trained._replace(state=state._replace(params=params))


def in_range(trained: vj.store.Trained, pixel_range: Any) -> vj.store.Trained:
    """The same models, said to be trained in this pixel range."""
    config = replace(trained.run.config, pixel_range=pixel_range)
    return trained._replace(run=replace(trained.run, config=config))


@pytest.mark.parametrize("pixel_range", ["unit", "signed"])
def test_a_constant_that_is_not_the_mean_image_loses_its_error_times_the_scale(
    lab, trained, pixel_range
) -> None:
    off = blind(in_range(trained["linear-gaussian"], pixel_range), off=0.1)
    for row in phase_diagram.measure(lab, off):
        want = -row["times"] * vj.theory.thresholds_of(off.run.config, lab.moments, 1)[0] * 0.1**2
        assert row["gain_nats"] == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize(
    ("likelihood", "pixel_range"),
    [("gaussian", "unit"), ("gaussian", "signed"), ("bernoulli", "unit")],
)
def test_the_collapsed_solution_gains_nothing(lab, trained, likelihood, pixel_range) -> None:
    """Its error is `theory.constant_error`, to the last digit that an error in float32 has."""
    found = in_range(trained[f"linear-{likelihood}"], pixel_range)
    for row in phase_diagram.measure(lab, blind(found)):
        assert row["gain_nats"] == pytest.approx(0, abs=1e-3)
        assert row["kl_nats"] == 0
        assert row["active_units"] == row["active_directions"] == 0
        assert (row["units_off"] > 0) == (row["times"] > 1.5)


def test_a_code_that_is_no_unit_s_own_is_one_direction(lab, trained) -> None:
    """One pixel's variance, shared by two units: 0.015 in all, 0.0075 each is under the 0.01 of an
    active unit."""
    variance = np.diag(MOMENTS.covariance).max()
    shared = blind(trained["linear-gaussian"], math.sqrt(0.015 / variance))
    for row in phase_diagram.measure(lab, shared):
        assert (row["active_units"], row["active_directions"]) == (0, 1)


def test_the_onset_of_each_seed_comes_from_its_own_rows_by_rising_scale() -> None:
    awake = {0: {1.0: 0, 4.0: 1, 16.0: 2}, 1: {1.0: 1, 4.0: 0, 16.0: 1}, 2: {1.0: 1, 4.0: None}}
    rows = [
        {"run": "a", "seed": seed, "scale": scale, "units": units}
        for seed in (2, 0, 1)
        for scale, units in reversed(awake[seed].items())
    ]
    found = vj.study.onsets(rows, "run", "scale", "units")
    assert [(row["run"], row["seed"]) for row in found] == [("a", 0), ("a", 1), ("a", 2)]
    np.testing.assert_array_equal([row["units_onset"] for row in found], [2.0, 8.0, np.nan])
