"""Your own images as a data set: folders of image files, .npy and .npz files."""

import io
import pickle
import re
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vaejax as vj
from tests.tfds_fixtures import assert_equal
from vaejax.data import Dataset, cache, load, names, own, pixels
from vaejax.errors import LabError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 6, 5), np.uint8)
MANY = RNG.integers(0, 256, (60, 6, 5), np.uint8)
"""Enough for a division by content."""
RGB = RNG.integers(0, 256, (12, 6, 5, 3), np.uint8)
MASKS = GREY > 127


@pytest.fixture(autouse=True)
def _cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "the cache"))


def write(path: Path, image: Any, **options: Any) -> Path:
    """An image file, of an array, a picture or bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        picture.save(path, **options)
    return path


def folder_of(place: Path, images: np.ndarray = GREY) -> Path:
    """A folder with the splits train, of ten images, and test."""
    for index, image in enumerate(images):
        write(place / ("train" if index < 10 else "test") / f"{index:03d}.png", image)
    return place


def saved(path: Path, arrays: Any) -> Path:
    """An .npz file of arrays by name, or else an .npy file."""
    if isinstance(arrays, Mapping):
        np.savez(path.with_suffix(".npz"), **arrays)
        return path.with_suffix(".npz")
    np.save(path.with_suffix(".npy"), arrays, allow_pickle=True)
    return path.with_suffix(".npy")


def read(path: Path) -> Any:
    return own.read(names.source(path))


def refused(path: Path, **options: Any) -> str:
    """The one line with which a data set is refused."""
    with pytest.raises(LabError) as caught:
        load(str(path), **options)
    assert "\n" not in str(caught.value)
    assert not list(cache.root().glob("*"))  # nothing was written
    return str(caught.value)


# Names and paths.


def test_what_is_a_path_and_what_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "data" / "mine").mkdir(parents=True)
    for text in ("./mnist", "../a", "~/a", "/a", "a.npy", "A.NPZ", "data/mine", ".", ".."):
        assert names.is_path(text), text
    for text in ("mnist", "digits", "emnist/letters", "cifar100:3.0.2", "data", ""):
        assert not names.is_path(text), text
    with pytest.raises(LabError, match=r"to read .*data, write \./data"):
        load("data")


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("./a/My pictures é", "My pictures é"), ("a/b.NPZ", "b"), ("./x[$1]", "x__1_"),
     ("./v1.5/", "v1.5"), ("./a/../b", "b"), ("/", "images")],
)  # fmt: skip
def test_results_are_named_by_the_last_part_of_a_path(dataset: str, name: str) -> None:
    found = names.source(dataset)
    assert found.name == name
    assert Path(found.path or "").is_absolute()
    assert vj.study.Flags(dataset=dataset, quick=True).folder == Path(f"checkpoints/{name}-quick")


def test_a_tilde_is_the_home_directory_and_a_path_object_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "a", MANY)
    folder_of(tmp_path / "mnist")
    assert load("~/a.npy", "all").images.shape == (60, 6, 5, 1)
    np.testing.assert_array_equal(load(Path("mnist")).images[..., 0], GREY[:10])


@pytest.mark.parametrize(
    ("choices", "message"),
    [({"resize": 0}, "resize=0: use a whole"), ({"resize": -1}, "resize=-1"),
     ({"resize": True}, "resize=True"),
     ({"white": 0}, "white=0: use a positive"),
     ({"white": 1}, "white=1 is for images of your own")],
)  # fmt: skip
def test_an_argument_that_is_none_is_refused(choices: Any, message: str) -> None:
    with pytest.raises(LabError, match=message):
        load("digits", **choices)


# What is read.


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".webp", ".jpg", ".JPEG"])
@pytest.mark.parametrize("images", [GREY, RGB], ids=["grey", "rgb"])
def test_every_format_is_read(suffix: str, images: np.ndarray, tmp_path: Path) -> None:
    if suffix == ".webp" and images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)  # the format knows no grey
    options = {"lossless": True} if suffix == ".webp" else {}
    files = [
        write(tmp_path / "a" / "train" / f"{index}{suffix}", image, **options)
        for index, image in enumerate(images[:4])
    ]
    expected = images[:4]
    if suffix.lower() in (".jpg", ".jpeg"):  # noise of 6x5 pixels, and a lossy format
        expected = np.stack([np.asarray(Image.open(file)) for file in files])
    found = load(tmp_path / "a")
    np.testing.assert_array_equal(found.images, expected.reshape(4, 6, 5, -1))
    assert found.labels.tolist() == [0] * 4


@pytest.mark.parametrize("labels", [["cat", "dog"], [""]])
def test_folders_are_splits_and_labels_and_images_keep_the_order_of_their_names(
    labels: list[str], tmp_path: Path
) -> None:
    place = tmp_path / "Bilder für später"
    for index, image in enumerate(GREY):
        split = "train" if index < 8 else "test"
        write(place / split / labels[index % len(labels)] / f"{index:02d}.png", image)
    train, test = load(place), load(place, "test")
    np.testing.assert_array_equal(train.images[..., 0], GREY[:8])
    np.testing.assert_array_equal(load(place, "train[6:]+test").images[..., 0], GREY[6:])
    assert train.labels.tolist() == list(range(len(labels))) * (8 // len(labels))
    assert test.labels.tolist() == list(range(len(labels))) * (4 // len(labels))


def test_a_folder_called_train_beside_other_labels_is_a_label(tmp_path: Path) -> None:
    for index, image in enumerate(MANY):
        write(tmp_path / "a" / ("bus", "train", "test")[index % 3] / f"{index:02d}.png", image)
    assert np.bincount(load(tmp_path / "a", "all").labels).tolist() == [20, 20, 20]
    assert "folders are labels: bus, test, train" in read(tmp_path / "a").notes


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [("Train", "Test", "test"), ("training", "TESTING", "test"), ("train", "dev", "dev"),
     ("TRAIN", "Validation", "validation")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["folder", "arrays"])
def test_splits_have_their_usual_names_in_any_case(
    train: str, test: str, split: str, kind: str, tmp_path: Path
) -> None:
    if kind == "arrays":
        place = saved(tmp_path / "a", {f"{train}_images": GREY[:10], f"x_{test}": GREY[10:]})
    else:
        place = tmp_path / "a"
        for index, image in enumerate(GREY):
            write(place / (train if index < 10 else test) / f"{index:02d}.png", image)
    np.testing.assert_array_equal(load(place).images[..., 0], GREY[:10])
    np.testing.assert_array_equal(load(place, split).images[..., 0], GREY[10:])


def test_what_systems_leave_behind_is_passed_over_and_other_files_are_named(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "a")
    for name in (".DS_Store", "Thumbs.db", ".ipynb_checkpoints/x.png", "train/._000.png"):
        write(path / name, b"x")
    write(path / "test" / "notes.txt", b"x")
    found = read(path)
    assert found.sizes == {"train": 10, "test": 2}
    assert found.notes[-1] == "passed over, being no images: test/notes.txt"
    assert not any("DS_Store" in note for note in found.notes)


def test_images_without_splits_are_divided_by_their_content(tmp_path: Path) -> None:
    for index in range(60):
        image = np.full((4, 4), index // 2, np.uint8)
        write(tmp_path / "a" / f"{index:02d}.png", image)
        write(tmp_path / "b" / f"{59 - index:02d}.png", image)
    parts = [
        [
            set(load(tmp_path / name, split).images[:, 0, 0, 0].tolist())
            for split in ("train", "test")
        ]
        for name in ("a", "a", "b")
    ]
    assert parts[0] == parts[1] == parts[2]  # from files, from the cache, under other names
    train, test = parts[0]
    assert train | test == set(range(30))
    assert train & test == set()  # copies of an image are on one side
    assert 1 <= len(test) <= 12
    assert "no splits of their own" in read(tmp_path / "a").notes[1]


def test_images_and_labels_without_splits_are_divided_together(tmp_path: Path) -> None:
    images = np.arange(60, dtype=np.uint8).repeat(16).reshape(60, 4, 4)
    np.savez_compressed(tmp_path / "a.npz", images=images, labels=np.arange(60))
    found = load(tmp_path / "a.npz", "all")
    np.testing.assert_array_equal(found.images[:, 0, 0, 0], found.labels)
    assert sorted(found.labels.tolist()) == list(range(60))


PICTURE = Image.fromarray(RGB[0])
PALETTE = PICTURE.quantize(8)
OPAQUE = np.concatenate([RGB[0], np.full((6, 5, 1), 255, np.uint8)], -1)
LARGE = Image.fromarray(RGB[0].repeat(8, 0).repeat(8, 1))
ABSENT = (1, 2, 3)
"""A colour that no pixel of it has."""
QUARTER_TURN = Image.Exif()
QUARTER_TURN[0x0112] = 6  # the camera was held a quarter turn to the left


@pytest.mark.parametrize(
    ("name", "image", "options", "expected"),
    [
        ("palette.png", PALETTE, {}, np.asarray(PALETTE.convert("RGB"))),
        ("two.png", PICTURE.convert("1"), {}, np.asarray(PICTURE.convert("1"))[..., None] * 255),
        ("turned.png", PICTURE, {"exif": QUARTER_TURN}, np.rot90(RGB[0], -1)),
        ("opaque.png", OPAQUE, {}, RGB[0]),
        ("keyed.png", PICTURE, {"transparency": ABSENT}, RGB[0]),
        ("preview.jpg", LARGE, {"format": "MPO", "save_all": True, "append_images": [PICTURE]},
         None),
    ],
)  # fmt: skip
def test_what_an_image_file_holds_is_read_as_a_viewer_shows_it(
    name: str, image: Any, options: dict[str, Any], expected: np.ndarray | None, tmp_path: Path
) -> None:
    write(tmp_path / "a" / "train" / name, image, **options)
    if expected is None:  # of a camera the picture is read, and not its preview
        expected = np.asarray(Image.open(write(tmp_path / "b.jpg", image)))
    np.testing.assert_array_equal(load(tmp_path / "a").images[0], expected)


def test_sizes_may_differ_if_they_are_made_equal(tmp_path: Path) -> None:
    wide = RNG.integers(0, 256, (8, 14), np.uint8)
    write(tmp_path / "a" / "train" / "0.png", wide)
    write(tmp_path / "a" / "train" / "1.png", wide.repeat(3, 0).repeat(3, 1))
    write(tmp_path / "a" / "test" / "2.png", np.stack([wide] * 3, -1))
    np.testing.assert_array_equal(  # the square in the middle, not scaled
        load(tmp_path / "a", "all", resize=8, colour="grey").images[[0, 2], ..., 0],
        [wide[:, 3:11]] * 2,
    )
    write(tmp_path / "b" / "train" / "0.png", wide.T)
    write(tmp_path / "b" / "test" / "1.png", wide.T)
    tall = load(tmp_path / "b", "train", resize=8).images
    np.testing.assert_array_equal(tall[0, ..., 0], wide.T[3:11])
    coloured = load(tmp_path / "a", "train", resize=4, colour="rgb").images
    assert coloured.shape == (2, 4, 4, 3)
    assert (coloured == coloured[..., :1]).all()


def test_a_file_that_changes_is_decoded_again_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder_of(tmp_path / "a")
    read(path)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", None)
        read(path)
    write(path / "train" / "000.png", 255 - GREY[0])
    np.testing.assert_array_equal(load(path).images[0, ..., 0], 255 - GREY[0])


@pytest.mark.parametrize(
    ("images", "shape"),
    [(MANY, (6, 5, 1)), (MANY[..., None], (6, 5, 1)), (MANY.reshape(60, 2, 5, 3), (2, 5, 3)),
     (MANY.reshape(60, 30), (1, 30, 1))],
    ids=["nhw", "nhw1", "nhw3", "nd"],
)  # fmt: skip
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_shape_are_read(
    images: np.ndarray, shape: tuple[int, ...], order: Any, tmp_path: Path
) -> None:
    found = load(saved(tmp_path / "a", np.asarray(images, order=order)), "all")
    assert found.images.shape == (60, *shape)
    assert {row.tobytes() for row in found.images} == {row.tobytes() for row in images}


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "y_train", "X_test", "y_test"),
    ],
)
def test_the_names_in_an_npz_file_tell_splits_and_labels(
    keys: tuple[str, ...], tmp_path: Path
) -> None:
    labels = np.arange(12)
    arrays = (GREY[:10], labels[:10, None], GREY[10:], labels[10:].astype(np.uint8))
    extra = {"extra": labels, "train_images_mean": GREY, "train_test": GREY}
    path = saved(tmp_path / "a", dict(zip(keys, arrays, strict=True)) | extra)
    assert_equal(load(path), Dataset(GREY[:10, ..., None], np.arange(10, dtype=np.int32)))
    assert_equal(load(path, "test"), Dataset(GREY[10:, ..., None], np.array([10, 11], np.int32)))
    assert read(path).notes[-1] == "arrays passed over: " + ", ".join(extra)


def test_an_empty_split_is_passed_over(tmp_path: Path) -> None:
    found = read(saved(tmp_path / "a", {"x_train": GREY, "x_test": GREY[:0]}))
    assert list(found.sizes) == ["train"]
    assert found.notes[-1] == "x_test is empty, and passed over"


LABELS: dict[str, tuple[Any, Any]] = {
    "floats": (np.arange(12.0), np.arange(12)),
    "one-hot": (np.eye(12)[::-1], np.arange(12)[::-1]),
    "one-hot of two": (np.eye(2)[[0, 1] * 6], np.array([0, 1] * 6)),
    "a column": (np.arange(12)[:, None], np.arange(12)),
    "bool": (np.arange(12) > 5, np.arange(12) > 5),
    "text": (np.array(["dog", "cat", "ant", "cat"] * 3), [3, 2, 0, 2] * 3),
    "too few": (np.arange(11), None),
    "scores": (np.arange(12) / 7, None),
    "64 bits": (np.arange(12) + 2**40, None),
    "objects": (np.array([{}] * 12, object), None),
}


@pytest.mark.parametrize("kind", LABELS)
def test_no_label_blocks_images(kind: str, tmp_path: Path) -> None:
    """Texts are numbered by the order of all of them, those of other splits too."""
    labels, expected = LABELS[kind]
    arrays: dict[str, Any] = {"x_train": GREY, "y_train": labels, "x_val": GREY}
    if kind == "text":
        arrays |= {"x_test": GREY, "y_test": np.array(["bee"] * 12)}
    found = read(saved(tmp_path / "a", arrays))
    images, classes = found.base_split("train")
    np.testing.assert_array_equal(images[..., 0], GREY)
    np.testing.assert_array_equal(classes, np.zeros(12) if expected is None else expected)
    assert not found.base_split("val")[1].any()
    noted = any("is no class for each image: all are 0" in note for note in found.notes)
    assert noted == (expected is None)


# Pixel ranges.

RANGES: dict[str, tuple[np.ndarray, float | None]] = {
    "bool": (MASKS, None),
    "0 and 1": (MASKS.astype(np.uint8), 1),
    "0 and 1, 64 bits": (MASKS.astype(np.int64), 1),
    "0 to 255, 16 bits": (MASKS.astype(np.uint16) * 255, 255),
    "0 to 255, floats": (MASKS * 255.0, 255),
    "divided twice": (MASKS / 255, 1 / 255),
    "just above 1": (MASKS * np.float32(1.0000001), None),
}


@pytest.mark.parametrize("kind", RANGES)
def test_white_is_255_whatever_number_stands_for_it(kind: str, tmp_path: Path) -> None:
    images, white = RANGES[kind]
    found = load(saved(tmp_path / "a", {"x_train": images}), white=white).images[..., 0]
    np.testing.assert_array_equal(found, 255 * MASKS)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f8"])
def test_floats_are_rounded_to_256_levels_and_that_is_said(dtype: Any, tmp_path: Path) -> None:
    found = read(saved(tmp_path / "a", {"x_train": (GREY / 255).astype(dtype)}))
    np.testing.assert_array_equal(found.base_split("train")[0][..., 0], GREY)
    assert "256 levels" in found.notes[-1]


@pytest.mark.parametrize(
    ("images", "most"),
    [(MASKS.astype(np.uint8), 1), (GREY // 16 + 1, 16), (MASKS / 255, 1), (np.zeros_like(GREY), 0)],
    ids=["0 and 1", "4 bits", "divided twice", "black"],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_pixels_that_are_surely_of_another_range_are_refused_unless_white_is_named(
    images: np.ndarray, most: int, split: str, tmp_path: Path
) -> None:
    floats = images.dtype.kind == "f"
    arrays = dict.fromkeys(("x_train", "x_test"), GREY / 255 if floats else GREY)
    path = saved(tmp_path / "a", arrays | {f"x_{split}": images})
    with pytest.raises(LabError, match=rf"a\.npz, {split}: no pixel is above {most} of 255"):
        load(path)
    assert load(path, split, white=1.0 if floats else 255.0).images.max() == most


def test_masks_of_0_and_1_in_files_are_refused_and_read_with_their_white(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "a", MASKS.astype(np.uint8))
    with pytest.raises(LabError, match="no pixel is above 1 of 255"):
        load(path)
    np.testing.assert_array_equal(load(path, white=1).images[..., 0], 255 * MASKS[:10])


# Refusals.


def deep_rgb() -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


SEVERAL = encoded(PICTURE, save_all=True, append_images=[Image.fromarray(RGB[1])])
TRANSPARENT = OPAQUE.copy()
TRANSPARENT[0, 0, 3] = 254
BAD_FILES: dict[str, tuple[Any, str]] = {
    "16 bits, grey": (GREY[0].astype(np.uint16), "more than 8 bits"),
    "16 bits, colour": (deep_rgb(), "more than 8 bits"),
    "cut short": (encoded(PICTURE)[:60], "is damaged or no image"),
    "text": (b"x", "is damaged or no image"),
    "empty": (b"", "is damaged or no image"),
    "several": (SEVERAL, "holds several pictures"),
    "another size": (GREY[0, :5], "5x5 pixels .*6x5: give --resize N"),
    "colour": (RGB[0], "is in colour, and .* is grey: give --grey or --rgb"),
    "print": (encoded(PICTURE.convert("CMYK"), "JPEG"), "colours of the kind CMYK"),
    "alpha": (TRANSPARENT, "has transparent pixels"),
    "palette": (encoded(Image.fromarray(GREY[0]).quantize(4), transparency=0), "transparent"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_in_one_line(kind: str, tmp_path: Path) -> None:
    image, message = BAD_FILES[kind]
    path = folder_of(tmp_path / "a")
    bad = write(path / "train" / "005.png", image)
    assert re.search(f"^{bad} .*{message}", refused(path))


def test_a_file_of_more_pixels_than_pillow_opens_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder_of(tmp_path / "a")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 14)  # refused from twice as many on
    assert load(path).images.shape == (10, *GREY.shape[1:3], 1)
    assert Image.MAX_IMAGE_PIXELS == 14


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds no image"),
        (["Train/a.png", "training/b.png"], "Train, training, two of them for one split"),
        (["train/a.png", "b.png"], "beside the folder train"),
        (["a.png", "cat/b.png"], "both images and folders"),
        (["cat/old/a.png"], "too deep"),
        (["train/a.png", "test/notes.txt"], "test holds no image"),
        (["a.png", "b.png"], "2 images, of which 1 differ, are too few to divide"),
    ],
)
def test_a_folder_that_is_not_clear_is_refused(
    files: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    for name in files:
        write(tmp_path / "a" / name, encoded(Image.fromarray(GREY[0])))
    assert message in refused(tmp_path / "a")


class Trap:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


# Those of several images are met only as they are decoded.
BAD_ARRAYS: dict[str, tuple[Any, str]] = {
    "integers": (GREY.astype(np.int64), r"int64: give uint8 from 0 to 255.*--white 255"),
    "16 bits": (GREY.astype(np.uint16), "uint16"),
    "bfloat16": (GREY.astype(np.uint16).view("V2"), r"\|V2 \(bfloat16\? x\.astype"),
    "objects": (np.array([{"a": Trap()}], object), "never unpickled"),
    "pixels as floats": (MANY / 1, r"from 0 to 25\d, outside \[0, 1\].*--white 255"),
    "negative": (MANY / 255 - 0.5, r"outside \[0, 1\]"),
    "NaN": (np.where(GREY[3, 2, 2] == MANY, np.nan, MANY / 255), "NaN or infinity"),
    "one axis": (np.zeros(9, np.uint8), r"shape \[9\]"),
    "nothing": (np.zeros((0, 4, 4), np.uint8), r"shape \[0, 4, 4\]"),
    "alpha": (np.zeros((9, 4, 4, 4), np.uint8), "4 channels"),
    "channels first": (np.zeros((9, 3, 8, 8), np.uint8), r"transpose\(0, 2, 3, 1\)"),
    "two arrays": ({"a": GREY, "b": GREY}, r"it holds a uint8 \[12, 6, 5\], b uint8"),
    "two images": ({"x": GREY, "images": GREY}, "x and images may both be the images"),
    "whole and split": ({"images": GREY, "x_train": GREY}, "does not say which array is what"),
    "labels alone": ({"labels": GREY[:, 0], "y_train": GREY[:, 0]}, "does not say which"),
    "no array": ({}, "it holds nothing"),
    "splits of two sizes": (
        {"x_train": GREY, "x_test": GREY[:, :5]},
        r"differ in size .*train 6x5x1, test 5x5x1.*--resize",
    ),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_a_bad_array_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    arrays, message = BAD_ARRAYS[kind]
    forms = [arrays] if isinstance(arrays, dict) else [arrays, {"x_train": arrays}]
    for form in forms:
        path = saved(tmp_path / "a", form)
        if kind == "splits of two sizes":  # each split is sound, and so decoded
            with pytest.raises(LabError, match=message):
                load(path)
            assert load(path, "all", resize=4).images.shape == (24, 4, 4, 1)
        else:
            assert re.search(f"^{path}.*{message}", refused(path))


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.csv", "none.npy"])
def test_a_file_that_is_no_array_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for content in (b"", b"x" * 200, pickle.dumps(Trap())):
        if name == "none.npy":
            message = f"There is no {path}"
        elif name == "a.csv":
            message = f"{path} is no folder and no .npy or .npz file"
        else:
            message = f"{path} is damaged or no array file"
        if name != "none.npy":
            path.write_bytes(content)
        assert message in refused(path)


@pytest.mark.parametrize("arrays", [MANY, {"x_train": MANY}], ids=["npy", "npz"])
def test_a_file_that_is_cut_short_is_refused(arrays: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "a", arrays)
    path.write_bytes(path.read_bytes()[:-200])
    assert "damaged" in refused(path)


# Colour and size.


def test_grey_is_that_of_pillow() -> None:
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in RGB]
    np.testing.assert_array_equal(pixels.changed(RGB, None, "grey")[..., 0], expected)


def test_named_sets_are_changed_as_well() -> None:
    plain, small = load("patches", "test[:9]"), load("patches", "test[:9]", None, 8, "grey")
    np.testing.assert_array_equal(small.images, pixels.changed(plain.images, 8, "grey"))
    assert small.images.shape == (9, 8, 8, 1)


@pytest.mark.parametrize(("height", "width"), [(9, 8), (8, 9), (32, 31), (31, 64)])
def test_where_nothing_is_scaled_whole_pixels_are_cut_out(height: int, width: int) -> None:
    images = RNG.integers(0, 256, (3, height, width, 3), np.uint8)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    found = pixels.changed(images, side, None)
    np.testing.assert_array_equal(found, images[:, top : top + side, left : left + side])


def test_vectors_cannot_be_resized(tmp_path: Path) -> None:
    path = saved(tmp_path / "a", {"x_train": GREY.reshape(12, 30)})
    assert "--resize is for pictures" in refused(path, resize=8)
