"""measure.annealed: the marginal of the linear Gaussian model of test_refined.py, and a grid.

The weights are unbiased at any number of temperatures: the mean of `estimate / p(x)` over images is
1, up to its standard error. The negative log of an estimate is biased upwards, by less the more
temperatures there are.
"""

from functools import cache

import jax
import numpy as np
import pytest

from tests.test_elbo import AE, BINARIZED, KEY, SE, random_params, stacked
from tests.test_refined import CONFIG, IMAGES, NLL, linear_params
from vaejax.errors import LabError
from vaejax.measure.annealed import annealed_nll
from vaejax.measure.batched import over_lanes
from vaejax.measure.grid import grid_nll

CHAINS = 8


@cache
def too_high(temperatures: int) -> np.ndarray:
    """The estimate less the NLL of the linear model, whose encoder is wrong: it plays no part."""
    lanes = stacked(linear_params(0.4, 2.0))
    found = over_lanes(annealed_nll, CONFIG, CHAINS, temperatures)(lanes, IMAGES, KEY)
    assert ((found.effective_samples > 0.99) & (found.effective_samples < CHAINS + 0.01)).all()
    return np.float64(found.nll[0]) - NLL


def unbiased(too_high: np.ndarray) -> bool:
    ratio = np.exp(-too_high)
    return abs(ratio.mean() - 1) < SE * ratio.std() / np.sqrt(len(ratio))


def test_the_nll_is_that_of_the_marginal_gaussian() -> None:
    assert abs(too_high(300).mean()) < 0.03
    assert unbiased(too_high(300))


def test_few_temperatures_give_an_upper_bound() -> None:
    assert too_high(10).mean() > too_high(300).mean() + 0.1
    assert unbiased(too_high(10))


def test_at_two_units_it_is_the_nll_of_the_grid() -> None:
    """Of the same pixels, which are drawn."""
    params = jax.tree.map(lambda leaf: 2 * leaf[None], random_params(BINARIZED))
    grid = over_lanes(grid_nll, BINARIZED, 201)(params, IMAGES, KEY)
    found = over_lanes(annealed_nll, BINARIZED, CHAINS, 100)(params, IMAGES, KEY)
    off = np.float64(found.nll[0]) - np.asarray(grid.nll[0])
    assert abs(off.mean()) < 0.05
    assert unbiased(off)


def test_an_ae_is_refused() -> None:
    with pytest.raises(LabError, match="An AE has no likelihood"):
        annealed_nll(AE, random_params(AE), IMAGES, KEY)
