"""vaejax.data: data sets that are damaged or cannot be used."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests.tfds_fixtures import crc32c, delete, flip, frame, prepare_small, small_data_dir, truncate
from vaejax.data import cache, load, tfrecord
from vaejax.data.reader import image_shape
from vaejax.errors import LabError


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of the test's own, and a cache."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "cache"))
    return small_data_dir(tmp_path / "tfds")


@pytest.mark.parametrize("damage", [truncate, flip, delete])
@pytest.mark.parametrize("file_format", ["array_record", "tfrecord"])
def test_damaged_records_are_reported(
    damage: Callable[[Path], None],
    file_format: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "other"))
    prepare_small(tmp_path / "other", "cifar10", 20, 10, file_format)
    (record_file,) = (tmp_path / "other").glob("cifar10/*/cifar10-train*")
    damage(record_file)
    with pytest.raises(LabError, match=r"is damaged or incomplete .*Delete that directory") as info:
        load("cifar10")
    assert str(record_file.parent) in str(info.value)
    assert not list(cache.root().iterdir())
    assert len(load("cifar10", "test").labels) == 10


@pytest.mark.parametrize("text", ["", "{", "[]", '{"splits": [{}]}', '{"splits": 3}'])
def test_damaged_dataset_info_is_reported(text: str, data_dir: Path) -> None:
    (data_dir / "mnist" / "3.0.1" / "dataset_info.json").write_text(text)
    with pytest.raises(LabError, match="damaged or incomplete"):
        load("mnist")


def test_missing_features_are_reported(data_dir: Path) -> None:
    (data_dir / "mnist" / "3.0.1" / "features.json").unlink()
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


def test_sets_without_fixed_uint8_images_are_refused() -> None:
    image = tfds.features.Image(shape=(4, 6, 3))
    label = tfds.features.ClassLabel(num_classes=2)
    good = tfds.features.FeaturesDict({"image": image, "label": label})
    assert image_shape(good, "good") == (4, 6, 3)
    any_size = tfds.features.Image(shape=(None, None, 3))
    deep = tfds.features.Image(shape=(4, 6, 1), dtype=np.uint16)
    assert image_shape(tfds.features.FeaturesDict({"image": image}), "bare") == (4, 6, 3)
    for features, complaint in [
        ({"text": tfds.features.Text(), "label": label}, "no 'image' of one fixed shape"),
        ({"image": any_size, "label": label}, "no 'image' of one fixed shape"),
        ({"image": deep, "label": label}, "uint16, not uint8"),
    ]:
        with pytest.raises(LabError, match=complaint):
            image_shape(tfds.features.FeaturesDict(features), "bad")


def test_crc32c_of_records_of_any_length() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # The check value of the CRC catalogue.
    rng = np.random.default_rng(0)
    records = [rng.bytes(n) for n in (9, 1, 0, 300, 9, 64)]
    want = [int.from_bytes(frame(record)[-4:], "little") for record in records]
    assert tfrecord.masked_crc32c(records) == want
