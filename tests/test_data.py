"""vaejax.data: reading what TFDS has prepared, its splits, and what cannot be read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.splits import AbstractSplit

from tests.tfds_fixtures import (
    N_TEST,
    N_TRAIN,
    assert_equal,
    called_mnist,
    delete,
    flip,
    prepare_small,
    small_data_dir,
    tfds_builder,
    truncate,
)
from vaejax.data import Dataset, cache, load, splits, tfrecord
from vaejax.data.reader import image_shape
from vaejax.errors import LabError


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of the test's own, and a cache."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "cache"))
    return small_data_dir(tmp_path / "tfds")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_images_labels_and_order_are_those_of_tfds_in_both_record_formats(
    name: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tfds_builder(name, data_dir).as_data_source("train")
    examples = [source[i] for i in range(len(source))]
    loaded = load(name)
    assert (loaded.images.dtype, loaded.labels.dtype) == (np.uint8, np.int32)
    np.testing.assert_array_equal(loaded.images, [example["image"] for example in examples])
    np.testing.assert_array_equal(loaded.labels, [example["label"] for example in examples])
    both = load(name, "all")
    root = small_data_dir(tmp_path / "tfrecord", "tfrecord")
    assert {path.suffix.split("-")[0] for path in root.glob("*/*/*-of-*")} == {".tfrecord"}
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    assert_equal(load(name, "all"), both)


def test_arrays_cannot_be_written() -> None:
    for dataset in (load("digits"), load("mnist"), load("mnist", "train+test")):
        for array in dataset:
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


def test_highest_version_is_read_unless_one_is_named(data_dir: Path) -> None:
    old = load("mnist")
    called_mnist(data_dir / "cifar10" / "3.0.2", data_dir / "mnist" / "3.0.10")
    assert_equal(load("mnist"), load("cifar10"))
    assert_equal(load("mnist:3.*.*"), load("cifar10"))
    assert_equal(load("mnist:3.0.1"), old)


def test_any_image_set_that_is_prepared_can_be_read(data_dir: Path) -> None:
    """Another name, configs, oblong colour images stored as grey ones and palettes, labels -1
    or none."""

    class OblongSigns(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = (
            tfds.core.BuilderConfig(name="grey"),
            tfds.core.BuilderConfig(name="palette"),
        )

        def _info(self) -> tfds.core.DatasetInfo:
            kinds = {
                "image": tfds.features.Image(shape=(4, 6, 3)),
                "label": tfds.features.ClassLabel(num_classes=2),
                "comment": tfds.features.Text(),
            }
            config: Any = self.builder_config
            if config.name == "grey":
                del kinds["label"]
            features = tfds.features.FeaturesDict(kinds)
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
            config: Any = self.builder_config
            grey = config.name == "grey"
            image = Image.fromarray(pixels) if grey else Image.fromarray(pixels).convert("P")
            yield 0, {"image": image, "comment": "none"} | ({} if grey else {"label": -1})

    for config in ("palette", "grey"):
        builder = OblongSigns(config=config, data_dir=data_dir, file_format="array_record")
        no_cloud = tfds.download.DownloadConfig(try_download_gcs=False)
        builder.download_and_prepare(download_config=no_cloud)
    pixels = np.arange(24, dtype=np.uint8).reshape(1, 4, 6, 1).repeat(3, axis=3)
    for name in ("oblong_signs", "oblong_signs/grey", "oblong_signs/palette:1.0.0", "OblongSigns"):
        loaded = load(name)
        np.testing.assert_array_equal(loaded.images, pixels)
        assert loaded.labels.tolist() == [-1 if "palette" in name else 0]


def test_the_data_dir_is_that_of_tfds_if_none_is_named(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    data_dir.rename(tmp_path / "tensorflow_datasets")
    assert len(load("mnist").labels) == N_TRAIN


# Splits.

BOUNDS = ["", "0", "-0", "1", "13", "33", "66", "67", "-1", "-13", "-67", "1_0"]
PERCENTS = ["", "0%", "1%", "12.5%", "33%", "50%", "99.9%", "100%", "-1%", "-50%", "-100%", "7"]


def slices(bounds: list[str]) -> list[str]:
    return [f"train[{low}:{high}]" for low in bounds for high in bounds if low or high]


def test_slices_are_those_of_tfds(data_dir: Path) -> None:
    infos = tfds_builder("mnist", data_dir).info.splits
    sizes = {name: info.num_examples for name, info in infos.items()}
    assert sizes == {"train": N_TRAIN, "test": N_TEST}
    others = ["train", "test", "all", "train+test", "test[:5] + train[-5:]", "train[:9]+train[:9]"]
    for spec in [*others, *slices(BOUNDS), *slices(PERCENTS)]:
        want = [
            (part.splitname, part.from_ or 0, sizes[part.splitname] if part.to is None else part.to)
            for part in AbstractSplit.from_spec(spec).to_absolute(infos)
        ]
        want = [part for part in want if part[1] < part[2]]
        if want:
            assert splits.resolve(spec, sizes) == want, spec
        else:
            with pytest.raises(LabError, match="holds no example"):
                splits.resolve(spec, sizes)


REFUSED = (
    "train[:200%]", "train[:100.1%]", "train[:68]", "train[-68:]", "train[5]", "train[:]",
    "train[1:2:3]", "train[1.5:]", "train[a:b]", "train[", "", "+", "train+", "validation",
    "all[:5]", "train[:5%%]", "train [:5]", "train[:1.2.3%]", "train[:5]test",
)  # fmt: skip


def test_what_tfds_refuses_is_refused(data_dir: Path) -> None:
    infos = tfds_builder("mnist", data_dir).info.splits
    for spec in REFUSED:
        with pytest.raises((ValueError, NotImplementedError)):
            AbstractSplit.from_spec(spec).to_absolute(infos)
        with pytest.raises(LabError):
            splits.resolve(spec, {"train": N_TRAIN, "test": N_TEST})


@pytest.mark.parametrize("name", ["mnist", "digits", "patches"])
def test_slices_and_limits_cut_the_whole_split(name: str) -> None:
    train, test = load(name, "train"), load(name, "test")
    both = Dataset(*(np.concatenate(pair) for pair in zip(test, train, strict=True)))
    assert_equal(load(name, "train[5:20]"), Dataset(*(array[5:20] for array in train)))
    assert_equal(load(name, "test[-5:]"), Dataset(*(array[-5:] for array in test)))
    assert_equal(load(name, "train", limit=7), Dataset(*(array[:7] for array in train)))
    assert_equal(load(name, "train[:9]", limit=1000), Dataset(*(array[:9] for array in train)))
    part = Dataset(*(np.concatenate([a[5:9], b[:2]]) for a, b in zip(train, test, strict=True)))
    assert_equal(load(name, "train[5:9]+test", limit=6), part)
    cut = len(test.labels) + 3
    assert_equal(load(name, "test+train", cut), Dataset(*(array[:cut] for array in both)))


@pytest.mark.parametrize(
    ("split", "limit", "message"),
    [
        ("validation", None, r"no split 'validation'.*'train' \(.*'test' \("),
        ("train[:0]", None, r"holds no example.*'train' \("),
        ("train[:1_000_000]", None, r"reaches beyond 'train'.*'train' \("),
        ("train(5)", None, "write it as TFDS does"),
        ("train", 0, "limit=0"),
    ],
)
def test_bad_splits_list_those_there_are(split: str, limit: int | None, message: str) -> None:
    for name in ("mnist", "digits"):
        with pytest.raises(LabError, match=message):
            load(name, split, limit=limit)


@pytest.mark.parametrize("spec", ["train[:5]", "train[3:9]+test", "all"])
def test_pieces_are_spelled_as_they_are_read(spec: str) -> None:
    sizes = {"train": 10, "test": 4}
    pieces = splits.resolve(spec, sizes)
    assert splits.resolve(splits.spelled(pieces), sizes) == pieces


# Damage.


@pytest.mark.parametrize("damage", [truncate, flip, delete])
@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_damaged_records_are_reported(
    damage: Callable[[Path], None],
    file_format: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = small_data_dir(tmp_path / "other", file_format)
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    (record_file,) = root.glob("cifar10/*/cifar10-train*")
    damage(record_file)
    with pytest.raises(LabError, match=r"is damaged or incomplete .*Delete that directory") as info:
        load("cifar10")
    assert str(record_file.parent) in str(info.value)
    assert not list(cache.root().iterdir())
    assert len(load("cifar10", "test").labels) == N_TEST


@pytest.mark.parametrize("text", ["", "{", "[]", '{"splits": [{}]}', '{"splits": 3}', None])
def test_damaged_notes_of_tfds_are_reported(text: str | None, data_dir: Path) -> None:
    folder = data_dir / "mnist" / "3.0.1"
    if text is None:
        (folder / "features.json").unlink()
    else:
        (folder / "dataset_info.json").write_text(text)
    with pytest.raises(LabError, match="damaged or incomplete"):
        load("mnist")


def test_fewer_records_than_promised_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "other"))
    prepare_small(tmp_path / "other", "mnist", 20, 10, "tfrecord")
    (record_file,) = (tmp_path / "other").glob("mnist/*/mnist-train*")
    data = record_file.read_bytes()
    record_file.write_bytes(data[int.from_bytes(data[:8], "little") + 16 :])
    with pytest.raises(LabError, match="holds 19 examples of 20"):
        load("mnist")


ANY_SIZE = tfds.features.Image(shape=(None, None, 3))
DEEP = tfds.features.Image(shape=(4, 6, 1), dtype=np.uint16)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"text": tfds.features.Text()}, "no 'image' of one fixed shape"),
        ({"image": ANY_SIZE}, "no 'image' of one fixed shape"),
        ({"image": DEEP}, "uint16, not uint8"),
    ],
)
def test_sets_without_fixed_uint8_images_are_refused(features: Any, message: str) -> None:
    with pytest.raises(LabError, match=message):
        image_shape(tfds.features.FeaturesDict(features), "bad")


def test_a_record_is_read_as_tensorflow_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "one.tfrecord"
    file.write_bytes(
        bytes.fromhex("090000000000000037f97139") + b"123456789" + bytes.fromhex("e5b08ac7")
    )
    assert list(tfrecord.read([file])) == [b"123456789"]
