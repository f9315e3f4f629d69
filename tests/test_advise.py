"""Advice on a data set before training: the numbers of `vaejax.theory`, for the embedded digits."""

import re

import numpy as np
import pytest

import vaejax as vj
from tests import tiny

DIGITS = ["--dataset", "digits"]
IMAGES = vj.data.load("digits", "train").images.reshape(-1, 64)
SQUARED = vj.Config(image_shape=(8, 8, 1), likelihood="gaussian", output="linear")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    tiny.command("advise", *DIGITS, *arguments)
    return capsys.readouterr().out


def cells(text: str, first: str) -> list[str]:
    """Of the first row of a table that begins so."""
    (row, *_) = [line for line in text.splitlines() if re.match(rf"│ {re.escape(first)} +│", line)]
    return [cell.strip() for cell in row.strip("│").split("│")]


def test_it_says_the_threshold_and_where_the_elbo_stands(capsys) -> None:
    text = printed(capsys)
    assert f"{len(IMAGES)} images of D = 64" in text
    assert "threshold: recon_scale 46.24, a Gaussian decoder of sigma 0.8319" in text
    assert "elbo: recon_scale 32, BELOW the threshold" in text
    assert "elbo: recon_scale 64, above the threshold" in text  # Bernoulli
    assert "elbo is above it" in text  # learned variance
    assert "warning" not in text


def test_its_tables_are_what_theory_predicts(capsys) -> None:
    thresholds = vj.theory.thresholds(SQUARED, IMAGES, 64)
    text = printed(capsys, "--likelihood", "gaussian", "--recon-scale", "100")
    for label, scale in (("1", 1.0), ("32 (elbo)", 32.0), ("100", 100.0), ("6000", 6000.0)):
        units = int(vj.theory.predicted_units(thresholds, scale, 1.0, 64))
        kl = float(vj.theory.predicted_kl(thresholds, scale, 1.0, 64))
        sigma = f"{(64 / 2 / scale) ** 0.5:.4g}"
        assert cells(text, label) == [label, sigma, str(units), f"{kl:.4g}"]
    for units in (2, 10):
        above, upto = thresholds[units - 1 : units + 1]
        assert cells(text, str(units))[1:3] == [f"{above:.6g}", f"{upto:.6g}"]
    assert "Bernoulli" not in text


def test_the_weight_of_the_kl_and_the_pixel_range_move_the_threshold(capsys) -> None:
    first = vj.theory.thresholds(SQUARED, IMAGES, 1)[0]
    text = printed(capsys, "--kl-weight", "2", "--likelihood", "gaussian")
    assert f"threshold: recon_scale {2 * first:.4g}," in text
    text = printed(capsys, "--pixel-range", "signed")
    assert f"threshold: recon_scale {first / 4:.4g}," in text
    assert "Bernoulli" not in text


def test_no_more_units_pay_than_there_are(capsys) -> None:
    text = printed(capsys, "--likelihood", "gaussian", "--latent-size", "3", "--units", "3")
    assert cells(text, "6000")[2] == "3"
    assert cells(text, "3")[2] == "any"


def test_a_scale_that_must_collapse_is_warned_of_in_one_line(capsys) -> None:
    text = printed(capsys, "--likelihood", "gaussian", "--recon-scale", "1", "40", "50")
    (line,) = [line for line in text.splitlines() if line.startswith("warning")]
    assert line.startswith("warning: recon_scale 1, 40 are below 46.24, the threshold of these")


def test_constant_images_have_no_units(capsys, tmp_path) -> None:
    np.savez(tmp_path / "constant.npz", x_train=np.full((30, 8, 8), 9, np.uint8))
    text = printed(capsys, "--likelihood", "gaussian", "--dataset", tmp_path / "constant.npz")
    assert "threshold: recon_scale inf" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kl-weight", "0"], "--kl-weight 0"),
        (["--units", "0"], "--units 0"),
        (["--units", "65"], "--units 65"),
        (["--recon-scale", "-1"], "recon_scale=-1"),
        (["--split", "validation"], "validation"),
        (["--dataset", "digitz"], "digitz"),
        (["--likelihood", "bernoulli", "--pixel-range", "signed"], "pixel_range"),
    ],
)
def test_bad_flags_are_one_message_that_names_them(arguments, message, capsys) -> None:
    assert message in tiny.fail(capsys, "advise", *DIGITS, *arguments)
