"""experiments.seed: several studies in one command, here two tiny ones on the embedded digits."""

import json
import re
import shutil
from dataclasses import dataclass, replace
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
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    run(tmp_path, "--resume")
    assert "z2 is vae-z2 of autoencoder, which is trained already" in capsys.readouterr().err
    rows = [tiny.rows_of(place / "latent_size") for place in (both, tmp_path / "digits")]
    assert without_place(rows[0]) == without_place(rows[1])


def test_a_run_of_other_images_or_for_other_epochs_is_no_twin(both: Path) -> None:
    lab = tiny.open_lab("latent_size", both.parent / "digits", "--resume")
    folder, asked = both / "autoencoder" / "vae-z2", lab.runs["z2"]
    assert vj.store.checkpoint.is_twin(folder, asked)
    others = replace(asked, images=replace(asked.images, train_digest="others"))
    assert not vj.store.checkpoint.is_twin(folder, others)
    assert not vj.store.checkpoint.is_twin(folder, lab.runs["z3"])
    ae = both / "autoencoder" / "ae-z2"
    assert not vj.store.checkpoint.is_twin(ae, asked)


def test_all_answers_stand_in_one_table_and_on_one_page(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here in the folder where results go without --out."""
    shutil.copytree(both.parent, tmp_path / "checkpoints" / "seed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(seed, "STUDIES", tiny_studies())
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
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


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("figures", "latent_size: The figures were not drawn: no paper"),
        ("verdict", "latent_size: The claims were not judged: no paper"),
        ("measure", "latent_size: no paper"),
    ],
)
def test_a_study_of_which_a_part_fails_does_not_stop_the_next(
    tmp_path: Path,
    both: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    said: str,
) -> None:
    def refuse(*_: Any) -> Any:
        raise vj.LabError("no paper")

    shutil.copytree(both.parent, tmp_path, dirs_exist_ok=True)
    for name in PAIR:  # nothing is measured yet
        (tmp_path / "digits" / name / "results.jsonl").unlink()
    other, failing = tiny_studies()
    monkeypatch.setattr(seed, "STUDIES", (failing._replace(**{part: refuse}), other))
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        run(tmp_path, "--resume")
    assert said in str(end.value)
    out = capsys.readouterr().out
    assert "failed, see below" in out
    assert re.search(r"\bC1 (HELD|FAILED|UNDECIDED)", out)  # of the other study
    assert "C1" in (tmp_path / "report.html").read_text()


def test_the_minutes_of_a_study_are_those_of_all_its_runs(
    tmp_path: Path,
    both: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(both.parent, tmp_path, dirs_exist_ok=True)
    for name in PAIR:
        path = tmp_path / "digits" / name / "study.json"
        about = json.loads(path.read_text())
        about["invocations"] = [{**about["invocations"][0], "seconds": 300.0}] * 2
        path.write_text(json.dumps(about))
    monkeypatch.setattr(seed, "STUDIES", tiny_studies())
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    run(tmp_path, "--resume")
    assert capsys.readouterr().out.count(" 10.0 ") == 2


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
