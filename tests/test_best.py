"""vaejax.study.best: the state of least held-out negative ELBO, kept beside the newest."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import vaejax as vj
from tests import test_training, tiny
from tests.test_training import CONFIG, RUN, assert_same, interrupt_save
from vaejax.errors import LabError, StoppedError
from vaejax.measure.batched import over_lanes
from vaejax.store import checkpoint
from vaejax.store.checkpoint import Best
from vaejax.study import best, laboratory
from vaejax.study.flags import Flags

HELD_OUT = np.random.default_rng(1).integers(0, 256, (10, 16), np.uint8)
EPOCHS = 12


def trained(folder: Path, stopped_by: Callable[[], int | None] | None = None) -> Best:
    """The best state of the tiny run, which has a checkpoint every two epochs."""
    test_training.trained(folder, None, EPOCHS, every=2, stopped_by=stopped_by, held_out=HELD_OUT)
    return kept(folder)


def kept(folder: Path) -> Best:
    newest = checkpoint.restore(folder)
    found = checkpoint.restore_best(folder, newest.step, newest.state)
    assert found is not None
    return found


def state(values: list[float], step: int) -> Any:
    fresh = vj.trained.begin(RUN).state
    params = jax.tree.map(
        lambda leaf: np.stack([np.full_like(leaf[0], value) for value in values]), fresh.params
    )
    return fresh._replace(params=params, step=np.full(2, step, np.int32))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Best, list[vj.train.State]]:
    """The best state, and the states of all checkpoints."""
    save, states = checkpoint.save, []

    def remember(folder: Path, state: vj.train.State, *more: Any) -> None:
        states.append(state)
        save(folder, state, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", remember)
        return trained(tmp_path_factory.mktemp("whole")), states


def test_each_lane_keeps_the_state_of_less_negative_elbo() -> None:
    old = Best(state([1, 1], 4), np.asarray([5.0, 5.0], np.float32))
    for numbers, wanted in (([4, 6], [8, 4]), ([5, np.nan], [4, 4]), ([6, 4], [4, 8])):
        found = best.better(old, Best(state([2, 2], 8), np.asarray(numbers, np.float32)))
        assert found.state.step.tolist() == wanted
        assert found.neg_elbo.tolist() == np.fmin(old.neg_elbo, numbers).tolist()
        for leaf in jax.tree.leaves(found.state.params):
            assert [set(lane.ravel()) for lane in leaf] == [{step / 4} for step in wanted]


def test_the_best_state_is_that_of_the_checkpoint_of_least_negative_elbo(whole) -> None:
    found, states = whole
    measure = over_lanes(best.held_out_neg_elbo, CONFIG)
    key = vj.study.evaluation_key()
    measured = np.stack([measure(state.params, HELD_OUT, key) for state in states])
    assert [state.step[0] for state in states] == list(range(8, 4 * EPOCHS + 1, 8))
    for lane, index in enumerate(measured.argmin(0)):
        assert found.neg_elbo[lane] == measured[index, lane]
        assert_same(
            jax.tree.map(lambda leaf, at=lane: leaf[at], found.state),
            jax.tree.map(lambda leaf, at=lane: leaf[at], states[index]),
        )


def test_a_run_that_was_stopped_or_killed_keeps_the_best_state_of_one_that_never_stopped(
    whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):  # after epochs 1, 2 and 3
        with pytest.raises(StoppedError):
            trained(tmp_path, lambda: signal.SIGTERM)
    with monkeypatch.context() as patch:
        interrupt_save(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path)
    assert_same(trained(tmp_path), whole[0])


def test_an_ae_is_measured_by_its_reconstruction(whole) -> None:
    config = vj.Config(image_shape=(4, 4, 1), model="ae", latent_size=2, encoder_widths=(3,),
                       decoder_widths=(3,), likelihood="gaussian", batch_size=5)  # fmt: skip
    params, key = whole[0].state.params, vj.study.evaluation_key()
    found = over_lanes(best.held_out_neg_elbo, config)(params, HELD_OUT, key)
    recon = over_lanes(vj.measure.evaluate, config)(params, HELD_OUT, key).recon
    np.testing.assert_allclose(found, recon.mean(-1), rtol=1e-5)


def test_the_held_out_images_are_the_last_tenth_and_not_trained_on() -> None:
    plain = laboratory.load(Flags(dataset="digits"), "study")
    lab = laboratory.load(Flags(dataset="digits", keep_best=True), "study")
    assert lab.held_out is not None
    assert len(lab.held_out) == len(plain.train) // 10
    np.testing.assert_array_equal(np.concatenate([lab.train, lab.held_out]), plain.train)
    np.testing.assert_array_equal(lab.test, plain.test)
    assert (plain.split, lab.split) == ("train", f"train[:{len(lab.train)}]")
    runs = [
        study.with_images(study.flags.run("z2", study.split, study.config(), [1.0]))
        for study in (plain, lab)
    ]
    assert [run.images.held_out_digest is None for run in runs] == [True, False]
    assert runs[0].images.train_digest != runs[1].images.train_digest
    with pytest.raises(LabError, match="--keep-best holds out one of 10 training images, and"):
        laboratory.load(Flags(dataset="digits", keep_best=True, train_images=9), "study")


def test_the_best_state_is_restored_and_inspected_where_one_was_kept(
    finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tiny.page("inspect_checkpoint"), "pictures", tiny.no_figures)
    folder = tmp_path / "z2"
    shutil.copytree(finished("latent_size") / "z2", folder)
    newest = checkpoint.restore(folder)
    with pytest.raises(LabError, match="it was trained without --keep-best"):
        checkpoint.restore(folder, best=True)
    older = newest.state._replace(step=newest.state.step - 11)
    lanes = np.zeros(2, np.float32)
    checkpoint.save(folder, newest.state, newest.trace, newest.step, Best(older, lanes))
    assert_same(checkpoint.restore(folder, best=True).state, older)
    assert_same(checkpoint.restore(folder).state, newest.state)
    few = ["--nll-samples", 5, "--nll-images", 9]
    tiny.command("inspect_checkpoint", folder, "--best", *few, "--out", tmp_path)
    assert f"best state, after 11 of {newest.step} steps" in capsys.readouterr().out
    next((folder / str(newest.step) / "best").rglob("d/*")).write_bytes(b"")
    with pytest.raises(LabError, match="the checksum of the best is not the one that was saved"):
        checkpoint.restore(folder)
