"""What the lab makes of extreme input: images that do not vary, a single image, scales from 1e-6 to
1e8, codes that are wider than the images. A number is finite and right; where there is none, it is
NaN and null, and the lab says why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaejax as vj
from tests import tiny
from vaejax.data import dataset
from vaejax.study.recording import predict

SHAPE = (8, 8, 1)
DIGITS = {split: vj.data.load("digits", split) for split in ("train", "test")}
LEVELS = {"black": 0, "grey": 77, "white": 255}
SQUARED = vj.Config(image_shape=SHAPE, likelihood="gaussian", output="linear")
LIKELIHOODS = {
    "squared error": SQUARED,
    "learned variance": vj.Config(
        image_shape=SHAPE, likelihood="gaussian", output="linear", decoder_variance="learned"
    ),
    "Bernoulli": vj.Config(image_shape=SHAPE),
}
FLAGS = vj.study.Flags(dataset="digits", likelihood="gaussian", seeds=(0, 1), widths=(4,))
SCALES = (1e-6, 1.0, 1e8)


def equal(level: int, count: int = 30) -> np.ndarray:
    """Images of one level."""
    return np.full((count, 64), level, np.uint8)


def lab_of(train: np.ndarray, test: np.ndarray) -> vj.study.Lab:
    labels = np.zeros(len(test), np.int32)
    return vj.study.Lab(FLAGS, Path("unused"), SHAPE, train, test, labels, "train")


def have_images(monkeypatch: pytest.MonkeyPatch, splits: Any) -> None:
    """Every data set has these images and labels."""
    sizes = {split: len(labels) for split, (_, labels) in splits.items()}
    opened = dataset.Opened(sizes, splits.__getitem__)
    monkeypatch.setattr(dataset, "open_source", lambda source: opened)


@pytest.fixture(params=["all equal", "black"])
def equal_digits(request, monkeypatch) -> None:
    """The digits are all the first one, or all black."""
    first = DIGITS["train"][0][:1] * (request.param != "black")
    splits = {
        split: (np.repeat(first, len(labels), 0), labels) for split, (_, labels) in DIGITS.items()
    }
    have_images(monkeypatch, splits)


@pytest.mark.parametrize("config", LIKELIHOODS.values(), ids=LIKELIHOODS)
@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_of_equal_images_no_direction_pays_at_any_scale(config: vj.Config, level: int) -> None:
    thresholds = vj.theory.thresholds(config, equal(level), 64)
    assert np.isposinf(thresholds).all()
    for name, found in vj.theory.predictions(thresholds, np.array(SCALES), 1.0, 64).items():
        np.testing.assert_array_equal(found, 0, err_msg=name)


def test_drawn_pixels_of_equal_grey_images_are_independent_and_pay_above_the_elbo() -> None:
    """As black and white pixels they vary, each on its own: the threshold of all is D."""
    binarized = vj.Config(image_shape=SHAPE, binarize=True)
    thresholds = vj.theory.thresholds(binarized, equal(77), 64)
    np.testing.assert_allclose(thresholds, binarized.elbo_scale)
    for level in (0, 255):
        assert np.isposinf(vj.theory.thresholds(binarized, equal(level), 64)).all()


@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_principal_components_keep_equal_images_as_they_are(level: int) -> None:
    images = equal(level)
    moments = vj.theory.moments(images)
    assert not moments.covariance.any()
    space = vj.theory.principal_components(moments, 3)
    np.testing.assert_allclose(space.components @ space.components.T, np.eye(3), atol=1e-6)
    assert vj.theory.reconstruction_mse(space, images, 3) == 0
    assert vj.theory.constant_error(SQUARED, moments) == 0
    best = vj.theory.linear_optimum(SQUARED, space, 0.0, 0.5)
    assert (best.units, best.gain, best.kl, best.mse) == (0, 0, 0, 0)
    assert np.isfinite(best.neg_elbo)


def test_the_distance_of_equal_images_from_others_of_one_level_is_that_of_their_means() -> None:
    train, test = equal(51), equal(102, 9)
    reference = lab_of(train, test).reference
    np.testing.assert_allclose(reference.floor, 64 * 0.2**2, rtol=1e-5)
    np.testing.assert_allclose(lab_of(train, train).reference.floor, 0, atol=1e-12)


def test_equal_images_have_no_power_and_no_sharpness() -> None:
    """Their mean is each of them to the bit, or noise of rounding would count as power."""
    for level in range(0, 256, 15):
        images = equal(level, 7)
        lab = lab_of(images, images)
        np.testing.assert_array_equal(lab.mean_image, lab.pictures(images)[0])
        outputs = np.random.default_rng(0).uniform(0, 1, (7, *SHAPE)).astype(np.float32)
        found = lab.sharpness(outputs, images)
        assert np.isnan([found["half_power_cycles"], found["high_frequency_share"]]).all()
        assert np.isnan(found["power_ratio"]).all()
        assert found["decoded_mean_mse"] > 0


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("pixel_range", ["unit", "signed"])
def test_any_scale_has_a_sigma_and_a_best_linear_vae(
    scale: float, pixel_range: vj.config.PixelRange
) -> None:
    config = vj.Config(
        image_shape=SHAPE, likelihood="gaussian", output="linear", pixel_range=pixel_range
    )
    lane = vj.stack([vj.knobs(config, recon_scale=scale)])
    (sigma,) = np.asarray(vj.loss.effective_sigma(config, lane))
    variance = vj.theory.decoder_variance(scale, 64)
    np.testing.assert_allclose(sigma**2, variance, rtol=1e-5)
    moments = vj.theory.moments(DIGITS["train"][0].reshape(-1, 64))
    space = vj.theory.principal_components(moments, 10)
    best = vj.theory.linear_optimum(config, space, float(moments.covariance.trace()), variance)
    assert best.units == (10 if scale == SCALES[-1] else 0)
    assert np.isfinite([best.neg_elbo, best.gain, best.kl, best.mse]).all()
    assert min(best.gain, best.kl, best.mse) >= 0


def test_a_weight_of_0_has_no_threshold_even_of_equal_images() -> None:
    lab = lab_of(equal(77), equal(77))
    (weightless,) = [vj.knobs(SQUARED, recon_scale=1.0, kl_weight=0.0)]
    paid = vj.knobs(SQUARED, recon_scale=1.0)
    run = vj.Run("both", vj.Images("digits"), SQUARED, vj.stack([weightless, paid]), (0, 0), {})
    np.testing.assert_array_equal(predict(lab, run).thresholds, [np.nan, np.inf])


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("linear_vae", "no threshold"),
        ("phase_diagram", "no threshold"),
        ("dead_or_slow", "no threshold"),
        ("two_images", "first two training images of digits are equal"),
        ("hidden_pixels", "no pixel of them varies"),
    ],
)
@pytest.mark.usefixtures("equal_digits")
def test_a_study_that_needs_images_that_differ_says_so_before_it_trains(
    study: str, words: str, tmp_path, capsys
) -> None:
    flags = tiny.STUDIES.get(study, [*tiny.LINEAR, "--columns", "2"])
    said = tiny.fail(capsys, study, *flags, "--out", tmp_path / "out")
    assert words in said
    assert "inf" not in said.split()
    assert not list((tmp_path / "out").rglob("*.json*"))


@pytest.mark.usefixtures("equal_digits")
def test_equal_images_decide_nothing_and_are_drawn_and_reported_all_the_same(
    tmp_path, capsys
) -> None:
    folder = tiny.run("recon_scale", tmp_path)
    said = capsys.readouterr()
    assert "the training images are all equal" in said.err
    assert "inf" not in said.err.split()
    text = (folder / "results.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    for row in tiny.rows_of(folder):
        assert row["threshold_scale"] is None
        assert row["units_that_pay"] == 0
        assert row["output_variance_ratio"] is None
        assert row["half_power_cycles"] is None
        assert np.isfinite([row["mse"], row["kl_nats"], row["neg_elbo_nats"]]).all()
    verdicts = json.loads((folder / "verdict.json").read_text())
    assert {found["verdict"] for found in verdicts.values()} == {"UNDECIDED"}
    assert (folder / "scales.png").is_file()
    tiny.command("report", folder, "--out", tmp_path / "page.html")
    assert "NaN" not in (tmp_path / "page.html").read_text()


def test_the_advice_on_one_pixel_that_varies_is_about_one_unit(monkeypatch, capsys) -> None:
    images, labels = DIGITS["train"]
    single = np.zeros_like(images)
    single[:, 3, 3] = images[:, 3, 3]
    have_images(monkeypatch, {"train": (single, labels)})
    tiny.command("advise", "--dataset", "digits")
    said = capsys.readouterr().out
    assert not {"inf", "nan"} & set(said.split())
    assert said.count("│ any") == 3  # a single unit, at any scale above its threshold
    assert "elbo: recon_scale 64, at the threshold" in said  # one pixel of black or white


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_of_one_image_is_refused_before_training(split, monkeypatch, tmp_path, capsys):
    images, labels = DIGITS[split]
    single = DIGITS | {split: (images[:1], labels[:1])}
    have_images(monkeypatch, single)
    said = tiny.fail(capsys, "latent_size", *tiny.STUDIES["latent_size"], "--out", tmp_path)
    assert f"The split '{split}' of digits holds a single image" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("columns", [["0"], ["9"], ["2", "2"]])
def test_an_encoder_sees_one_column_or_more_and_no_more_than_there_are(
    columns: list[str], tmp_path, capsys
) -> None:
    flags = [*tiny.LINEAR, "--columns", *columns, "--out", tmp_path]
    assert "--columns" in tiny.fail(capsys, "hidden_pixels", *flags)


def test_a_panel_without_numbers_says_so() -> None:
    floor = ("mean image", 0.1)
    nothing = vj.show.Panel("a", "nats", {"vae": vj.show.Line([], [])}, floor, log_y=True)
    unknown = vj.show.Panel("b", "", {"vae": vj.show.Line([1, 2], [[np.nan], [np.nan]])})
    known = vj.show.Panel("c", "", {"vae": vj.show.Line([1, 2], [[3.0], [np.nan]])})
    for log_x in (True, False):
        axes = vj.show.curves([nothing, unknown, known], "scale", "title", log_x=log_x).axes
        words = [[text.get_text() for text in one.texts] for one in axes]
        assert words == [["no model has a number"], ["no model has a number"], []]


def test_values_of_which_none_is_positive_are_on_a_linear_axis() -> None:
    panels = [
        vj.show.Panel("gap", "nats", {"vae": vj.show.Line([1, 2], [[low], [high]])}, log_y=True)
        for low, high in ((0.0, -1e-9), (0.0, 1.0))
    ]
    axes = vj.show.curves(panels, "scale", "title").axes
    assert [one.get_yscale() for one in axes] == ["linear", "log"]
