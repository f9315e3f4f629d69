"""The runner of studies: what is recorded, what diverges, what stops it and how it goes on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import vaejax as vj
from tests import tiny

ONE_SIZE = ["--latent-sizes", "2"]


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """The folder of a finished study that a test may change, with `tmp_path` as its `--out`."""
    return shutil.copytree(finished("latent_size"), tmp_path / "latent_size")


def refused(capsys: Any, out: Path, *more: Any, **changes: Any) -> str:
    """The message with which the tiny study ends."""
    return tiny.fail(
        capsys, "latent_size", *tiny.STUDIES["latent_size"], "--out", out, *more, **changes
    )


def resumed_to_draw(out: Path, *more: Any, figures: Any = tiny.no_figures) -> dict[str, Any]:
    """What study.json says after a study that was finished in this folder is resumed."""
    tiny.run("latent_size", out, "--resume", *more, figures=figures)
    return tiny.about(out / "latent_size")


def test_a_finished_study_gets_the_log_that_is_asked_for_later(copy: Path, tmp_path: Path) -> None:
    before = tiny.rows_of(copy)
    tiny.run("latent_size", tmp_path, "--resume", "--log", "jsonl", figures=tiny.no_figures)
    assert tiny.rows_of(copy) == before
    for run in copy.glob("z*/"):
        lines = (run / "log" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 1, 2, 2]


def write_rows(folder: Path, rows: list[vj.store.Row]) -> None:
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_row_that_lacks_a_figure_is_named(copy, tmp_path, capsys) -> None:
    rows = tiny.rows_of(copy)
    del rows[0]["mse"]
    write_rows(copy, rows)
    message = refused(capsys, tmp_path, "--resume")
    assert "row of z2, lane 0 in results.jsonl lacks mse" in message


def test_a_row_that_lacks_its_lane_is_measured_again(copy, tmp_path, monkeypatch) -> None:
    first, *others = tiny.rows_of(copy)
    damaged = [{name: value for name, value in first.items() if name != "lane"}, *others]
    write_rows(copy, damaged)
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    resumed_to_draw(tmp_path)
    assert tiny.rows_of(copy) == [*damaged, first]


def no_paper(*_: Any) -> Any:
    raise vj.LabError("The rows do not agree.")


def unread(*_: Any) -> Any:
    raise BrokenPipeError


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        (
            no_paper,
            "error: The figures were not drawn: The rows do not agree.\nThe results are; --resume "
            "draws again. ",
        ),
        (unread, "141 "),
    ],
)
def test_figures_that_cannot_be_drawn_or_have_no_reader_end_in_one_message_or_silence(
    figures, message, copy, tmp_path, capsys
) -> None:
    """A mistake in the page shows its traceback as well, see test_pages."""
    assert refused(capsys, tmp_path, "--resume", figures=figures) == message


def test_a_mistake_in_a_verdict_keeps_and_shows_what_was_measured(copy, tmp_path, capsys) -> None:
    """With a traceback, which the author of the page wants to see; no older answer stays."""
    (copy / "results.jsonl").unlink()

    def mistaken(rows: Any) -> Any:
        return rows["no such"]

    flags = [*tiny.STUDIES["latent_size"], "--out", tmp_path, "--resume"]
    capsys.readouterr()
    claims = [
        vj.study.Claim("C0", "Is all well?", [vj.study.column("mse", "MSE") < 1.0], rows=mistaken)
    ]
    with pytest.raises(SystemExit) as end:
        tiny.command("latent_size", *flags, claims=claims, figures=tiny.no_figures)
    assert str(end.value).startswith("error: The claims were not judged: list indices must be")
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    assert "z2" in printed.out
    assert "±" in printed.out
    assert tiny.about(copy)["wanted"].keys() == {"z2", "z3"}
    assert json.loads((copy / "verdict.json").read_text()) == {}
    assert [row["run"] for row in tiny.rows_of(copy)] == ["z2", "z2", "z3", "z3"]


def test_two_claims_of_one_name_are_refused(tmp_path, capsys) -> None:
    """One answer would take the place of the other."""
    claims = 2 * [vj.study.Claim("C0", "Is all well?", [vj.study.column("mse", "MSE") < 1.0])]
    message = refused(capsys, tmp_path, claims=claims)
    assert "The names of CLAIMS are ['C0', 'C0']: give none or more, each once." in message


def test_figures_are_drawn_in_the_formats_that_were_asked_for(copy, tmp_path, capsys) -> None:
    for picture in copy.glob("*.png"):
        picture.unlink()

    def curves(lab: Any, rows: Any) -> dict[str, Any]:
        panel = vj.show.Panel("a", "", vj.study.against(rows, "latent_size", "mse"))
        return {"mse": vj.show.curves([panel], "latent units", "The error")}

    about = resumed_to_draw(tmp_path, "--format", "svg", "pdf", figures=curves)
    assert {path.name for path in copy.glob("mse*")} == {"mse.svg", "mse.pdf"}
    printed = capsys.readouterr().out
    assert f"wrote {copy / 'mse.svg'}\nwrote {copy / 'mse.pdf'}\n" in printed
    assert str(copy / "mse.svg") in printed.partition("mse.pdf\n")[2]  # to look at
    caption = about["figures"]["mse"]
    assert caption.startswith("The error. python -m experiments.latent_size --dataset digits ")
    below = caption.removeprefix("The error. ").splitlines()
    drawn = (copy / "mse.svg").read_text().replace("- -", "--")
    assert [line for line in below if line not in drawn] == []


def test_study_json_keeps_every_run_that_measured_anything(copy, tmp_path, monkeypatch) -> None:
    """And has none of those that only drew."""
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    (first,) = tiny.about(copy)["invocations"]
    assert resumed_to_draw(tmp_path, *ONE_SIZE)["invocations"] == [first]
    more = [*ONE_SIZE, "--nll-samples", 6]
    old = tiny.rows_of(copy)
    _, second = resumed_to_draw(tmp_path, *more)["invocations"]
    for new, same in zip(tiny.rows_of(copy)[len(old) :], old[:2], strict=True):
        assert (new["run"], new["seed"], new["nll_samples"]) == ("z2", same["seed"], 6)
        assert new["neg_elbo_nats"] == same["neg_elbo_nats"]
        assert new["nll_nats"] != same["nll_nats"]
    assert second["command"].endswith(" --latent-sizes 2 --nll-samples 6")
    assert second["date"] >= first["date"]
    assert resumed_to_draw(tmp_path, *more)["invocations"] == [first, second]


def test_a_damaged_study_json_is_one_message_before_the_training(
    copy, tmp_path, capsys, monkeypatch
) -> None:
    (copy / "study.json").write_bytes(b"{")
    shutil.rmtree(copy / "z3")
    with monkeypatch.context() as patch:
        patch.setattr(vj.parallel, "advance", tiny.not_again)
        message = refused(capsys, tmp_path, "--resume")
    assert message.startswith(f"error: {copy / 'study.json'} is damaged (")
    assert "delete it" in message
    (copy / "study.json").unlink()
    assert resumed_to_draw(tmp_path, *ONE_SIZE)["invocations"] == []


def test_rows_of_other_models_under_the_same_name_are_refused(copy, tmp_path, capsys) -> None:
    first, *others = tiny.rows_of(copy)
    changes = dict.fromkeys(("study", "dataset", "start", "seed", "recon_scale"), 7)
    for field, other in (*changes.items(), ("config", first["config"] | {"batch_size": 3})):
        write_rows(copy, [first | {field: other}, *others])
        message = refused(capsys, tmp_path, "--resume", figures=tiny.no_figures)
        assert "results.jsonl holds a row of another study, or of a model with other" in message, (
            field
        )


def test_a_diverging_run_is_named_with_its_last_good_state(tmp_path, capsys) -> None:
    message = refused(capsys, tmp_path, *ONE_SIZE, "--learning-rate", "1e+38")
    assert "Training diverged" in message
    assert re.search(r"z2 lane 0 \(seed 0, .*learning_rate 1e\+38", message)
    assert "in epoch 1; its state after epoch 0 is in" in message
    folder = tmp_path / "latent_size"
    state = folder / "z2" / str(vj.store.checkpoint.latest(folder / "z2"))
    assert f"is in {state}" in message
    assert state.is_dir()
    assert not (folder / "results.jsonl").exists()
    assert not (folder / "verdict.json").exists()


def test_healthy_lanes_are_recorded_beside_a_diverging_one(tmp_path) -> None:
    lab = tiny.open_lab("latent_size", tmp_path, *ONE_SIZE)
    run = lab.runs["z2"]
    rates = vj.stack([vj.knobs(run.config, learning_rate=1e38), vj.knobs(run.config)])
    lab.runs = {"grid": replace(run, name="grid", knobs=rates)}

    def measure(*_: Any) -> list[vj.store.Row]:
        return [{"mse": 1.0}, {"mse": 2.0}]

    study = tiny.page("latent_size").STUDY._replace(measure=measure)

    def recorded() -> vj.study.recording.Recorded:
        wanted = vj.study.recording.prepare(study, lab)
        return vj.study.recording.record(study, lab, wanted)

    rows, (diverged,), new = recorded()
    assert diverged.startswith("grid lane 0 (seed 0, learning_rate 1e+38")
    assert rows == tiny.rows_of(lab.folder)
    assert [(row["lane"], row["mse"]) for row in rows] == [(1, 2.0)]
    assert new
    lab.flags = replace(lab.flags, resume=True)
    assert recorded() == (rows, [diverged], False)


def test_a_full_disk_and_a_file_in_the_way_are_one_message_each(
    tmp_path, capsys, monkeypatch
) -> None:
    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = refused(capsys, tmp_path)
    assert "Cannot write" in message
    assert "No space left on device. Free some space" in message
    (tmp_path / "file").write_text("in the way")
    assert "Not a directory" in refused(capsys, tmp_path / "file")


LONG = [*ONE_SIZE, "--nll-samples", "2", "--epochs", "15", "--checkpoint-every", "1"]


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory) -> Path:
    """The folder of a study of 15 epochs."""
    return tiny.run("latent_size", tmp_path_factory.mktemp("whole"), *LONG, figures=tiny.no_figures)


def test_a_study_that_was_killed_resumes_to_the_very_same_bits(
    never_stopped: Path, tmp_path: Path
) -> None:
    """At any time."""
    command = [sys.executable, "-m", "experiments.latent_size", *tiny.STUDIES["latent_size"]]
    killed = subprocess.Popen(
        [*command, *LONG, "--out", str(tmp_path)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "latent_size"
    with killed:
        while (vj.store.checkpoint.latest(folder / "z2") or 0) < 33:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    assert (vj.store.checkpoint.latest(folder / "z2") or 0) < 165
    assert not (folder / "results.jsonl").exists()
    tiny.run("latent_size", tmp_path, *LONG, "--resume", figures=tiny.no_figures)
    assert tiny.rows_of(folder) == tiny.rows_of(never_stopped)
    resumed, whole = (vj.store.restore(path / "z2") for path in (folder, never_stopped))
    assert resumed.run.to_json() == whole.run.to_json()
    for term in ("objective", "error", "kl"):
        file = Path("z2", "trace", f"{term}.f32")
        assert (folder / file).read_bytes() == (never_stopped / file).read_bytes()


@pytest.mark.parametrize(("epoch", "where"), [(1, "epoch 1 of 2"), (2, "the last epoch")])
def test_a_signal_in_any_epoch_ends_the_study_in_one_line(
    epoch, where, tmp_path, finished, capsys, monkeypatch
) -> None:
    """Also in the last one, before the next run begins. The folder holds no results at first: a
    file of the system is none."""
    folder = tmp_path / "latent_size"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    advance = vj.parallel.advance

    def asked_to_stop(*given: Any, **named: Any) -> Iterator[Any]:
        for number, found in enumerate(advance(*given, **named), 1):
            if number == epoch:
                os.kill(os.getpid(), signal.SIGTERM)
            yield found

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # not the end of the tests
    try:
        with monkeypatch.context() as patch:
            patch.setattr(vj.parallel, "advance", asked_to_stop)
            message = refused(capsys, tmp_path, figures=tiny.no_figures)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert message.startswith("143 ")
    assert message.splitlines()[-2:] == [
        "stopping after this epoch; a second signal stops at once",
        f"stopped by SIGTERM after {where} of z2; what was trained is saved, --resume goes on",
    ]
    assert vj.store.checkpoint.latest(folder / "z2") == 11 * epoch
    assert not (folder / "z3").exists()
    tiny.run("latent_size", tmp_path, *ONE_SIZE, "--resume", figures=tiny.no_figures)
    assert tiny.rows_of(folder) == tiny.rows_of(finished("latent_size"))[:2]


def test_without_git_a_row_names_no_commit(monkeypatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert vj.study.provenance._commit() is None
