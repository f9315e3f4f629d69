"""vaejax.config and vaejax.run: what a run is, and what is no run."""

import dataclasses
import json
from itertools import product
from typing import Any

import jaxtyping
import numpy as np
import pytest

from vaejax.config import Config, Knobs, Nets, grid, knobs, stack
from vaejax.errors import LabError
from vaejax.run import Images, Run

SHAPE = (4, 3, 1)
CONFIG = Config(image_shape=SHAPE)
GAUSSIAN = Config(image_shape=SHAPE, likelihood="gaussian")


@pytest.fixture
def _no_type_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users have none: a value that the one of the tests would refuse must be refused anyway."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.usefixtures("_no_type_checker")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "gan"), ("encoder_activation", "sigmoid"), ("decoder_activation", "Dense"),
        ("likelihood", "laplace"), ("output", "softmax"), ("pixel_range", "bytes"),
        ("decoder_variance", "free"), ("image_shape", (4, 3)), ("image_shape", (4, 3, 1, 1)),
        ("image_shape", (4, 0, 1)), ("latent_size", 0), ("latent_size", -2), ("latent_size", 2.5),
        ("encoder_widths", (5, 0)), ("decoder_widths", (-5,)), ("batch_size", 0),
        ("batch_size", 2.5), ("importance_samples", -1), ("optimizer", "lion"), ("beta1", 1.0),
        ("epsilon", 0.0),
    ],
)  # fmt: skip
def test_a_field_out_of_range_is_named_with_its_value(name: str, value: Any) -> None:
    fields: dict[str, Any] = {"image_shape": SHAPE, name: value}
    with pytest.raises(LabError) as caught:
        Config(**fields)
    assert f"{name}={value!r}" in str(caught.value)


VALID = {
    ("bernoulli", "sigmoid", "unit", False),
    ("bernoulli", "sigmoid", "unit", True),
    ("gaussian", "sigmoid", "unit", False),
    ("gaussian", "tanh", "unit", False),
    ("gaussian", "tanh", "signed", False),
    ("gaussian", "linear", "unit", False),
    ("gaussian", "linear", "signed", False),
}
FIELDS = ("likelihood", "output", "pixel_range", "binarize")
COMBINATIONS = [
    *product(
        ("bernoulli", "gaussian"), ("sigmoid", "tanh", "linear"), ("unit", "signed"), (False, True)
    )
]


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_only_combinations_with_a_meaning_construct(combination: tuple[Any, ...]) -> None:
    choices: dict[str, Any] = dict(zip(FIELDS, combination, strict=True))
    if combination in VALID:
        config = Config(image_shape=SHAPE, **choices)
        assert tuple(getattr(config, name) for name in FIELDS) == combination
        assert dataclasses.replace(config, centre_inputs=True) != config  # which goes with them all
    else:
        with pytest.raises(LabError) as caught:
            Config(image_shape=SHAPE, **choices)
        assert any(f"{name}={value!r}" in str(caught.value) for name, value in choices.items())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "meaningless",
    [
        {"model": "ae", "importance_samples": 5},
        {"optimizer": "rmsprop", "beta1": 0.5},
    ],
)
def test_a_choice_that_would_do_nothing_is_refused(meaningless: dict[str, Any]) -> None:
    with pytest.raises(LabError, match=[*meaningless][1]):
        Config(image_shape=SHAPE, **meaningless)


def test_equal_configs_are_one_compilation() -> None:
    same = Config(**dataclasses.asdict(CONFIG))
    assert same == CONFIG
    assert hash(same) == hash(CONFIG)
    assert dataclasses.replace(CONFIG, latent_size=3) != CONFIG


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        (Config(image_shape=(28, 28, 1)), 784),
        (Config(image_shape=(28, 28, 1), likelihood="gaussian"), 392),
        (Config(image_shape=(32, 32, 3)), 3072),
        (Config(image_shape=(32, 32, 3), likelihood="gaussian"), 1536),
        (Config(image_shape=(3, 3, 1), likelihood="gaussian"), 4.5),
    ],
)
def test_elbo_scale_is_pixels_or_half_of_them(config: Config, scale: float) -> None:
    assert config.elbo_scale == knobs(config, recon_scale="elbo").recon_scale == scale
    with pytest.raises(LabError, match="recon_scale='ELBO'"):
        knobs(config, recon_scale="ELBO")  # pyright: ignore


RATES, SCALES = (1e-3, 1e38), (1.0, 40.0)


def test_a_grid_is_every_combination_for_every_seed() -> None:
    found, seeds = grid(CONFIG, (0, 1), learning_rate=RATES, recon_scale=SCALES)
    lanes = list(zip(found.learning_rate, found.recon_scale, seeds, strict=True))
    want = [(rate, scale, seed) for rate in RATES for scale in SCALES for seed in (0, 1)]
    np.testing.assert_allclose(lanes, want)
    assert set(found.kl_weight.tolist()) == {1.0}
    assert [array.dtype for array in found] == [np.float32] * len(Knobs._fields)
    with pytest.raises(LabError, match="recon_scale=-1"):
        grid(CONFIG, (0,), recon_scale=(1.0, -1.0))


def run(config: Config, seeds: tuple[int, ...], **labels: Any) -> Run:
    lane = knobs(config, learning_rate=0.1, recon_scale=1 / 3)
    lanes = stack([lane] * len(seeds))
    return Run("study", Images("mnist", "train[:9]"), config, lanes, seeds, labels)


def through_json(there: Run, nets: Nets | None = None) -> Run:
    return Run.from_json(json.loads(json.dumps(there.to_json())), nets)


@pytest.mark.parametrize("seeds", [(), (-1,), (0, 2**31)])
def test_a_seed_out_of_range_is_named(seeds: tuple[int, ...]) -> None:
    with pytest.raises(LabError) as caught:
        Run("study", Images("mnist", "train"), CONFIG, stack([knobs(CONFIG)] * 2), seeds)
    assert f"seeds={seeds}" in str(caught.value)


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_run_needs_a_value_of_each_knob_and_each_label_for_every_seed(lanes: int) -> None:
    with pytest.raises(LabError, match="2 seeds need as many of each knob"):
        Run("study", Images("mnist", "train"), CONFIG, stack([knobs(CONFIG)] * lanes), (0, 1))
    with pytest.raises(LabError, match="2 seeds need as many of each label"):
        run(CONFIG, (0, 1), depth=(1, 2), start=("random",) * lanes)


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        GAUSSIAN,
        Config(image_shape=SHAPE, encoder_widths=(), binarize=True, centre_inputs=True),
    ],
)
def test_a_run_survives_json(config: Config) -> None:
    labels = {"start": ("random", "trained", None), "times": (0.5, 2.0, 1 / 3)}
    there = run(config, (0, 7, 2**31 - 1), **labels)
    back = through_json(there)
    assert (back.name, back.images) == (there.name, there.images)
    assert (back.config, back.seeds, back.labels) == (there.config, there.seeds, labels)
    for read, written in zip(back.knobs, there.knobs, strict=True):
        np.testing.assert_array_equal(read, written, strict=True)


def unused(*_: Any) -> Any:
    raise AssertionError("a description needs no parameters")


MINE, OTHERS = (Nets(name, unused, unused, unused) for name in ("mine", "others"))


def test_the_description_of_a_run_with_nets_of_ones_own_holds_their_name() -> None:
    there = run(dataclasses.replace(CONFIG, nets=MINE), (0, 7))
    assert there.to_json()["config"]["nets"] == "mine"
    assert "nets" not in run(CONFIG, (0, 7)).to_json()["config"]
    assert through_json(there, MINE).config == there.config


@pytest.mark.parametrize(
    ("trained_with", "given", "message"),
    [
        (MINE, None, "trained with the nets mine: give them as nets="),
        (MINE, OTHERS, "trained with the nets mine: give them as nets="),
        (None, MINE, r"trained with the nets of vaejax\.model: give no nets"),
    ],
)
def test_a_run_is_read_with_the_nets_that_it_was_trained_with_alone(
    trained_with: Nets | None, given: Nets | None, message: str
) -> None:
    there = run(dataclasses.replace(CONFIG, nets=trained_with), (0, 7))
    with pytest.raises(LabError, match=message):
        through_json(there, given)


def test_a_lane_is_its_seed_and_knobs_as_they_were_typed() -> None:
    lane = run(CONFIG, (5, 6)).lanes[1]
    assert lane == {
        "seed": 6, "learning_rate": 0.1, "decay_steps": 0.0, "recon_scale": pytest.approx(1 / 3),
        "kl_weight": 1.0, "kl_warmup": 0.0, "kl_cycle": 0.0, "free_bits": 0.0,
        "clip_norm": 0.0,
    }  # fmt: skip
