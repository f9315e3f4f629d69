"""study.panels: rows and traces that say which lane, step and seed a number comes from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax.measure.spectrum import discernible_from
from vaejax.show.lines import Line
from vaejax.store.checkpoint import Trained
from vaejax.study import panels
from vaejax.study.flags import Flags
from vaejax.train import State, Trace

SCALES = (1.0, 0.1, 6000.0)


def traced(steps: int) -> Trained:
    """Six lanes, of three scales and two seeds; nothing of their state is drawn."""
    flags = Flags(dataset="digits", seeds=(5, 6))
    run = flags.run("grid", "train", flags.config((4, 4, 3), latent_size=4), SCALES)
    lane, step = np.arange(6.0)[:, None], np.arange(steps)
    error = 1000 * lane + step
    kl = (error + 0.5)[..., None] * [0.1, 0.2, 0.3, 0.4]
    keys = jax.random.split(jax.random.key(0), 6)
    no_weights = State({}, (), keys, jnp.full(6, steps), jnp.zeros(6, bool))
    return Trained(run, no_weights, Trace(error, error, kl))


def test_the_terms_are_drawn_at_every_step_a_line_for_each_scale() -> None:
    error, kl = panels.term_panels(traced(5), "here", 0.25)
    assert (error.floor, kl.floor) == (("constant image", 0.25), None)
    for panel, above in ((error, 0), (kl, 0.5)):
        assert list(panel.lines) == ["scale 1", "scale 0.1", "scale 6000"]
        for first_lane, line in zip((0, 2, 4), panel.lines.values(), strict=True):
            assert list(line.x) == [1, 2, 3, 4, 5]
            seeds = 1000.0 * first_lane + above + np.array([0, 1000])
            np.testing.assert_allclose(line.y, np.arange(5)[:, None] + seeds)


def test_a_spectrum_has_the_ratios_of_all_seeds_at_each_frequency() -> None:
    ratios = {"of two": [[0.9, 0.5, None], [0.8, 0.4, 0.1]], "of one": [[1, 1, 1]], "of none": []}
    panel = panels.spectrum_panel("title", ratios, [1.0, 2.0, 3.0])
    assert panel.floor == ("half of the power", 0.5)
    assert panel.mark is not None
    label, where = panel.mark
    assert label.startswith("blur: ")
    assert label.endswith(" 1.5")
    assert where == discernible_from([1.0, 2.0, 3.0]) == 1.5
    two, one = panel.lines.values()
    np.testing.assert_array_equal(two.y, [[0.9, 0.8], [0.5, 0.4], [np.nan, 0.1]])
    assert one.y == [[1], [1], [1]]


@pytest.mark.parametrize(
    ("net", "x", "y"), [("a", [1, 3], [[10, 11], [30, 31]]), ("b", [2], [[5]]), ("c", [], [])]
)
def test_a_figure_is_drawn_where_it_is_a_number_for_every_seed(net, x, y) -> None:
    rows = [
        {"net": "a", "scale": 3, "seed": 1, "nll": 31},
        {"net": "a", "scale": 3, "seed": 0, "nll": 30},
        {"net": "a", "scale": 1, "seed": 0, "nll": 10},
        {"net": "a", "scale": 1, "seed": 1, "nll": 11},
        {"net": "a", "scale": 2, "seed": 0, "nll": 20},
        {"net": "a", "scale": 2, "seed": 1, "nll": None},
        {"net": "b", "scale": 2, "seed": 0, "nll": 5},
    ]
    assert panels.against(rows, "scale", "nll", net=net) == {"": Line(x, y)}
    by_net = panels.against(rows, "scale", "nll", "net", "net {}")
    assert by_net.get(f"net {net}", Line([], [])) == Line(x, y)
