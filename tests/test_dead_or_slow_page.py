"""dead_or_slow: what its units start from, which of them are slow and which dead."""

import math

import jax
import numpy as np
import pytest

import vaejax as vj
from experiments import dead_or_slow
from tests import tiny
from tests.handmade import verdicts

IMAGES = vj.data.load("digits", "train").images.reshape(-1, 64)


@pytest.fixture(scope="module")
def rows(finished) -> list[vj.store.Row]:
    return tiny.rows_of(finished("dead_or_slow"))


def test_a_row_for_every_net_start_scale_and_seed(rows) -> None:
    config = vj.Config(image_shape=(8, 8, 1), likelihood="gaussian")
    first = vj.theory.thresholds(config, IMAGES, 1)[0]
    for row in rows:
        assert row["run"] == f"{row['net']}-{row['from']}"
        assert row["latent_size"] == 1
        assert row["split"] == "train[:1438]"  # there are fewer than the 10,000 of the flag
        assert row["threshold_scale"] == pytest.approx(first)
        assert row["recon_scale"] == pytest.approx(row["times"] * first, rel=1e-3)
        assert row["steps"] == 22 == row["decay_steps"]
        assert row["kl_warmup"] == (5 if row["from"] == "start" else 0)
        assert len(row["kl_curve_nats"]) == 22


def test_the_images_are_the_first_ones_and_the_threshold_is_of_them(tmp_path) -> None:
    few = tiny.open_lab("dead_or_slow", tmp_path, "--train-images", 256)
    np.testing.assert_array_equal(few.train, IMAGES[:256])
    run = few.runs["mlp1-start"]
    assert run.images.train == few.split == "train[:256]"
    first = vj.theory.thresholds(run.config, IMAGES[:256], 1)[0]
    assert run.lanes[0]["recon_scale"] == pytest.approx(0.5 * first, rel=1e-3)


def test_a_raised_unit_goes_on_from_the_sleeping_and_a_lowered_from_the_waking(finished) -> None:
    lab = tiny.open_lab("dead_or_slow", finished("dead_or_slow").parent)
    for net in ("linear", "mlp1"):
        start = vj.store.restore(lab.folder / f"{net}-start")
        scales = [lane["recon_scale"] for lane in start.run.lanes]
        assert scales == sorted(scales)
        assert dead_or_slow.initial_state(lab, start.run) is None
        for part, lanes in (("raised", [0, 1, 0, 1]), ("lowered", [2, 3, 2, 3])):
            begun = dead_or_slow.initial_state(lab, lab.runs[f"{net}-{part}"])
            assert begun is not None
            jax.tree.map(
                lambda got, was, lanes=lanes: np.testing.assert_array_equal(got, was[lanes]),
                (begun.params, begun.opt_state),
                (start.state.params, start.state.opt_state),
            )
            np.testing.assert_array_equal(begun.step, [0] * 4)
            key = np.asarray(start.state.key)
            assert not (begun.key == key[lanes]).all(1).any()  # noise of its own
            assert len(np.unique(np.asarray(begun.key), axis=0)) == 2


def test_what_has_diverged_is_left_out_of_figures_and_decides_nothing(finished, rows) -> None:
    lab = tiny.open_lab("dead_or_slow", finished("dead_or_slow").parent)
    left = [row for row in rows if row["run"] != "mlp1-lowered"]
    assert verdicts("dead_or_slow", left)["B3, mlp1 has a loop"] == "FAILED"  # none is active
    both, one = dead_or_slow.figures(lab, rows), dead_or_slow.figures(lab, left)
    for name, figure in one.items():
        shown = [axes.get_title(loc="left") for axes in figure.axes]
        assert len(shown) == len(both[name].axes) / 2
        assert all(title.startswith("linear") for title in shown)
        figure.draw_without_rendering()
    assert set(one) == {"waking", "rates", "loop"}
    starts = [row for row in rows if row["from"] == "start"]
    assert set(verdicts("dead_or_slow", starts).values()) == {None}
    assert dead_or_slow.figures(lab, starts) == {}


def rates(values: dict[float, float]) -> list[vj.store.Row]:
    return [
        {"net": "linear", "times": time, "growth_per_1000_steps": rate, "active_units": 0}
        for time, rate in values.items()
    ]


def test_a_sleeping_unit_is_slow_above_the_zero_of_the_line_and_dead_below() -> None:
    asleep = rates({time: 30 * (time - 1.02) for time in (1.1, 1.2, 1.3)})
    asleep += rates({1.05: math.nan, 1.0: math.nan, 0.9: math.nan})
    found = {row["times"]: row["state"] for row in dead_or_slow.with_state(asleep)}
    assert found == dict.fromkeys((1.1, 1.2, 1.3, 1.05), "slow") | {1.0: "dead", 0.9: "dead"}
    (awake,) = dead_or_slow.with_state([asleep[0] | {"active_units": 1}])
    assert awake["state"] == "awake"
    (unknown,) = dead_or_slow.with_state(asleep[:1])
    assert unknown["state"] == "asleep"


def test_the_state_of_a_unit_is_told_by_the_line_of_its_own_net() -> None:
    """Whose rows keep their order."""
    linear = rates({time: 30 * (time - 1.02) for time in (1.1, 1.2, 1.3)})
    mlp1 = [row | {"net": "mlp1"} for row in rates({t: 30 * (t - 1.25) for t in (1.1, 1.2, 1.3)})]
    found = dead_or_slow.with_state([*linear, *mlp1])
    assert [row.pop("state") for row in found] == ["slow"] * 3 + ["dead", "dead", "slow"]
    assert found == [*linear, *mlp1]
