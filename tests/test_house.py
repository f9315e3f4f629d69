"""The commands: what a page is, and that `--help` is quick. What may import what is held by
import-linter, see pyproject.toml."""

import ast
import importlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


def help_of(command: str) -> str:
    return (
        "import runpy; sys.argv[1:] = ['--help']; "
        f"runpy.run_module({command!r}, run_name='__main__', alter_sys=True)"
    )


CODES = {name: help_of(name) for name in (*PAGES, *BENCHMARKS)} | {"import": "import vaejax"}


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process; the last line that this prints is the modules it has loaded."""
    report = "import atexit, sys; atexit.register(lambda: print('\\n', *sys.modules)); "
    command = [sys.executable, "-c", report + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ended() -> dict[str, subprocess.CompletedProcess[str]]:
    """The processes of all commands, which have shown their help."""
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(CODES, pool.map(run, CODES.values()), strict=True))


@pytest.mark.parametrize("command", CODES)
def test_asking_for_help_loads_nothing_heavy(
    command: str, ended: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    assert (ended[command].returncode, ended[command].stderr) == (0, "")
    loaded = ended[command].stdout.splitlines()[-1].split()
    # A package that loads on first use is in sys.modules from the start. Its parts come with it.
    parts = {name.split(".")[0] for name in loaded if "." in name}
    assert HEAVY & parts == set()
