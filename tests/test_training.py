"""vaejax.study.plans and training: how long a run trains, and that it resumes."""

import io
import signal
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

from tests.tiny import assert_same
from vaejax import parallel, train
from vaejax.config import Config, knobs, stack
from vaejax.errors import StoppedError
from vaejax.measure.trace import at_rest
from vaejax.run import Images, Run
from vaejax.store import checkpoint
from vaejax.study import plans, progress, signals, training
from vaejax.study.flags import Flags
from vaejax.study.laboratory import Lab
from vaejax.trained import Trained, begin

CONFIG = Config(
    image_shape=(4, 4, 1),
    latent_size=2,
    encoder_widths=(3,),
    decoder_widths=(3,),
    likelihood="gaussian",
    batch_size=5,
)
LANES = stack([knobs(CONFIG, learning_rate=0.03, recon_scale=scale) for scale in (1.0, 100.0)])
RUN = Run("tiny", Images("digits", "train"), CONFIG, LANES, (0, 1))
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 16), np.uint8)  # 4 steps an epoch
BLOCK = 8


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "BLOCK", BLOCK)


@pytest.mark.parametrize(
    ("epochs", "every", "images", "until_converged", "expected"),
    [
        # Steps an epoch: 1 (of 5 to 9 images), 3 (of 17), 4 (of 20), 20 (of 100).
        (80, None, 5, True, plans.Plan(80, 1, 8, 8)),
        (81, None, 9, True, plans.Plan(81, 1, 8, 8)),
        (5, None, 5, True, plans.Plan(5, 1, 5, 5)),
        (7, None, 17, True, plans.Plan(7, 3, 2, 2)),
        (7, None, 100, True, plans.Plan(7, 20, 1, 1)),
        (80, 16, 5, True, plans.Plan(80, 1, 16, 8)),
        (35, None, 20, False, plans.Plan(35, 4, 3, 1)),
        (5, None, 20, False, plans.Plan(5, 4, 1, 1)),
        (35, 20, 20, False, plans.Plan(35, 4, 20, 1)),
    ],
)
def test_a_run_has_ten_checkpoints_or_one_after_each_block_or_as_many_as_asked_for(
    epochs: int, every: int | None, images: int, until_converged: bool, expected: plans.Plan
) -> None:
    """A run until convergence trains in blocks, of as many epochs as fit; none takes more epochs in
    all than were asked for."""
    flags = Flags(epochs=epochs, checkpoint_every=every)
    assert plans.plan(flags, CONFIG, images, until_converged) == expected


def test_epochs_that_are_not_given_make_the_steps_of_the_page() -> None:
    for images in (20, 47, 5000):
        found = plans.plan(Flags(), CONFIG, images, until_converged=False)
        assert found.steps == found.epochs * found.steps_per_epoch
        assert abs(found.steps - Flags.steps) <= found.steps_per_epoch / 2


def rests(_: Any, run: Run, error: np.ndarray) -> np.ndarray:
    return at_rest(error, 0.1, BLOCK)


def never(_: Any, run: Run, error: np.ndarray) -> np.ndarray:
    return np.zeros(2, bool)


def trained(
    folder: Path,
    converged: Any = rests,
    epochs: int = 400,
    start: Any = None,
    every: int | None = None,
    stopped_by: Callable[[], int | None] | None = None,
    held_out: np.ndarray | None = None,
    **flags: Any,
) -> Trained:
    """The run as training leaves it: its state as returned, its trace as on disk. Its progress says
    which epoch it has reached, and if it has trained at all what its loss came to."""
    asked = Flags(epochs=epochs, checkpoint_every=every, **flags)
    labels = np.zeros(len(IMAGES), np.int32)
    lab = Lab(asked, folder.parent, (4, 4, 1), IMAGES, IMAGES, labels, "train", held_out=held_out)
    plan = plans.plan(asked, CONFIG, len(IMAGES), converged is not None)
    checkpoint.create(folder, RUN)
    images, begun = parallel.replicate(IMAGES), checkpoint.latest(folder) or 0
    bars = progress.Bars(Console(file=io.StringIO()))
    trainer = training.Trainer(lab, RUN, plan, images, bars, lambda *_: start, converged)
    with pytest.MonkeyPatch.context() as patch:
        if stopped_by:
            patch.setattr(signals, "deferred", lambda: nullcontext(stopped_by))
        state, step = trainer.train_lanes(range(2), folder)
    line = progress.line(bars.tasks[-1])
    assert line.startswith(f"tiny: epoch {step // plan.steps_per_epoch} of {plan.epochs}")
    assert ("objective " in line) == (step > begun)
    restored = checkpoint.restore(folder)
    assert restored.step == step
    assert_same(restored.state, state)
    return restored


def assert_same_run(got: Trained, want: Trained) -> None:
    assert_same(got[1:], want[1:])


def interrupt_save(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Stop the process before its save of this number is written."""
    save, saves = checkpoint.save, []

    def stopping(*arguments: Any) -> None:
        saves.append(arguments)
        if len(saves) == number:
            raise KeyboardInterrupt
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save", stopping)


@pytest.fixture(scope="module")
def at_rest_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run, trained until it was at rest."""
    folder = tmp_path_factory.mktemp("rest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "BLOCK", BLOCK)
        trained(folder)
    return folder


@pytest.mark.parametrize(("converged", "epochs"), [(rests, 400), (None, 6)])
def test_a_run_that_is_killed_or_stopped_resumes_to_the_bits_of_one_that_never_stopped(
    converged: Any, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole", converged, epochs)
    with monkeypatch.context() as patch:
        interrupt_save(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "killed", converged, epochs)
    assert 0 < (checkpoint.latest(tmp_path / "killed") or 0) < whole.step
    assert_same_run(trained(tmp_path / "killed", converged, epochs), whole)

    stop = partial(
        trained, tmp_path / "stopped", converged, epochs, stopped_by=lambda: signal.SIGTERM
    )
    each = BLOCK // 4 if converged else 1
    for epoch in range(each, whole.step // 4, each):
        with pytest.raises(StoppedError, match=f"SIGTERM after epoch {epoch} of .* of tiny") as end:
            stop()
        assert end.value.status == 143
        assert checkpoint.latest(tmp_path / "stopped") == 4 * epoch
    with pytest.raises(StoppedError, match="SIGTERM after the last epoch of tiny"):
        stop()
    assert_same_run(checkpoint.restore(tmp_path / "stopped"), whole)


def test_a_run_is_saved_every_so_many_epochs_and_at_its_end_with_the_steps_since_the_save_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = checkpoint.save, []

    def remember(
        folder: Path, state: train.State, trace: train.Trace, step: int, *best: Any
    ) -> None:
        saved.append((step, trace.objective.shape[1]))
        save(folder, state, trace, step, *best)

    monkeypatch.setattr(checkpoint, "save", remember)
    trained(tmp_path, None, epochs=7, every=3)
    assert saved == [(12, 12), (24, 12), (28, 4)]
    saved.clear()
    trained(tmp_path, None, epochs=11, every=3)
    assert saved == [(36, 8), (44, 8)]  # where a run that never stopped is saved


def test_a_run_stops_at_the_first_block_that_has_converged_and_stays_there(
    at_rest_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = checkpoint.restore(at_rest_in)
    assert 3 * BLOCK < found.step < 1600
    assert found.step % BLOCK == 0
    error = np.asarray(found.trace.error)
    blocks = range(BLOCK, found.step + 1, BLOCK)
    assert [steps for steps in blocks if rests(None, RUN, error[:, :steps]).all()] == [found.step]
    monkeypatch.setattr(train, "train_lanes", None)
    assert_same_run(trained(at_rest_in), found)


def test_a_run_that_never_converges_ends_at_its_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = trained(tmp_path, never, epochs=7)
    assert found.step == 7 * 4  # blocks of 2, 2, 2 and 1 epochs
    monkeypatch.setattr(train, "train_lanes", None)
    assert_same_run(trained(tmp_path, never, epochs=7), found)


def test_whether_a_run_has_converged_is_asked_of_the_error_of_all_its_steps(
    tmp_path: Path,
) -> None:
    asked: list[np.ndarray] = []

    def remember(lab: Any, run: Run, error: np.ndarray) -> np.ndarray:
        asked.append(error)
        return never(lab, run, error)

    found = trained(tmp_path, remember, epochs=4)
    longer = trained(tmp_path, remember, epochs=8)
    assert [error.shape[1] for error in asked] == [8, 16, 24]  # at the cap it is over anyway
    np.testing.assert_array_equal(asked[1], found.trace.error)
    for error in asked:
        np.testing.assert_array_equal(error, longer.trace.error[:, : error.shape[1]])


def test_a_run_may_begin_with_the_state_that_another_ended_with(tmp_path: Path) -> None:
    first = trained(tmp_path / "first", None, epochs=3)
    second = trained(tmp_path / "second", None, 2, first.state)
    whole = trained(tmp_path / "whole", None, 5)
    assert_same(second.state, whole.state)
    assert_same(second.trace, jax.tree.map(lambda terms: terms[:, first.step :], whole.trace))


def test_a_lane_that_diverged_is_told_with_the_epoch_of_its_last_good_state() -> None:
    state = begin(RUN).state
    plan = plans.plan(Flags(epochs=7), CONFIG, len(IMAGES), until_converged=False)
    after = state._replace(diverged=np.asarray([False, True]), step=np.asarray([28, 12], np.int32))
    (line,) = training.divergences(Path("study"), RUN, after, 28, plan)
    assert line.startswith("tiny lane 1 (seed 1, learning_rate 0.03, ")
    assert "recon_scale 100, " in line
    assert line.endswith(f"in epoch 4; its state after epoch 3 is in {Path('study/tiny/28')}")
    assert training.divergences(Path("study"), RUN, state, 28, plan) == []
