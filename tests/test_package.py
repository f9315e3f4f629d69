"""The versions with which the figures of README and docs were measured."""

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
