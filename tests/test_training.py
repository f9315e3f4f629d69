"""experiments.training: when a run has settled, how long it trains, and that it resumes."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from rich.progress import Progress

from experiments import training
from experiments.flags import Flags
from vaejax import checkpoint, sweep, train
from vaejax.config import Config, Run, knobs, stack

CONFIG = Config(
    image_shape=(4, 4, 1),
    latent_size=2,
    encoder_widths=(3,),
    decoder_widths=(3,),
    likelihood="gaussian",
    batch_size=5,
)
LANES = stack([knobs(CONFIG, learning_rate=0.03, recon_scale=scale) for scale in (1.0, 100.0)])
RUN = Run("tiny", "digits", "train", CONFIG, LANES, (0, 1))
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 16), np.uint8)  # 4 steps an epoch
UNIT = 0.5
STILL, MOVING = 0.99 * training.MOVED * UNIT, 1.01 * training.MOVED * UNIT
BLOCK = 8


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "BLOCK", BLOCK)


def errors(*roots: float) -> np.ndarray:
    """A squared error with these root mean squares of its blocks, uneven within each of them."""
    uneven = np.resize([0.5, 1.5], BLOCK)
    return np.concatenate([[], *(root**2 * uneven for root in roots)])


@pytest.mark.parametrize(
    ("lanes", "expected"),
    [
        ([errors()], [False]),
        ([errors(0.3, 0.3)], [False]),
        ([errors(0.3, 0.3, 0.3)[:-1]], [False]),
        ([errors(0.3, 0.3, 0.3)], [True]),
        ([errors(0.3, 0.3 - STILL, 0.3 - 2 * STILL)], [True]),
        ([errors(0.3, 0.3 + STILL, 0.3)], [True]),
        ([errors(0.3, 0.3 - MOVING, 0.3 - MOVING)], [False]),
        ([errors(0.3, 0.3, 0.3 + MOVING)], [False]),
        ([errors(0.3, 0.3, 0.3), errors(0.2, 0.2, 0.2 - STILL)], [True, True]),
        ([errors(0.3, 0.3, 0.3), errors(0.2, 0.2, 0.2 - MOVING)], [True, False]),
        ([errors(0.9, 0.5, 0.3, 0.3, 0.3)], [True]),
        ([errors(0.3, 0.3, 0.3, 0.5)], [False]),
        ([np.append(errors(0.3, 0.3, 0.3), [9.0] * (BLOCK - 1))], [True]),
        ([np.append(errors(0.3, 0.3), [0.09] * (BLOCK - 1))], [False]),
        ([errors(0.3, 0.3, 0.3), errors(0.3, 0.3, np.nan)], [True, True]),
        ([errors(0.3, 0.3, 0.3 + MOVING), errors(np.inf, np.nan, np.nan)], [False, True]),
    ],
)
def test_a_lane_has_settled_once_its_last_three_blocks_agree_or_it_diverged(
    lanes: list[np.ndarray], expected: list[bool]
) -> None:
    assert training.settled(np.stack(lanes), UNIT).tolist() == expected


@pytest.mark.parametrize(
    ("epochs", "every", "images", "expected"),
    [
        # Steps an epoch: 1 (of 5 to 9 images), 3 (of 17), 20 (of 100).
        (80, None, 5, training.Plan(80, 1, 8, 8)),
        (81, None, 9, training.Plan(88, 1, 8, 8)),
        (5, None, 5, training.Plan(5, 1, 5, 5)),
        (7, None, 17, training.Plan(8, 3, 2, 2)),
        (7, None, 100, training.Plan(7, 20, 1, 1)),
        (80, 16, 5, training.Plan(80, 1, 16, 8)),
    ],
)
def test_until_convergence_a_run_trains_in_blocks(
    epochs: int, every: int | None, images: int, expected: training.Plan
) -> None:
    """As many epochs as fit into a block, the cap rounded up to whole blocks and not beyond."""
    flags = Flags(epochs=epochs, checkpoint_every=every)
    assert training.plan(flags, RUN, images, until_converged=True) == expected


@pytest.mark.parametrize(
    ("epochs", "every", "expected"),
    [
        (35, None, training.Plan(35, 4, 3, 1)),
        (5, None, training.Plan(5, 4, 1, 1)),
        (35, 20, training.Plan(35, 4, 20, 1)),
    ],
)
def test_a_run_of_fixed_length_has_ten_checkpoints_unless_asked_otherwise(
    epochs: int, every: int | None, expected: training.Plan
) -> None:
    flags = Flags(epochs=epochs, checkpoint_every=every)
    assert training.plan(flags, RUN, 20, until_converged=False) == expected


def test_epochs_that_are_not_given_make_the_steps_of_the_page() -> None:
    for images in (20, 47, 5000):
        found = training.plan(Flags(), RUN, images, until_converged=False)
        assert abs(found.epochs * found.steps_per_epoch - Flags.steps) <= found.steps_per_epoch / 2


def settled_at(error: np.ndarray, steps: int) -> np.ndarray:
    return training.settled(error[:, :steps], 0.1)


def settled(run: Run, trace: train.Trace) -> np.ndarray:
    return settled_at(np.asarray(trace.error), trace.error.shape[1])


def trained(
    folder: Any, converged: Any = settled, epochs: int = 400, begin: Any = None
) -> checkpoint.Saved:
    plan = training.plan(Flags(epochs=epochs), RUN, len(IMAGES), converged is not None)
    checkpoint.create(folder, RUN)
    mesh = sweep.mesh()
    fit = partial(sweep.fit, mesh, images=sweep.replicate(mesh, IMAGES))
    begin = begin or partial(checkpoint.start, RUN)
    with Progress(disable=True) as progress:
        return training.train_run(RUN, folder, begin, fit, plan, progress, converged)


def assert_same(got: checkpoint.Saved, want: checkpoint.Saved) -> None:
    jax.tree.map(np.testing.assert_array_equal, got, want)


def interrupt_save(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Stop the process before its save of this number is written."""
    save, saves = checkpoint.save, []

    def stopping(*arguments: Any) -> None:
        saves.append(arguments)
        if len(saves) == number:
            raise KeyboardInterrupt
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save", stopping)


@pytest.mark.parametrize(("converged", "epochs"), [(settled, 400), (None, 12)])
def test_an_interrupted_run_resumes_to_the_bits_of_one_that_never_stopped(
    converged: Any, epochs: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole", converged, epochs)
    with monkeypatch.context() as patch:
        interrupt_save(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "stopped", converged, epochs)
    assert 0 < (checkpoint.latest(tmp_path / "stopped") or 0) < whole.step
    assert_same(trained(tmp_path / "stopped", converged, epochs), whole)
    assert_same(checkpoint.restore(tmp_path / "stopped")[1], whole)


def test_a_run_stops_at_the_first_block_that_has_converged_and_stays_there(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = trained(tmp_path)
    assert 3 * BLOCK < saved.step < 1600
    assert saved.step % BLOCK == 0
    error = np.asarray(saved.trace.error)
    ends = [
        steps for steps in range(BLOCK, saved.step + 1, BLOCK) if settled_at(error, steps).all()
    ]
    assert ends == [saved.step]
    monkeypatch.setattr(train, "epoch_lanes", None)
    assert_same(trained(tmp_path), saved)


def test_a_run_that_never_converges_ends_at_its_cap(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = trained(tmp_path, lambda *_: np.zeros(2, bool), epochs=7)
    assert saved.step == 8 * 4  # 7 epochs in blocks of 2
    monkeypatch.setattr(train, "epoch_lanes", None)
    assert_same(trained(tmp_path, lambda *_: np.zeros(2, bool), epochs=7), saved)


def test_a_run_may_begin_with_the_state_that_another_ended_with(tmp_path: Any) -> None:
    first = trained(tmp_path / "first", None, epochs=3)
    begin = partial(checkpoint.start, RUN, first.state)
    second = trained(tmp_path / "second", None, 2, begin)
    whole = trained(tmp_path / "whole", None, 5)
    jax.tree.map(np.testing.assert_array_equal, second.state, whole.state)
    rest = jax.tree.map(lambda terms: terms[:, first.step :], whole.trace)
    jax.tree.map(np.testing.assert_array_equal, second.trace, rest)
