"""vaejax.data: downloads, and what happens without a network."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from tensorflow_datasets.core.download import downloader

from tests.tfds_fixtures import NAMES, own_checksums, run_python, tfds_builder, write_archives
from vaejax.data import load, network
from vaejax.errors import LabError

PATIENCE = HTTPAdapter.send, downloader.MAX_RETRIES  # before any download


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


def test_archives_are_downloaded_from_their_official_addresses(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archives(tmp_path, "fashion_mnist", 30, 20)
    asked = []

    def answer(url: str) -> tuple[int, bytes]:
        asked.append(url)
        return 200, (tmp_path / url.rpartition("/")[2]).read_bytes()

    with web(answer) as port, own_checksums(tmp_path, "fashion_mnist"):
        use_proxy(monkeypatch, port)
        assert len(load("fashion_mnist").labels) == 30
    site = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    assert len(asked) == 4
    assert all(url.startswith(site) for url in asked)
    assert not (root / "downloads" / "manual").exists()


@pytest.mark.parametrize("name", NAMES)
def test_no_network_is_one_message_with_every_way_out(name: str, root: Path) -> None:
    with pytest.raises(LabError) as info:
        load(name)
    message = str(info.value)
    assert "\n" not in message
    for part in (
        str(root),
        "TFDS_DATA_DIR",
        str(root / "downloads" / "manual"),
        "digits",
        "patches",
    ):
        assert part in message
    for url_info in tfds_builder(name, root).url_infos.values():
        assert url_info.filename in message
    assert [path.name for path in root.iterdir()] == ["downloads"]


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
    assert [path.name for path in root.iterdir()] == ["downloads"]


def test_silent_network_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def connect(*args: Any, **options: Any) -> None:
        over.wait(5)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(network, "REACH", 0.05)
    with pytest.raises(requests.exceptions.ConnectionError, match="no answer within"):
        network.require_reachable("https://example.org/file", None)
    over.set()


def test_patience_of_requests_is_restored() -> None:
    with pytest.raises(LabError):
        load("cifar10")
    assert (HTTPAdapter.send, downloader.MAX_RETRIES) == PATIENCE
