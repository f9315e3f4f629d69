"""vaejax.data: reading what TFDS has prepared."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests.tfds_fixtures import (
    N_TEST,
    N_TRAIN,
    assert_equal,
    prepare_small,
    raw_split,
    small_data_dir,
    tfds_builder,
)
from vaejax.data import load


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of the test's own, and a cache."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "cache"))
    return small_data_dir(tmp_path / "tfds")


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize(("split", "n"), [("train", N_TRAIN), ("test", N_TEST)])
def test_pixels_and_labels_are_those_of_the_archive(name: str, split: str, n: int) -> None:
    images, labels = raw_split(name, split, n)
    loaded = load(name, split)
    assert loaded.images.dtype == np.uint8
    assert loaded.labels.dtype == np.int32
    assert loaded.images.shape == images.shape
    want = sorted(zip((image.tobytes() for image in images), labels.tolist(), strict=True))
    got = zip((image.tobytes() for image in loaded.images), loaded.labels.tolist(), strict=True)
    assert sorted(got) == want


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_order_is_that_of_tfds(name: str, data_dir: Path) -> None:
    source = tfds_builder(name, data_dir).as_data_source("train")
    examples = [source[i] for i in range(len(source))]
    loaded = load(name)
    np.testing.assert_array_equal(loaded.images, [example["image"] for example in examples])
    np.testing.assert_array_equal(loaded.labels, [example["label"] for example in examples])


def test_both_record_formats_hold_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("mnist", "cifar10")
    from_array_records = [load(name, "all") for name in names]
    root = small_data_dir(tmp_path / "tfrecord", "tfrecord")
    assert {path.suffix.split("-")[0] for path in root.glob("*/*/*-of-*")} == {".tfrecord"}
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    for name, want in zip(names, from_array_records, strict=True):
        assert_equal(load(name, "all"), want)


def test_arrays_cannot_be_written() -> None:
    for dataset in (load("digits"), load("mnist"), load("mnist", "train+test")):
        for array in dataset:
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


def test_highest_version_is_read_unless_one_is_named(data_dir: Path) -> None:
    old = load("mnist")
    shutil.copytree(data_dir / "cifar10" / "3.0.2", data_dir / "mnist" / "3.0.10")
    for file in (data_dir / "mnist" / "3.0.10").iterdir():
        file.rename(file.with_name(file.name.replace("cifar10", "mnist")))
    info = data_dir / "mnist" / "3.0.10" / "dataset_info.json"
    text = info.read_text().replace('"cifar10"', '"mnist"').replace("3.0.2", "3.0.10")
    info.write_text(text)
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


def test_data_dir_is_read_at_call_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_small(tmp_path / "other", "mnist", 10, 10)
    here = load("mnist")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "other"))
    there = load("mnist")
    assert (len(here.labels), len(there.labels)) == (N_TRAIN, 10)


def test_default_data_dir_is_that_of_tfds(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    data_dir.rename(tmp_path / "tensorflow_datasets")
    assert len(load("mnist").labels) == N_TRAIN
