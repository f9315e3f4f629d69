"""experiments.seed: several studies in one command, here two tiny ones on the embedded digits."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import vaejax as vj
from experiments import latent_size, seed
from tests import tiny

PAIR = ("autoencoder", "latent_size")
"""The VAEs of the second are among the runs of the first."""


def tiny_studies(**changes: Any) -> tuple[Any, ...]:
    """Both, with the flags that the other tests give them; without figures."""
    found = []
    for name in PAIR:
        asked = tiny.flags_of(name, *tiny.STUDIES[name])
        study = tiny.page(name).STUDY
        found.append(
            study._replace(flags=lambda asked=asked: asked, figures=tiny.no_figures, **changes)
        )
    return tuple(found)


SEEDS = ("--seeds", 0, 1)


def run(out: Path, *more: Any) -> None:
    tiny.command("seed", *SEEDS, "--out", out, *more)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("seed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seed, "STUDIES", tiny_studies())
        run(out)
    return out / "digits"


def without_place(rows: list[vj.store.Row]) -> list[vj.store.Row]:
    return [{name: value for name, value in row.items() if name != "date"} for row in rows]


@pytest.mark.parametrize("study", PAIR)
def test_each_study_finds_what_its_own_command_finds(both: Path, finished: Any, study: str) -> None:
    own = tiny.rows_of(finished(study))
    assert without_place(tiny.rows_of(both / study)) == without_place(own)


def test_a_run_of_two_studies_is_trained_once(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second study trains nothing, and its checkpoint is that of the first."""
    shutil.copytree(both.parent, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "digits" / "latent_size")
    monkeypatch.setattr(seed, "STUDIES", tiny_studies())
    monkeypatch.setattr(vj.sweep, "fit", tiny.not_again)
    run(tmp_path, "--resume")
    assert "z2 is vae-z2 of autoencoder, which is trained already" in capsys.readouterr().err
    rows = [tiny.rows_of(place / "latent_size") for place in (both, tmp_path / "digits")]
    assert without_place(rows[0]) == without_place(rows[1])


def test_a_run_of_other_images_or_for_other_epochs_is_no_twin(both: Path) -> None:
    lab = tiny.open_lab("latent_size", both.parent / "digits", "--resume")
    folder, asked = both / "autoencoder" / "vae-z2", lab.runs["z2"]
    assert vj.store.checkpoint.is_twin(folder, asked, lab.images_digest)
    assert not vj.store.checkpoint.is_twin(folder, asked, "others")
    assert not vj.store.checkpoint.is_twin(folder, lab.runs["z3"], lab.images_digest)
    ae = both / "autoencoder" / "ae-z2"
    assert not vj.store.checkpoint.is_twin(ae, asked, lab.images_digest)


def test_all_answers_stand_in_one_table_and_on_one_page(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here in the folder where results go without --out."""
    shutil.copytree(both.parent, tmp_path / "checkpoints" / "seed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seed, "STUDIES", tiny_studies())
    monkeypatch.setattr(vj.sweep, "fit", tiny.not_again)
    tiny.command("seed", *SEEDS, "--resume")
    out = capsys.readouterr().out
    page = (tmp_path / "checkpoints" / "seed" / "report.html").read_text()
    for claim in ("C1", "C2", "C3"):
        assert re.search(rf"\b{claim} (HELD|FAILED|UNDECIDED)", out)
        assert claim in page


def test_results_are_not_overwritten(
    both: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(seed, "STUDIES", tiny_studies())
    message = tiny.fail(capsys, "seed", *SEEDS, "--out", both.parent)
    assert "holds results already" in message


def test_a_study_that_fails_does_not_stop_the_next(
    tmp_path: Path,
    both: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: Any) -> Any:
        raise vj.LabError("no paper")

    shutil.copytree(both.parent, tmp_path, dirs_exist_ok=True)
    first, second = tiny_studies()
    monkeypatch.setattr(seed, "STUDIES", (first._replace(figures=refuse), second))
    monkeypatch.setattr(vj.sweep, "fit", tiny.not_again)
    message = tiny.fail(capsys, "seed", *SEEDS, "--out", tmp_path, "--resume")
    assert "The figures were not drawn: no paper" in message
    assert (tmp_path / "report.html").exists()


@dataclass(frozen=True, kw_only=True)
class OnDigits(latent_size.LatentSizeFlags):
    """A study as it is, on images that are at hand."""

    dataset: str = "digits"


@pytest.mark.parametrize(("asked", "seeds"), [(None, (0, 1)), ((5, 6, 7), (5, 6, 7))])
def test_quick_has_two_seeds_unless_others_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any, seeds: Any
) -> None:
    monkeypatch.setattr(seed, "STUDIES", (latent_size.STUDY._replace(flags=OnDigits),))
    (planned,) = seed.plan(seed.SeedFlags(quick=True, seeds=asked, out=tmp_path))
    assert [run.seeds for run in planned.lab.runs.values()] == [seeds] * 3
