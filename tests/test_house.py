"""The house: which room imports which, what is used in one place only, what a page looks like."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]

ROOMS = {
    "errors": "",
    "files": "errors",
    "config": "errors",
    "run": "config errors",
    "data": "errors files",
    "theory": "config errors run",
    "store.records": "errors files",
    "show": "files",
    "model": "config",
    "loss": "config model",
    "train": "config errors loss model",
    "parallel": "config errors loss train",
    "trained": "config errors parallel run train",
    "measure": "config errors loss model theory train",
    "store.trace_files": "run train",
    "store.checkpoint": "config errors run store.records store.trace_files train trained",
    "store.findings": "errors store.records",
    "study": "config data errors files loss measure model parallel run show store "
    "store.checkpoint store.findings store.records store.trace_files theory train trained",
    "report": "config store.findings store.records study",
    "explorer": "config data errors measure model run store.checkpoint store.records study theory "
    "trained",
    "exchange": "config data errors files measure model store.checkpoint study",
    "vaejax": "",
    "store": "",
}
"""The rooms of vaejax, from the ground up, and the rooms that each of them imports. The last two
are `__init__.py` files: what their stubs name is loaded on first use."""

ONLY_HERE = {
    "flax": {"model"},
    "optax": {"train"},
    "orbax": {"store.checkpoint"},
    "matplotlib": {"show"},
    "cycler": {"show"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "tensorflow_datasets": {"data"},
    "requests": {"data"},
    "PIL": {"data"},
    "sklearn": {"measure"},
    "scipy": {"theory", "measure"},
    "tyro": {"study", "pages"},
    "rich": {"study", "pages"},
    "pickle": set(),
    "lazy_loader": {
        "vaejax",
        "data",
        "parallel",
        "theory",
        "show",
        "measure",
        "store",
        "study",
        "report",
        "explorer",
        "exchange",
    },
}
"""Where each package is used, and nowhere else; "pages" are those of `experiments`."""

HEAVY = {"jax", "flax", "tensorflow_datasets", "matplotlib", "scipy", "sklearn", "PIL", "torch"}
"""Packages that `--help` does not wait for."""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


LAB = {module_of(path): path for path in sorted((ROOT / "vaejax").rglob("*.py"))}
PAGES = {
    module_of(path): path
    for path in sorted((ROOT / "experiments").glob("*.py"))
    if path.name != "__init__.py"
}
IN_BENCHMARKS = {
    module_of(path): path
    for path in sorted((ROOT / "benchmarks").glob("*.py"))
    if path.name != "__init__.py"
}
BENCHMARKS = {name: path for name, path in IN_BENCHMARKS.items() if "__main__" in path.read_text()}
"""The commands; the other files are parts of them."""
STUDIES = [name for name, path in PAGES.items() if "\nSTUDY = " in path.read_text()]
PACKAGES = sorted(map(module_of, ROOT.glob("vaejax/**/__init__.pyi")))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(tree: ast.AST) -> set[str]:
    """Every module imported anywhere; `from a import b` is `a.b`, which may be a module."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(name: str) -> str:
    """The room of a module of vaejax, or of a name in it."""
    parts = name.split(".")[1:]
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((prefix for prefix in prefixes if prefix in ROOMS), "vaejax")


def rooms_imported(path: Path) -> set[str]:
    """The other rooms of vaejax that a file imports."""
    inside = [name for name in imports(tree_of(path)) if name.split(".")[0] == "vaejax"]
    return {room_of(name) for name in inside} - {room_of(module_of(path))}


def test_imports_are_found_at_any_depth_and_in_any_form() -> None:
    source = "import a.b as c, d\ndef f():\n    from e import g, h as i\n    from ..j import k\n"
    assert imports(ast.parse(source)) == {"a.b", "d", "e.g", "e.h", "..j.k"}


def test_a_name_belongs_to_the_innermost_room() -> None:
    names = ["vaejax", "vaejax.Config", "vaejax.config.Config", "vaejax.store", "vaejax.data.cache"]
    assert [room_of(name) for name in names] == ["vaejax", "vaejax", "config", "store", "data"]
    assert room_of("vaejax.store.records.Row") == "store.records"


@pytest.mark.parametrize("module", LAB)
def test_a_file_imports_what_its_room_may(module: str) -> None:
    found = imports(tree_of(LAB[module]))
    assert not [name for name in found if name.startswith(".")], "relative"
    assert not {name.split(".")[0] for name in found} & {"experiments", "benchmarks", "tests"}
    assert rooms_imported(LAB[module]) <= set(ROOMS[room_of(module)].split())


def test_a_room_imports_all_that_the_table_says() -> None:
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module, path in LAB.items():
        found[room_of(module)] |= rooms_imported(path)
    assert found == {room: set(may.split()) for room, may in ROOMS.items()}


def test_imports_point_one_way() -> None:
    graph = {room: may.split() for room, may in ROOMS.items()}
    assert set(TopologicalSorter(graph).static_order()) == set(ROOMS)  # raises on a cycle


def test_contributing_lists_every_room_below_those_it_imports() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (`vaejax/.*?) \|", text, re.MULTILINE)
    names = [re.findall(r"`(?:vaejax/)?(\w+)(?:\.py|/)`", row) for row in rows]
    place = {name: row for row, of_row in enumerate(names) for name in of_row}
    assert set(place) == {room.split(".")[0] for room in ROOMS} - {"vaejax"}
    for room, may in ROOMS.items():
        for below in set(may.split()) - {"vaejax", "errors"}:
            assert place[below.split(".")[0]] <= place[room.split(".")[0]], (room, below)


@pytest.mark.parametrize("package", ONLY_HERE)
def test_what_is_used_in_some_rooms_only_is_used_there(package: str) -> None:
    users = {
        "pages" if module in PAGES else room_of(module)
        for module, path in (LAB | PAGES).items()
        if any(name.split(".")[0] == package for name in imports(tree_of(path)))
    }
    assert users == ONLY_HERE[package]


@pytest.mark.parametrize("module", [*LAB, *PAGES, *IN_BENCHMARKS])
def test_imports_stand_at_the_top_of_a_file(module: str) -> None:
    tree = tree_of((LAB | PAGES | IN_BENCHMARKS)[module])
    at_the_top = ast.Module(
        [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], []
    )
    elsewhere = imports(tree) - imports(at_the_top)
    late = {"vaejax.config": {"jax.Array"}}  # only for annotations
    assert elsewhere == late.get(module, set())


def quoted(annotation: ast.AST | None) -> list[str]:
    """The quoted parts of an annotation; the choices of a `Literal` are not among them."""
    if annotation is None:
        return []
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return [annotation.value]
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        return []
    return [text for part in ast.iter_child_nodes(annotation) for text in quoted(part)]


def annotations(tree: ast.AST) -> Iterator[ast.AST | None]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg):
            yield node.annotation
        elif isinstance(node, ast.FunctionDef):
            yield node.returns


def test_quoted_annotations_are_found() -> None:
    source = (
        "x: list['A'] = 1\ndef f(a: 'B', b: Literal['c']) -> 'D | None': ...\nclass C:\n y: 'E'"
    )
    found = [text for part in annotations(ast.parse(source)) for text in quoted(part)]
    assert sorted(found) == ["A", "B", "D | None", "E"]


@pytest.mark.parametrize("module", [*PAGES, *BENCHMARKS])
def test_a_page_imports_the_lab_as_one_name_and_no_jax(module: str) -> None:
    tree = tree_of((PAGES | BENCHMARKS)[module])
    found = imports(tree)
    assert [name for name in found if name.split(".")[0] == "vaejax"] == ["vaejax"]
    assert "import vaejax as vj" in map(ast.unparse, tree.body)
    tops = {name.split(".")[0] for name in found}
    others = {"experiments"} if module == "experiments.seed" else set()  # it runs the others
    assert tops & (HEAVY | {"experiments", "tests"}) == others
    assert "TYPE_CHECKING" not in ast.unparse(tree)
    assert [text for part in annotations(tree) for text in quoted(part)] == []


def may_unpickle(tree: ast.AST) -> bool:
    """Whether a call sets `allow_pickle` to anything but False, its default in numpy."""
    return any(
        isinstance(node, ast.keyword)
        and node.arg == "allow_pickle"
        and ast.unparse(node.value) != "False"
        for node in ast.walk(tree)
    )


def test_a_call_that_may_unpickle_is_found() -> None:
    calls = {
        "load(f)": False,
        "load(f, allow_pickle=False)": False,
        "load(f, allow_pickle=x)": True,
    }
    assert {call: may_unpickle(ast.parse(call)) for call in calls} == calls


@pytest.mark.parametrize("module", [*LAB, *PAGES, *IN_BENCHMARKS])
def test_no_array_is_read_that_could_run_code(module: str) -> None:
    """What else runs a string or a file as code is refused by ruff: see pyproject.toml."""
    assert not may_unpickle(tree_of((LAB | PAGES | IN_BENCHMARKS)[module]))


@pytest.mark.parametrize("module", PAGES)
def test_a_page_is_a_study_or_a_command(module: str) -> None:
    tree = tree_of(PAGES[module])
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert ast.get_docstring(tree)
    if module in STUDIES:
        assert {"runs", "measure", "figures", "verdict"} <= defined
        assert importlib.import_module(module).STUDY.name == module.removeprefix("experiments.")
    last = "vj.study.run_study(STUDY)" if module in STUDIES else "main()"
    assert ast.unparse(tree.body[-1]) == f"if __name__ == '__main__':\n    {last}"
    assert module in STUDIES or "main" in defined


def test_most_pages_are_studies() -> None:
    assert len(STUDIES) >= 10
    assert len(PAGES) > len(STUDIES)


def chains(tree: ast.AST) -> set[str]:
    """The longest attribute chains that begin with `vj`, or with a name that such a chain is
    assigned to."""
    aliases = {"vj": "vj"}
    for node in ast.walk(tree):
        match node:
            case ast.Assign([ast.Name(name)], ast.Attribute() as value):
                text = ast.unparse(value)
                if text.startswith("vj.") and text.replace(".", "").isidentifier():
                    aliases[name] = text
    found = set()
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id in aliases:
            found.add(".".join([aliases[node.id], *reversed(parts)]))
    return {chain for chain in found if not any(other.startswith(f"{chain}.") for other in found)}


def resolve(chain: str) -> object:
    """What a chain stands for in vaejax; AttributeError if it is misspelt."""
    found: object = importlib.import_module("vaejax")
    for name in chain.split(".")[1:]:
        found = getattr(found, name)
    return found


def test_chains_are_found_whole_and_through_another_name() -> None:
    source = (
        "show = vj.show\ndef f(x: vj.study.Lab):\n    return show.save(vj.a.b(vj.c)[0].d, x.vj.e)"
    )
    assert chains(ast.parse(source)) == {"vj.show.save", "vj.study.Lab", "vj.a.b", "vj.c"}


def test_a_misspelt_name_of_the_lab_is_an_error() -> None:
    assert resolve("vj.measure.evaluate") is importlib.import_module("vaejax.measure.elbo").evaluate
    for chain in ("vj.measure.evaluates", "vj.measures.evaluate", "vj.study.terminal.show_tables"):
        with pytest.raises(AttributeError):
            resolve(chain)


@pytest.mark.parametrize("module", [*PAGES, *BENCHMARKS])
def test_every_name_that_a_page_uses_is_in_the_lab(module: str) -> None:
    found = chains(tree_of((PAGES | BENCHMARKS)[module]))
    assert found
    for chain in found:
        assert resolve(chain) is not None, chain


@pytest.mark.parametrize("package", PACKAGES)
def test_a_stub_names_every_module_and_only_what_there_is(package: str) -> None:
    module = importlib.import_module(package)
    folder = Path(str(module.__file__)).parent
    named = set()
    for node in tree_of(folder / "__init__.pyi").body:
        assert isinstance(node, ast.ImportFrom)
        assert node.level == 1
        for alias in node.names:
            assert alias.asname == alias.name, "not exported"
            found = getattr(module, alias.name)
            if node.module is None:
                assert isinstance(found, ModuleType)
                named.add(alias.name)
            else:
                inner = importlib.import_module(f"{package}.{node.module}")
                assert found is getattr(inner, alias.name)
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert named == files | folders


def test_every_folder_of_the_lab_has_a_stub() -> None:
    assert sorted(PACKAGES) == sorted(
        module_of(path) for path in (ROOT / "vaejax").rglob("__init__.py")
    )


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
    assert "vaejax" in loaded
    # A package that loads on first use is in sys.modules from the start. Its parts come with it.
    parts = {name.split(".")[0] for name in loaded if "." in name}
    assert HEAVY & parts == set()
