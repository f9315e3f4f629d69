"""What README and docs show must work: files, links, names, commands, flags and code."""

import ast
import dataclasses
import functools
import importlib
import io
import json
import re
import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import vaejax as vj
from docs import notebook
from tests import tiny
from tests.test_house import BENCHMARKS, PAGES, STUDIES, resolve

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "your_own_study.md"
"""Its code is that of a page, see test_own_study.py."""
DOCUMENTS = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs").glob("*.ipynb")),
]
LANGUAGES = {"python", "py", "sh", "text"}
"""Of the code blocks in docs; `python` is run below."""
MADE = [ROOT / "docs" / name for name in ("explorer.html", "explorer_sizes.html")]
"""What is there on the site only."""


class Block(NamedTuple):
    """A code block."""

    language: str
    code: str
    end: int
    """Where it ends in its document."""


def all_blocks(document: Path) -> list[Block]:
    text = document.read_text()
    found = re.finditer(r"^ *```[ ]?(.*)\n((?:.*\n)*?) *```$", text, re.MULTILINE)
    return [Block(block[1], block[2], block.end()) for block in found]


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    return [block.code for block in all_blocks(document) if block.language == language]


def inline_code(document: Path) -> list[str]:
    """What stands between single backticks outside of code blocks, on one line each."""
    prose = re.sub(r"^ *```.*\n(?:.*\n)*? *```$", "", document.read_text(), flags=re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def test_readmes_code_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(README, "python")
    exec(code, {})
    (said,) = re.findall(r"\)  # (.*)$", code.rstrip().splitlines()[-1])
    assert capsys.readouterr().out == f"{said}\n"


def test_the_site_begins_with_readmes_first_screen() -> None:
    first = README.read_text().split("## Start")[0]
    assert (ROOT / "docs" / "index.md").read_text().startswith(first.replace("](docs/", "]("))


@pytest.mark.real_data
def test_readme_shows_what_advise_says(capsys: pytest.CaptureFixture[str]) -> None:
    shown, said = blocks(README, "text")[0].split("\n\n")
    tiny.command("advise", *shlex.split(shown.removeprefix("$ python -m experiments.advise")))
    assert " ".join(said.split()) in " ".join(capsys.readouterr().out.split())


def test_a_code_block_of_the_docs_has_a_language() -> None:
    """So that the tests below know what to do with it."""
    found = {
        (document.name, block.language)
        for document in DOCUMENTS[1:]
        for block in all_blocks(document)
    }
    assert {(name, language) for name, language in found if language not in LANGUAGES} == set()


RUN = [
    (document, number)
    for document in DOCUMENTS
    if document not in (README, GUIDE)
    for number in range(len(blocks(document, "python")))
]


@pytest.mark.parametrize(
    ("document", "number"), RUN, ids=[f"{path.name} {number}" for path, number in RUN]
)
def test_the_code_of_the_docs_runs_and_prints_what_they_say(document: Path, number: int) -> None:
    every = all_blocks(document)
    place = [index for index, block in enumerate(every) if block.language == "python"][number]
    out = io.StringIO()
    with redirect_stdout(out):
        exec(every[place].code, {})
    printed = out.getvalue()
    if printed:
        following = every[place + 1]
        between = document.read_text()[every[place].end :].lstrip()
        assert between.startswith("It prints\n\n```text\n")
        assert printed == following.code


def outputs(made: dict[str, Any]) -> list[list[str]]:
    """What the cells of a notebook have printed, and the kinds of what they have drawn."""
    code = [cell for cell in made["cells"] if cell["cell_type"] == "code"]
    return [
        ["".join(output.get("text", output.get("data"))) for output in cell["outputs"]]
        for cell in code
    ]


def test_the_notebook_runs_and_prints_what_it_says() -> None:
    path = ROOT / "docs" / "from_nothing.ipynb"
    said = json.loads(path.read_text())
    again = json.loads(path.read_text())
    notebook.run(again)
    assert outputs(again) == outputs(said)
    assert path.stat().st_size < 150_000


def flags_of(module: str) -> Any:
    """The class of the flags of a page or a benchmark."""
    page = importlib.import_module(module)
    if module in STUDIES:
        return page.STUDY.flags
    (flags,) = [
        value
        for name, value in vars(page).items()
        if name.endswith("Flags") and getattr(value, "__module__", None) == module
    ]
    return flags


def parse(module: str, arguments: list[str]) -> Any:
    """The flags that a command makes of its arguments; SystemExit or LabError if it refuses."""
    page = importlib.import_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments])
        if module in STUDIES:
            return vj.study.command.parse_study(flags_of(module), page.__doc__, page.STUDY.quick)
        return vj.study.parse(flags_of(module), page.__doc__)


def commands(document: Path) -> list[tuple[str, list[str]]]:
    """Every command of this project in a document, in blocks and in the text."""
    shown = [block.code for block in all_blocks(document) if block.language in {"sh", "text"}]
    found = []
    for code in [*shown, *inline_code(document)]:
        joined = code.replace("\\\n", " ").replace("my_study.py", "-m experiments.hidden_pixels")
        # A command ends with its line, a quote or a sign of the shell.
        for module, arguments in re.findall(r"python -m ([\w.]+)([^\n\"&|;#]*)", joined):
            # STUDY stands for any of them.
            if re.match(r"(experiments|benchmarks)\.(?!STUDY$)", module):
                found.append((module, shlex.split(arguments)))
    return found


def test_every_command_is_one_that_there_is_with_flags_that_it_takes() -> None:
    for document in DOCUMENTS:
        for module, arguments in commands(document):
            assert module in PAGES | BENCHMARKS, (document, module)
            bare = module == "experiments.inspect_checkpoint" and not arguments
            try:
                parse(module, [*arguments, "FOLDER"] if bare else arguments)
            except (SystemExit, vj.LabError) as error:
                pytest.fail(f"{document} has {module} {' '.join(arguments)}: {error}")


def test_commands_are_found_and_a_wrong_flag_is_refused() -> None:
    assert sum(len(commands(document)) for document in DOCUMENTS) > 25
    with pytest.raises(SystemExit):
        parse("experiments.blur", ["--seed", "0"])


@functools.cache
def known_flags() -> frozenset[str]:
    """The flags of all pages and benchmarks."""
    fields = [
        field.name
        for module in PAGES | BENCHMARKS
        for field in dataclasses.fields(flags_of(module))
    ]
    flags = [vj.study.flags.flag(name) for name in fields]
    return frozenset({*flags, *(flag.replace("--", "--no-", 1) for flag in flags), "--help"})


def test_every_flag_in_the_text_is_one_of_some_command() -> None:
    others = ("XLA_FLAGS", "mkdocs", "ruff", "python -m pip")
    named = {
        (document.name, flag)
        for document in DOCUMENTS
        for code in inline_code(document)
        if not code.startswith(others)
        for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
    }
    assert {(name, flag) for name, flag in named if flag not in known_flags()} == set()


def test_every_name_of_the_library_in_the_text_is_one_that_there_is() -> None:
    for document in DOCUMENTS:
        for code in inline_code(document):
            for chain in re.findall(r"\bvj(?:\.\w+)+", code):
                assert resolve(chain), document


def test_every_named_file_exists() -> None:
    named = r"`((?:vaejax|experiments|benchmarks|tests|docs)/[\w./]*)`"
    found = {
        (path.name, file) for path in DOCUMENTS for file in re.findall(named, path.read_text())
    }
    assert {(name, file) for name, file in found if not (ROOT / file).exists()} == set()


def names_in(path: Path) -> set[str]:
    """The functions, classes and constants that a Python file defines, or the headings of a page
    as links name them."""
    if path.suffix == ".md":
        titles = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE)
        return {re.sub(r"[^\w\s-]", "", title).lower().replace(" ", "-") for title in titles}
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_every_link_leads_to_a_file_and_to_a_name_in_it() -> None:
    for document in DOCUMENTS:
        links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", document.read_text())
        targets = [(document.parent / link if link else document, name) for link, name in links]
        missing = [str(path) for path, _ in targets if not (path.exists() or path in MADE)]
        named = [(path, name) for path, name in targets if name]
        missing += [f"{path.name}#{name}" for path, name in named if name not in names_in(path)]
        assert missing == [], document


def test_the_claims_are_all_there_with_studies_that_there_are() -> None:
    text = (ROOT / "docs" / "claims.md").read_text()
    rows = re.findall(r"^\| ([CB]\d+) \| ([^|]*) \| ([^|]*) \|$", text, re.MULTILINE)
    claims = [claim for claim, _, _ in rows]
    assert claims == [f"C{number}" for number in range(1, 14)] + [f"B{i}" for i in range(1, 8)]
    for claim, _, measured in rows:
        studies = re.findall(r"(?<!\[)`(\w+)`", measured)
        assert bool(studies) == (claim != "C4")
        for study in studies:
            assert re.search(rf"\b{claim}\b", PAGES[f"experiments.{study}"].read_text())
