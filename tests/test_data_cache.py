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
    called_mnist,
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


@pytest.mark.parametrize(
    ("name", "split"), [("mnist", "train[10:30]+test[:5]"), ("digits", "test[:40]")]
)
def test_second_load_imports_nothing_heavy(name: str, split: str) -> None:
    first = load(name, split)
    code = f"""
import sys
from vaejax.data import load
images, labels = load({name!r}, {split!r})
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


def other_entry() -> Path:
    cache.fetch(
        {"name": "toy", "split": "train"},
        "1",
        lambda: (
            N_TRAIN,
            [(np.zeros((N_TRAIN, 28, 28, 1), np.uint8), np.zeros(N_TRAIN, np.int32))],
        ),
    )
    return next(cache.root().glob("toy-*"))


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: flip(path, at=0.0),
        lambda path: flip(path, at=0.999),
        truncate,
        lambda path: path.write_bytes(b""),
        lambda path: shutil.copy(other_entry(), path),
    ],
)
def test_damaged_entry_is_built_again_and_said_so(
    damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    images, labels = (np.array(array) for array in load("mnist"))
    (entry,) = entries()
    damage(entry)
    with caplog.at_level(logging.WARNING):
        again = load("mnist")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is damaged" in caplog.text
    assert "built again" in caplog.text
    assert_equal(again, Dataset(images, labels))
    assert list(cache.root().glob("mnist*")) == [entry]
    caplog.clear()
    load("mnist")
    assert not caplog.records


@pytest.mark.parametrize("lose", [lambda: delete(*entries()), cache.release])
def test_arrays_stay_as_they_are(lose: Callable[[], None]) -> None:
    """Also after their entry is gone, or their memory was given back."""
    loaded = load("mnist")
    before = loaded.images.tobytes()
    lose()
    assert loaded.images.tobytes() == before


def test_data_dirs_are_not_confused(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    called_mnist(data_dir / "cifar10" / "3.0.2", other / "mnist" / "3.0.1")
    shapes = []
    for root in (data_dir, other, data_dir, other):
        monkeypatch.setenv("TFDS_DATA_DIR", str(root))
        shapes.append(load("mnist").images.shape[1:])
    assert shapes == [(28, 28, 1), (32, 32, 3)] * 2
    assert len(entries()) == 2


def test_set_prepared_again_is_read_again(data_dir: Path) -> None:
    load("mnist")
    shutil.rmtree(data_dir / "mnist")
    prepare_small(data_dir, "mnist", 20, 10)
    assert len(load("mnist").labels) == 20
    assert len(entries()) == 1


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


def test_what_another_process_does_meanwhile_harms_nothing() -> None:
    """It builds the same entry while this one decodes, and another state of the data after that."""
    images, labels = np.zeros((3, 2, 2, 1), np.uint8), np.arange(3, dtype=np.int32)
    source = {"name": "toy", "split": "train", "directory": "nowhere"}

    def decode() -> tuple[int, cache.Batches]:
        cache.fetch(source, "same", lambda: (3, [(images, labels)]))
        return 3, [(images, labels)]

    got = cache.fetch(source, "same", decode)
    cache.fetch(source, "other", lambda: (2, [(images[:2] + 1, labels[:2])]))
    assert_equal(Dataset(*got), Dataset(images, labels))
    assert len(entries()) == 1


def test_what_a_killed_process_left_is_deleted_after_a_day() -> None:
    load("mnist", "test")
    (entry,) = entries()
    key = entry.name.split("-")[2]
    fresh, old = (entry.with_name(f".{key}-{age}") for age in ("fresh", "old"))
    for left in (fresh, old):
        left.touch()
    os.utime(old, (0, 0))
    load("mnist", "test")
    assert entries() == [fresh, entry]


def test_cache_that_cannot_be_written_is_reported_and_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as on a full disk
    try:
        with pytest.raises(LabError, match=r"cannot use the cache .*VAEJAX_CACHE_DIR"):
            load("mnist")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert entries() == []
    assert len(load("mnist").labels) == N_TRAIN
    (tmp_path / "file").touch()
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(LabError, match=r"cannot use the cache .*VAEJAX_CACHE_DIR"):
        load("mnist")


def test_default_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAEJAX_CACHE_DIR")
    assert cache.root() == Path(platformdirs.user_cache_dir("vaejax"))
