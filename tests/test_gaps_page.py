"""gaps: its runs, and what its rows say of each other."""

import numpy as np
import pytest

from experiments import gaps
from tests import tiny


def test_the_gaps_add_up_to_what_the_elbo_lacks(finished) -> None:
    rows = tiny.rows_of(finished("gaps"))
    assert [(row["epochs"], row["seed"]) for row in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    for row in rows:
        for of in gaps.SETS:
            whole = row[f"{of}neg_elbo_nats"] - row[f"{of}nll_refined_nats"]
            parts = [row[f"{of}{gap}_gap_nats"] for gap in gaps.GAPS]
            assert sum(parts) == pytest.approx(whole, abs=1e-4)
        assert np.isfinite(row["nll_grid_nats"])


def test_lengths_that_are_the_same_epochs_train_once(tmp_path) -> None:
    lab = tiny.open_lab("gaps", tmp_path, "--epochs", 2, "--lengths", 0.1, 0.5, 1)
    assert list(lab.runs) == ["z2-1-epochs", "z2-2-epochs"]
    assert lab.epochs == {"z2-1-epochs": 1, "z2-2-epochs": 2}
