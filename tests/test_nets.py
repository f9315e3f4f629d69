"""Nets of one's own in place of the MLPs: a convolutional VAE, trained, measured and restored."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from tests.conv_nets import CONV
from tests.tiny import assert_same
from vaejax import parallel, train
from vaejax.config import Config, grid
from vaejax.errors import LabError
from vaejax.measure import batched, collapse, elbo
from vaejax.run import Images, Run
from vaejax.store import checkpoint
from vaejax.trained import Trained, begin

CONFIG = Config(image_shape=(4, 4, 1), latent_size=2, batch_size=16, nets=CONV)
LANES, SEEDS = grid(CONFIG, (0, 1), learning_rate=(0.02,))
RUN = Run("conv", Images("stripes", "train"), CONFIG, LANES, SEEDS)
EPOCHS = 30
KEY = jax.random.key(0)


def stripes() -> np.ndarray:
    """Images whose left or right half is bright, with some noise."""
    rng = np.random.default_rng(0)
    left = rng.integers(0, 2, (64, 1, 1)).astype(bool)
    bright = np.where(np.arange(4) < 2, left, ~left)
    noise = rng.integers(0, 30, (64, 4, 4))
    return (np.broadcast_to(200 * bright, noise.shape) + noise).astype(np.uint8).reshape(64, 16)


IMAGES = stripes()


class Fitted(NamedTuple):
    states: list[Any]
    trace: train.Trace


def joined(traces: list[train.Trace]) -> train.Trace:
    return jax.tree.map(lambda *parts: np.concatenate(parts, 1), *traces)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    images, fresh = parallel.replicate(IMAGES), parallel.init(CONFIG, SEEDS)
    states, traces = [], []
    for lanes, trace in parallel.advance(CONFIG, LANES, fresh, images, EPOCHS):
        states.append(lanes.on_host())
        traces.append(trace)
    return Fitted(states, joined(traces))


@pytest.fixture(scope="module")
def params(fitted: Fitted) -> Any:
    return fitted.states[-1].params


@pytest.fixture(scope="module")
def evaluation(params: Any) -> elbo.Evaluation:
    return jax.device_get(batched.over_lanes(elbo.evaluate, CONFIG)(params, IMAGES, KEY))


def test_they_learn_what_a_constant_image_cannot_tell(
    fitted: Fitted, evaluation: elbo.Evaluation
) -> None:
    assert not fitted.states[-1].diverged.any()
    assert fitted.states[-1].step.tolist() == [4 * EPOCHS] * 2
    assert (fitted.trace.objective[:, -4:].mean(1) < fitted.trace.objective[:, :4].mean(1)).all()
    constant = elbo.constant_mse(IMAGES.mean(0).astype(np.float32) / 255, IMAGES)
    assert (evaluation.mse.mean(1) < constant / 2).all()


def test_their_collapse_is_judged(params: Any, evaluation: elbo.Evaluation) -> None:
    """Half of the images are bright on the left: the code must tell the two halves apart."""
    figures = collapse.collapse_figures(CONFIG, params, IMAGES, KEY)
    for lane in range(2):
        found = collapse.judge_collapse(batched.lane_of(figures, lane))
        assert found.verdict in ("healthy", "partial")
        assert float(figures["mi_nats"][lane]) > 0.7 * math.log(2)
        assert float(figures["shuffled_gap_nats"][lane]) > 1


@pytest.fixture
def folder(fitted: Fitted, tmp_path: Path) -> Path:
    checkpoint.write(tmp_path, Trained(RUN, fitted.states[-1], fitted.trace))
    return tmp_path


def test_another_run_in_their_folder_is_refused_with_what_differs(folder: Path) -> None:
    assert json.loads((folder / "config.json").read_text())["config"]["nets"] == "conv"
    other = Run("conv", Images("stripes", "train"), Config(image_shape=(4, 4, 1)), LANES, SEEDS)
    with pytest.raises(LabError, match=r"nets is conv, asked is None"):
        checkpoint.create(folder, other)


def test_an_interrupted_run_of_theirs_resumes_to_the_bits_of_one_that_never_stopped(
    fitted: Fitted, tmp_path: Path
) -> None:
    checkpoint.create(tmp_path, RUN)
    found = begin(RUN)
    for epochs in (2, 3):
        images, done = parallel.replicate(IMAGES), found.step
        each = list(parallel.advance(CONFIG, RUN.knobs, found.state, images, epochs))
        trace = joined([trace for _, trace in each])
        steps = done + trace.objective.shape[1]
        checkpoint.save(tmp_path, each[-1][0].on_host(), trace, steps)
        found = checkpoint.restore(tmp_path, CONV)
    restored: Trained = checkpoint.restore(tmp_path, CONV)
    assert restored.step == 20
    assert_same(restored.state, fitted.states[4])
    assert_same(restored.trace, jax.tree.map(lambda terms: terms[:, :20], fitted.trace))
