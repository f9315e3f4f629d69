"""Keeps TFDS from waiting for a network that is not there.

TFDS asks each address ten more times, for 205 s in all, warns each time, and waits for ever for
one that does not answer. It has no setting for that, so for as long as `bounded` is entered its
downloads go through a version of `requests` that gives up in time.
"""

import logging
import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

_REACH = 1.5  # s for the host's name and a connection; a transatlantic one takes 0.2 s.
_TIMEOUTS = (5.0, 60.0)  # s for a connection and for silence within a download.
_RETRIES = 2


@contextmanager
def bounded() -> Iterator[None]:
    """Within it, a download from a host that cannot be reached fails at once.

    The error is a `requests.exceptions.RequestException`. Downloads that still run in other
    threads when it is left are no longer bounded.
    """
    from requests.adapters import HTTPAdapter
    from tensorflow_datasets.core.download import downloader

    send, retries = HTTPAdapter.send, downloader.MAX_RETRIES
    urllib3_log = logging.getLogger("urllib3")
    level = urllib3_log.level

    def send_in_time(self: HTTPAdapter, request: Any, *args: Any, **options: Any) -> Any:
        require_reachable(request.url, options.get("proxies"))
        return send(self, request, *args, **{**options, "timeout": _TIMEOUTS})

    HTTPAdapter.send = send_in_time
    downloader.MAX_RETRIES = _RETRIES
    urllib3_log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        HTTPAdapter.send = send
        downloader.MAX_RETRIES = retries
        urllib3_log.setLevel(level)


def require_reachable(url: str, proxies: Mapping[str, str] | None) -> None:
    """Raises `requests.exceptions.ConnectionError` unless the URL's host, or its proxy, answers."""
    import requests

    proxy = requests.utils.select_proxy(url, dict(proxies or {}))
    target = urlsplit(requests.utils.prepend_scheme_if_needed(proxy, "http") if proxy else url)
    host, port = target.hostname or "", target.port or (80 if target.scheme == "http" else 443)
    outcome: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            socket.create_connection((host, port), timeout=_REACH).close()
            outcome.put(None)
        except OSError as error:
            outcome.put(error)

    # In a thread, because a lookup of a name cannot be given a time limit.
    threading.Thread(target=attempt, daemon=True).start()
    try:
        error = outcome.get(timeout=_REACH)
    except queue.Empty:
        error = TimeoutError(f"no answer within {_REACH} s")
    if error is not None:
        raise requests.exceptions.ConnectionError(f"no connection to {host}:{port} ({error})")
