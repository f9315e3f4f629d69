"""A Chromium without a window, for tests of pages in HTML: the fixtures `browser` and `visit`."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 375, "height": 700}


def chromium() -> str:
    """The program that VAEJAX_CHROMIUM names, or the first that there is."""
    found = [os.environ.get("VAEJAX_CHROMIUM"), *map(shutil.which, NAMES)]
    return next(filter(None, found), NAMES[0])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, which has started."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a file. When the test is over, no page has printed anything to the console, and none has
    asked the network for anything."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_page(file: Path, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": DESKTOP, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        own = ("file:", "data:")
        page.on("request", lambda asked: asked.url.startswith(own) or complaints.append(asked.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
