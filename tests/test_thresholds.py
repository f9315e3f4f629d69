"""Thresholds of whole runs: which lanes have one, on which images, who is warned, which latent size
is too small, and how what was measured is compared with what is predicted."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vaejax import theory
from vaejax.config import Config, grid
from vaejax.errors import LabError
from vaejax.run import Run
from vaejax.study import Flags, Lab
from vaejax.study.recording import collapse_warnings, predict
from vaejax.theory import components

TRAIN = np.random.default_rng(0).integers(0, 256, (30, 12), np.uint8)
FLAGS = Flags(dataset="digits", seeds=(0, 1), likelihood="gaussian", widths=(4,))
CONFIG = FLAGS.config((2, 2, 3), latent_size=2)
LABELS = np.zeros(30, np.int32)


def lab() -> Lab[Flags]:
    """A laboratory in which the random images are for training."""
    return Lab(FLAGS, Path("unused"), (2, 2, 3), TRAIN, TRAIN, LABELS, "train")


def run_of(config: Config = CONFIG, flags: Flags = FLAGS, split: str = "train") -> Run:
    return flags.run("scales", split, config, (0.01, 1e6))


@pytest.mark.parametrize(("split", "images"), [("train", TRAIN), ("train[3:9]", TRAIN[3:9])])
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_a_lane_has_the_first_threshold_of_its_images_times_its_kl_weight(
    split: str, images: np.ndarray, likelihood: str
) -> None:
    config = replace(CONFIG, likelihood=likelihood)
    want = theory.thresholds(config, images, 1)[0]
    for weight in (1.0, 3.0):
        run = run_of(config, replace(FLAGS, kl_weight=weight), split)
        assert predict(lab(), run).thresholds == pytest.approx([weight * want] * 4)
        of_images = theory.thresholds(config, images, 12)
        np.testing.assert_allclose(lab().thresholds(config, split), of_images)
        assert theory.lane_thresholds(run, of_images) == pytest.approx([weight * want] * 4)


@pytest.mark.parametrize(
    ("split", "images", "units"),
    [
        ("train", TRAIN, [0, 11, 12, 0, 6, 12]),
        ("train[3:9]", TRAIN[3:9], [0, 5, 5, 0, 4, 5]),  # six images have five directions
    ],
)
def test_the_units_of_a_lane_are_the_directions_that_pay_for_its_kl_weight(
    split: str, images: np.ndarray, units: list[int]
) -> None:
    """Though there are two latent units."""
    eigenvalues = np.linalg.eigvalsh(np.cov(images.T / 255, bias=True))[::-1]
    knobs, seeds = grid(CONFIG, (0,), kl_weight=(1.0, 3.0), recon_scale=(0.01, 270.0, 1e6))
    run = replace(run_of(split=split), knobs=knobs, seeds=seeds)
    want = [(lane["recon_scale"] * eigenvalues > lane["kl_weight"] * 6).sum() for lane in run.lanes]
    assert want == units
    assert predict(lab(), run).units.tolist() == units
    assert theory.lane_units(run, lab().thresholds(CONFIG, split)).tolist() == units


@pytest.mark.parametrize(
    "run",
    [
        run_of(flags=replace(FLAGS, free_bits=0.5)),
        run_of(flags=replace(FLAGS, kl_warmup=2.0, kl_cycle=4.0)),
        run_of(flags=replace(FLAGS, kl_weight=0.0)),
        run_of(replace(CONFIG, model="ae")),
    ],
    ids=["free bits", "cycle", "weight 0", "ae"],
)
def test_where_the_kl_is_not_charged_in_the_end_there_is_no_threshold_and_no_warning(
    run: Run,
) -> None:
    assert theory.charged_lanes(run).tolist() == [False] * 4
    predicted = predict(lab(), run)
    assert np.isnan(predicted).tolist() == [[True] * 4] * 2
    some = np.array([1.0, 2.0, 3.0])
    assert np.isnan(theory.lane_thresholds(run, some)).all()
    assert np.isnan(theory.lane_units(run, some)).all()
    assert collapse_warnings(run, predicted.thresholds) == []


def test_lanes_that_are_charged_have_a_threshold_beside_others_that_are_not() -> None:
    """A warm-up charges the KL in the end."""
    knobs, seeds = grid(CONFIG, (0,), free_bits=(0.0, 0.1), kl_weight=(0.0, 2.0), kl_warmup=(5.0,))
    run = replace(run_of(), knobs=knobs, seeds=seeds)
    assert theory.charged_lanes(run).tolist() == [False, True, False, False]
    want = [math.nan, 2 * theory.thresholds(CONFIG, TRAIN, 1)[0], math.nan, math.nan]
    found = predict(lab(), run)
    np.testing.assert_allclose(found.thresholds, want)
    np.testing.assert_array_equal(np.isnan(found.units), np.isnan(want))


@pytest.mark.parametrize(
    "changes",
    [
        {"likelihood": "bernoulli"},
        {"likelihood": "bernoulli", "binarize": True},
        {"pixel_range": "signed", "output": "tanh"},
        {"decoder_variance": "learned"},
    ],
    ids=lambda changes: " ".join(changes),
)
def test_thresholds_that_are_kept_are_not_taken_for_those_of_another_config(
    changes: dict[str, Any],
) -> None:
    work, other = lab(), replace(CONFIG, **changes)
    for config in (CONFIG, other, CONFIG):
        want = theory.thresholds(config, TRAIN, 12)
        np.testing.assert_allclose(work.thresholds(config), want)
    few = work.thresholds(CONFIG, "train[:5]")
    np.testing.assert_allclose(few, theory.thresholds(CONFIG, TRAIN[:5], 12))


def test_an_autoencoder_is_refused_whatever_is_kept() -> None:
    work = lab()
    for _ in range(2):
        with pytest.raises(LabError, match=r"^An AE has no KL"):
            work.thresholds(replace(CONFIG, model="ae"))
        work.thresholds(CONFIG)


def test_images_are_not_looked_at_where_there_is_no_threshold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(components, "moments", None)
    assert np.isnan(predict(lab(), run_of(replace(CONFIG, model="ae")))).all()


def test_the_lanes_below_a_threshold_share_a_line_with_all_their_seeds() -> None:
    run = FLAGS.run("scales", "train", CONFIG, (0.01, 1e6, 0.02))
    thresholds = predict(lab(), run).thresholds
    (line,) = collapse_warnings(run, thresholds)
    first = f"{thresholds[0]:.4g}"
    assert line.startswith(f"warning: recon_scale 0.01, 0.02 are below {first}, the threshold")
    names = ("recon_scale", "kl_weight")
    knobs, seeds = grid(CONFIG, (0,), **dict.fromkeys(names, (0.01, 1e6)))
    run = replace(run, knobs=knobs, seeds=seeds)
    lines = collapse_warnings(run, predict(lab(), run).thresholds)
    assert [line.split(" below ")[0] for line in lines] == [
        "warning: recon_scale 0.01 is",
        "warning: recon_scale 0.01, 1e+06 are",
    ]


@pytest.mark.parametrize(
    ("units", "noted"),
    [
        ((0.0, 10.0), None),
        ((0.0, 11.0), "10 latent units, but by the linear theory 11 would pay .* recon_scale 2:"),
        ((65.0, math.nan), "65 would pay for their KL at recon_scale 1:"),
        ((math.nan, 10.0), None),
        ((math.nan, math.nan), None),
    ],
)
def test_a_latent_size_below_the_units_that_pay_is_noted_at_the_scale_where_most_do(
    units: tuple[float, float], noted: str | None
) -> None:
    note = theory.size_note(10, (1.0, 2.0), units)
    assert (note is not None) == (noted is not None)
    assert re.search(noted or "", note or "")


RELATIVE = np.array([1.0, 1.5, 4.0])
"""Thresholds as multiples of the first."""


def test_what_is_predicted_is_what_probabilistic_pca_has() -> None:
    where: Any = RELATIVE, np.array([0.9, 1.0, 2.0, 8.0]), 1.0, 3
    np.testing.assert_array_equal(theory.predicted_units(*where), [0, 0, 2, 3])
    kl = np.log([1, 1, 2 * 2 / 1.5, 8 * 8 / 1.5 * 2]) / 2
    np.testing.assert_allclose(theory.predicted_kl(*where), kl)
    slack = [0, 0, 2 + 2 / 1.5 - 2, 8 + 8 / 1.5 + 2 - 3]
    np.testing.assert_allclose(theory.predicted_gain(*where), np.array(slack) / 2 - kl)


@pytest.mark.parametrize(
    ("scale", "margin", "off"),
    [
        (1.45, 1.1, [1, 0, 0, 1, 2]),
        (1.45, 1.01, [1, 0, 1, 2, 3]),
        (1.55, 1.1, [1, 0, 0, 1, 2]),
        (1.55, 1.01, [2, 1, 0, 1, 2]),
    ],
)
def test_a_unit_whose_threshold_is_near_the_scale_may_count_or_not(
    scale: float, margin: float, off: list[int]
) -> None:
    found = theory.units_off(RELATIVE, np.full(5, scale), np.arange(5), margin)
    np.testing.assert_array_equal(found, off)


@pytest.mark.parametrize(
    ("units", "onset"),
    [
        ([0, 0, 1, 2], math.sqrt(0.96 * 1.04)),
        ([0, 1, 0, 2], math.sqrt(1.04 * 1.1)),  # asleep again
        ([1, 1, 1, 2], 0),
        ([0, 0, 0, 0], math.inf),
    ],
)
def test_the_onset_is_between_the_last_scale_without_a_unit_and_the_next(
    units: list[float], onset: float
) -> None:
    assert theory.onset((0.9, 0.96, 1.04, 1.1), units) == pytest.approx(onset)
