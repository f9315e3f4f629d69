"""many_units: its nets, what is predicted of them, what the page says of nets that are the closed
form, and how it judges rows that are made by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaejax as vj
from experiments import many_units
from tests import tiny

TRAIN = vj.data.load("digits", "train").images.reshape(-1, 64) / 255
MEAN, COVARIANCE = TRAIN.mean(0), np.cov(TRAIN.T, bias=True)
EIGENVALUES, AXES = (part[..., ::-1] for part in np.linalg.eigh(COVARIANCE))
SIZE = 3
SE = 5  # standard errors that a Monte Carlo estimate may be off: 6e-7 of all keys are further


@pytest.fixture(scope="module")
def rows(finished) -> list[vj.store.Row]:
    return tiny.rows_of(finished("many_units"))


@pytest.fixture(scope="module")
def lab(finished) -> Any:
    return tiny.open_lab("many_units", finished("many_units").parent)


def best(scale: float) -> np.ndarray:
    """The columns of the best linear decoder of three units: those of probabilistic PCA whose noise
    has the variance that the scale stands for."""
    noise = 64 / (2 * scale)
    return AXES[:, :SIZE] * np.sqrt(np.maximum(EIGENVALUES[:SIZE] - noise, 0))


def gaussian_nll(scale: float, columns: np.ndarray) -> float:
    """Of the training images, but for a constant, in the model `mean + columns z + noise`."""
    model = columns @ columns.T + 64 / (2 * scale) * np.eye(64)
    return (np.linalg.slogdet(model)[1] + np.trace(np.linalg.solve(model, COVARIANCE))) / 2


def test_what_is_predicted_is_the_best_linear_vae(rows) -> None:
    for row in rows:
        columns, noise = best(row["recon_scale"]), 64 / (2 * row["recon_scale"])
        assert row["predicted_units"] == (np.abs(columns).sum(0) > 0).sum()
        # The KL of units whose posterior is that of probabilistic PCA, on axes of its own.
        precision = columns.T @ columns / noise + np.eye(SIZE)
        kl = np.linalg.slogdet(precision)[1] / 2
        assert row["predicted_kl_nats"] == pytest.approx(kl, rel=1e-6, abs=1e-9)
        gain = gaussian_nll(row["recon_scale"], 0 * columns) - gaussian_nll(
            row["recon_scale"], columns
        )
        assert row["predicted_gain_nats"] == pytest.approx(gain, rel=1e-6, abs=1e-6)
    assert {row["predicted_units"] for row in rows} == {0, SIZE}


def dense(layers: Any, inputs: np.ndarray) -> np.ndarray:
    """A net of no hidden layer or of one, with ELU."""
    for index, name in enumerate(sorted(layers)):
        inputs = np.where(inputs > 0, inputs, np.expm1(np.minimum(inputs, 0))) if index else inputs
        inputs = inputs @ np.float64(layers[name]["kernel"]) + np.float64(layers[name]["bias"])
    return inputs


def test_what_is_measured_is_what_the_nets_make_of_training_images_less_a_half(rows, lab) -> None:
    """Against a forward pass in numpy, with noise of its own."""
    rng = np.random.default_rng(0)
    for row in rows:
        params = vj.measure.lane_of(lab.trained(row["run"]).state.params, row["lane"])
        assert len(params["encoder"]["params"]) == {"linear": 1, "mlp1": 2}[row["net"]]
        mean, logvar = np.split(dense(params["encoder"]["params"], TRAIN - 0.5), 2, axis=1)
        kl = (np.square(mean) + np.exp(logvar) - logvar - 1).sum(1).mean() / 2
        assert row["kl_nats"] == pytest.approx(kl, rel=1e-3)
        code = mean + np.exp(logvar / 2) * rng.normal(size=(20, *mean.shape))
        output = dense(params["decoder"]["params"], code)
        output = 1 / (1 + np.exp(-output)) if row["net"] == "mlp1" else output
        error = np.square(output - TRAIN).mean(-1)
        gain = row["recon_scale"] * (np.square(MEAN - TRAIN).mean() - error.mean()) - kl
        off = SE * error.std(0).mean() / math.sqrt(len(TRAIN))
        assert row["gain_nats"] == pytest.approx(gain, abs=row["recon_scale"] * off)
        assert off < 0.1 * error.mean()
        variances = np.linalg.eigvalsh(np.cov(mean.T, bias=True))[::-1]
        np.testing.assert_allclose(row["direction_variances"], variances, rtol=1e-2, atol=1e-6)
        assert row["active_directions"] == (variances > 0.01).sum()
        assert row["active_units"] == (mean.var(0) > 0.01).sum()


def test_a_ratio_is_what_is_measured_over_what_is_predicted_if_anything_is(rows) -> None:
    names = {
        "directions_ratio": ("active_directions", "predicted_units"),
        "kl_ratio": ("kl_nats", "predicted_kl_nats"),
        "gain_ratio": ("gain_nats", "predicted_gain_nats"),
    }
    for row in rows:
        for ratio, (found, predicted) in names.items():
            if row["recon_scale"] == 32:
                assert row[ratio] is None
            else:
                assert row[ratio] == pytest.approx(row[found] / row[predicted])


def test_inputs_are_centred_and_the_learning_rate_falls_over_the_whole_run(rows, tmp_path) -> None:
    for row in rows:
        assert row["config"]["centre_inputs"]
        faster = vj.study.LINEAR_RATE if row["net"] == "linear" else 1
        rate = faster * many_units.ManyUnitsFlags().learning_rate
        assert row["learning_rate"] == pytest.approx(rate, rel=1e-6)
        assert row["steps"] == row["decay_steps"] == 22
    more = ["--no-centre-inputs", "--decay-steps", 7]
    for run in tiny.open_lab("many_units", tmp_path, *more).runs.values():
        assert not run.config.centre_inputs
        assert {lane["decay_steps"] for lane in run.lanes} == {7}


def test_on_larger_images_the_linear_net_learns_more_slowly() -> None:
    """In proportion to their pixels, beyond 784."""
    flags, images = many_units.ManyUnitsFlags(), np.zeros((200, 3072), np.uint8)
    lab = vj.study.Lab(flags, Path(), (32, 32, 3), images, images, np.zeros(0), "train")
    linear, mlp1 = (run.lanes[0]["learning_rate"] for run in many_units.runs(lab))
    assert mlp1 == flags.learning_rate
    assert linear == pytest.approx(vj.study.LINEAR_RATE * mlp1 * 784 / 3072, rel=1e-6)


def closed_form(folder: Any, weight: float, turn: np.ndarray) -> tuple[Any, vj.store.Trained]:
    """The lab at this kl_weight, and the linear nets with the closed form for their scale over it,
    the code turned."""
    lab = tiny.open_lab("many_units", folder.parent, "--kl-weight", weight)
    run, (_, state, trace) = lab.runs["linear"], vj.store.restore(folder / "linear")
    lanes = []
    for settings in run.lanes:
        scale = settings["recon_scale"] / weight
        columns, noise = best(scale) @ turn, 64 / (2 * scale)
        precision = columns.T @ columns + noise * np.eye(SIZE)
        inward = np.linalg.solve(precision, columns.T)
        logvar = np.log(noise / np.diag(precision))
        encoder = {
            "kernel": np.hstack([inward.T, np.zeros((64, SIZE))]),
            "bias": np.concatenate([-inward @ (MEAN - 0.5), logvar]),
        }
        decoder = {"kernel": columns.T, "bias": MEAN}
        lanes.append({"encoder": encoder, "decoder": decoder})
    params: Any = {
        side: {
            "params": {
                "Dense_0": {
                    part: np.stack([lane[side][part] for lane in lanes]).astype(np.float32)
                    for part in ("kernel", "bias")
                }
            }
        }
        for side in ("encoder", "decoder")
    }
    return lab, vj.store.Trained(run, state._replace(params=params), trace)


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_the_closed_form_is_as_predicted(weight, finished) -> None:
    """Its gain but for the noise of one code per image."""
    lab, trained = closed_form(finished("many_units"), weight, np.eye(SIZE))
    found = many_units.measure(lab, trained)
    assert [row["predicted_units"] for row in found[::2]] == [0 if weight == 1 else 3, 3, 3]
    for row, settings in zip(found, trained.run.lanes, strict=True):
        assert row["active_directions"] == row["active_units"] == row["predicted_units"]
        assert row["kl_nats"] == pytest.approx(row["predicted_kl_nats"], abs=1e-3)
        assert row["gain_nats"] == pytest.approx(row["predicted_gain_nats"], rel=0.01, abs=0.1)
        threshold = 32 / EIGENVALUES[:SIZE]
        variances = np.maximum(1 - threshold * weight / settings["recon_scale"], 0)
        np.testing.assert_allclose(row["direction_variances"], variances, atol=1e-4)


def test_the_predicted_curves_go_through_the_predictions_of_the_rows(lab, rows) -> None:
    panels = vj.study.predicted_panels(rows, "recon_scale", many_units.thresholds_of(lab)[:SIZE])
    expected = ("predicted_units", "predicted_kl_nats", "predicted_gain_nats")
    for panel, name in zip(panels, expected, strict=True):
        assert panel.predicted is not None
        scales, values = panel.predicted
        for row in rows:
            at = np.interp(row["recon_scale"], scales, values)
            assert at == pytest.approx(row[name], rel=0.01, abs=0.03)


def test_a_panel_of_training_has_the_mean_kl_of_each_epoch(lab, rows) -> None:
    for scale in (32, 60, 6000):
        panel = many_units.training_panel(lab, rows, scale)
        assert list(panel.lines) == ["linear VAE", "MLP with one hidden layer"]
        for net, line in zip(("linear", "mlp1"), panel.lines.values(), strict=True):
            trace = lab.trained(net).trace
            lanes = [
                row["lane"] for row in rows if (row["net"], row["recon_scale"]) == (net, scale)
            ]
            halves = [trace.kl[lanes, part].sum(-1).mean(-1) for part in HALVES]
            assert list(line.x) == [1, 2]
            np.testing.assert_allclose(line.y, halves, rtol=1e-5)


HALVES = (slice(0, 11), slice(11, 22))
"""The steps of each of the two epochs."""


def test_directions_beyond_those_of_the_images_are_predicted_to_carry_nothing(tmp_path) -> None:
    """As with 200 latent units and the 64 pixels of the digits."""
    lab = tiny.open_lab("many_units", tmp_path, "--latent-size", 70)
    row = {"net": "mlp1", "seed": 0, "recon_scale": 6000.0, "direction_variances": [0.5] * 70}
    panel = many_units.variance_panel(lab, [row], 6000.0)
    assert panel.predicted is not None
    numbers, variances = panel.predicted
    assert list(numbers) == list(range(1, 71))
    noise = 64 / 12_000
    want = [1 - noise / value if value > noise else 0 for value in EIGENVALUES]
    np.testing.assert_allclose(variances, [*want, *[0] * 6], rtol=1e-6, atol=1e-9)
    assert len(panel.lines["MLP with one hidden layer"].y) == 70


def test_figures_do_without_what_is_not_there(lab, rows) -> None:
    """No linear net, as with `--quick`; no models of a scale, as when they diverged."""
    for these in (
        [row for row in rows if row["net"] == "mlp1"],
        [row for row in rows if (row["net"], row["recon_scale"]) != ("mlp1", 6000)],
        [row for row in rows if row["recon_scale"] == 60],
    ):
        figures = many_units.figures(lab, these)
        assert set(figures) == {"many_units", "directions", "training"}
        for figure in figures.values():
            figure.draw_without_rendering()
