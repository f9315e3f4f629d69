"""latent_size and autoencoder: what their rows say."""

import numpy as np

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
