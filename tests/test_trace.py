"""measure.trace: the growth of curves that are known, blocks of steps that rest or move, and the
ends of a trace in which each number says where it stands."""

import math

import numpy as np
import pytest
import scipy.special

from vaejax.measure import trace
from vaejax.measure.trace import at_rest, growth_line, growth_rate
from vaejax.train import Trace

STEPS = np.arange(3000.0)
BLOCK = 8
UNIT = 0.5
STILL, MOVING = 0.99 * trace.MOVED * UNIT, 1.01 * trace.MOVED * UNIT


def logistic(rate: float, expected: float = 0.2, middle: float = 1500) -> np.ndarray:
    """The KL of a signal that grows by exp(rate) at each step, and saturates."""
    return expected * scipy.special.expit(2 * rate * (STEPS - middle))


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.05])
def test_the_growth_rate_of_a_logistic_curve_is_its_own(rate: float) -> None:
    assert growth_rate(logistic(rate), STEPS, 0.2) == pytest.approx(rate, rel=0.01)
    assert growth_rate(logistic(rate), 3 * STEPS, 0.2) == pytest.approx(rate / 3, rel=0.01)


@pytest.mark.parametrize("floor", [0.01, 0.025])
def test_growth_is_not_measured_below_what_a_unit_starts_from(floor: float) -> None:
    """A KL that is no signal; the curve leaves it at three times as much."""
    curve = np.maximum(logistic(0.01), floor)
    assert growth_rate(curve, STEPS, 0.2) == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (logistic(0.01)[:1400], 0.2),  # never half way
        (logistic(0.3), 0.2),  # within three blocks
        (logistic(0.01, middle=0.0), 0.2),  # awake from the start
        (logistic(0.01), 0.0),  # below the threshold
    ],
)
def test_a_unit_that_does_not_wake_has_no_growth_rate(kl: np.ndarray, expected: float) -> None:
    assert math.isnan(growth_rate(kl, np.arange(float(len(kl))), expected))


def test_the_line_through_growth_rates_is_theirs_whatever_one_of_them_says() -> None:
    exact = {scale: 30 * (scale - 1.02) for scale in (1.05, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8)}
    for rates in (exact, exact | {1.05: 9.0}, exact | {1.8: math.nan, 0.9: math.nan}):
        line = growth_line(list(rates), list(rates.values()))
        assert line.slope == pytest.approx(30)
        assert line.zero == pytest.approx(1.02)
        assert line.at(1.02) == pytest.approx(0, abs=1e-9)
        assert line.at(2.02) == pytest.approx(30)


@pytest.mark.parametrize(
    ("scales", "rates"),
    [([1.1, 1.2, 1.3], [1.0, 2.0, math.nan]), ([1.1, 1.2] * 3, [1.0, 2.0] * 3), ([], [])],
)
def test_growth_rates_at_fewer_than_three_scales_have_no_line(scales, rates) -> None:
    line = growth_line(scales, rates)
    assert np.isnan([*line, line.zero, line.at(1.0)]).all()


def test_a_level_line_is_nowhere_0() -> None:
    line = growth_line([1.1, 1.2, 1.3], [2.0, 2.0, 2.0])
    assert line.at(7.0) == pytest.approx(2)
    assert math.isnan(line.zero)


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
def test_a_lane_is_at_rest_once_its_last_three_blocks_agree_or_it_diverged(
    lanes: list[np.ndarray], expected: list[bool]
) -> None:
    assert at_rest(np.stack(lanes), UNIT, BLOCK).tolist() == expected


def test_the_ends_of_training_are_its_first_step_and_its_last_hundred() -> None:
    error = 4000 + np.arange(150.0)
    kl = (error + 0.5)[:, None] * [0.1, 0.2, 0.3, 0.4]
    kl[7] = 9000
    want = {
        "kl_first_nats": 4000.5,
        "kl_peak_nats": 36000,
        "kl_last_nats": 4100,
        "recon_first": 4000,
        "recon_last": 4099.5,
    }
    assert trace.ends_of_training(Trace(error, error, kl)) == pytest.approx(want)
