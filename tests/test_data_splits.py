"""vaejax.data: split syntax."""

from pathlib import Path

import numpy as np
import pytest
from tensorflow_datasets.core.splits import AbstractSplit

from tests.tfds_fixtures import N_TEST, N_TRAIN, assert_equal, small_data_dir, tfds_builder
from vaejax.data import Dataset, load, splits
from vaejax.errors import LabError


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory of the test's own, and a cache."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("VAEJAX_CACHE_DIR", str(tmp_path / "cache"))
    return small_data_dir(tmp_path / "tfds")


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


@pytest.mark.parametrize(
    "spec", ["train[:200%]", "train[:68]", "train[-68:]", "train[5]", "train[:]", "train[1:2:3]",
             "train[1.5:]", "train[a:b]", "train[", "", "+", "train+", "validation", "all[:5]",
             "train[:5%%]", "train [:5]", "train[:1.2.3%]", "train[:5]test"],
)  # fmt: skip
def test_what_tfds_refuses_is_refused(spec: str, data_dir: Path) -> None:
    infos = tfds_builder("mnist", data_dir).info.splits
    with pytest.raises((ValueError, NotImplementedError)):
        AbstractSplit.from_spec(spec).to_absolute(infos)
    with pytest.raises(LabError):
        load("mnist", spec)


@pytest.mark.parametrize("spec", ["train[13:40]", "train[-20%:]", "test+train[:30]", "all"])
def test_slices_hold_the_examples_that_tfds_reads(spec: str, data_dir: Path) -> None:
    builder = tfds_builder("mnist", data_dir)
    parts = builder.info.splits if spec == "all" else spec.split("+")
    want = [example for part in parts for example in builder.as_data_source(part)]
    loaded = load("mnist", spec)
    np.testing.assert_array_equal(loaded.images, [example["image"] for example in want])
    np.testing.assert_array_equal(loaded.labels, [example["label"] for example in want])


@pytest.mark.parametrize("name", ["mnist", "digits", "patches"])
def test_slices_and_limits_cut_the_whole_split(name: str) -> None:
    train, test = load(name, "train"), load(name, "test")
    both = Dataset(*(np.concatenate(pair) for pair in zip(test, train, strict=True)))
    assert_equal(load(name, "train[5:20]"), Dataset(*(array[5:20] for array in train)))
    assert_equal(load(name, "test[-5:]"), Dataset(*(array[-5:] for array in test)))
    assert_equal(load(name, "train", limit=7), Dataset(*(array[:7] for array in train)))
    assert_equal(load(name, "train[:9]", limit=1000), Dataset(*(array[:9] for array in train)))
    assert_equal(load(name, "test+train"), both)
    part = Dataset(*(np.concatenate([a[5:9], b[:2]]) for a, b in zip(train, test, strict=True)))
    assert_equal(load(name, "train[5:9]+test", limit=6), part)
    cut = len(test.labels) + 3
    assert_equal(load(name, "test+train", cut), Dataset(*(array[:cut] for array in both)))


@pytest.mark.parametrize("name", ["mnist", "digits", "patches"])
def test_bad_splits_list_those_there_are(name: str) -> None:
    with pytest.raises(LabError, match=r"no split 'validation'.*'train' \(.*'test' \("):
        load(name, "validation")
    with pytest.raises(LabError, match=r"holds no example.*'train' \("):
        load(name, "train[:0]")
    with pytest.raises(LabError, match=r"reaches beyond 'train'.*'train' \("):
        load(name, "train[:1_000_000]")
    with pytest.raises(LabError, match="write it as TFDS does"):
        load(name, "train(5)")
    with pytest.raises(LabError, match="limit=0"):
        load(name, "train", limit=0)
