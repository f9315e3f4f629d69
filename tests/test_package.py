"""The manners of a package: what it declares, and the files that go with it."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
]
PINNED = {canonicalize_name(pin.name): pin for pin in PINS}


def test_constraints_pin_one_version_of_each_package() -> None:
    assert len(PINNED) == len(PINS) > len(PROJECT["dependencies"])
    for pin in PINS:
        ((operator, version),) = [(each.operator, each.version) for each in pin.specifier]
        assert operator == "=="
        assert "*" not in version


@pytest.mark.parametrize("text", PROJECT["dependencies"])
def test_constraints_are_within_what_the_project_requires(text: str) -> None:
    wanted = Requirement(text)
    (pin,) = PINNED[canonicalize_name(wanted.name)].specifier
    assert wanted.specifier.contains(pin.version)


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = dict(re.findall(r"^(\S+): (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert f"version {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_types_are_declared_and_go_with_the_package() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert "py.typed" in tool["setuptools"]["package-data"]["vaejax"]
    assert (ROOT / "vaejax" / "py.typed").exists()
    assert "Typing :: Typed" in PROJECT["classifiers"]
