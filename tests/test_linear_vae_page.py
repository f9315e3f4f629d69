"""linear_vae: its scales, what the page says of nets that are the closed form, and how it judges
rows that are made by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaejax as vj
from experiments import linear_vae
from tests import tiny

SIGNED = pytest.mark.parametrize("pixel_range", ["unit", "signed"])


def test_no_linear_vae_is_better_than_the_best(finished) -> None:
    for row in tiny.rows_of(finished("linear_vae")):
        assert row["steps"] == row["decay_steps"] == 22
        assert row["gap_nats"] >= 0
        assert row["gap_nats"] == pytest.approx(
            row["sigma_neg_elbo_nats"] - row["predicted_neg_elbo_nats"]
        )


def oracle_net(
    folder: Path, pixel_range: str, turn: np.ndarray
) -> tuple[Any, vj.store.Trained, list[float]]:
    """The lab; a run whose lanes are the closed form for their scale, the code turned; and how much
    worse they are than the best, since a posterior of independent units is that of no other
    axes."""
    gaps = []
    lab = tiny.open_lab("linear_vae", folder.parent, "--pixel-range", pixel_range)
    run, size = lab.runs["linear"], len(turn)
    oracle = linear_vae.oracle_of(lab, run.config)
    _, state, trace = vj.store.restore(folder / "linear")
    factor, shift = (2, 1) if pixel_range == "signed" else (1, 0)
    centre = factor * oracle.space.mean - shift
    params: Any = {
        side: {"params": {"Dense_0": {k: np.zeros_like(v) for k, v in layers.items()}}}
        for side in ("encoder", "decoder")
        for layers in [state.params[side]["params"]["Dense_0"]]
    }
    encoder, decoder = (params[side]["params"]["Dense_0"] for side in ("encoder", "decoder"))
    for lane, settings in enumerate(run.lanes):
        variance = vj.theory.decoder_variance(settings["recon_scale"], 64)
        best = vj.theory.linear_optimum(
            run.config, oracle.space, float(np.trace(lab.moments.covariance)), variance
        )
        rows = np.zeros((size, 64))
        rows[: best.units] = best.decoder
        rows = turn @ rows
        precision = rows @ rows.T + variance * np.eye(size)
        inward = np.linalg.solve(precision, rows)
        decoder["kernel"][lane], decoder["bias"][lane] = rows, centre
        encoder["kernel"][lane, :, :size] = inward.T
        encoder["bias"][lane, :size] = -inward @ centre
        encoder["bias"][lane, size:] = np.log(variance / np.diag(precision))
        gaps.append((np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1]) / 2)
    return lab, vj.store.Trained(run, state._replace(params=params), trace), gaps


@SIGNED
def test_the_closed_form_has_no_gap(finished, pixel_range) -> None:
    lab, trained, _ = oracle_net(finished("linear_vae"), pixel_range, np.eye(3))
    rows = linear_vae.measure(lab, trained)
    assert {0, 3} < {row["predicted_units"] for row in rows}
    for row in rows:
        assert row["gap_nats"] == pytest.approx(0, abs=2e-3)
        assert row["kl_nats"] == pytest.approx(row["predicted_kl_nats"], abs=1e-3)
        assert row["active_units"] == row["predicted_units"]
        assert row["units_off"] == 0
        assert np.nan_to_num(row["angle_degrees"]) < 0.1
        assert np.isnan(row["angle_degrees"]) or row["predicted_units"]


def test_a_turned_code_has_the_same_subspace_and_a_gap(finished) -> None:
    angle, turn = 0.5, np.eye(3)
    turn[::2, ::2] = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    lab, trained, gaps = oracle_net(finished("linear_vae"), "unit", turn)
    found = linear_vae.measure(lab, trained)
    assert all(np.isnan(row["angle_degrees"]) or row["angle_degrees"] < 0.1 for row in found)
    assert max(gaps) > 3e-3
    np.testing.assert_allclose([row["gap_nats"] for row in found], gaps, atol=3e-4)
