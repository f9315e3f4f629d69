"""What README and docs show must work."""

import ast
import re
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "your_own_study.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    text = document.read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_first_two_shell_blocks_are_the_two_commands() -> None:
    first, second = blocks(README, "sh")
    assert first.startswith("python -m pip install -e . && python -m experiments.latent_size")
    assert second == "python -m pip install -e '.[test]' && python -m pytest\n"


def test_the_code_of_a_users_own_study_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(README, "python")
    assert "epochs=100" in code
    exec(code.replace("epochs=100", "epochs=2"), {})
    lines = capsys.readouterr().out.splitlines()
    lanes = [
        (float(scale), int(seed))
        for line in lines
        for scale, seed in re.findall(r"^recon_scale (\d+), seed (\d): [0-4] active units$", line)
    ]
    assert lanes == list(product((10, 20, 40, 64), (0, 1)))


def test_the_guide_shows_the_code_of_its_page() -> None:
    page = ast.parse((ROOT / "experiments" / "hidden_pixels.py").read_text())
    own = {ast.dump(statement) for statement in page.body}
    shown = [part for block in blocks(GUIDE, "python") for part in ast.parse(block).body]
    assert len(shown) > 5
    assert [ast.unparse(part) for part in shown if ast.dump(part) not in own] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_named_file_and_command_exists(document: Path) -> None:
    text = document.read_text()
    files = re.findall(r"`((?:vaejax|experiments|benchmarks|tests|docs)/[\w./]*)`", text)
    modules = re.findall(r"python -m ((?:experiments|benchmarks)\.\w+)", text)
    assert files
    assert modules
    assert [path for path in files if not (ROOT / path).exists()] == []
    paths = {module: ROOT / f"{module.replace('.', '/')}.py" for module in modules}
    assert [module for module, path in paths.items() if not path.exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
