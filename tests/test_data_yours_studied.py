"""Studies and commands on your own images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vaejax as vj
from tests import tiny
from tests.handmade import found
from vaejax.data import load
from vaejax.errors import LabError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 6, 5), np.uint8)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits as PNG files, with their labels."""
    place = tmp_path_factory.mktemp("files") / "my digits"
    for split in ("train", "test"):
        images, labels = load("digits", split)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            write(place / split / str(label) / f"{index:04d}.png", image[..., 0])
    return place


def test_a_study_of_image_files_is_that_of_the_same_arrays(
    digits: Path,
    finished: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tiny.page("inspect_checkpoint"), "pictures", tiny.no_figures)
    flags = ["--dataset", digits, "--latent-sizes", "2"]
    folder = tiny.run("latent_size", tmp_path, *flags, figures=tiny.no_figures)
    assert f"my digits: 1,438 train and 359 test images of 8x8x1, from {digits}" in (
        capsys.readouterr().err
    )
    own_names = {"dataset", "commit"}
    known = [row for row in tiny.rows_of(finished("latent_size")) if row["run"] == "z2"]
    for row, same in zip(tiny.rows_of(folder), known, strict=True):
        assert row["dataset"] == "my digits"
        assert {k: v for k, v in row.items() if k not in own_names} == {
            k: v for k, v in same.items() if k not in own_names
        }
    quoted = f"--dataset '{digits}'"
    assert quoted in tiny.about(folder)["invocations"][0]["command"]

    # The run knows its images; where they have moved, --dataset says where they are.
    look = ["inspect_checkpoint", folder / "z2", "--nll-samples", 5, "--nll-images", 9]
    tiny.command(*look)
    assert "my digits, test" in capsys.readouterr().out
    moved = digits.rename(digits.with_name("moved"))
    try:
        assert f"There is no {digits}" in tiny.fail(capsys, *look)
        tiny.command(*look, "--dataset", moved)
        tiny.command("explore", folder, "--dataset", moved)
        np.savez(tmp_path / "other.npz", x_train=GREY, x_test=GREY)
        text = tiny.fail(capsys, *look, "--dataset", tmp_path / "other.npz")
        assert "are not those of the run z2" in text
    finally:
        moved.rename(digits)

    # Other images of the same name are told apart.
    other = tmp_path / "other" / "my digits"
    for index in range(300):
        for split, levels in (("train", 256), ("test", 99)):
            write(other / split / f"{index}.png", np.full((8, 8), index % levels, np.uint8))
    again = [*tiny.STUDIES["latent_size"], *flags, "--dataset", other]
    text = tiny.fail(capsys, "latent_size", *again, "--out", tmp_path, "--resume")
    assert "was trained on other images that are called my digits as well" in text


def test_a_study_of_vectors_has_lines_and_no_spectrum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All images are in one array of one split, which --train and --test divide."""
    images = load("digits", "all").images.reshape(-1, 64)
    np.savez(tmp_path / "spectra.npz", x_train=images / np.float32(255))
    parts = ["--train", "train[:1438]", "--test", "train[1438:]"]
    vectors = ["--dataset", tmp_path / "spectra.npz", *parts]
    folder = tiny.run("blur", tmp_path, *vectors, "--latent-sizes", "2")
    assert "spatial spectra need 4x4 pixels" in capsys.readouterr().err
    for row in tiny.rows_of(folder):
        assert row["half_power_cycles"] is row["pca_power_ratio"] is None
        assert "1x64" in row["no_spectrum"]
        assert row["split"] == "train[:1438]"
    assert {path.name for path in folder.glob("*.png")} == {"reconstructions.png"}
    assert (folder / "verdict.json").read_text().strip() == "{}"
    run = vj.store.checkpoint.read_run(folder / "z2")
    assert run.images.test == "train[1438:]"
    assert vj.study.images_of(run, "test").images.shape == (359, 1, 64, 1)
    assert "trained on vectors" in tiny.fail(capsys, "explore", folder)


def test_a_line_for_each_vector_shows_its_numbers() -> None:
    vectors = RNG.random((3, 1, 7, 1)).astype(np.float32)
    (axes,) = vj.show.strips({"input": vectors}, "title").axes
    assert len(axes.images) == 0
    for index, (line, vector) in enumerate(zip(axes.lines, vectors, strict=True)):
        across, up = np.asarray(line.get_data())
        np.testing.assert_allclose(up, vector[0, :, 0])
        assert across[0] == pytest.approx(1.1 * index)


@pytest.mark.parametrize(("study", "claim"), [("few_images", "C7"),
                                              ("recon_scale", "C13, slightly blurry")])  # fmt: skip
def test_without_a_spectrum_only_the_claim_on_blur_is_left_out(study: str, claim: str) -> None:
    kept = Path(__file__).parents[1] / "results" / "mnist" / study / "results.jsonl"
    rows = vj.store.records.read(kept)
    vectors = [row | {"cycles_per_image": None, "half_power_cycles": None} for row in rows]
    assert found(study, vectors) == found(study, rows) | {claim: None}


# Flags.


def test_flags_of_images_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(LabError, match="--grey and --rgb exclude"):
        vj.study.DataFlags(grey=True, rgb=True)
    with pytest.raises(LabError, match="--resize 0"):
        vj.study.DataFlags(resize=0)


def test_a_set_of_one_split_says_how_to_divide_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", x_train=GREY)
    text = tiny.fail(capsys, "blur", "--dataset", tmp_path / "a.npz", "--out", tmp_path / "o")
    assert "there is no split 'test'" in text
    assert "--train 'train[:90%]' --test 'train[90%:]'" in text
    assert not (tmp_path / "o").exists()


def lab_of(tmp_path: Path, **choices: Any) -> Any:
    np.savez(tmp_path / "a.npz", x_train=GREY, y_train=np.arange(12) // 6)
    flags = vj.study.Flags(dataset=f"{tmp_path}/a.npz", out=tmp_path / "o", **choices)
    return vj.study.laboratory.load(flags, "study")


def test_training_images_may_begin_anywhere(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, train="train[4:]+train[:2]", test="train[2:4]", train_images=9)
    flat = GREY.reshape(12, -1)
    np.testing.assert_array_equal(lab.train, flat[[*range(4, 12), 0]])
    np.testing.assert_array_equal(lab.test, flat[2:4])
    assert lab.split == "train[4:12]+train[:1]"
    assert lab.first(3) == "train[4:7]"
    np.testing.assert_array_equal(lab.images(lab.first(3)), flat[4:7])
    np.testing.assert_array_equal(lab.images("train[6:8]+train[:1]"), flat[[6, 7, 0]])
    with pytest.raises(LabError, match="not among the training images"):
        lab.images("train[2:5]")
    with pytest.raises(LabError, match="10 images: there are 9"):
        lab.first(10)


def test_what_a_limit_or_an_overlap_does_to_images_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab_of(tmp_path, train="train", test="train[9:]", train_images=10)
    text = capsys.readouterr().err
    assert "1 images are for training and for test" in text
    lab_of(tmp_path, train="train", test="train[10:]", train_images=6)
    assert "the first 6 images are of 1 of 2 classes" in capsys.readouterr().err
