"""latent_size and autoencoder: what their rows say, and how they train."""

import numpy as np
import pytest

from tests import tiny

MEASURES = ("neg_elbo_nats", "nll_nats", "kl_nats", "mse", "active_units", "recon_scale")


def test_a_bernoulli_vae_at_the_scale_of_the_elbo_has_a_beta_of_1_and_no_sigma(finished) -> None:
    for row in tiny.rows_of(finished("latent_size")):
        assert all(np.isfinite(row[name]) for name in MEASURES)
        assert row["nll_nats"] <= row["neg_elbo_nats"]
        assert (row["recon_scale"], row["effective_beta"], row["effective_sigma"]) == (64, 1, None)
        assert row["frechet"] > 0 < row["frechet_floor"]


def test_an_autoencoder_has_no_elbo_and_is_beside_pca(finished) -> None:
    rows = tiny.rows_of(finished("autoencoder"))
    assert len(rows) == 4
    for row in rows:
        assert (row["neg_elbo_nats"] is None) == (row["model"] == "ae")
        assert row["effective_beta"] == (row["model"] == "vae")
        assert row["pca_mse"] > 0 < row["frechet_floor"]
        assert row["nearest_mse"] > 0 < row["nearest_recon_mse"]
        assert row["frechet_gaussian"] > 0 < row["frechet_mixture"]


@pytest.mark.parametrize("study", ["latent_size", "autoencoder", "blur", "collapse"])
def test_the_learning_rate_falls_over_the_whole_run(study: str, tmp_path) -> None:
    lab = tiny.open_lab(study, tmp_path, "--epochs", 4, "--decay-steps", 0)
    assert {steps for run in lab.runs.values() for steps in run.knobs.decay_steps} == {4 * 11}


def test_the_learning_rate_of_larger_images_is_lower(tmp_path) -> None:
    lab = tiny.open_lab("latent_size", tmp_path, "--resize", 56)
    np.testing.assert_allclose(lab.runs["z2"].knobs.learning_rate, 6e-3 / 4)
