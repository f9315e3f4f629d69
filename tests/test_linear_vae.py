"""The linear VAE and its oracle: what the page leaves behind, tiny, on the embedded digits, what it
says of nets whose figures are known, and how it judges rows that are made by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import linear_vae, study
from tests.test_experiments import fail, run
from vaejax import checkpoint, ppca, records, train
from vaejax.checkpoint import Saved
from vaejax.config import Run

ARGUMENTS = ["--dataset", "digits", "--epochs", "2", "--seeds", "0", "1", "--latent-size", "3"]
FLAGS = linear_vae.LinearVaeFlags(dataset="digits", epochs=2, seeds=(0, 1), latent_size=3)
DATA = study.load_data(FLAGS)
SIGNED = pytest.mark.parametrize("pixel_range", ["unit", "signed"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the study, run once."""
    out = tmp_path_factory.mktemp("finished")
    run(linear_vae, *ARGUMENTS, "--out", out)
    return out / "linear_vae"


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[records.Row]:
    return records.read(folder / "results.jsonl")


def test_a_row_for_every_scale_and_seed(rows) -> None:
    first = rows[0]["threshold_scale"]
    scales = [*(first * time for time in linear_vae.TIMES), 32, 6000]
    found = [(row["recon_scale"], row["seed"]) for row in rows]
    assert found == [(pytest.approx(scale), seed) for scale in scales for seed in (0, 1)]
    for row in rows:
        assert row["steps"] == row["decay_steps"] == 22
        assert row["gap_nats"] >= 0  # no linear VAE is better than the best
        assert row["gap_nats"] == pytest.approx(
            row["sigma_neg_elbo_nats"] - row["predicted_neg_elbo_nats"]
        )


def oracle_net(folder: Path, pixel_range: Any, turn: np.ndarray) -> tuple[Run, Saved, Any, Any]:
    """A run whose lanes are the closed form for their scale, the code turned; and how much worse
    they are than the best, since a posterior of independent units is that of no other axes."""
    gaps = []
    config = FLAGS.config((8, 8, 1), latent_size=3, pixel_range=pixel_range)
    oracle = linear_vae.oracle_of(config, DATA)
    (planned,) = linear_vae.runs(FLAGS, config, DATA, oracle)
    _, saved = checkpoint.restore(folder / "linear")
    factor, shift = (2, 1) if pixel_range == "signed" else (1, 0)
    centre = factor * oracle.space.mean - shift
    params: Any = {
        side: {"params": {"Dense_0": {k: np.zeros_like(v) for k, v in layers.items()}}}
        for side in ("encoder", "decoder")
        for layers in [saved.state.params[side]["params"]["Dense_0"]]
    }
    encoder, decoder = (params[side]["params"]["Dense_0"] for side in ("encoder", "decoder"))
    for lane in range(len(planned.seeds)):
        variance = ppca.decoder_variance(planned.lane(lane)["recon_scale"], 64)
        best = ppca.linear_optimum(config, oracle.space, oracle.total, variance)
        rows = np.zeros((3, 64))
        rows[: best.units] = best.decoder
        rows = turn @ rows
        precision = rows @ rows.T + variance * np.eye(3)
        inward = np.linalg.solve(precision, rows)
        decoder["kernel"][lane], decoder["bias"][lane] = rows, centre
        encoder["kernel"][lane, :, :3], encoder["bias"][lane, :3] = inward.T, -inward @ centre
        encoder["bias"][lane, 3:] = np.log(variance / np.diag(precision))
        gaps.append((np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1]) / 2)
    return planned, saved._replace(state=saved.state._replace(params=params)), oracle, gaps


@SIGNED
def test_the_closed_form_has_no_gap(folder, pixel_range) -> None:
    planned, saved, oracle, _ = oracle_net(folder, pixel_range, np.eye(3))
    for row in linear_vae.measure(DATA, oracle, planned, saved):
        assert row["gap_nats"] == pytest.approx(0, abs=2e-3)
        assert row["kl_nats"] == pytest.approx(row["predicted_kl_nats"], abs=1e-3)
        assert row["active_units"] == row["predicted_units"]
        assert row["units_off"] == 0
        assert np.nan_to_num(row["angle_degrees"]) < 0.1
        assert np.isnan(row["angle_degrees"]) or row["predicted_units"]


def test_a_turned_code_has_the_same_subspace_and_a_gap(folder) -> None:
    angle, turn = 0.5, np.eye(3)
    turn[::2, ::2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    planned, saved, oracle, gaps = oracle_net(folder, "unit", turn)
    found = linear_vae.measure(DATA, oracle, planned, saved)
    assert all(np.isnan(row["angle_degrees"]) or row["angle_degrees"] < 0.1 for row in found)
    assert max(gaps) > 3e-3
    np.testing.assert_allclose([row["gap_nats"] for row in found], gaps, atol=3e-4)


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        ([[1, 0, 0, 0], [0, 1, 0, 0]], 0),
        ([[1, 1, 0, 0], [1, -1, 0, 0]], 0),
        ([[1, 0, 0, 0], [0, 1, 1, 0]], 45),
        ([[1, 0, 0, 0], [0, 0, 1, 0]], 90),
        ([[1, 0, 0, 0]], 90),
        (np.zeros((0, 4)), 90),
        ([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], 0),
    ],
)
def test_the_angle_is_the_largest_between_the_subspaces(rows, want) -> None:
    got = linear_vae.angle(np.eye(4)[:2], np.asarray(rows, float))
    assert got == pytest.approx(want, abs=1e-4)
    assert np.isnan(linear_vae.angle(np.zeros((0, 4)), np.asarray(rows, float)))


def test_verdicts_are_those_of_the_saved_rows(folder, rows) -> None:
    written = json.loads((folder / "verdict.json").read_text())
    judged = {claim: found._asdict() for claim, found in linear_vae.verdict(rows).items()}
    assert written == records.plain(judged)
    assert list(written) == ["B1, linear"]


def test_resuming_redraws_from_what_is_saved_and_trains_nothing(folder, monkeypatch) -> None:
    left = [folder / "linear_vae.png", folder / "verdict.json"]
    before = {path: path.read_bytes() for path in [*left, folder / "results.jsonl"]}
    for path in left:
        path.unlink()
    monkeypatch.setattr(train, "epoch_lanes", None)
    run(linear_vae, *ARGUMENTS, "--out", folder.parent, "--resume")
    for path, content in before.items():
        assert path.read_bytes() == content, path.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--likelihood", "bernoulli"], "--likelihood"),
        (["--output", "sigmoid"], "--output"),
        (["--widths", "8"], "--widths"),
        (["--decoder-variance", "learned"], "--decoder-variance"),
        (["--kl-weight", "0"], "--kl-weight"),
        (["--recon-scale", "-1"], "recon_scale"),
    ],
)
def test_bad_flags_are_one_message_that_names_them(arguments, message, tmp_path, capsys) -> None:
    text = fail(linear_vae, capsys, *ARGUMENTS, "--out", tmp_path, *arguments)
    assert message in text
    assert "Traceback" not in text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("gap", "gain", "off", "verdict"),
    [
        ((0.05, 0.09), 1.0, (0, 0), "HELD"),
        ((0.05, 0.11), 1.0, (0, 0), "UNDECIDED"),
        ((0.11, 0.12), 1.0, (0, 0), "FAILED"),
        ((0.9, 0.8), 100.0, (0, 0), "HELD"),  # less than 1% of what there is to gain
        ((1.1, 1.2), 100.0, (0, 0), "FAILED"),
        ((0.05, 0.05), 1.0, (0, 1), "UNDECIDED"),
        ((0.05, 0.05), 1.0, (1, 1), "FAILED"),
    ],
)
def test_what_the_verdict_asks_for(gap, gain, off, verdict) -> None:
    made: list[Any] = [
        {"recon_scale": scale, "seed": seed, "gap_nats": 0.01, "gain_nats": 1.0, "units_off": 0}
        for scale in (10.0, 20.0)
        for seed in (0, 1)
    ]
    for seed, row in enumerate(made[2:]):
        row |= {"gap_nats": gap[seed], "gain_nats": gain, "units_off": off[seed]}
    assert linear_vae.verdict(made)["B1, linear"].verdict == verdict
