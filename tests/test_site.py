"""The site that `mkdocs build` makes of docs/: every link leads somewhere, and nothing is loaded
from a network."""

import html
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.test_house import LAB, PAGES

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
NEEDED = ("mkdocs", "material", "mkdocstrings", "latex2mathml")


def test_the_reference_has_every_module_and_every_page() -> None:
    shown = [
        name
        for page in REFERENCE.glob("*.md")
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)
    ]
    assert len(shown) == len(set(shown))
    rooms = {name for name in LAB if not LAB[name].name.startswith("__init__")}
    assert {name for name in shown if not name.startswith("tests.")} == rooms | set(PAGES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    """The pages of the site, without comments; built only where `.[docs]` is installed."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        pytest.skip(f"the docs extra is not installed: {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {
        page: re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
        for page in folder.rglob("*.html")
    }


def test_every_link_of_the_site_leads_to_a_place_in_it(site: dict[Path, str]) -> None:
    places = {
        page.resolve(): set(re.findall(r'\bid="([^"]+)"', text)) for page, text in site.items()
    }
    broken = []
    for page, text in site.items():
        for link in map(html.unescape, re.findall(r'\b(?:href|src)="([^"]*)"', text)):
            path, _, place = link.partition("#")
            if re.match(r"\w+:", path) or page.name == "404.html":
                continue
            target = (page.parent / unquote(path)).resolve() if path else page.resolve()
            known = places.get(target, {""} if target.exists() else set())
            if not (target.exists() and (not place or unquote(place) in known)):
                broken.append((page.name, link))
    assert sum(text.count("href=") for text in site.values()) > 1000
    assert broken == []


def test_nothing_is_loaded_from_a_network(site: dict[Path, str]) -> None:
    folder = min(site, key=lambda page: len(page.parts)).parent
    for text in site.values():
        assert re.findall(r'<(?:script|img|iframe|source)[^>]*\bsrc="?(?:https?:)?//', text) == []
        assert re.findall(r'<link[^>]*\bhref="?(?:https?:)?//', text) == []
    for style in folder.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text()) == []


def test_formulas_are_mathml(site: dict[Path, str]) -> None:
    (derivation,) = [text for page, text in site.items() if page.name == "why_it_collapses.html"]
    assert (
        derivation.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"') >= 12
    )
    for text in site.values():
        assert "arithmatex" not in text
