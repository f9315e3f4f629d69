"""Your own images as a data set: folders of image files, .npy and .npz files, in studies too."""

import io
import pickle
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vaejax as vj
from tests import tiny
from tests.handmade import found
from tests.tfds_fixtures import assert_equal
from vaejax.data import Dataset, cache, load, names, own, pixels, splits
from vaejax.errors import LabError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 6, 5), np.uint8)
MANY = RNG.integers(0, 256, (60, 6, 5), np.uint8)
"""Enough for a division by content."""
RGB = RNG.integers(0, 256, (12, 6, 5, 3), np.uint8)


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "the cache"
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(folder))
    return folder


def write(path: Path, image: np.ndarray | Image.Image, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(path, **options)
    return path


def folder_of(place: Path, images: np.ndarray = GREY, suffix: str = ".png") -> Path:
    """A folder with the splits train, of ten images, and test."""
    for index, image in enumerate(images):
        write(place / ("train" if index < 10 else "test") / f"{index:03d}{suffix}", image)
    return place


def refused(path: Path | str, **options: Any) -> str:
    """The one line with which a data set is refused."""
    with pytest.raises(LabError) as caught:
        load(str(path), **options)
    assert "\n" not in str(caught.value)
    assert not [entry for entry in cache.root().glob("*")]  # nothing was written
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


@pytest.mark.parametrize(
    ("dataset", "name"),
    [("./a/My pictures é", "My pictures é"), ("a/b.NPZ", "b"), ("./x[$1]", "x__1_"),
     ("./v1.5/", "v1.5"), ("./a/../b", "b"), ("/", "images")],
)  # fmt: skip
def test_results_are_named_by_the_last_part_of_a_path(
    dataset: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = names.source(dataset)
    assert found.name == name
    assert found.path is not None
    assert Path(found.path).is_absolute()
    assert vj.study.Flags(dataset=dataset, quick=True).folder == Path(f"checkpoints/{name}-quick")


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "a.npy", MANY)
    assert load("~/a.npy", "all").images.shape == (60, 6, 5, 1)


def test_a_name_that_is_a_folder_too_says_how_to_write_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    (tmp_path / "holiday").mkdir()
    with pytest.raises(LabError, match=r"to read .*holiday, write \./holiday"):
        load("holiday")


def test_a_path_that_is_not_there_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    assert "There is no" in refused(tmp_path / "none")
    (tmp_path / "a.csv").write_text("1,2")
    assert "no folder and no .npy or .npz file" in refused(tmp_path / "a.csv")


# Folders.


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".webp", ".jpg", ".JPEG"])
@pytest.mark.parametrize("images", [GREY, RGB], ids=["grey", "rgb"])
def test_every_format_is_read(suffix: str, images: np.ndarray, tmp_path: Path) -> None:
    if suffix.lower() == ".webp" and images.ndim == 3:
        images = np.repeat(images[..., None], 3, axis=3)  # the format knows no grey
    options = {"lossless": True} if suffix == ".webp" else {}
    for index, image in enumerate(images[:4]):
        write(tmp_path / "a" / "train" / f"{index}{suffix}", image, **options)
    found = load(str(tmp_path / "a"))
    expected = images[:4].reshape(4, 6, 5, -1)
    assert found.images.shape == expected.shape
    if suffix.lower() in (".jpg", ".jpeg"):  # noise of 6x5 pixels, and a lossy format
        expected = np.stack(
            [np.asarray(Image.open(tmp_path / "a" / "train" / f"{i}{suffix}")) for i in range(4)]
        ).reshape(expected.shape)
    np.testing.assert_array_equal(found.images, expected)
    np.testing.assert_array_equal(found.labels, np.zeros(4, np.int32))


def test_splits_are_in_the_order_of_file_names(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "Bilder für später")
    np.testing.assert_array_equal(load(str(path)).images[..., 0], GREY[:10])
    np.testing.assert_array_equal(load(str(path), "test").images[..., 0], GREY[10:])
    np.testing.assert_array_equal(load(str(path), "train[8:]+test").images[..., 0], GREY[8:])


def test_a_folder_is_a_label_and_images_keep_the_order_of_their_names(tmp_path: Path) -> None:
    for index, image in enumerate(GREY):
        split = "train" if index < 8 else "test"
        write(tmp_path / "a" / split / ("cat", "dog")[index % 2] / f"{index:02d}.png", image)
    train, test = load(str(tmp_path / "a")), load(str(tmp_path / "a"), "test")
    np.testing.assert_array_equal(train.images[..., 0], GREY[:8])
    assert train.labels.tolist() == [0, 1] * 4
    assert test.labels.tolist() == [0, 1] * 2


def test_images_of_a_split_without_labels_have_the_label_0(tmp_path: Path) -> None:
    for index, image in enumerate(GREY):
        write(tmp_path / "a" / "train" / ("cat", "dog")[index % 2] / f"{index:02d}.png", image)
        write(tmp_path / "a" / "test" / f"{index:02d}.png", image)
    assert load(tmp_path / "a").labels.tolist() == [0, 1] * 6
    assert load(tmp_path / "a", "test").labels.tolist() == [0] * 12


def test_a_folder_called_train_beside_other_labels_is_a_label(tmp_path: Path) -> None:
    for index, image in enumerate(MANY):
        write(tmp_path / "a" / ("bus", "train", "test")[index % 3] / f"{index:02d}.png", image)
    assert np.bincount(load(str(tmp_path / "a"), "all").labels).tolist() == [20, 20, 20]
    notes = own.read(names.source(tmp_path / "a")).notes
    assert "folders are labels: bus, test, train" in notes


@pytest.mark.parametrize(
    "named",
    [("Train", "Test", "test"), ("training", "TESTING", "test"), ("train", "dev", "dev"),
     ("TRAIN", "Validation", "validation")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["folder", "arrays"])
def test_splits_have_their_usual_names_in_any_case(
    named: tuple[str, str, str], kind: str, tmp_path: Path
) -> None:
    train, test, split = named
    place = tmp_path / ("a.npz" if kind == "arrays" else "a")
    if kind == "arrays":
        arrays: dict[str, Any] = {f"{train}_images": GREY[:10], f"x_{test}": GREY[10:]}
        np.savez(place, **arrays)
    else:
        for index, image in enumerate(GREY):
            write(place / (train if index < 10 else test) / f"{index:02d}.png", image)
    np.testing.assert_array_equal(load(place).images[..., 0], GREY[:10])
    np.testing.assert_array_equal(load(place, split).images[..., 0], GREY[10:])


def test_a_path_object_is_a_path_even_if_it_is_one_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", x_train=GREY)
    folder_of(tmp_path / "mnist")
    for place in ("a.npz", "mnist"):
        np.testing.assert_array_equal(load(Path(place)).images[:10, ..., 0], GREY[:10])


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


# Pixel ranges.

MASKS = GREY > 127
RANGES: dict[str, tuple[np.ndarray, float | None]] = {
    "bool": (MASKS, None),
    "0 and 1": (MASKS.astype(np.uint8), 1),
    "0 and 1, 64 bits": (MASKS.astype(np.int64), 1),
    "0 to 255, 16 bits": (MASKS.astype(np.uint16) * 255, 255),
    "0 to 255, floats": (MASKS * 255.0, 255),
    "divided twice": (MASKS / 255, 1 / 255),
    "just above 1": (MASKS * np.float32(1.0000001), None),
}
DARK_IMAGES: dict[str, tuple[Any, int]] = {
    "0 and 1": (MASKS.astype(np.uint8), 1),
    "4 bits": (GREY // 16 + 1, 16),
    "divided twice": (MASKS / 255, 1),
    "black": (np.zeros_like(GREY), 0),
}


@pytest.mark.parametrize("kind", RANGES)
def test_white_is_255_whatever_number_stands_for_it(kind: str, tmp_path: Path) -> None:
    images, white = RANGES[kind]
    np.savez(tmp_path / "a.npz", x_train=images, x_test=images)
    found = load(tmp_path / "a.npz", "all", white=white).images[..., 0]
    np.testing.assert_array_equal(found, np.tile(255 * MASKS, (2, 1, 1)))


@pytest.mark.parametrize("kind", DARK_IMAGES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_pixels_that_are_surely_of_another_range_are_refused(
    kind: str, split: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, most = DARK_IMAGES[kind]
    dark: dict[str, Any] = {"x_train": GREY, "x_test": GREY, f"x_{split}": images}
    np.savez(tmp_path / "a.npz", **dark)
    text = tiny.fail(capsys, "advise", "--dataset", tmp_path / "a.npz")
    assert f"a.npz, {split}: no pixel is above {most} of 255" in text
    assert len(text.splitlines()) == 1
    meant = 1.0 if images.dtype.kind == "f" else 255.0
    other = GREY / 255 if images.dtype.kind == "f" else GREY
    dark = {"x_train": other, "x_test": other, f"x_{split}": images}
    np.savez(tmp_path / "b.npz", **dark)
    assert load(tmp_path / "b.npz", split, white=meant).images.max() == most


def test_masks_of_0_and_1_in_files_are_refused_and_read_with_their_white(tmp_path: Path) -> None:
    folder_of(tmp_path / "a", MASKS.astype(np.uint8))
    with pytest.raises(LabError, match="no pixel is above 1 of 255"):
        load(tmp_path / "a")
    np.testing.assert_array_equal(
        load(tmp_path / "a", white=1).images[..., 0], 255 * MASKS[:10].astype(np.uint8)
    )


def test_what_systems_leave_behind_is_passed_over_and_other_files_are_named(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "a")
    for name in (".DS_Store", "Thumbs.db", ".ipynb_checkpoints/x.png", "train/._000.png"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"x")
    (path / "test" / "notes.txt").write_text("x")
    found = own.read(names.source(str(path)))
    assert [len(labels) for _, labels in found.splits.values()] == [10, 2]
    assert found.notes[-1] == "passed over, being no images: test/notes.txt"
    assert not any("DS_Store" in note for note in found.notes)


def test_images_without_splits_are_divided_by_their_content(tmp_path: Path) -> None:
    for index in range(60):
        write(tmp_path / "a" / f"{index:02d}.png", np.full((4, 4), index // 2, np.uint8))
        write(tmp_path / "b" / f"{59 - index:02d}.png", np.full((4, 4), index // 2, np.uint8))
    source = names.source(str(tmp_path / "a"))
    parts = [
        {split: set(images[:, 0, 0, 0].tolist()) for split, (images, _) in read.splits.items()}
        for read in (own.read(source), own.read(source), own.read(names.source(f"{tmp_path}/b")))
    ]
    assert parts[0] == parts[1] == parts[2]  # from files, from the cache, under other names
    train, test = parts[0]["train"], parts[0]["test"]
    assert train | test == set(range(30))
    assert train & test == set()  # copies of an image are on one side
    assert 1 <= len(test) <= 12
    assert "no splits of their own" in own.read(source).notes[1]


def test_palette_and_black_and_white_are_converted(tmp_path: Path) -> None:
    picture = Image.fromarray(RGB[0])
    palette = picture.quantize(8)
    write(tmp_path / "p" / "train" / "a.png", palette)
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(load(f"{tmp_path}/p").images[0], expected)
    write(tmp_path / "q" / "train" / "a.png", picture.convert("1"))
    assert set(np.unique(load(f"{tmp_path}/q").images)) == {0, 255}
    assert load(f"{tmp_path}/q").images.shape == (1, 6, 5, 1)


def test_exif_rotation_is_followed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held a quarter turn to the left
    write(tmp_path / "a" / "train" / "a.png", RGB[0], exif=exif)
    np.testing.assert_array_equal(load(f"{tmp_path}/a").images[0], np.rot90(RGB[0], -1))


def test_opaque_alpha_is_dropped_and_transparency_refused(tmp_path: Path) -> None:
    opaque = np.concatenate([RGB[0], np.full((6, 5, 1), 255, np.uint8)], -1)
    path = write(tmp_path / "a" / "train" / "a.png", opaque)
    np.testing.assert_array_equal(load(f"{tmp_path}/a").images[0], RGB[0])
    opaque[0, 0, 3] = 254
    write(path, opaque)
    for entry in cache.root().iterdir():  # so that `refused` finds it empty
        for file in entry.iterdir():
            file.unlink()
        entry.rmdir()
    assert re.search(r"a\.png has transparent pixels", refused(tmp_path / "a"))
    write(path, Image.fromarray(GREY[0]).quantize(4), transparency=0)
    assert "transparent" in refused(tmp_path / "a")


def deep_rgb(path: Path) -> None:
    """A PNG of 16 bits a channel, which Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


BAD_FILES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "16 bits, grey": (lambda path: write(path, GREY[0].astype(np.uint16)), "more than 8 bits"),
    "16 bits, colour": (deep_rgb, "more than 8 bits"),
    "cut short": (
        lambda path: path.write_bytes(write(path, RGB[0]).read_bytes()[:60]),
        "is damaged or no image",
    ),
    "text": (lambda path: path.write_text("x"), "is damaged or no image"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged or no image"),
    "several": (
        lambda path: Image.fromarray(RGB[0]).save(
            path, save_all=True, append_images=[Image.fromarray(RGB[1])]
        ),
        "holds several pictures",
    ),
    "another size": (lambda path: write(path, GREY[0, :5]), "--resize N"),
    "colour": (lambda path: write(path, RGB[0]), "--grey or --rgb"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_in_one_line(kind: str, tmp_path: Path) -> None:
    path = folder_of(tmp_path / "a")
    make, message = BAD_FILES[kind]
    bad = path / "train" / "005.png"
    make(bad)
    text = refused(path)
    assert message in text
    assert str(bad) in text


def test_of_a_camera_the_picture_is_read_and_not_its_preview(tmp_path: Path) -> None:
    first = Image.fromarray(RGB[0].repeat(8, 0).repeat(8, 1))
    preview = Image.fromarray(RGB[1])
    path = write(tmp_path / "b.jpg", first)
    place = tmp_path / "a" / "train" / "a.jpg"
    write(place, first, format="MPO", save_all=True, append_images=[preview])
    with Image.open(path) as expected:
        np.testing.assert_array_equal(load(tmp_path / "a").images[0], np.asarray(expected))


def test_a_file_of_too_many_pixels_is_no_damage_and_can_be_scaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(tmp_path / "a")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 14)  # refused from twice as many on
    assert "too large: more than 179 million pixels are read with --resize" in refused(
        tmp_path / "a"
    )
    assert load(tmp_path / "a", resize=5).images.shape == (10, 5, 5, 1)
    assert Image.MAX_IMAGE_PIXELS == 14


def test_colours_of_print_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train" / "a.jpg", Image.fromarray(RGB[0]).convert("CMYK"))
    assert "colours of the kind CMYK" in refused(tmp_path / "a")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds no image"),
        (["Train/a.png", "training/b.png"], "Train, training, two of them for one split"),
        (["train/a.png", "b.png"], "beside the folder train"),
        (["a.png", "cat/b.png"], "both images and folders"),
        (["cat/old/a.png"], "too deep"),
        (["train/a.png", "test/"], "holds no image"),
        (["a.png", "b.png"], "2 images, of which 1 differ, are too few to divide"),
    ],
)
def test_a_folder_that_is_not_clear_is_refused(
    files: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    for name in files:
        if name.endswith("/"):
            (tmp_path / "a" / name).mkdir()
        else:
            write(tmp_path / "a" / name, GREY[0])
    assert message in refused(tmp_path / "a")


def test_sizes_may_differ_if_they_are_made_equal(tmp_path: Path) -> None:
    wide = RNG.integers(0, 256, (8, 14), np.uint8)
    write(tmp_path / "a" / "train" / "0.png", wide)
    write(tmp_path / "a" / "train" / "1.png", wide.repeat(3, 0).repeat(3, 1))
    write(tmp_path / "a" / "test" / "2.png", np.stack([wide] * 3, -1))
    path = str(tmp_path / "a")
    np.testing.assert_array_equal(  # the square in the middle, not scaled
        load(path, "all", resize=8, colour="grey").images[[0, 2], ..., 0], [wide[:, 3:11]] * 2
    )
    coloured = load(path, "train", resize=4, colour="rgb").images
    assert coloured.shape == (2, 4, 4, 3)
    assert (coloured == coloured[..., :1]).all()


def test_a_file_that_changes_is_decoded_again(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "a")
    before = own.read(names.source(str(path)))
    assert own.read(names.source(str(path))).checksum == before.checksum
    write(path / "train" / "000.png", 255 - GREY[0])
    after = own.read(names.source(str(path)))
    np.testing.assert_array_equal(after.splits["train"][0][0, ..., 0], 255 - GREY[0])
    assert after.checksum != before.checksum


def test_what_is_in_the_cache_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder_of(tmp_path / "a")
    first = load(str(path), "all")
    monkeypatch.setattr(Image, "open", None)
    assert_equal(load(str(path), "all"), first)
    assert isinstance(load(str(path)).images.base, np.memmap)


# Arrays.


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
    np.save(tmp_path / "a.npy", np.asarray(images, order=order))
    whole = load(str(tmp_path / "a.npy"), "all")
    assert whole.images.shape == (60, *shape)
    assert {row.tobytes() for row in whole.images} == {row.tobytes() for row in images}


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
    named: dict[str, Any] = dict(zip(keys, arrays, strict=True))
    np.savez(tmp_path / "a.npz", **named, extra=labels)
    path = str(tmp_path / "a.npz")
    assert_equal(load(path), Dataset(GREY[:10, ..., None], np.arange(10, dtype=np.int32)))
    assert_equal(load(path, "test"), Dataset(GREY[10:, ..., None], np.array([10, 11], np.int32)))
    assert own.read(names.source(path)).notes[-1] == "arrays passed over: extra"


def test_images_and_labels_without_splits_are_divided_together(tmp_path: Path) -> None:
    images = np.arange(60, dtype=np.uint8).repeat(16).reshape(60, 4, 4)
    np.savez_compressed(tmp_path / "a.npz", images=images, labels=np.arange(60))
    found = load(str(tmp_path / "a.npz"), "all")
    np.testing.assert_array_equal(found.images[:, 0, 0, 0], found.labels)
    assert sorted(found.labels.tolist()) == list(range(60))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f8"])
def test_floats_are_rounded_to_256_levels_and_that_is_said(dtype: Any, tmp_path: Path) -> None:
    exact = (GREY / 255).astype(dtype)
    np.savez(tmp_path / "a.npz", x_train=exact)
    found = own.read(names.source(str(tmp_path / "a.npz")))
    np.testing.assert_array_equal(found.splits["train"][0][..., 0], GREY)
    assert "256 levels" in found.notes[-1]


class Trap:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("unpickled",))


BAD_ARRAYS: dict[str, tuple[Any, str]] = {
    "integers": (GREY.astype(np.int64), r"int64: give uint8 from 0 to 255.*--white 255"),
    "16 bits": (GREY.astype(np.uint16), "uint16"),
    "bfloat16": (GREY.astype(np.uint16).view("V2"), r"\|V2 \(bfloat16\? x\.astype"),
    "objects": (np.array([{"a": Trap()}], object), "never unpickled"),
    "pixels as floats": (GREY.astype(np.float32), r"from 0 to 25\d, outside \[0, 1\].*--white 255"),
    "negative": (GREY / 255 - 0.5, r"outside \[0, 1\]"),
    "NaN": (np.where(GREY[3, 2, 2] == GREY, np.nan, 0.5), "NaN or infinity"),
    "one axis": (np.zeros(9, np.uint8), r"shape \[9\]"),
    "nothing": (np.zeros((0, 4, 4), np.uint8), r"shape \[0, 4, 4\]"),
    "alpha": (np.zeros((9, 4, 4, 4), np.uint8), "4 channels"),
    "channels first": (np.zeros((9, 3, 8, 8), np.uint8), r"transpose\(0, 2, 3, 1\)"),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
@pytest.mark.parametrize("key", ["", "x_train"])
def test_a_bad_array_is_refused_in_one_line(kind: str, key: str, tmp_path: Path) -> None:
    array, message = BAD_ARRAYS[kind]
    path = tmp_path / ("a.npz" if key else "a.npy")
    if key:
        np.savez(path, **{key: array})
    else:
        if kind in ("pixels as floats", "negative", "NaN"):  # met only as they are decoded
            array = np.concatenate([array + n / 1e6 for n in range(9)])
        np.save(path, array, allow_pickle=True)
    text = refused(path)
    assert re.search(message, text)
    assert text.startswith(str(path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": GREY, "b": GREY}, r"it holds a uint8 \[12, 6, 5\], b uint8"),
        ({"x": GREY, "images": GREY}, "x and images may both be the images"),
        ({"images": GREY, "x_train": GREY}, "does not say which array is what"),
        ({"labels": np.arange(3), "y_train": np.arange(3)}, "does not say which"),
        ({}, "it holds nothing"),
    ],
)
def test_an_npz_file_that_is_not_clear_is_refused(
    arrays: dict[str, Any], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    assert re.search(message, refused(tmp_path / "a.npz"))


LABELS: dict[str, tuple[Any, Any]] = {
    "floats": (np.arange(12.0), np.arange(12)),
    "one-hot": (np.eye(12)[::-1], np.arange(12)[::-1]),
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
    np.savez(tmp_path / "a.npz", **arrays)
    found = own.read(names.source(tmp_path / "a.npz"))
    images, classes = found.splits["train"]
    np.testing.assert_array_equal(images[..., 0], GREY)
    np.testing.assert_array_equal(classes, np.zeros(12) if expected is None else expected)
    assert not found.splits["val"][1].any()
    noted = any("is no class for each image: all are 0" in note for note in found.notes)
    assert noted == (expected is None)


def test_an_empty_split_is_passed_over(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=GREY, y_train=np.arange(12), x_test=GREY[:0])
    found = own.read(names.source(tmp_path / "a.npz"))
    assert list(found.splits) == ["train"]
    assert found.notes[-1] == "x_test is empty, and passed over"


def test_splits_of_different_sizes_are_refused_unless_made_equal(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=GREY, x_test=GREY[:, :5])
    with pytest.raises(LabError, match=r"differ in size .*train 6x5x1, test 5x5x1.*--resize"):
        load(str(tmp_path / "a.npz"))
    assert load(str(tmp_path / "a.npz"), "all", resize=4).images.shape == (24, 4, 4, 1)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"x" * 200, pickle.dumps(Trap())])
def test_a_file_that_is_no_array_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert f"{tmp_path / name} is damaged or no array file" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_a_file_that_is_cut_short_is_refused(name: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    if name.endswith("z"):
        np.savez(buffer, GREY)
    else:
        np.save(buffer, GREY)
    (tmp_path / name).write_bytes(buffer.getvalue()[:-200])
    assert "damaged" in refused(tmp_path / name)


# Colour and size.


def test_grey_is_that_of_pillow() -> None:
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in RGB]
    np.testing.assert_array_equal(pixels.changed(RGB, None, "grey")[..., 0], expected)


def test_named_sets_are_changed_as_well() -> None:
    plain, small = load("patches", "test[:9]"), load("patches", "test[:9]", None, 8, "grey")
    np.testing.assert_array_equal(small.images, pixels.changed(plain.images, 8, "grey"))
    assert small.images.shape == (9, 8, 8, 1)
    assert_equal(load("digits", colour="grey"), load("digits"))


@pytest.mark.parametrize(("height", "width"), [(9, 8), (8, 9), (32, 31), (31, 64)])
def test_where_nothing_is_scaled_whole_pixels_are_cut_out(height: int, width: int) -> None:
    images = RNG.integers(0, 256, (3, height, width, 3), np.uint8)
    side = min(height, width)
    found = pixels.changed(images, side, None)
    top, left = (height - side) // 2, (width - side) // 2
    np.testing.assert_array_equal(found, images[:, top : top + side, left : left + side])


def test_vectors_cannot_be_resized(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=GREY.reshape(12, 30))
    assert "--resize is for pictures" in refused(tmp_path / "a.npz", resize=8)


# The two photographs, and the digits.


def test_patches_as_png_files_are_the_patches(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for index, image in enumerate(load("patches", split).images[:300]):
            write(tmp_path / "a" / split / f"{index:05d}.png", image, compress_level=0)
        np.testing.assert_array_equal(
            load(f"{tmp_path}/a", split).images, load("patches", split).images[:300]
        )


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
    digits: Path, finished: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--dataset", digits, "--latent-sizes", "2"]
    folder = tiny.run("latent_size", tmp_path, *flags)
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
    look = ["inspect_checkpoint", folder / "z2", "--nll-samples", 5]
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
    other = write(tmp_path / "other" / "my digits" / "train" / "a.png", GREY[0, :4, :4])
    for index in range(300):
        write(other.with_name(f"{index}.png"), np.full((8, 8), index % 256, np.uint8))
        write(other.parents[1] / "test" / f"{index}.png", np.full((8, 8), index % 99, np.uint8))
    other.unlink()
    again = [*tiny.STUDIES["latent_size"], *flags, "--dataset", other.parents[1]]
    text = tiny.fail(capsys, "latent_size", *again, "--out", tmp_path, "--resume")
    assert "was trained on other images that are called my digits as well" in text


def test_advice_on_image_files_is_that_on_the_same_arrays(
    digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny.command("advise", "--dataset", digits, "--likelihood", "gaussian")
    text = capsys.readouterr().out
    tiny.command("advise", "--dataset", "digits", "--likelihood", "gaussian")
    assert text.replace("my digits", "digits") == capsys.readouterr().out


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


@pytest.mark.parametrize("spec", ["train[:5]", "train[3:9]+test", "all"])
def test_pieces_are_spelled_as_they_are_read(spec: str) -> None:
    sizes = {"train": 10, "test": 4}
    pieces = splits.resolve(spec, sizes)
    assert splits.resolve(splits.spelled(pieces), sizes) == pieces
