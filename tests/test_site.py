"""The site that `mkdocs build` makes of docs/: every module has its place, every link leads
somewhere, and nothing is loaded from a network."""

import html
import importlib
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.test_house import LAB, PAGES
from tests.test_readme import parse

ROOT = Path(__file__).parents[1]
HOOKS = "docs/site_hooks.py"
NEEDED = ("mkdocs", "material", "mkdocstrings", "latex2mathml")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """That of the site; only where `.[docs]` is installed."""
    for name in NEEDED:
        pytest.importorskip(name, reason="the docs extra is not installed")
    load = importlib.import_module("mkdocs.config").load_config
    site = tmp_path_factory.mktemp("site")
    return load(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(site))


@pytest.fixture(scope="module")
def site(config: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    """The pages of the site, without comments; an explorer, which would be trained, is empty. Left
    out is what takes long and holds no link: the index of the search, and the source code."""
    folder, empty = Path(config.site_dir), tmp_path_factory.mktemp("explorer") / "empty.html"
    empty.touch()
    config.plugins["material/search"].config.enabled = False
    config.plugins["mkdocstrings"].config.handlers["python"]["options"]["show_source"] = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config.hooks[HOOKS], "explorer", lambda _: empty)
        importlib.import_module("mkdocs.commands.build").build(config)
    return {
        page: re.sub(r"<!--.*?-->", "", page.read_text(), flags=re.DOTALL)
        for page in folder.rglob("*.html")
    }


@pytest.fixture(scope="module")
def places(site: dict[Path, str]) -> dict[Path, set[str]]:
    """What links may name on each page."""
    return {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in site.items()}


def test_the_reference_has_every_module_and_every_page(places: dict[Path, set[str]]) -> None:
    assert {*LAB, *PAGES} - set.union(*places.values()) == set()


def test_every_link_of_the_site_leads_to_a_place_in_it(
    site: dict[Path, str], places: dict[Path, set[str]]
) -> None:
    broken = []
    for page, text in site.items():
        for link in map(html.unescape, re.findall(r'\b(?:href|src)="([^"]*)"', text)):
            path, _, place = link.partition("#")
            if re.match(r"\w+:", path) or page.name == "404.html":
                continue
            target = (page.parent / unquote(path)).resolve() if path else page
            found = target.exists() and (not place or unquote(place) in places.get(target, {""}))
            if not found:
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


def test_formulas_are_mathml_and_nothing_shows_raw(site: dict[Path, str]) -> None:
    (derivation,) = [text for page, text in site.items() if page.name == "why_it_collapses.html"]
    assert derivation.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"') > 9
    for text in site.values():
        assert not re.search(r"arithmatex|<p>(?:\?\?\?|:::|: )", text)


def test_commands_that_there_are_make_the_explorers_of_the_site(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, asked = config.hooks[HOOKS], []
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    monkeypatch.setattr(hooks.subprocess, "run", lambda command, **_: asked.append(command))
    for name in hooks.EXPLORED:
        page = hooks.explorer(name)
        (_, _, train, *of_study), (_, _, show, *of_page) = asked[-2:]
        flags, shown = parse(train, of_study), parse(show, of_page)
        assert shown.folder == flags.folder / train.removeprefix("experiments.")
        assert shown.out == page
