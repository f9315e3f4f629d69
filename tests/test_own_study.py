"""A study of one's own: docs/your_own_study.md, and its page run from a folder outside."""

import json
import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np

import vaejax as vj
from experiments import hidden_pixels
from tests import tiny

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "experiments" / "hidden_pixels.py"
SMALL = ["--dataset", "digits", "--columns", "1", "8", "--seeds", "0", "1", "--epochs", "3"]
SMALL_IN_ORDER = [*SMALL[:2], *SMALL[5:], *SMALL[2:5]]


def test_the_code_of_the_docs_is_that_of_the_page() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/your_own_study.md").read_text(), re.S)
    assert len(blocks) == 7
    page = PAGE.read_text()
    assert [block for block in blocks if block not in page] == []


def test_a_copy_of_the_page_runs_in_a_folder_outside_with_the_library_alone(
    tmp_path, monkeypatch, capsys
) -> None:
    page = shutil.copy(PAGE, tmp_path / "my_study.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["my_study.py", *SMALL, "--out", "found"])
    runpy.run_path(str(page), run_name="__main__")
    printed = capsys.readouterr().out
    assert "hidden pixels" in printed
    folder = tmp_path / "found" / "hidden_pixels"
    rows = vj.store.records.read(folder / "results.jsonl")
    assert len(rows) == 2 * 2 * len(hidden_pixels.TIMES)
    assert {row["columns"] for row in rows} == {1, 8}
    assert {*vj.report.columns.COLUMNS} >= {name for row in rows for name in row}
    assert {row["config"]["nets"] for row in rows if row["columns"] == 1} == {
        "mlp that sees 1 columns"
    }
    (verdict,) = json.loads((folder / "verdict.json").read_text()).items()
    name, found = verdict
    assert name == "hidden pixels"
    assert f"{name} {found['question']} {found['verdict']}" in " ".join(printed.split())
    assert found["answer"].split(":")[0] in ("Yes", "No", "Undecided")
    (ran,) = tiny.about(folder)["invocations"]
    assert ran["command"] == "python -m my_study " + " ".join(SMALL_IN_ORDER)
    assert (folder / "onset.png").read_bytes().startswith(b"\x89PNG")


def test_with_all_columns_the_threshold_is_that_of_the_images() -> None:
    images = vj.data.load("digits").images
    flat = images.reshape(len(images), -1)
    lab = vj.study.Lab(
        hidden_pixels.HiddenPixelsFlags(), Path(), (8, 8, 1), flat, flat, np.zeros(0), "train"
    )
    config = lab.config(latent_size=1)
    (whole,) = vj.theory.thresholds_of(config, lab.moments, 1)
    np.testing.assert_allclose(hidden_pixels.threshold(lab, 8), whole, rtol=1e-6)


def test_the_prediction_is_the_variance_of_a_least_squares_fit_from_the_visible_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 12), np.uint8)
    images[:, 6:] = images[:, :6] // 2 + images[:, 6:] // 3
    lab = vj.study.Lab(
        hidden_pixels.HiddenPixelsFlags(), Path(), (3, 4, 1), images, images, np.zeros(0), "train"
    )
    seen = np.array([False, True, True, False] * 3)
    np.testing.assert_array_equal(hidden_pixels.visible((3, 4, 1), 2), seen)
    x = images / 255 - (images / 255).mean(0)
    fitted = x[:, seen] @ np.linalg.lstsq(x[:, seen], x, rcond=None)[0]
    largest = np.linalg.eigvalsh(np.cov(fitted.T, bias=True))[-1]
    np.testing.assert_allclose(hidden_pixels.threshold(lab, 2), 12 / (2 * largest), rtol=1e-6)
