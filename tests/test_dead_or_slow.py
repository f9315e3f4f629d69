"""How a unit wakes and falls asleep: the rates of curves that are known, what the page leaves
behind, tiny, on the embedded digits, and how it judges rows that are made by hand."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import scipy.special

from experiments import dead_or_slow, study, waking
from tests.test_experiments import fail, run
from vaejax import checkpoint, records, theory, train
from vaejax.data import load

ARGUMENTS = ["--dataset", "digits", "--quick", "--epochs", "3", "--widths", "4"]
ARGUMENTS += ["--images", "256", "--batch-size", "64"]
CLAIMS = ["B3, linear", "B3, linear has a loop", "B3, mlp1", "B3, mlp1 has a loop"]
STEPS = np.arange(3000.0)


def logistic(rate: float, expected: float = 0.2, middle: float = 1500) -> np.ndarray:
    """The KL of a signal that grows by exp(rate) at each step, and saturates."""
    return expected * scipy.special.expit(2 * rate * (STEPS - middle))


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.05])
def test_the_growth_rate_of_a_logistic_curve_is_its_own(rate: float) -> None:
    assert waking.growth(logistic(rate), STEPS, 0.2) == pytest.approx(rate, rel=0.01)
    assert waking.growth(logistic(rate), 3 * STEPS, 0.2) == pytest.approx(rate / 3, rel=0.01)


def test_growth_is_not_measured_below_what_a_unit_starts_from() -> None:
    floor = 0.01  # of KL that is no signal: the curve leaves it at three times as much
    curve = np.maximum(logistic(0.01), floor)
    assert waking.growth(curve, STEPS, 0.2) == pytest.approx(0.01, rel=0.05)


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
    assert math.isnan(waking.growth(kl, np.arange(float(len(kl))), expected))


def rates(values: dict[float, float]) -> list[records.Row]:
    return [{"times": time, "growth_per_1000_steps": rate} for time, rate in values.items()]


def test_the_line_through_rates_is_theirs_whatever_one_of_them_says() -> None:
    exact = {time: 30 * (time - 1.02) for time in (1.05, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8)}
    for values in (exact, exact | {1.05: 9.0}, exact | {1.8: math.nan, 0.9: math.nan}):
        slope, offset = waking.line(rates(values))
        assert slope == pytest.approx(30)
        assert -offset / slope == pytest.approx(1.02)
    assert np.isnan(waking.line(rates({1.1: 1.0, 1.2: 2.0, 1.3: math.nan}))).all()
    assert np.isnan(waking.line(rates({1.1: 1.0, 1.2: 2.0}) * 3)).all()


def test_a_sleeping_unit_is_slow_above_the_zero_of_the_line_and_dead_below() -> None:
    made = rates({time: 30 * (time - 1.02) for time in (1.1, 1.2, 1.3)})
    made += rates({1.05: math.nan, 1.0: math.nan, 0.9: math.nan})
    asleep = [row | {"active_units": 0} for row in made]
    told = {row["times"]: row["state"] for row in waking.told_apart(asleep)}
    assert told == dict.fromkeys((1.1, 1.2, 1.3, 1.05), "slow") | {1.0: "dead", 0.9: "dead"}
    (awake,) = waking.told_apart([asleep[0] | {"active_units": 1}])
    assert awake["state"] == "awake"
    (unknown,) = waking.told_apart(asleep[:1])
    assert unknown["state"] == "asleep"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the study, run once."""
    out = tmp_path_factory.mktemp("finished")
    run(dead_or_slow, *ARGUMENTS, "--out", out)
    return out / "dead_or_slow"


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[records.Row]:
    return records.read(folder / "results.jsonl")


def test_a_row_for_every_net_start_scale_and_seed(rows) -> None:
    found = [(row["net"], row["from"], row["times"], row["seed"]) for row in rows]
    scales = {"start": (0.5, 2.0), "raised": (0.9, 1.4), "lowered": (0.9, 1.4)}
    assert found == [
        (net, name, pytest.approx(time, abs=2e-3), seed)
        for net in ("linear", "mlp1")
        for name, times in scales.items()
        for time in times
        for seed in (0, 1)
    ]
    first = theory.thresholds(
        dead_or_slow.DeadOrSlowFlags().config((8, 8, 1)),
        load("digits", "train").images[:256].reshape(256, 64),
        1,
    )[0]
    for row in rows:
        assert row["split"] == "train[:256]"
        assert row["latent_size"] == 1
        assert row["threshold_scale"] == pytest.approx(first)
        assert row["recon_scale"] == pytest.approx(row["times"] * first, rel=1e-3)
        assert row["steps"] == 12 == row["decay_steps"]
        assert row["kl_warmup"] == (3 if row["from"] == "start" else 0)
        assert len(row["kl_curve_nats"]) == 12


def test_a_raised_unit_goes_on_from_the_sleeping_and_a_lowered_from_the_waking(folder) -> None:
    for net in ("linear", "mlp1"):
        start, saved = checkpoint.restore(folder / f"{net}-start")
        assert [start.lane(lane)["recon_scale"] for lane in range(4)] == sorted(
            start.lane(lane)["recon_scale"] for lane in range(4)
        )
        for name, lanes in (("raised", [0, 1, 0, 1]), ("lowered", [2, 3, 2, 3])):
            later, _ = checkpoint.restore(folder / f"{net}-{name}")
            begun = dead_or_slow.begin(folder, later)
            assert begun is not None
            jax.tree.map(
                lambda got, was, lanes=lanes: np.testing.assert_array_equal(got, was[lanes]),
                (begun.params, begun.opt_state),
                (saved.state.params, saved.state.opt_state),
            )
            np.testing.assert_array_equal(begun.step, [0] * 4)
            assert not (begun.key == saved.state.key[lanes]).all(1).any()  # noise of its own
            assert len(np.unique(begun.key, axis=0)) == 2


def test_verdicts_are_those_of_the_saved_rows(folder, rows) -> None:
    written = json.loads((folder / "verdict.json").read_text())
    judged = {claim: found._asdict() for claim, found in dead_or_slow.verdict(rows).items()}
    assert written == records.plain(judged)
    assert list(written) == CLAIMS


def test_resuming_redraws_from_what_is_saved_and_trains_nothing(folder, monkeypatch) -> None:
    drawings = {path.stem: path for path in folder.glob("*.png")}
    assert set(drawings) == {"waking", "rates"}
    left = [*drawings.values(), folder / "verdict.json"]
    before = {path: path.read_bytes() for path in [*left, folder / "results.jsonl"]}
    for path in left:
        path.unlink()
    monkeypatch.setattr(train, "epoch_lanes", None)
    run(dead_or_slow, *ARGUMENTS, "--out", folder.parent, "--resume")
    for path, content in before.items():
        assert path.read_bytes() == content, path.name


def test_what_has_diverged_is_left_out_of_figures_and_decides_nothing(rows, tmp_path) -> None:
    left = [row for row in rows if row["run"] != "mlp1-lowered"]
    assert dead_or_slow.verdict(left)["B3, mlp1 has a loop"].verdict == "FAILED"  # none is active
    assert len(dead_or_slow.figure(left, tmp_path)) == 2
    starts = [row for row in rows if row["from"] == "start"]
    assert {found.verdict for found in dead_or_slow.verdict(starts).values()} == {"UNDECIDED"}
    assert dead_or_slow.figure(starts, tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kl-warmup", "5", "--kl-cycle", "5"], "--kl-cycle"),
        (["--free-bits", "0.1"], "--free-bits"),
        (["--kl-weight", "0"], "--kl-weight"),
        (["--images", "1"], "--images 1"),
    ],
)
def test_bad_flags_are_one_message_that_names_them(arguments, message, tmp_path, capsys) -> None:
    text = fail(dead_or_slow, capsys, *ARGUMENTS, "--out", tmp_path, *arguments)
    assert message in text
    assert "Traceback" not in text
    assert not list(tmp_path.iterdir())


def judged(zero: float, raised_from: float, lowered_from: float) -> list[str]:
    """The verdicts on a linear net whose growth is 0 at `zero` times the threshold, and whose units
    are active from some scales on."""
    made: list[dict[str, Any]] = []
    for seed in (1, 0):
        for name, first in (("raised", raised_from), ("lowered", lowered_from)):
            for time in dead_or_slow.TIMES:
                rate = 20 * (time - zero) * (1 + seed) if time > 1 else None
                made.append(
                    {
                        "net": "linear",
                        "from": name,
                        "seed": seed,
                        "times": time,
                        "growth_per_1000_steps": rate if name == "raised" else None,
                        "active_units": int(time >= first),
                    }
                )
    return [dead_or_slow.verdict(made)[claim].verdict for claim in CLAIMS[:2]]


@pytest.mark.parametrize(
    ("zero", "raised_from", "lowered_from", "verdicts"),
    [
        (1.0, 1.05, 1.05, ["HELD", "FAILED"]),
        (1.09, 1.05, 1.05, ["HELD", "FAILED"]),
        (1.11, 1.05, 1.05, ["FAILED", "FAILED"]),
        (0.91, 1.05, 1.05, ["HELD", "FAILED"]),
        (0.89, 1.05, 1.05, ["FAILED", "FAILED"]),
        (1.0, 1.1, 0.95, ["HELD", "HELD"]),
        (1.0, 0.9, 0.8, ["UNDECIDED", "HELD"]),
        (1.0, 0.8, 0.8, ["FAILED", "FAILED"]),
    ],
)
def test_what_the_verdicts_ask_for(zero, raised_from, lowered_from, verdicts) -> None:
    assert judged(zero, raised_from, lowered_from) == verdicts


def test_the_first_images_are_those_of_the_split() -> None:
    data = study.load_data(dead_or_slow.DeadOrSlowFlags(dataset="digits"))
    few = study.first_images(data, 7)
    np.testing.assert_array_equal(few.train, data.train[:7])
    assert few.split == "train[:7]"
    assert study.first_images(data, 10**6).split == f"train[:{len(data.train)}]"
