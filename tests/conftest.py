"""What all tests share: checked shapes and types, quick compilation, a cache apart from the user's,
and studies that are trained once."""

import gc
import importlib.util
import mmap
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jaxtyping
import pytest
from beartype import BeartypeConf, beartype

from tests.browser import browser as browser
from tests.browser import visit as visit

FAST_COMPILER = "xla_cpu_use_fusion_emitters=false", "xla_cpu_parallel_codegen_split_count=1"
"""Flags of XLA with which it compiles on a CPU in half of the processor time: without the emitters
of fusions, and each program in one piece."""


def xla_knows(flag: str) -> bool:
    """Whether this jaxlib has a flag of XLA: an unknown one in `XLA_FLAGS` ends the process."""
    jaxlib = importlib.util.find_spec("jaxlib")
    library = Path(jaxlib.origin if jaxlib and jaxlib.origin else "").parent / "libjax_common.so"
    if not library.is_file():
        return False
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(b"\0" + flag.encode() + b"\0") >= 0


# Before jax is imported, here or in a subprocess. Tests compile much and compute little: XLA does
# not optimize, and keeps what it compiles for the next time.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
flags = [f"--{flag}" for flag in FAST_COMPILER if xla_knows(flag.partition("=")[0])]
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags])
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "xla")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

gc.set_threshold(10_000)  # tracing makes many objects that stay

typechecked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float
# Where arrays are; a shape that is wrong elsewhere meets one of these.
CHECKED = ("model", "loss", "train", "trained", "parallel", "measure", "theory")
jaxtyping.install_import_hook([f"vaejax.{name}" for name in CHECKED], "tests.conftest.typechecked")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEJAX_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _kept_programs():
    """Studies share what they compile: each would free it once a run is measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaejax.study.environment.free_memory", lambda: None)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a tiny study, which is trained once. Tests that change it change a copy."""
    from tests import tiny

    @cache
    def folder(name: str) -> Path:
        return tiny.run(name, tmp_path_factory.mktemp(name))

    return folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadgroup`, the tests of a group run in one process: see `tiny.group_of`. (The
    groups of xdist itself are lost with pytest 9.2.)"""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    from tests import tiny

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return tiny.group_of(nodeid)

    return ByGroup(config, log)


def pytest_collection_modifyitems(config, items):
    """Tests that need what pip does not bring are left out, unless they were asked for: then they
    fail without it."""
    chosen = config.getoption("-m") or ""
    for item in items:
        for mark in {"real_data", "browser"} & set(item.keywords):
            if mark not in chosen:
                item.add_marker(pytest.mark.skip(reason=f"asked for with -m {mark}"))
