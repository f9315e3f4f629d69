"""experiments.published: a source's stages, patience and pixels, with a tiny net on the digits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import vaejax as vj
from experiments import published
from tests import tiny

TINY = published.Setting(
    work="tiny", choices={"encoder_widths": (8,), "latent_size": 2, "optimizer": "rmsprop"},
    samples=2,
    stages=(published.Stage(1, 1e-3, held_out={"nll_nats": 25}), published.Stage(1, 1e-4)),
)  # fmt: skip
FLAGS = ("flax", "--dataset", "digits", "--out")


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a source train as these fields say."""

    def change(**fields: Any) -> None:
        changed = replace(TINY, **fields)
        monkeypatch.setitem(published.SETTINGS, "flax", changed)

    change()
    return change


def test_a_source_that_is_resumed_ends_with_the_rows_of_one_that_never_stopped(
    setting: Any, tmp_path: Path
) -> None:
    tiny.command("published", *FLAGS, tmp_path / "at once")
    tiny.command("published", *FLAGS, tmp_path / "in parts", "--stages", "1")
    tiny.command("published", *FLAGS, tmp_path / "in parts", "--resume")
    at_once, in_parts = (
        vj.store.records.read(tmp_path / name / "flax-0" / "results.jsonl")
        for name in ("at once", "in parts")
    )
    assert at_once == in_parts
    assert [(row["run"], row["split"], row["seed"]) for row in at_once] == [
        (run, split, seed)
        for run, split in (("flax-1", "held_out"), ("flax-2", "test"))
        for seed in (0, 1)
    ]
    assert all(
        row["steps"] == 9 * int(row["run"][-1]) for row in at_once
    )  # an epoch of 1,199 digits


def test_what_is_resumed_with_other_samples_is_measured_again_and_with_other_epochs_refused(
    setting: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setting(stages=(published.Stage(2, 1e-3), published.Stage(1, 1e-4)))
    results = tmp_path / "flax-0" / "results.jsonl"
    tiny.command("published", *FLAGS, tmp_path, "--epochs", "1")
    before = vj.store.records.read(results)
    tiny.command("published", *FLAGS, tmp_path, "--epochs", "1", "--samples", "3", "--resume")
    after = vj.store.records.read(results)
    assert [row["nll_nats"] for row in after] != [row["nll_nats"] for row in before]
    assert [row | {"samples": 2, "nll_nats": 0} for row in after] == [
        row | {"nll_nats": 0} for row in before
    ]
    for other in ([], ["--stages", "1"]):
        message = tiny.fail(capsys, "published", *FLAGS, tmp_path, "--resume", *other)
        assert "flax-1 was trained for 1 epochs: use the --epochs of before" in message
    assert vj.store.records.read(results) == after


def test_results_are_never_written_over(
    setting: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.command("published", *FLAGS, tmp_path, "--stages", "1")
    assert "--resume" in tiny.fail(capsys, "published", *FLAGS, tmp_path, "--stages", "1")
    found = tiny.fail(capsys, "published", *FLAGS, tmp_path, "--resume", "--seeds", "0", "2")
    assert "seed is 0 1, asked is 0 2" in found


def test_a_model_stops_once_it_got_no_better_for_as_long_as_the_source_waits(
    setting: Any, tmp_path: Path
) -> None:
    """At so small a rate no epoch is better than the first one after the warm-up."""
    setting(stages=(published.Stage(30, 1e-30),), patience=2, warmup=1)
    tiny.command("published", *FLAGS, tmp_path)
    trained = vj.store.restore(tmp_path / "flax-0" / "flax-1")
    assert trained.step == 4 * 9
    rows = vj.store.records.read(tmp_path / "flax-0" / "results.jsonl")
    assert {row["steps"] for row in rows} == {2 * 9}  # the first of those that are equal


def test_pixels_are_drawn_once_with_the_probability_of_the_pixel(
    setting: Any, tmp_path: Path
) -> None:
    flags = [
        published.PublishedFlags(source="flax", dataset="digits", drawing=seed)
        for seed in (0, 0, 1)
    ]
    (_, first), (_, same), (_, other) = map(published.load, flags)
    np.testing.assert_array_equal(first.train, same.train)
    assert (first.train != other.train).mean() > 0.05
    assert set(np.unique(first.test)) == {0, 255}
    grey = vj.data.load("digits").images.reshape(-1, 64)[: len(first.train)]
    drawn_often = np.mean([first.train, other.train], 0).mean(0)
    np.testing.assert_allclose(drawn_often, grey.mean(0), atol=255 * 4 * 0.5 / np.sqrt(2 * 998))


def test_outputs_may_begin_at_the_mean_image(setting: Any) -> None:
    setting(mean_pixel=True)
    flags = published.PublishedFlags(source="flax", dataset="digits", seeds=(0, 1))
    shape, images = published.load(flags)
    run = published.planned(flags, shape, images)[0]
    state = published.begun(flags, run.config, images)
    outputs = vj.model.images_of(run.config, vj.measure.lane_of(state.params, 1), jnp.zeros((1, 2)))
    mean = np.clip(images.train.mean(0) / 255, 0.001, 0.999)
    np.testing.assert_allclose(outputs[0], mean, rtol=1e-4)
