"""What README shows must work."""

import re
from pathlib import Path

import numpy as np

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_first_two_shell_blocks_are_the_two_commands():
    first, second = blocks("sh")
    assert first.startswith("python -m pip install -e . && python -m experiments.latent_size")
    assert second == "python -m pip install -e '.[test]' && python -m pytest\n"


def test_the_code_of_a_users_own_study_runs(capsys):
    (code,) = blocks("python")
    exec(code.replace("epochs=100", "epochs=2"), {})
    active = np.fromstring(capsys.readouterr().out.strip("[]\n"), sep=" ")
    assert active.shape == (8,)


def test_every_named_file_and_command_exists():
    root = Path(__file__).parent.parent
    for path in re.findall(r"`((?:vaejax|experiments|benchmarks|tests)/[\w./]*)`", README):
        assert (root / path).exists(), path
    for module in re.findall(r"python -m ((?:experiments|benchmarks)\.\w+)", README):
        assert (root / f"{module.replace('.', '/')}.py").exists(), module
