"""latent_size and autoencoder: what their rows say of each other, and how they judge rows that are
made by hand."""

import numpy as np
import pytest

import vaejax as vj
from tests import tiny
from tests.handmade import judged

MEASURES = ("neg_elbo_nats", "nll_nats", "kl_nats", "mse", "active_units", "recon_scale")


def test_a_bernoulli_vae_at_the_scale_of_the_elbo_has_a_beta_of_1_and_no_sigma(finished) -> None:
    for row in tiny.rows_of(finished("latent_size")):
        assert all(np.isfinite(row[name]) for name in MEASURES)
        assert row["nll_nats"] <= row["neg_elbo_nats"]
        assert (row["recon_scale"], row["effective_beta"], row["effective_sigma"]) == (64, 1, None)
        assert row["frechet"] > 0 < row["frechet_floor"]


def test_a_study_leaves_checkpoints_of_its_last_step(finished) -> None:
    trained = vj.store.restore(finished("latent_size") / "z3")
    assert (trained.run.config.latent_size, trained.step) == (3, 22)


def test_an_autoencoder_has_no_elbo_and_is_beside_pca(finished) -> None:
    rows = tiny.rows_of(finished("autoencoder"))
    assert len(rows) == 8
    for row in rows:
        assert (row["neg_elbo_nats"] is None) == (row["model"] == "ae")
        assert row["effective_beta"] == (row["model"] == "vae")
        assert row["pca_mse"] > 0 < row["frechet_floor"]
        assert row["nearest_mse"] > 0 < row["nearest_recon_mse"]
        assert row["frechet_gaussian"] > 0 < row["frechet_mixture"]


def test_the_vae_of_both_studies_is_the_same(finished) -> None:
    names = ("neg_elbo_nats", "kl_nats", "mse", "threshold_scale")
    of_vae = [row for row in tiny.rows_of(finished("autoencoder")) if row["model"] == "vae"]
    for row, same in zip(of_vae, tiny.rows_of(finished("latent_size")), strict=True):
        assert row["seed"] == same["seed"]
        assert {name: row[name] for name in names} == {
            name: pytest.approx(same[name], rel=1e-2) for name in names
        }


LARGER = {"latent_size": 4}


@pytest.mark.parametrize("name", ["neg_elbo_nats", "nll_nats", "mse", "frechet"])
@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((1.1, 2.9), "HELD"),
        ((2.9, 3.0), "UNDECIDED"),
        ((2.0, 3.1), "UNDECIDED"),
        ((3.1, 3.2), "FAILED"),
        ((0.8, 0.9), "FAILED"),  # then 10 units are no better
        ((None, 2.0), "UNDECIDED"),
    ],
)
def test_c5_a_larger_size_is_better_in_every_figure_and_seed(name, values, verdict) -> None:
    assert judged("latent_size", "C5", (LARGER, name, values)) == verdict


AE, VAE = {"latent_size": 10, "model": "ae"}, {"latent_size": 10, "model": "vae"}


@pytest.mark.parametrize(
    ("claim", "where", "name", "values", "verdict"),
    [
        ("C1", AE, "mse", (0.02, 0.0299), "HELD"),
        ("C1", AE, "mse", (0.02, 0.031), "UNDECIDED"),
        ("C1", AE, "mse", (0.031, 0.032), "FAILED"),
        ("C1", VAE, "mse", (0.9, 0.9), "HELD"),
        ("C2", VAE, "frechet", (1.0, 8.9), "HELD"),
        ("C2", VAE, "frechet", (1.0, 9.1), "UNDECIDED"),
        ("C2", VAE, "frechet", (9.1, 9.2), "FAILED"),
        ("C2", AE, "code_distance_to_prior", (0.1, 0.1), "HELD"),
        ("C3", VAE, "code_distance_to_prior", (1.0, 8.9), "HELD"),
        ("C3", VAE, "code_distance_to_prior", (1.0, 9.1), "UNDECIDED"),
        ("C3", AE, "code_distance_to_prior", (0.8, 0.9), "FAILED"),
        ("C3", AE, "frechet", (0.1, 0.1), "HELD"),
        ("B6", AE, "frechet_mixture", (0.9, 1.1), "UNDECIDED"),
        ("B6", AE, "frechet_mixture", (1.1, 1.2), "FAILED"),
        ("B6", AE, "frechet", (0.1, 0.1), "HELD"),
        ("B6, both fitted", AE, "frechet_mixture", (0.7, 0.9), "UNDECIDED"),
        ("B6, both fitted", VAE, "frechet_mixture", (0.1, 0.2), "FAILED"),
        ("B6, both fitted", VAE, "frechet", (0.1, 0.2), "HELD"),
    ],
)
def test_an_ae_and_a_vae_are_judged_at_every_size(claim, where, name, values, verdict) -> None:
    assert judged("autoencoder", claim, (where, name, values)) == verdict
