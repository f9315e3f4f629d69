"""The commands: what a page is, and that `--help` is quick. What may import what is held by
import-linter, see pyproject.toml."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"jax", "flax", "tensorflow_datasets", "matplotlib", "scipy", "sklearn", "PIL", "torch"}
"""Packages that `--help` does not wait for."""


def modules(folder: str) -> dict[str, Path]:
    """The modules of a folder at the top, but for `__init__`."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "__init__.py"
    }


LAB, PAGES = modules("vaejax"), modules("experiments")
STUDIES = [name for name, path in PAGES.items() if "\nSTUDY = " in path.read_text()]
BENCHMARKS = {
    name: path for name, path in modules("benchmarks").items() if "__main__" in path.read_text()
}
"""The commands; the other files are parts of them."""


def resolve(chain: str) -> object:
    """What a chain such as vj.measure.evaluate stands for; AttributeError if it is misspelt."""
    found: object = importlib.import_module("vaejax")
    for name in chain.split(".")[1:]:
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("module", PAGES)
def test_a_page_is_a_study_or_a_command(module: str) -> None:
    tree = ast.parse(PAGES[module].read_text())
    assert ast.get_docstring(tree)
    if module in STUDIES:
        assert importlib.import_module(module).STUDY.name == module.removeprefix("experiments.")
    last = "vj.study.run_study(STUDY)" if module in STUDIES else "main()"
    assert ast.unparse(tree.body[-1]) == f"if __name__ == '__main__':\n    {last}"


HELP = """
import runpy, sys, vaejax
for name in sys.argv[1:]:
    sys.argv[:] = [name, "--help"]
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert end.code == 0, name
    print("\\nloaded", *sys.modules)
"""
COMMANDS = [*PAGES, *BENCHMARKS]


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """The modules that are loaded in a fresh process after `import vaejax`, and after one command
    more has shown its help. That one page may have imported another is no reason to warn."""
    command = [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-c", HELP, *COMMANDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = [line.split() for line in done.stdout.splitlines() if line.startswith("loaded ")]
    return {name: set(modules) for name, modules in zip(COMMANDS, found, strict=True)}


@pytest.mark.parametrize("command", COMMANDS)
def test_asking_for_help_loads_nothing_heavy(command: str, loaded: dict[str, set[str]]) -> None:
    # A package that loads on first use is in sys.modules from the start. Its parts come with it.
    parts = {name.split(".")[0] for name in loaded[command] if "." in name}
    assert HEAVY & parts == set()
