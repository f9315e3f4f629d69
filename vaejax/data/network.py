"""Downloads that fail in time where there is no network.

TFDS tries a download that fails ten more times, with a warning each time, which takes 205 s; and it
waits for ever for a server that does not answer. It has no setting for either. So `bounded` changes
how `requests`, which it downloads with, connects and how long that waits.
"""

import logging
import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from tensorflow_datasets.core.download import downloader

REACH = 1.5
"""Seconds to look up a host and connect to it; across the Atlantic it takes 0.2."""
TIMEOUTS = (5.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes of a download."""
RETRIES = 2
"""How often to try again."""


@contextmanager
def bounded() -> Iterator[None]:
    """Inside this context, a download from a host that cannot be reached fails at once, with a
    `requests.exceptions.RequestException`.

    A download in another thread that is not over at the end of the context waits as TFDS does.
    """
    send, retries = HTTPAdapter.send, downloader.MAX_RETRIES
    urllib3_log = logging.getLogger("urllib3")
    level = urllib3_log.level

    def send_in_time(self: HTTPAdapter, request: Any, *args: Any, **options: Any) -> Any:
        require_reachable(request.url, options.get("proxies"))
        return send(self, request, *args, **{**options, "timeout": TIMEOUTS})

    HTTPAdapter.send = send_in_time
    downloader.MAX_RETRIES = RETRIES
    urllib3_log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        HTTPAdapter.send = send
        downloader.MAX_RETRIES = retries
        urllib3_log.setLevel(level)


def require_reachable(url: str, proxies: Mapping[str, str] | None) -> None:
    """Raises `requests.exceptions.ConnectionError` unless the host of the URL, or the proxy for it,
    answers."""
    proxy = requests.utils.select_proxy(url, dict(proxies or {}))
    target = urlsplit(requests.utils.prepend_scheme_if_needed(proxy, "http") if proxy else url)
    host, port = target.hostname or "", target.port or (80 if target.scheme == "http" else 443)
    outcome: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            socket.create_connection((host, port), timeout=REACH).close()
            outcome.put(None)
        except OSError as error:
            outcome.put(error)

    # In a thread, because looking up a host has no time limit of its own.
    threading.Thread(target=attempt, daemon=True).start()
    try:
        error = outcome.get(timeout=REACH)
    except queue.Empty:
        error = TimeoutError(f"no answer within {REACH} s")
    if error is not None:
        raise requests.exceptions.ConnectionError(f"no connection to {host}:{port} ({error})")
