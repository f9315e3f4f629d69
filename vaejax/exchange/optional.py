"""Packages that vaejax does not require: they are imported when they are asked for."""

import importlib
import importlib.util
from typing import Any

from vaejax.errors import LabError


def module(name: str) -> Any:
    """A module of a package that vaejax does not require."""
    package = name.partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise LabError(f"{package} is not installed: python -m pip install {package}")
    return importlib.import_module(name)
