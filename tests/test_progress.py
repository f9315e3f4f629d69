"""vaejax.study.progress: what a bar shows, and the line now and then where there is no terminal."""

import io
import re
import time
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.test_training import RUN
from vaejax.study import progress
from vaejax.study.plans import Plan
from vaejax.train import Trace

SHOWN = "objective 0.25 8, KL 0.508 6, units above 0.01 nats 1 3"


def trace(lanes: int) -> Trace:
    """Two steps. Lanes 0 and 1: an objective of 0.25 and 8 on average, and of 3 units 1 and 3 that
    are used; the others are like lane 1."""
    objective = np.array([[0.0, 0.5], [9.0, 7.0]])
    kl = np.array([[[0.5, 0.008, 0.0]] * 2, [[3.0, 2.0, 1.0]] * 2])
    lane = np.minimum(np.arange(lanes), 1)
    return Trace(objective[lane], objective[lane], kl[lane])


def test_the_terms_are_those_of_each_lane_averaged_over_steps() -> None:
    assert progress.terms(trace(2)) == SHOWN


def test_of_many_lanes_the_range_is_shown_and_of_an_autoencoder_no_kl() -> None:
    found = progress.terms(trace(5))
    assert found == "objective 0.25 to 8, KL 0.508 to 6, units above 0.01 nats 1 to 3"
    without = trace(5)._replace(kl=np.zeros((5, 2, 3)))
    assert progress.terms(without) == "objective 0.25 to 8"


PLAN = Plan(epochs=4, steps_per_epoch=10, every=1, epochs_per_call=1)


def followed(text: io.StringIO, epochs: int, **console: Any) -> None:
    """A run of four epochs of ten steps that begins with the second and is followed for so many."""
    with progress.Bars(Console(file=text, **console)) as bars:
        run = bars.add_run(RUN, PLAN, 1)
        for epoch in range(2, 2 + epochs):
            time.sleep(0.02)
            bars.show(run, epoch, trace(2))


def test_on_a_pipe_nothing_is_printed_before_its_time() -> None:
    text = io.StringIO()
    followed(text, epochs=3)
    assert text.getvalue() == ""
    assert progress.EVERY >= 10


def test_on_a_pipe_a_plain_line_now_and_then_says_how_far_training_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0)
    text = io.StringIO()
    followed(text, epochs=2)
    _, line = text.getvalue().splitlines()
    assert "\x1b" not in text.getvalue()
    epoch, rate, left, terms = line.split(", ", 3)
    assert epoch == "tiny: epoch 3 of 4"
    speed, unit = rate.split(" ", 1)
    assert unit == "steps/s"
    assert 0 < float(speed) < 1000
    assert left.endswith(" s left")
    assert terms == SHOWN


def test_a_line_has_no_rate_before_the_first_epoch_and_no_time_left_after_the_last() -> None:
    with progress.Bars(Console(file=io.StringIO())) as bars:
        run = bars.add_run(RUN, PLAN, 1)
        assert progress.line(bars.tasks[0]) == "tiny: epoch 1 of 4"
        bars.show(run, 4, trace(2))
        assert progress.line(bars.tasks[0]).startswith("tiny: epoch 4 of 4, ")
        assert " left" not in progress.line(bars.tasks[0])


def test_the_rate_counts_steps_not_epochs() -> None:
    with progress.Bars(Console(file=io.StringIO())) as bars:
        bars.add_run(RUN, PLAN, 1)
        task = bars.tasks[0]
        task.finished_speed = 2.5  # epochs a second
        assert progress.rate(task) == "25 steps/s"


def test_a_terminal_has_a_bar_for_each_run() -> None:
    text = io.StringIO()
    followed(text, epochs=2, force_terminal=True, width=200)
    plain = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", text.getvalue())
    for part in ("tiny", "3/4 epochs", "steps/s", SHOWN):
        assert part in plain
