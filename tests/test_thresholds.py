"""experiments.thresholds: which lanes have a threshold, on which images, and who is warned."""

import math
from dataclasses import replace

import numpy as np
import pytest

from experiments import thresholds
from experiments.flags import Flags
from vaejax import sweep, theory
from vaejax.config import Config, Run

IMAGES = {
    "train": np.random.default_rng(0).integers(0, 256, (30, 12), np.uint8),
    "train[:9]": np.random.default_rng(1).integers(0, 256, (9, 12), np.uint8),
}
FLAGS = Flags(dataset="digits", seeds=(0, 1), likelihood="gaussian", widths=(4,))
CONFIG = FLAGS.config((2, 2, 3), latent_size=2)


def run_of(config: Config = CONFIG, flags: Flags = FLAGS, split: str = "train") -> Run:
    return flags.run("scales", split, config, (0.01, 1e6))


def first_of(run: Run) -> float:
    return thresholds.first_thresholds([run], IMAGES)[run.name]


@pytest.mark.parametrize("split", IMAGES)
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_lane_has_the_first_threshold_of_its_images_times_its_kl_weight(
    split: str, likelihood: str
) -> None:
    config = replace(CONFIG, likelihood=likelihood)
    want = theory.thresholds(config, IMAGES[split], 1)[0]
    for weight in (1.0, 3.0):
        run = run_of(config, replace(FLAGS, kl_weight=weight), split)
        for lane in range(4):
            got = thresholds.threshold_scale(run, lane, first_of(run))
            assert got == pytest.approx(weight * want)


@pytest.mark.parametrize(
    "flags",
    [
        replace(FLAGS, free_bits=0.5),
        replace(FLAGS, kl_warmup=2.0, kl_cycle=4.0),
        replace(FLAGS, kl_weight=0.0),
    ],
    ids=["free bits", "cycle", "free"],
)
def test_without_a_price_of_the_kl_there_is_no_threshold_and_no_warning(flags: Flags) -> None:
    run = run_of(flags=flags)
    assert math.isnan(first_of(run))
    assert math.isnan(thresholds.threshold_scale(run, 0, first_of(run)))
    assert thresholds.collapse_warnings(run, first_of(run)) == []


def test_an_ae_has_none() -> None:
    run = run_of(replace(CONFIG, model="ae"))
    assert math.isnan(first_of(run))
    assert thresholds.collapse_warnings(run, first_of(run)) == []


def test_images_are_looked_at_once_for_all_runs_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, moments = [], theory.moments
    monkeypatch.setattr(
        theory, "moments", lambda images: calls.append(len(images)) or moments(images)
    )
    configs = [CONFIG, replace(CONFIG, latent_size=3), replace(CONFIG, likelihood="bernoulli")]
    runs = [replace(run_of(config), name=str(i)) for i, config in enumerate(configs)]
    found = thresholds.first_thresholds(runs, IMAGES)
    assert calls == [30]
    assert found["0"] == found["1"] != found["2"]


def test_a_setting_below_its_threshold_is_warned_of_once_for_all_seeds() -> None:
    run = run_of()
    (line,) = thresholds.collapse_warnings(run, first_of(run))
    assert line.startswith(f"warning: recon_scale 0.01 is below {first_of(run):.4g}, the threshold")


def test_the_lanes_below_a_threshold_share_a_line() -> None:
    run = FLAGS.run("scales", "train", CONFIG, (0.01, 1e6, 0.02))
    first = first_of(run)
    (line,) = thresholds.collapse_warnings(run, first)
    assert line.startswith(f"warning: recon_scale 0.01, 0.02 are below {first:.4g}, the threshold")
    names = ("recon_scale", "kl_weight")
    knobs, seeds = sweep.grid(CONFIG, (0,), **dict.fromkeys(names, (0.01, 1e6)))
    lines = thresholds.collapse_warnings(replace(run, knobs=knobs, seeds=seeds), first)
    assert [line.split(" below ")[0] for line in lines] == [
        "warning: recon_scale 0.01 is",
        "warning: recon_scale 0.01, 1e+06 are",
    ]
