"""vaejax.study.starts: runs that begin from the weights of a trained one."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import vaejax as vj
from tests import tiny
from tests.tiny import assert_same
from vaejax.store import checkpoint
from vaejax.study import starts
from vaejax.trained import one_lane


def state_of(run: vj.Run, folder: Path) -> vj.train.State:
    return starts.initial_state(SimpleNamespace(flags=SimpleNamespace(start=folder)), run)


@pytest.fixture(scope="module")
def z2(finished) -> Path:
    return finished("latent_size") / "z2"


def test_a_run_begins_with_the_weights_of_each_lane_and_nothing_else(z2: Path) -> None:
    there = checkpoint.restore(z2)
    state = state_of(replace(there.run, name="another"), z2)
    assert_same(state.params, there.state.params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((state.opt_state, state.step)))
    assert not state.diverged.any()
    assert (state.key != there.state.key).any(-1).all()  # noise and orders of their own


def test_the_folder_of_a_study_stands_for_its_run_of_the_same_name(z2: Path) -> None:
    run = checkpoint.read_run(z2)
    assert_same(state_of(run, z2.parent), state_of(run, z2))
    assert starts.description(z2.parent, run) == starts.description(z2, run)


def test_a_single_model_is_the_start_of_every_lane(z2: Path, tmp_path: Path) -> None:
    there = checkpoint.restore(z2)
    alone = one_lane(there, 1)
    checkpoint.write(tmp_path, alone)
    state = state_of(there.run, tmp_path)
    for got, want in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(there.state.params), strict=True
    ):
        np.testing.assert_array_equal(got, np.stack([want[1], want[1]]))
    assert (state.key[0] != state.key[1]).any()
    assert starts.description(tmp_path, there.run) != starts.description(z2, there.run)
    with pytest.raises(vj.LabError, match=r"holds 2 models, and z2 trains 1: use a start of"):
        state_of(alone.run, z2)


def test_another_net_is_refused_and_another_loss_is_not(z2: Path) -> None:
    run = checkpoint.read_run(z2)
    wider = replace(run, config=replace(run.config, latent_size=3))
    with pytest.raises(vj.LabError, match="another net than z2: latent_size is 2, asked is 3"):
        state_of(wider, z2)
    autoencoder = replace(run, config=replace(run.config, model="ae", binarize=True))
    assert_same(state_of(autoencoder, z2).params, checkpoint.restore(z2).state.params)


def test_a_study_records_its_start_and_goes_on_with_no_other(z2: Path, tmp_path, capsys) -> None:
    flags = [*tiny.STUDIES["latent_size"], *tiny.SIZES, "--out", tmp_path, "--epochs", 1]
    tiny.command("latent_size", *flags, "--start", z2, figures=tiny.no_figures)
    folder = tmp_path / "latent_size"
    told = starts.description(z2, checkpoint.read_run(z2))
    assert {row["start"] for row in tiny.rows_of(folder)} == {told}
    assert json.loads((folder / "z2" / "config.json").read_text())["start"] == told
    assert f"begins from {told}" in " ".join(capsys.readouterr().err.split())
    longer = [*flags, "--epochs", 2, "--resume"]
    text = tiny.fail(capsys, "latent_size", *longer, figures=tiny.no_figures)
    assert f"start is {told}, asked is None" in text
    text = tiny.fail(capsys, "latent_size", *longer, "--start", folder, figures=tiny.no_figures)
    assert f"start is {told}, asked is z2 after 11 steps" in text
    tiny.command("latent_size", *longer, "--start", z2, figures=tiny.no_figures)
    assert {row["epochs"] for row in tiny.rows_of(folder)} == {1, 2}
