"""Every command, tiny, on the embedded digits: in this process, but for the one that is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from experiments import autoencoder, inspect_checkpoint, latent_size, provenance, study
from experiments.flags import Flags
from vaejax import checkpoint, records, sweep, train
from vaejax.config import Run, knobs, stack

TINY = ["--dataset", "digits", "--epochs", "2", "--widths", "16", "--seeds", "0", "1"]
SIZES = ["--latent-sizes", "2", "3"]
MEASURES = ("neg_elbo_nats", "nll_nats", "kl_nats", "mse", "active_units", "recon_scale")


def run(page, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["study", *map(str, arguments)])
        page.main()


def fail(page, capsys, *arguments) -> str:
    """The one message with which a command ends."""
    with pytest.raises(SystemExit) as end:
        run(page, *arguments)
    assert end.value.code not in (0, None)
    return f"{end.value.code} {capsys.readouterr().err}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    run(latent_size, *TINY, *SIZES, "--nll-samples", 5, "--out", out)
    return out / "latent_size"


def test_latent_size_leaves_rows_verdict_figures_and_checkpoints(finished):
    rows = records.read(finished / "results.jsonl")
    assert [(row["latent_size"], row["seed"]) for row in rows] == [(2, 0), (2, 1), (3, 0), (3, 1)]
    for row in rows:
        assert all(np.isfinite(row[name]) for name in MEASURES)
        assert row["nll_nats"] <= row["neg_elbo_nats"]
        assert (row["recon_scale"], row["effective_beta"], row["effective_sigma"]) == (64, 1, None)
        assert row["versions"]["jax"]
    verdict = json.loads((finished / "verdict.json").read_text())
    assert verdict["C5"]["verdict"] == "UNDECIDED"  # sizes 4 and 10 were not trained
    for name in ("curves", "samples", "reconstructions"):
        assert (finished / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    stored, saved = checkpoint.restore(finished / "z3")
    assert (stored.config.latent_size, saved.step) == (3, 22)


def test_resuming_a_finished_study_trains_nothing_and_redraws(finished, monkeypatch):
    before = (finished / "results.jsonl").read_bytes()
    (finished / "curves.png").unlink()
    monkeypatch.setattr(train, "epoch_lanes", None)
    run(latent_size, *TINY, *SIZES, "--nll-samples", 5, "--out", finished.parent, "--resume")
    assert (finished / "results.jsonl").read_bytes() == before
    assert (finished / "curves.png").exists()


def test_results_are_never_overwritten_nor_mixed_with_other_settings(finished, capsys):
    again = fail(latent_size, capsys, *TINY, *SIZES, "--out", finished.parent)
    assert "holds results already" in again
    other = [*TINY, *SIZES, "--out", finished.parent, "--resume", "--learning-rate", 0.01]
    assert "learning_rate" in fail(latent_size, capsys, *other)
    fewer = [*TINY, *SIZES, "--out", finished.parent, "--resume", "--epochs", 1]
    assert "trained for 2 epochs already" in fail(latent_size, capsys, *fewer)


def test_autoencoder_judges_c1_to_c3(tmp_path):
    run(autoencoder, *TINY, *SIZES, "--out", tmp_path)
    folder = tmp_path / "autoencoder"
    rows = records.read(folder / "results.jsonl")
    assert len(rows) == 8
    for row in rows:
        assert (row["neg_elbo_nats"] is None) == (row["model"] == "ae")
        assert row["effective_beta"] == (row["model"] == "vae")
        assert row["pca_mse"] > 0 < row["frechet_floor"]
    verdicts = json.loads((folder / "verdict.json").read_text())
    assert set(verdicts) == {"C1", "C2", "C3"}
    for name in ("mse", "samples", "codes"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_checkpoint_tells_its_metrics_and_draws_itself(finished, tmp_path, capsys):
    folder = finished / "z2"
    run(inspect_checkpoint, folder, "--lane", 1, "--nll-samples", 5, "--out", tmp_path)
    text = capsys.readouterr().out
    assert "effective_beta" in text
    assert "KL of unit 1" in text
    row = records.read(finished / "results.jsonl")[1]
    assert f"{row['neg_elbo_nats']:.4f}"[:7] in text  # the very figure of the study
    drawn = {"reconstructions", "samples", "traversal", "manifold", "codes"}
    assert {path.stem for path in tmp_path.glob("*.png")} == drawn
    assert "lanes 0 to 1" in fail(inspect_checkpoint, capsys, folder, "--lane", 2)
    assert "no config.json" in fail(inspect_checkpoint, capsys, tmp_path)


def command(out, *more) -> list[str]:
    arguments = [*TINY, "--latent-sizes", "2", "--nll-samples", "2", "--out", str(out)]
    arguments += ["--epochs", "15", "--checkpoint-every", "1", *more]
    return [sys.executable, "-m", "experiments.latent_size", *arguments]


def test_a_killed_study_resumes_to_the_very_same_bits(tmp_path):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    start = partial(
        subprocess.Popen, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert start(command(tmp_path / "whole")).wait() == 0
    killed, folder = start(command(tmp_path / "killed")), tmp_path / "killed/latent_size/z2"
    while (checkpoint.latest(folder) or 0) < 33:
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert (checkpoint.latest(folder) or 0) < 165
    assert not (folder.parent / "results.jsonl").exists()
    assert start(command(tmp_path / "killed", "--resume")).wait() == 0
    whole, resumed = (
        records.read(tmp_path / name / "latent_size/results.jsonl") for name in ("whole", "killed")
    )
    assert whole == resumed


def test_a_diverging_run_is_named_with_its_last_good_state(tmp_path, capsys):
    wild = ["--learning-rate", "1e38", "--latent-sizes", "2", "--out", tmp_path]
    message = fail(latent_size, capsys, *TINY, *wild)
    assert "Training diverged" in message
    assert "z2 lane 0 (seed 0, learning_rate 1e+38" in message
    assert "in epoch 1; its state after epoch 0 is in" in message
    assert "Traceback" not in message


def test_healthy_lanes_are_recorded_beside_a_diverging_one(tmp_path):
    flags = Flags(dataset="digits", epochs=2, widths=(16,), seeds=(0, 1))
    data = study.load_data(flags)
    config = flags.config(data.shape, latent_size=2)
    grid = stack([knobs(config, learning_rate=1e38), knobs(config)])
    mixed = Run("grid", "digits", data.split, config, grid, (0, 1))
    rows, (diverged,) = study.execute(
        flags, tmp_path, [mixed], lambda *_: [{"mse": 1.0}, {"mse": 2.0}]
    )
    assert diverged.startswith("grid lane 0 (seed 0, learning_rate 1e+38")
    assert rows == records.read(tmp_path / "results.jsonl")
    assert [(row["lane"], row["mse"]) for row in rows] == [(1, 2.0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learning-rate", "-1"], "learning_rate=-1.0: use a positive number"),
        (["--recon-scale", "nan"], "recon_scale=nan"),
        (["--kl-weight", "-0.1"], "kl_weight=-0.1"),
        (["--batch-size", "0"], "batch_size=0"),
        (["--batch-size", "5000"], "1438 training images fill no batch of 5000"),
        (["--epochs", "0"], "--epochs 0"),
        (["--checkpoint-every", "0"], "--checkpoint-every 0"),
        (["--seeds", "1", "1"], "names no seed, or one twice"),
        (["--seeds"], "--seeds () names no seed"),
        (["--seeds", "-1"], "seeds=(-1,)"),
        (["--widths", "0"], "encoder_widths=(0,)"),
        (["--latent-sizes", "0"], "latent_size=0"),
        (["--nll-samples", "0"], "--nll-samples"),
        (["--binarize", "--likelihood", "gaussian"], "binarize=True needs"),
        (["--dataset", "no_such_set"], "no_such_set"),
        (["--likelihood", "poisson"], "poisson"),
        (["--no-such-flag"], "no-such-flag"),
    ],
)
def test_bad_input_is_one_message_that_names_it(arguments, message, tmp_path, capsys):
    text = fail(latent_size, capsys, *TINY, "--out", tmp_path, *arguments)
    assert message in text
    assert "Traceback" not in text
    assert not (tmp_path / "latent_size/results.jsonl").exists()


def test_a_full_disk_and_a_file_in_the_way_are_one_message_each(tmp_path, capsys, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = fail(latent_size, capsys, *TINY, *SIZES, "--out", tmp_path)
    assert "Cannot write" in message
    assert "No space left on device. Free some space" in message
    (tmp_path / "file").write_text("in the way")
    message = fail(latent_size, capsys, *TINY, *SIZES, "--out", tmp_path / "file")
    assert "Not a directory" in message


@pytest.mark.real_data
@pytest.mark.parametrize("page", [latent_size, autoencoder])
@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_every_study_runs_on_the_real_sets(page, dataset, tmp_path):
    small = ["--quick", "--epochs", "1", "--widths", "32", "--latent-sizes", "2"]
    run(page, "--dataset", dataset, *small, "--out", tmp_path)
    (folder,) = tmp_path.iterdir()
    rows = records.read(folder / "results.jsonl")
    assert {row["dataset"] for row in rows} == {dataset}
    assert all(0 < row["mse"] < 0.3 for row in rows)


def test_a_refused_batch_size_leaves_the_folder_free(tmp_path, capsys):
    wrong = [*TINY, "--latent-sizes", "2", "--nll-samples", 2, "--out", tmp_path]
    assert "--batch-size 1438" in fail(latent_size, capsys, *wrong, "--batch-size", 5000)
    assert not list(tmp_path.iterdir())


def test_other_importance_samples_are_measured_again_without_training(finished, monkeypatch):
    before = records.read(finished / "results.jsonl")
    monkeypatch.setattr(train, "epoch_lanes", None)
    more = ["--nll-samples", 6, "--out", finished.parent, "--resume"]
    run(latent_size, *TINY, *SIZES, *more)
    rows = records.read(finished / "results.jsonl")
    assert rows[: len(before)] == before
    assert [row["nll_samples"] for row in rows[len(before) :]] == [6] * 4


def test_a_row_that_lacks_a_figure_is_named(finished, tmp_path, capsys):
    copy = tmp_path / "latent_size"
    shutil.copytree(finished, copy)
    rows = records.read(copy / "results.jsonl")
    del rows[0]["mse"]
    (copy / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = [*TINY, *SIZES, "--nll-samples", 5, "--out", tmp_path, "--resume"]
    assert "row of z2, lane 0 in results.jsonl lacks mse" in fail(latent_size, capsys, *again)


def test_learning_that_overflows_the_optimizer_counts_as_diverged(tmp_path, capsys):
    huge = ["--recon-scale", "1e24", "--latent-sizes", "2", "--out", tmp_path]
    assert "Training diverged" in fail(latent_size, capsys, *TINY, *huge)


def test_without_git_a_row_names_no_commit(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert provenance._commit() is None


def test_only_a_vae_is_asked_whether_it_has_collapsed(finished, tmp_path, capsys):
    """The evidence stands below the verdict."""
    run(inspect_checkpoint, finished / "z3", "--nll-samples", 2, "--out", tmp_path)
    text = capsys.readouterr().out
    _, after = text.split("Posterior collapse: ")
    verdict, evidence, *_ = after.splitlines()
    active = records.read(finished / "results.jsonl")[2]["active_units"]
    assert evidence.strip().startswith(f"{active} of 3 units are active")
    assert verdict in {0: ["total"], 3: ["total", "healthy"]}.get(active, ["total", "partial"])

    flags = Flags(dataset="digits", widths=(8,), seeds=(0,))
    config = flags.config((8, 8, 1), latent_size=3, model="ae")
    plain = flags.run("ae", "train", config, ("elbo",))
    checkpoint.create(tmp_path / "ae", plain)
    images = study.training_images("digits", "train[:128]")
    fresh = train.init_lanes(config, np.zeros(1, np.uint32))
    after = sweep.to_host(next(train.fit(config, plain.knobs, fresh, images, epochs=1)))
    checkpoint.save(tmp_path / "ae", checkpoint.start(plain).extended(*after))
    run(inspect_checkpoint, tmp_path / "ae")
    text = capsys.readouterr().out
    assert "mse" in text
    assert "Posterior collapse" not in text
