"""vaejax.data: the cache of decoded arrays."""

import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from tests.tfds_fixtures import (
    N_TRAIN,
    assert_equal,
    delete,
    flip,
    prepare_small,
    run_python,
    small_data_dir,
    truncate,
)
from vaejax.data import Dataset, cache, load, reader
from vaejax.errors import LabError

HEAVY = ("tensorflow_datasets", "tensorflow", "sklearn", "scipy", "PIL", "requests", "jax")


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of the test's own, and a cache."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "cache"))
    return small_data_dir(tmp_path / "tfds")


def entries() -> list[Path]:
    """What lies in the cache, hidden leftovers included."""
    return sorted(cache.root().iterdir()) if cache.root().exists() else []


def test_import_loads_nothing_heavy() -> None:
    code = f"""
import sys
from vaejax.data import Dataset, cache, load
print(load.__name__, set({HEAVY}) & set(sys.modules))
"""
    assert run_python(code).strip() == "load set()"


@pytest.mark.parametrize("split", ["train", "train[10:30]+test[:5]"])
def test_second_load_imports_nothing_heavy(split: str) -> None:
    first = load("mnist", split)
    code = f"""
import sys
from vaejax.data import load
images, labels = load("mnist", {split!r})
assert not set({HEAVY}) & set(sys.modules), sys.modules.keys()
print(images.tobytes().hex(), labels.tolist(), sep="|")
"""
    images, labels = run_python(code).strip().split("|")
    assert bytes.fromhex(images) == first.images.tobytes()
    assert json.loads(labels) == first.labels.tolist()


def test_second_load_is_mapped_and_reads_no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("mnist")
    monkeypatch.setattr(reader, "batches", None)
    second = load("mnist")
    assert isinstance(second.images, np.memmap)
    assert_equal(first, second)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("images.npy", flip),
        ("images.npy", lambda path: flip(path, at=0.0)),
        ("images.npy", truncate),
        ("images.npy", delete),
        ("images.npy", lambda path: path.write_bytes(b"")),
        ("labels.npy", lambda path: flip(path, at=0.9)),
        ("labels.npy", delete),
        ("entry.json", truncate),
        ("entry.json", delete),
        ("entry.json", lambda path: path.write_text("{}")),
        ("entry.json", lambda path: path.write_text("[]")),
        ("entry.json", lambda path: path.write_bytes(b"\xff")),
    ],
)
def test_damaged_entry_is_built_again_and_said_so(
    name: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    images, labels = (np.array(array) for array in load("mnist"))
    (entry,) = entries()
    damage(entry / name)
    with caplog.at_level(logging.WARNING):
        again = load("mnist")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is damaged" in caplog.text
    assert "built again" in caplog.text
    assert_equal(again, Dataset(images, labels))
    assert entries() == [entry]
    caplog.clear()
    load("mnist")
    assert not caplog.records


def test_images_are_the_same_after_they_were_let_go() -> None:
    images = load("mnist", "train").images
    before = images.copy()
    cache.release()
    np.testing.assert_array_equal(images, before)


def test_arrays_outlive_their_entry() -> None:
    loaded = load("mnist")
    before = loaded.images.tobytes()
    (entry,) = entries()
    shutil.rmtree(entry)
    assert loaded.images.tobytes() == before


def test_data_dirs_are_not_confused(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(data_dir, other)
    shutil.rmtree(other / "mnist")
    shutil.copytree(data_dir / "cifar10" / "3.0.2", other / "mnist" / "3.0.1")
    for file in (other / "mnist" / "3.0.1").iterdir():
        file.rename(file.with_name(file.name.replace("cifar10", "mnist")))
    info = other / "mnist" / "3.0.1" / "dataset_info.json"
    info.write_text(info.read_text().replace('"cifar10"', '"mnist"').replace("3.0.2", "3.0.1"))
    shapes = []
    for root in (data_dir, other, data_dir, other):
        monkeypatch.setenv("TFDS_DATA_DIR", str(root))
        shapes.append(load("mnist").images.shape[1:])
    assert shapes == [(28, 28, 1), (32, 32, 3)] * 2


def test_set_prepared_again_is_read_again(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    load("mnist")
    shutil.rmtree(data_dir / "mnist")
    prepare_small(data_dir, "mnist", 20, 10)
    with caplog.at_level(logging.WARNING):
        again = load("mnist")
    assert len(again.labels) == 20
    assert "before the prepared data set changed" in caplog.text


def test_exchanged_record_file_is_noticed(data_dir: Path) -> None:
    """Even where dataset_info.json is the same to the byte."""
    load("mnist")
    first, second = sorted((data_dir / "mnist" / "3.0.1").glob("mnist-train*"))[:2]
    shutil.copyfile(second, first)
    os.utime(first, (1, 1))
    again = load("mnist")
    n = N_TRAIN // 3
    np.testing.assert_array_equal(again.labels[:n], again.labels[n : 2 * n])


def test_two_processes_build_the_same_entry_at_once() -> None:
    code = """
import hashlib
from vaejax.data import load
for _ in range(3):
    images, labels = load("mnist")
    print(hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest())
"""
    root = str(Path(__file__).parent.parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            env=os.environ | {"PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert [error for _, error in outputs] == ["", ""]
    assert len({line for output, _ in outputs for line in output.split()}) == 1
    assert len(entries()) == 1


def test_entry_built_meanwhile_by_another_process_is_kept() -> None:
    """The race made certain: the other process finishes while this one is decoding."""
    images, labels = np.zeros((3, 2, 2, 1), np.uint8), np.arange(3, dtype=np.int32)
    source = {"name": "toy", "split": "train", "directory": "nowhere"}

    def decode() -> cache.Batches:
        cache.fetch(source, "same", 3, lambda: [(images, labels)])
        return [(images, labels)]

    got = cache.fetch(source, "same", 3, decode)
    np.testing.assert_array_equal(got[0], images)
    np.testing.assert_array_equal(got[1], labels)
    assert len(entries()) == 1


def test_what_a_killed_process_left_is_deleted_after_a_day() -> None:
    load("mnist", "test")
    (entry,) = entries()
    fresh, old = (entry.with_name(f".{entry.name}-{age}") for age in ("fresh", "old"))
    for folder in (fresh, old):
        folder.mkdir()
        (folder / "images.npy").touch()
    os.utime(old, (0, 0))
    load("mnist", "test")
    assert entries() == [fresh, entry]


def test_cache_that_cannot_be_created_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(LabError, match=r"cannot use the cache .*VAEJAX_CACHE_DIR"):
        load("mnist")


def test_full_cache_is_reported_and_left_clean() -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(LabError, match=r"cannot use the cache .*VAEJAX_CACHE_DIR"):
            load("mnist")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert entries() == []
    assert len(load("mnist").labels) == N_TRAIN


def test_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAEJAX_CACHE_DIR")
    assert cache.root() == Path(platformdirs.user_cache_dir("vaejax"))
