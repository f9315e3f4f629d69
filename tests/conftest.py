"""Shapes and types of public functions are checked over the whole package, real data is asked for
by a marker, and the tests share a cache of their own, apart from the user's."""

import os
from pathlib import Path

import jaxtyping
import pytest

jaxtyping.install_import_hook("vaejax", "beartype.beartype")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEJAX_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


def pytest_collection_modifyitems(config, items):
    """Without the real data its tests are left out, unless they were asked for: then they fail."""
    chosen = config.getoption("-m") or ""
    asked = "real_data" in chosen and "not real_data" not in chosen
    root = Path(os.environ.get("TFDS_DATA_DIR", "-"))
    if asked and not all((root / name).is_dir() for name in ("mnist", "cifar10")):
        raise pytest.UsageError("TFDS_DATA_DIR names no directory with mnist and cifar10 in it")
    for item in items:
        if "real_data" in item.keywords and not asked:
            item.add_marker(pytest.mark.skip(reason="asked for with -m real_data"))
