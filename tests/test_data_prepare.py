"""vaejax.data: preparing data sets without TensorFlow, downloads, and what goes wrong."""

import errno
import importlib.util
import resource
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    run_python,
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
    use_proxy(monkeypatch, 9)  # The port that discards: nothing listens there.
    return tmp_path / "tfds"


def use_proxy(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{port}")
    for variable in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)


@contextmanager
def web(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[int]:
    """A proxy that answers every request itself; gives its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_CONNECT = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


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


def test_the_sets_that_need_no_tensorflow_are_those_tested_here() -> None:
    assert sorted(archives.NAMES) == sorted(NAMES)


# Downloads.


def test_archives_are_downloaded_from_their_official_addresses_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archives(tmp_path, "fashion_mnist", 30, 20)
    asked = set()

    def answer(url: str) -> tuple[int, bytes]:
        asked.add(url)
        return 200, (tmp_path / url.rpartition("/")[2]).read_bytes()

    with own_checksums(tmp_path, "fashion_mnist"):
        with web(answer) as port:
            use_proxy(monkeypatch, port)
            assert len(load("fashion_mnist").labels) == 30
        site = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
        assert len(asked) == 4
        assert all(url.startswith(site) for url in asked)
        assert not (root / "downloads" / "manual").exists()
        # What was downloaded is prepared again without a network.
        shutil.rmtree(root / "fashion_mnist")
        use_proxy(monkeypatch, 9)
        assert len(load("fashion_mnist").labels) == 30


@pytest.mark.parametrize("name", NAMES)
def test_no_network_is_one_message_with_every_way_out(name: str, root: Path) -> None:
    with pytest.raises(LabError) as info:
        load(name)
    message = str(info.value)
    assert "\n" not in message
    files = [url_info.filename for url_info in tfds_builder(name, root).url_infos.values()]
    manual = str(root / "downloads" / "manual")
    for part in (str(root), "TFDS_DATA_DIR", manual, "digits", "patches", *files):
        assert part in message
    assert leftovers(root) == []


def test_no_network_prints_nothing_else() -> None:
    code = """
import sys
from vaejax.data import load
from vaejax.errors import LabError
sys.stderr = sys.stdout
try:
    load("mnist")
except LabError as error:
    print(error)
"""
    (line,) = run_python(code).splitlines()
    assert line.startswith("'mnist' is not prepared in ")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_refused_downloads_are_reported(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a proxy: mnist's address is https, fashion_mnist's http."""
    with web(lambda url: (403, b"no")) as port:
        use_proxy(monkeypatch, port)
        with pytest.raises(LabError, match=r"cannot be downloaded: .*403"):
            load(name)
    assert leftovers(root) == []


def test_silent_network_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(prepare, "TIMEOUTS", (0.2, 0.2))
    with web(lambda url: (200, b"x" * over.wait(5))) as port:
        use_proxy(monkeypatch, port)
        with pytest.raises(LabError, match=r"cannot be downloaded: .*timed out"):
            load("fashion_mnist")
        over.set()


# Refusals.


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_archive_with_a_wrong_checksum_is_named(name: str, root: Path) -> None:
    manual = root / "downloads" / "manual"
    files = write_archives(manual, name, 30, 20)
    with pytest.raises(LabError, match="not the official one") as info:
        load(name)
    assert any(str(file) in str(info.value) for file in files)
    assert "\n" not in str(info.value)
    assert leftovers(root) == []


def test_a_full_disk_is_reported_and_leaves_nothing(root: Path) -> None:
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


def test_half_prepared_directories_are_not_taken_for_prepared_ones(root: Path) -> None:
    """What TFDS leaves when its process is killed, and an empty folder."""
    prepare_small(root, "mnist", 30, 20)
    (root / "mnist" / "3.0.1").rename(root / "mnist" / "incomplete.ABCDEF_3.0.1")
    shutil.rmtree(root / "downloads")
    with pytest.raises(LabError, match="is not prepared in"):
        load("mnist")
    (root / "cifar10" / "3.0.2").mkdir(parents=True)
    write_archives(root / "downloads" / "manual", "cifar10", 30, 20)
    with pytest.raises(LabError, match=r"3\.0\.2 .*holds no prepared data set.*Delete"):
        load("cifar10")


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


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("gs://bucket/tfds", "not a local directory"),
        (f"{__file__}/tfds", r"cannot be prepared in .*set TFDS_DATA_DIR"),
    ],
    ids=["remote", "below a file"],
)
def test_a_data_dir_that_cannot_be_used_is_reported(
    place: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", place)
    with pytest.raises(LabError, match=message):
        load("mnist")
