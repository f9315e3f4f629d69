"""experiments.writeup: several studies in one command, here two tiny ones on the digits."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import vaejax as vj
from experiments import latent_size, writeup
from tests import tiny

PAIR = ("autoencoder", "latent_size")
"""The VAEs of the second are among the runs of the first."""


def tiny_studies(**changes: Any) -> tuple[Any, ...]:
    """Both, with the flags that the other tests give them, of one latent size; without figures."""
    found = []
    for name in PAIR:
        asked = tiny.flags_of(name, *tiny.STUDIES[name], *tiny.SIZES)
        study = tiny.page(name).STUDY
        found.append(
            study._replace(flags=lambda asked=asked: asked, figures=tiny.no_figures, **changes)
        )
    return tuple(found)


SEEDS = ("--seeds", 0, 1)


def run(out: Path, *more: Any) -> None:
    tiny.command("writeup", *SEEDS, "--out", out, *more)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("writeup")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writeup, "STUDIES", tiny_studies())
        run(out)
    return out / "digits"


@pytest.fixture
def copied(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `--out` of both studies, which are finished: nothing trains again."""
    monkeypatch.setattr(writeup, "STUDIES", tiny_studies())
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    return shutil.copytree(both.parent, tmp_path / "checkpoints" / "writeup")


@pytest.mark.parametrize("study", PAIR)
def test_each_study_finds_what_its_own_command_finds(both: Path, finished: Any, study: str) -> None:
    own = [row for row in tiny.rows_of(finished(study)) if row["latent_size"] == 2]
    assert tiny.rows_of(both / study) == own


def test_a_run_of_two_studies_is_trained_once(
    both: Path, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second study trains nothing, and its checkpoint is that of the first."""
    shutil.rmtree(copied / "digits" / "latent_size")
    run(copied, "--resume")
    assert "z2 is vae-z2 of autoencoder, which is trained already" in capsys.readouterr().err
    rows = [tiny.rows_of(place / "latent_size") for place in (both, copied / "digits")]
    assert rows[0] == rows[1]


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
    copied: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Here in the folder where results go without --out."""
    monkeypatch.chdir(tmp_path)
    tiny.command("writeup", *SEEDS, "--resume")
    out = capsys.readouterr().out
    page = (copied / "report.html").read_text()
    for claim in ("C1", "C2", "C3"):
        assert re.search(rf"\b{claim} (HELD|FAILED|UNDECIDED)", out)
        assert claim in page


def test_results_are_not_overwritten(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds results already" in tiny.fail(capsys, "writeup", *SEEDS, "--out", copied)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("figures", "latent_size: The figures were not drawn: no paper"),
        ("claims", "latent_size: The claims were not judged: no paper"),
        ("measure", "latent_size: no paper"),
    ],
)
def test_a_study_of_which_a_part_fails_does_not_stop_the_next(
    copied: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    said: str,
) -> None:
    def refuse(*_: Any) -> Any:
        raise vj.LabError("no paper")

    if part == "measure":  # nothing is measured yet
        (copied / "digits" / "latent_size" / "results.jsonl").unlink()
    other, failing = tiny_studies()
    unjudged = [vj.study.Claim("C5", "Is it?", [vj.study.column("mse", "MSE") < 1.0], rows=refuse)]
    broken = failing._replace(**{part: unjudged if part == "claims" else refuse})
    monkeypatch.setattr(writeup, "STUDIES", (broken, other))
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        run(copied, "--resume")
    assert said in str(end.value)
    out = capsys.readouterr().out
    assert "failed, see below" in out
    assert re.search(r"\bC1 (HELD|FAILED|UNDECIDED)", out)  # of the other study
    assert "C1" in (copied / "report.html").read_text()


def test_the_minutes_of_a_study_are_those_of_all_its_runs(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in PAIR:
        path = copied / "digits" / name / "study.json"
        about = json.loads(path.read_text())
        about["invocations"] = [{**about["invocations"][0], "seconds": 300.0}] * 2
        path.write_text(json.dumps(about))
    run(copied, "--resume")
    assert capsys.readouterr().out.count(" 10.0 ") == 2


@dataclass(frozen=True, kw_only=True)
class OnDigits(latent_size.LatentSizeFlags):
    """A study as it is, on images that are at hand."""

    dataset: str = "digits"


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(("asked", "seeds"), [({}, (0, 1)), ({"seeds": (5, 6, 7)}, (5, 6, 7))])
def test_every_study_has_two_seeds_unless_others_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Any, seeds: Any, quick: bool
) -> None:
    monkeypatch.setattr(writeup, "STUDIES", (latent_size.STUDY._replace(flags=OnDigits),))
    ((_, lab),) = writeup.plan(writeup.WriteupFlags(quick=quick, out=tmp_path, **asked))
    assert {run.seeds for run in lab.runs.values()} == {seeds}
    assert len(lab.runs) == 3
