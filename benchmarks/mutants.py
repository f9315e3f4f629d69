"""Which faults the tests notice: mutants of the code, each against the tests that run its line.

A mutant is the code with one fault in it: another comparison, another constant, a condition the
other way round, a statement left out. First the tests run once with coverage, which notes which
test runs which line; then mutants are drawn and tried, each in a copy of the project:

    python -m pytest -n 2 --cov=vaejax --cov=experiments --cov-context=test --cov-report= \\
        --durations=0 > tests.log
    python -m benchmarks.mutants --log tests.log --out mutants.jsonl --count 150

It needs pytest-cov. A line of mutants.jsonl is a mutant: where it is, what it changed, and the
test that failed first. "killed" is a mutant that a test noticed; "survived" none did; "slow" is
one whose tests took longer than --limit and did not fail so far; "not run" is one for which pytest
did not find a test, as where the fault changes its name. 150 mutants take about two hours
on one core. With a file of mutants.jsonl that exists, the rest of its mutants are tried.
"""

import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import coverage
import tyro

ROOT = Path(__file__).parents[1]
PARTS = (
    *("config", "model", "loss", "train", "trained", "run", "measure", "theory", "store"),
    *("parallel", "study", "report", "exchange", "data"),
)
"""The modules and folders of vaejax in which mutants are drawn."""
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
NOT_RUN = (4, 5)
"""Exit statuses of pytest: it was asked for a test that it does not find, and it found none."""
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


@dataclass(frozen=True)
class MutantsFlags:
    """How many mutants, of what, against which tests."""

    log: Path = Path("tests.log")
    """What pytest printed with --durations=0: quick tests run first."""
    out: Path = Path("mutants.jsonl")
    """Where the mutants go."""
    coverage: Path = Path(".coverage")
    """What the tests with coverage left."""
    count: int = 150
    """How many mutants."""
    seed: int = 0
    """Which mutants are drawn."""
    limit: int = 240
    """The most seconds for the tests of a mutant."""


class Mutant(NamedTuple):
    """A fault in a file: the text from `start` to `end`, in characters, becomes `new`."""

    file: str
    line: int
    start: int
    end: int
    old: str
    new: str


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a file, but for those of annotations and of what is not run."""
    text = path.read_text()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    tree = ast.parse(text)
    left_out = {id(part) for node in ast.walk(tree) for part in _not_run(node)}
    for node in ast.walk(tree):
        if id(node) in left_out or not isinstance(node, ast.expr | ast.stmt):
            continue
        for changed in _changes(node):
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
            old, new = text.encode()[start:end].decode(), ast.unparse(changed)
            new = f"({new})" if isinstance(node, ast.expr) else new
            yield Mutant(str(path.relative_to(ROOT)), node.lineno, start, end, old, new)


def _not_run(node: ast.AST) -> Iterator[ast.AST]:
    """Annotations, defaults of types, and docstrings."""
    if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation:
        yield from ast.walk(node.annotation)
    if isinstance(node, ast.FunctionDef) and node.returns:
        yield from ast.walk(node.returns)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        yield from ast.walk(node)


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """A node with a fault in it, in every way that is known."""
    match node:
        case ast.Compare(left, [operator], sides) if type(operator) in COMPARISONS:
            yield ast.Compare(left, [COMPARISONS[type(operator)]()], sides)
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
            yield ast.BinOp(left, OPERATORS[type(operator)](), right)
        case ast.BoolOp(operator, parts):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), parts)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.Constant(bool() | int() | float() as value):
            yield ast.Constant(_another(value))
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.Raise() | ast.Expr(ast.Call()):
            yield ast.Pass()


def _another(value: bool | float) -> bool | float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else 2 * value + 1e-3


def drawn(data: coverage.CoverageData, count: int, seed: int) -> list[Mutant]:
    """Mutants of lines that some test runs, spread over files by their number of such mutants."""
    known = []
    for part in PARTS:
        place = ROOT / "vaejax" / part
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
            lines = {line for line, by in contexts(data, path).items() if any(by)}
            known += [mutant for mutant in mutants_of(path) if mutant.line in lines]
    return random.Random(seed).sample(known, min(count, len(known)))


def contexts(data: coverage.CoverageData, path: Path) -> dict[int, list[str]]:
    return data.contexts_by_lineno(str(path.resolve()))


def tests_of(mutant: Mutant, data: coverage.CoverageData, seconds: dict[str, float]) -> list[str]:
    """The tests that run the line, the quickest first. Of a file that runs it while it sets up what
    its tests share, they are all."""
    ran = contexts(data, ROOT / mutant.file).get(mutant.line, [])
    found = {context.rpartition("|")[0] for context in ran if "|" in context}
    sharing = {context.partition("::")[0] for context in ran if context.endswith("|setup")}
    found |= {test for test in seconds if test.partition("::")[0] in sharing}
    return sorted(found, key=lambda test: (seconds.get(test, 0.0), test))


def times(log: str) -> dict[str, float]:
    """The seconds of each test, from what pytest prints with --durations=0."""
    found: defaultdict[str, float] = defaultdict(float)
    for line in re.finditer(r"^([\d.]+)s (?:call|setup) +(tests/.*?) *$", log, re.MULTILINE):
        found[line[2]] += float(line[1])
    return dict(found)


def tried(mutant: Mutant, tests: list[str], folder: Path, limit: int) -> dict[str, Any]:
    """Run the tests in a copy of the project that has the fault."""
    path = folder / mutant.file
    code = path.read_bytes()
    path.write_bytes(code[: mutant.start] + mutant.new.encode() + code[mutant.end :])
    command = [
        *(sys.executable, "-m", "pytest", "-n", "0", "-x", "-q", "--no-header", "--tb=no", "-rfE"),
        *("--durations=1", "-p", "no:cacheprovider", *tests),
    ]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "xla")}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit,
            check=False,
        )  # fmt: skip
        failed = re.search(r"^(?:FAILED|ERROR) (tests/\S+)", done.stdout, re.MULTILINE)
        word = "survived" if done.returncode == 0 else "killed"
        word = "not run" if done.returncode in NOT_RUN else word
        by = failed[1] if failed else ("" if done.returncode == 0 else f"exit {done.returncode}")
    except subprocess.TimeoutExpired:
        word, by = "slow", ""
    path.write_bytes(code)
    return {**mutant._asdict(), "result": word, "by": by, "tests": len(tests)}


def main() -> None:
    options = tyro.cli(MutantsFlags, description=__doc__)
    data = coverage.CoverageData(str(options.coverage))
    data.read()
    seconds = times(options.log.read_text())
    known = options.out.read_text().splitlines() if options.out.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "build", ".pytest_cache"))
        for mutant in drawn(data, options.count, options.seed)[len(known) :]:
            found = tried(mutant, tests_of(mutant, data, seconds), copy, options.limit)
            known.append(json.dumps(found))
            print(found["result"], f"{mutant.file}:{mutant.line}", mutant.old, "->", mutant.new)
            with options.out.open("a") as file:
                file.write(known[-1] + "\n")
    print(Counter(json.loads(line)["result"] for line in known))


if __name__ == "__main__":
    main()
