"""A model of one's own: docs/your_model.md, its example run tiny, and its tables from the rows."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import vaejax as vj
from docs import results
from docs.examples import conv_vae
from tests.tiny import about, rows_of

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your_model.md").read_text()
VARIANTS = ROOT / "results" / "variants"
MEASURED = VARIANTS / "conv_vae_patches"
LONGER = [
    VARIANTS / f"conv_vae_{name}_steps"
    for name in ("patches_4500", "patches_12000", "cifar10_14058")
]
SMALL = ["--dataset", "digits", "--train-images", "128", "--seeds", "0", "1", "--epochs", "2"]
SMALL += ["--latent-size", "2", "--times", "0.5", "0.9", "1.1", "2"]


def test_the_page_shows_the_nets_of_the_example() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    _, _, nets = block.partition("import vaejax as vj\n")
    assert "class Encoder" in nets
    assert "CONV = " in nets
    assert nets in Path(conv_vae.__file__).read_text()


def test_the_example_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["conv_vae", *SMALL, "--out", str(tmp_path)])
    vj.study.run_study(conv_vae.STUDY)
    folder = tmp_path / "conv_vae"
    rows = rows_of(folder)
    assert len(rows) == 2 * 4 * 2
    assert {row["config"]["nets"] for row in rows} == {"conv"}
    assert {row["kl_warmup"] for row in rows if row["run"] == "warmup"} == {2}
    assert {row["kl_warmup"] for row in rows if row["run"] == "no_warmup"} == {0}
    for row in rows:
        assert row["predicted_kl_nats"] == pytest.approx(max(np.log(row["times"]) / 2, 0), abs=0.3)
        assert (row["predicted_units"] > 0) == (row["times"] > 1)
    assert "conv, warmup, near" in capsys.readouterr().out
    (ran,) = about(folder)["invocations"]
    assert ran["command"].startswith("python -m docs.examples.conv_vae --dataset digits")
    assert (folder / "conv_vae.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_that_its_strides_do_not_divide_are_refused() -> None:
    images = np.zeros((2, 28 * 28), np.uint8)
    flags = conv_vae.ConvVaeFlags(dataset="mnist")
    lab = vj.study.Lab(flags, Path(), (28, 28, 1), images, images, np.zeros(2), "train")
    with pytest.raises(vj.LabError, match="28 by 28 pixels, and the strides"):
        conv_vae.runs(lab)


@pytest.mark.parametrize("folder", [MEASURED, *LONGER], ids=lambda folder: folder.name)
def test_the_tables_of_the_page_are_those_of_the_rows(folder: Path) -> None:
    study = conv_vae.STUDY
    for line in results.table(rows_of(folder), [*study.columns], study.by):
        assert line in PAGE.splitlines()


def test_the_page_says_what_the_rows_decide() -> None:
    said = {
        name: (answer, verdict)
        for name, answer, verdict in re.findall(
            r"^\| \*\*(conv, [\w, ]+)\*\* [^|]+ \| ([^|]+) \| (\w+) \|$", PAGE, re.MULTILINE
        )
    }
    decided = {
        claim.name: (results.escape(verdict.answer), verdict.verdict)
        for claim in conv_vae.CLAIMS
        if (verdict := claim.judge(rows_of(MEASURED))) is not None
    }
    assert len(decided) == 4
    assert said == decided
