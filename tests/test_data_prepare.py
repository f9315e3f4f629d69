"""vaejax.data: preparing data sets without TensorFlow, and what goes wrong."""

import errno
import importlib.util
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tfds_fixtures import (
    CIFAR10_NAMES,
    NAMES,
    own_checksums,
    prepare_small,
    raw_split,
    tfds_builder,
    write_archives,
)
from vaejax.data import archives, load, prepare
from vaejax.errors import LabError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory that is not there yet, a cache, and a network that leads nowhere."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "cache"))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    return tmp_path / "tfds"


def leftovers(root: Path) -> list[Path]:
    """Everything in the data directory that could be taken for a prepared set."""
    return [path for path in root.glob("*") if path.name != "downloads"]


@pytest.mark.parametrize("name", NAMES)
def test_sets_are_prepared_from_their_archives(name: str, root: Path) -> None:
    found = prepare_small(root, name, 30, 20)
    assert found.sizes == {"train": 30, "test": 20}
    assert "tensorflow" not in sys.modules
    for split, n in found.sizes.items():
        images, labels = raw_split(name, split, n)
        loaded = load(name, split)
        want = sorted((i.tobytes(), int(k)) for i, k in zip(images, labels, strict=True))
        got = sorted((i.tobytes(), int(k)) for i, k in zip(*loaded, strict=True))
        assert got == want


def test_prepared_cifar_is_as_the_official_builder_would_leave_it(root: Path) -> None:
    prepare_small(root, "cifar10", 30, 20)
    prepare_small(root, "cifar100", 30, 20)
    cifar10, cifar100 = tfds_builder("cifar10", root), tfds_builder("cifar100", root)
    assert cifar10.info.features["label"].names == list(CIFAR10_NAMES)
    images, labels = raw_split("cifar10", "test", 20)
    for example in cifar10.as_data_source("test"):
        index = int(example["id"].removeprefix(b"test_"))
        assert example["label"] == labels[index]
        np.testing.assert_array_equal(example["image"], images[index])
    assert cifar100.info.features["coarse_label"].names[1] == "coarse_1"
    for example in cifar100.as_data_source("train"):
        assert example["coarse_label"] == example["label"] // 5


def test_slower_of_two_processes_takes_what_the_faster_prepared(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_time = prepare._download_and_prepare

    def too_late(builder: Any) -> None:
        in_time(builder)
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(prepare, "_download_and_prepare", too_late)
    assert prepare_small(root, "mnist", 30, 20).sizes == {"train": 30, "test": 20}


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_archive_with_a_wrong_checksum_is_named(name: str, root: Path) -> None:
    manual = root / "downloads" / "manual"
    files = write_archives(manual, name, 30, 20)
    with pytest.raises(LabError, match="not the official one") as info:
        load(name)
    assert any(str(file) in str(info.value) for file in files)
    assert "\n" not in str(info.value)
    assert leftovers(root) == []


def test_data_dir_that_cannot_be_written_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "file" / "tfds"))
    with pytest.raises(LabError, match=r"cannot be prepared in .*set TFDS_DATA_DIR"):
        load("mnist")


def test_full_disk_is_reported_and_leaves_nothing(root: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    write_archives(root / "downloads" / "manual", "cifar10", 300, 20)
    with own_checksums(root / "downloads" / "manual", "cifar10"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
        try:
            with pytest.raises(LabError, match=r"cannot be prepared in .*Free some space"):
                load("cifar10")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert leftovers(root) == []
        assert len(load("cifar10").labels) == 300


def test_directory_that_only_looks_prepared_is_reported(root: Path) -> None:
    (root / "mnist" / "3.0.1").mkdir(parents=True)
    with pytest.raises(LabError, match=r"3\.0\.1 .*holds no prepared data set.*Delete"):
        load("mnist")


def test_half_prepared_directory_is_not_taken_for_a_prepared_one(root: Path) -> None:
    """What TFDS leaves when its process is killed."""
    prepare_small(root, "mnist", 30, 20)
    (root / "mnist" / "3.0.1").rename(root / "mnist" / "incomplete.ABCDEF_3.0.1")
    shutil.rmtree(root / "downloads")
    with pytest.raises(LabError, match="is not prepared in"):
        load("mnist")


def test_sets_that_need_tensorflow_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorflow" else find_spec(name)
    )
    with pytest.raises(LabError, match="pip install tensorflow-cpu"):
        load("svhn_cropped")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("mnits", "did you mean mnist"),
        ("digit", "did you mean digits"),
        ("no_such_set_at_all", r"no data set 'no_such_set_at_all': see tfds\.list_builders"),
        ("mnist:9.9.9", r"only: 3\.0\.1"),
        ("mnist/plain", "plain"),
        ("", "no data set name"),
        ("mnist test", "no data set name"),
        ("../mnist", "There is no .*mnist: give a folder of images, or an .npy or .npz file"),
        ("huggingface:mnist", "no data set name"),
        ("imdb_reviews/plain_text", "no 'image' of one fixed shape"),
        ("tf_flowers", "no 'image' of one fixed shape"),
    ],
)
def test_names_that_cannot_be_loaded(name: str, complaint: str, root: Path) -> None:
    with pytest.raises(LabError, match=complaint) as info:
        load(name)
    assert "\n" not in str(info.value)
    assert not root.exists()


@pytest.mark.parametrize("deep", ["mnist", "mnist/3.0.1"])
def test_a_data_dir_that_is_a_prepared_set_names_the_one_that_holds_it(
    deep: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_small(root, "mnist", 30, 20)
    monkeypatch.setenv("TFDS_DATA_DIR", str(root / deep))
    before = sorted(root.rglob("*"))
    for name in ("mnist", "cifar10"):
        with pytest.raises(LabError, match=f"set 'mnist' .*: set it to {root}") as caught:
            load(name)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert sorted(root.rglob("*")) == before
    nested = root.rename(root.with_name("mnist"))  # a folder called as a set is none
    monkeypatch.setenv("TFDS_DATA_DIR", str(nested))
    with pytest.raises(LabError, match="'cifar10' is not prepared in"):
        load("cifar10")


def test_remote_data_dir_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", "gs://bucket/tfds")
    with pytest.raises(LabError, match="not a local directory"):
        load("mnist")


def test_the_sets_that_need_no_tensorflow_are_those_tested_here() -> None:
    assert sorted(archives.NAMES) == sorted(NAMES)
