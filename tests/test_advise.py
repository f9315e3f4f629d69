"""Advice on a data set before training: the numbers of `vaejax.theory`, for the embedded digits."""

import re
import shlex
from pathlib import Path

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


MEAN = ["--loss", "mse", "--pixels", "mean", "--kl", "sum"]
"""The loss that most often collapses."""
PAGE = Path(__file__).parents[1] / "docs" / "your_loss.md"
EXAMPLES = re.findall(
    r"```sh\npython -m experiments\.advise (.*)\n```\n\n```text\n((?:.+\n)+)```", PAGE.read_text()
)
"""Arguments and paragraph of each answer on the page."""


def paragraph(text: str) -> str:
    """What is said of a loss, on one line."""
    return " ".join(text.split("\n\n")[-1].split("the weight of your KL")[0].split())


def test_a_collapsing_loss_is_told_the_weight_to_write(capsys) -> None:
    """Which, when it is written, is twice the threshold: on the digits the ELBO collapses."""
    said = paragraph(printed(capsys, *MEAN))
    first = vj.theory.thresholds(SQUARED, IMAGES, 1)[0]
    assert "recon_scale 1 at kl_weight 1: an effective beta of 32, or a" in said
    assert f"threshold of these images, {first:.4g}: BELOW it" in said
    assert f"is twice the threshold (the ELBO of a Gaussian of sigma 1, at {1 / 32:.4g}," in said
    (weight,) = re.findall(r"write a KL weight of (\S+) instead of 1", said)
    said = paragraph(printed(capsys, *MEAN, "--kld-weight", weight))
    assert "That is 2 times the threshold" in said
    assert "4 units pay" in said
    half = [*MEAN, "--kl-weight", "0.5"]
    (factor,) = re.findall(r"multiply the error by (\d+\.\d+)", paragraph(printed(capsys, *half)))
    said = paragraph(printed(capsys, *half, "--error-weight", factor))
    assert "That is 2 times the threshold" in said


def test_weights_for_units_are_those_at_their_thresholds(capsys) -> None:
    thresholds = vj.theory.thresholds(SQUARED, IMAGES, 64)
    text = printed(capsys, *MEAN, "--units", "1", "10")
    for units in (1, 10):
        assert cells(text, str(units))[1] == f"{1 / thresholds[units - 1]:.4g}"


@pytest.mark.parametrize(
    "same",
    [
        ["--kl-weight", "7", "--error-weight", "7"],
        ["--error-batch", "sum", "--kl-batch", "sum", "--batch-size", "99"],
        ["--pixel-std", "1"],
    ],
)
def test_what_both_terms_have_in_common_changes_neither_side_nor_units(same, capsys) -> None:
    """The weight to write is in the notation of the loss, and may change."""
    bce = ["--loss", "bce", "--pixels", "sum", "--kl", "sum"]
    plain, changed = (
        paragraph(printed(capsys, *bce, *more)).split("What to change")[0] for more in ([], same)
    )
    assert plain == changed
    assert "3.34 times the threshold of these images, 19.17: ABOVE" in plain


def test_pixels_in_minus_one_to_one_say_sigma_in_both_ranges(capsys) -> None:
    signed = paragraph(printed(capsys, *MEAN, "--pixel-range", "signed"))
    assert "recon_scale 4 at kl_weight 1" in signed
    assert "sigma 5.657 in your pixel range (2.828 in [0, 1])" in signed
    assert signed == paragraph(printed(capsys, *MEAN, "--pixel-std", "0.5"))


def test_a_latent_size_that_is_used_up_is_named(capsys) -> None:
    said = paragraph(printed(capsys, *MEAN, "--kl-weight", "0.001", "--latent-size", "3"))
    assert "and you have 3" in said


def test_images_that_do_not_vary_have_no_units_at_any_weight(capsys, tmp_path) -> None:
    np.savez(tmp_path / "constant.npz", x_train=np.full((30, 8, 8), 90, np.uint8))
    own = ["--dataset", tmp_path / "constant.npz"]
    assert "no unit can pay at any weight" in paragraph(printed(capsys, *MEAN, *own))
    said = printed(capsys, *own)
    assert said.count("no threshold: the images are all equal") >= 2  # of each likelihood
    assert not {"inf", "nan"} & set(said.split())


assert len(EXAMPLES) == 2


@pytest.mark.real_data
@pytest.mark.parametrize(("arguments", "said"), EXAMPLES)
def test_the_page_shows_what_the_command_says(arguments, said, capsys) -> None:
    tiny.command("advise", *shlex.split(arguments))
    assert paragraph(capsys.readouterr().out) == paragraph(said)


@pytest.mark.parametrize(("arguments", "said"), EXAMPLES)
def test_a_loss_of_the_page_has_its_balance_on_other_images(arguments, said, capsys) -> None:
    tiny.command("advise", *shlex.split(arguments), *DIGITS)
    balance = re.compile(r"recon_scale (\S+) at kl_weight 1")
    here, there = paragraph(capsys.readouterr().out), paragraph(said)
    assert balance.findall(here) == balance.findall(there)
    form = {
        "BELOW": r"BELOW it\..* no unit pays .* write a KL weight of \S+ instead of 1, or multiply",
        "ABOVE": r"ABOVE it, .* pays? for .* What to change: (nothing against|units wake)",
    }
    for text in (here, there):
        (side,) = re.findall(r"threshold of these images, \S+: (ABOVE|BELOW) it", text)
        assert re.search(form[side], text)
        times = float(re.findall(r"That is (\S+) times the threshold", text)[0])
        assert (side == "ABOVE") == (times > 1)


LOSS = "--loss mse --pixels mean --kl sum"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--loss mse", "--loss needs --pixels and --kl"),
        ("--pixels sum", "--pixels goes with --loss"),
        (f"{LOSS} --likelihood gaussian", "--likelihood does not go with --loss"),
        (f"{LOSS} --recon-scale 1", "--recon-scale does not go with --loss"),
        (f"{LOSS} --pixel-range signed --pixel-std 0.3", "give one of them"),
        (f"{LOSS} --kl-weight 0", "--kl-weight 0"),
        (f"{LOSS} --error-weight 0", "--error-weight 0: use"),
        (
            f"{LOSS} --kl mean",
            "--kl mean divides by the number of latent units: give --latent-size",
        ),
        (
            f"{LOSS} --kl-batch sum",
            "--error-batch mean, --kl-batch sum: the size of the batch",
        ),
        (f"{LOSS} --latent-size 0", "--latent-size 0"),
        (f"{LOSS} --loss l1", "--loss l1: what collapses"),
    ],
)
def test_a_loss_that_is_none_is_refused_in_one_line_before_images_are_loaded(
    arguments, message, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("vaejax.data.load", None)
    text = tiny.fail(capsys, "advise", *DIGITS, *arguments.split())
    assert message in text
    assert len(text.strip().splitlines()) == 1


def test_vectors_that_are_no_pixels_are_taken_as_they_are(capsys, tmp_path) -> None:
    table = np.random.default_rng(0).normal(2, 3, (500, 12)) @ np.diag(np.linspace(1, 4, 12))
    np.savez(tmp_path / "a.npz", x_train=table, x_test=table[:9])
    own = ["--dataset", tmp_path / "a.npz", "--numbers"]
    first = 6 / np.linalg.eigvalsh(np.cov(table.T, bias=True))[-1]
    said = paragraph(printed(capsys, *MEAN, *own))
    assert "for numbers as they are, your loss is recon_scale 1 at kl_weight 1" in said
    assert f"the threshold of these images, {first:.4g}: ABOVE" in said
    assert f"threshold: recon_scale {first:.4g}, a Gaussian" in printed(capsys, *own)
    few = paragraph(printed(capsys, *MEAN, *own, "--split", "train[:7]"))
    first = 6 / np.linalg.eigvalsh(np.cov(table[:7].T, bias=True))[-1]
    assert f"the threshold of these images, {first:.4g}: ABOVE" in few
    for more, message in (
        (["--loss", "bce", "--pixels", "sum", "--kl", "sum"], "--numbers are for squared error"),
        (["--pixel-range", "signed"], "--pixel-range does not go with --numbers"),
        (["--dataset", "digits"], "for an .npy or .npz file"),
        (["--split", "val"], "there is no split 'val'"),
    ):
        assert message in tiny.fail(capsys, "advise", *own, *more)
    np.save(tmp_path / "b.npy", np.where(table > 9, np.nan, table))
    text = tiny.fail(capsys, "advise", "--dataset", tmp_path / "b.npy", "--numbers")
    assert "b.npy: train is no array [n, d] of finite numbers" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kl-weight", "0"], "--kl-weight 0"),
        (["--kl-weight", "inf"], "--kl-weight inf"),
        (["--units", "0"], "--units 0"),
        (["--units", "65"], "--units 65"),
        ([*MEAN, "--units", "65"], "--units 65"),
        (["--recon-scale", "-1"], "recon_scale=-1"),
        (["--split", "validation"], "validation"),
        (["--dataset", "digitz"], "digitz"),
        (["--likelihood", "bernoulli", "--pixel-range", "signed"], "pixel_range"),
    ],
)
def test_bad_flags_are_one_message_that_names_them(arguments, message, capsys) -> None:
    """And nothing is printed before it."""
    with pytest.raises(SystemExit, match=re.escape(message)):
        tiny.command("advise", *DIGITS, *arguments)
    assert capsys.readouterr().out == ""
