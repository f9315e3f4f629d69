"""The commands: what a page is, and that `--help` is quick. What may import what is held by
import-linter, see pyproject.toml."""

import importlib
import subprocess
import sys
from pathlib import Path

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


HELP = """
import runpy, sys, vaejax
for name in sys.argv[1:]:
    sys.argv[:] = [name, "--help"]
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert end.code == 0, name
    else:
        sys.exit(f"{name} is no command")
    print("\\nloaded", *sys.modules)
"""
COMMANDS = [*PAGES, *BENCHMARKS]


def test_asking_for_help_loads_nothing_heavy() -> None:
    """In a fresh process, after `import vaejax`, one command after another shows its help. That one
    page may have imported another is no reason to warn."""
    command = [sys.executable, "-W", "ignore::RuntimeWarning:runpy", "-c", HELP, *COMMANDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = [line.split() for line in done.stdout.splitlines() if line.startswith("loaded ")]
    for name, (_, *modules) in zip(COMMANDS, found, strict=True):
        # A package that loads on first use is in sys.modules from the start. Its parts come later.
        assert HEAVY & {module.split(".")[0] for module in modules if "." in module} == set(), name
