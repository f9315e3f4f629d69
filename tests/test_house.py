"""The house: who may import whom, what is used in one room only, and no long files."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 250

ROOMS = {
    "vaejax": "",
    "vaejax.errors": "",
    "vaejax.config": "errors",
    "vaejax.data": "errors",
    "vaejax.theory": "config errors",
    "vaejax.ppca": "config theory",
    "vaejax.frechet": "theory",
    "vaejax.records": "errors",
    "vaejax.figures": "records",
    "vaejax.charts": "figures",
    "vaejax.spectrum": "errors",
    "vaejax.model": "config",
    "vaejax.loss": "config model",
    "vaejax.train": "config errors loss model",
    "vaejax.hosts": "errors",
    "vaejax.sweep": "config errors hosts train",
    "vaejax.diagnostics": "config errors frechet loss model",
    "vaejax.collapse": "config diagnostics errors loss model",
    "vaejax.checkpoint": "config errors records sweep train",
}
"""The rooms of vaejax that each of them may import."""

PAGES = {
    "experiments": "",
    "experiments.flags": "",
    "experiments.report": "",
    "experiments.provenance": "",
    "experiments.training": "flags",
    "experiments.thresholds": "",
    "experiments.study": "flags provenance thresholds training",
    "experiments.views": "report study",
    "experiments.waking": "report thresholds views",
    "experiments.advise": "flags",
    "experiments.autoencoder": "flags report study views",
    "experiments.blur": "flags report study views",
    "experiments.collapse": "flags report study views",
    "experiments.few_images": "flags report study training views",
    "experiments.dead_or_slow": "flags report study training waking",
    "experiments.latent_size": "flags report study views",
    "experiments.linear_vae": "flags report study thresholds training views",
    "experiments.phase_diagram": "flags report study thresholds training views",
    "experiments.recon_scale": "flags report study views",
    "experiments.remedies": "flags report study training views",
    "experiments.inspect_checkpoint": "flags provenance study",
}
"""The modules of experiments that each of them may import, beside all of vaejax."""

ONLY_HERE = {
    "flax": {"vaejax.model"},
    "optax": {"vaejax.train"},
    "orbax": {"vaejax.checkpoint"},
    "matplotlib": {"vaejax.charts", "vaejax.figures"},
    "tensorflow_datasets": {"vaejax.data"},
    "sklearn": {"vaejax.data"},
}

FILES = sorted(path for top in ("vaejax", "experiments") for path in (ROOT / top).rglob("*.py"))
COMMANDS = sorted(
    path.stem for path in (ROOT / "experiments").glob("*.py") if "__main__" in path.read_text()
)


def room_of(module: str) -> str:
    """`vaejax.data` for all that is in it."""
    return ".".join(module.split(".")[:2])


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(source: str) -> set[str]:
    """Every module imported anywhere; `from a import b` is `a.b`, which may be a module."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names}
    return found


def test_imports_are_found_at_any_depth_and_in_any_form() -> None:
    source = "import a.b as c, d\ndef f():\n    from e import g, h as i\n    from ..j import k\n"
    assert imports(source) == {"a.b", "d", "e.g", "e.h", "..j.k"}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_a_file_imports_what_its_room_may(path: Path) -> None:
    room, found = room_of(module_of(path)), imports(path.read_text())
    assert room in ROOMS | PAGES, "new: say above what it may import"
    assert not [name for name in found if name.startswith(".")], "relative"
    tops = {name.split(".")[0] for name in found}
    assert not [top for top in tops if top in ONLY_HERE and room not in ONLY_HERE[top]]
    inside = {room_of(name) for name in found if name.split(".")[0] == room.split(".")[0]}
    siblings = (ROOMS | PAGES)[room].split()
    assert inside <= {room, *(f"{room.split('.')[0]}.{name}" for name in siblings)}
    if room in ROOMS:
        assert "experiments" not in tops


@pytest.mark.parametrize("table", [ROOMS, PAGES], ids=["vaejax", "experiments"])
def test_imports_point_one_way(table: dict[str, str]) -> None:
    graph = {room.split(".")[-1]: may.split() for room, may in table.items()}
    order = list(TopologicalSorter(graph).static_order())  # raises on a cycle
    assert set(order) == set(graph)


@pytest.mark.parametrize("package", ONLY_HERE)
def test_what_is_used_in_one_room_only_is_used_there(package: str) -> None:
    users = {
        room_of(module_of(path))
        for path in FILES
        if any(name.split(".")[0] == package for name in imports(path.read_text()))
    }
    assert users == ONLY_HERE[package]


def test_no_file_is_long() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in [*FILES, *(ROOT / "benchmarks").rglob("*.py")]
    }
    assert len(lengths) > 10
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}


@pytest.mark.parametrize("code", ["import vaejax", *COMMANDS])
def test_asking_for_help_loads_nothing_heavy(code: str) -> None:
    if code in COMMANDS:
        code = (
            "import runpy; sys.argv[1:] = ['--help']; "
            f"runpy.run_module('experiments.{code}', run_name='__main__')"
        )
    report = "import atexit, sys; atexit.register(lambda: print('\\nloaded', *sys.modules)); "
    done = subprocess.run(
        [sys.executable, "-c", report + code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert loaded[0] == "loaded"
    assert "vaejax" in loaded
    assert {"jax", "tensorflow_datasets", "matplotlib"}.isdisjoint(loaded)
