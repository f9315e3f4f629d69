"""The runner of studies: what is recorded, what diverges, what stops it and how it goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import pytest

import vaejax as vj
from tests import tiny

ONE_SIZE = ["--latent-sizes", "2"]


def test_results_are_never_overwritten_nor_mixed_with_other_settings(finished, capsys) -> None:
    out = finished("latent_size").parent
    flags = [*tiny.STUDIES["latent_size"], "--out", out]
    assert "holds results already" in tiny.fail(capsys, "latent_size", *flags)
    other = ["--resume", "--learning-rate", 0.01]
    assert "learning_rate" in tiny.fail(capsys, "latent_size", *flags, *other)
    fewer = ["--resume", "--epochs", 1]
    assert "trained for 2 epochs already" in tiny.fail(capsys, "latent_size", *flags, *fewer)


def test_other_importance_samples_are_measured_again_without_training(
    finished, tmp_path, monkeypatch
) -> None:
    before = tiny.rows_of(finished("latent_size"))
    copy = tmp_path / "latent_size"
    shutil.copytree(finished("latent_size"), copy)
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    more = ["--resume", *ONE_SIZE, "--nll-samples", 6]
    tiny.run("latent_size", tmp_path, *more, figures=tiny.no_figures)
    rows = tiny.rows_of(copy)
    assert rows[: len(before)] == before
    new = rows[len(before) :]
    assert [(row["run"], row["seed"], row["nll_samples"]) for row in new] == [
        ("z2", 0, 6),
        ("z2", 1, 6),
    ]
    for row, old in zip(new, before, strict=False):
        assert row["neg_elbo_nats"] == old["neg_elbo_nats"]
        assert row["nll_nats"] != old["nll_nats"]


def test_a_row_that_lacks_a_figure_is_named(finished, tmp_path, capsys) -> None:
    copy = tmp_path / "latent_size"
    shutil.copytree(finished("latent_size"), copy)
    rows = tiny.rows_of(copy)
    del rows[0]["mse"]
    (copy / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = [*tiny.STUDIES["latent_size"], "--out", tmp_path, "--resume"]
    message = tiny.fail(capsys, "latent_size", *flags)
    assert "row of z2, lane 0 in results.jsonl lacks mse" in message


def test_a_row_that_lacks_its_lane_is_measured_again(finished, tmp_path, monkeypatch) -> None:
    copy = tmp_path / "latent_size"
    shutil.copytree(finished("latent_size"), copy)
    rows = tiny.rows_of(copy)
    damaged = [{name: value for name, value in rows[0].items() if name != "lane"}, *rows[1:]]
    (copy / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in damaged))
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    resumed_to_draw(tmp_path)
    assert tiny.rows_of(copy) == [*damaged, rows[0]]


def test_a_figure_that_cannot_be_drawn_ends_in_one_message(finished, tmp_path, capsys) -> None:
    """A mistake in the page shows its traceback as well, see test_pages."""
    shutil.copytree(finished("latent_size"), tmp_path / "latent_size")

    def refuse(*_: Any) -> Any:
        raise vj.LabError("The rows do not agree.")

    flags = [*tiny.STUDIES["latent_size"], "--out", tmp_path, "--resume"]
    assert tiny.fail(capsys, "latent_size", *flags, figures=refuse).startswith(
        "error: The figures were not drawn: The rows do not agree.\nThe results are;"
    )


def test_a_mistake_in_a_verdict_keeps_and_shows_what_was_measured(
    finished, tmp_path, capsys
) -> None:
    """With a traceback, which the author of the page wants to see; no older answer stays."""
    folder = tmp_path / "latent_size"
    shutil.copytree(finished("latent_size"), folder)
    (folder / "results.jsonl").unlink()

    def mistaken(rows: Any) -> Any:
        return rows["no such"]

    flags = [*tiny.STUDIES["latent_size"], "--out", tmp_path, "--resume"]
    capsys.readouterr()
    claims = [vj.study.Claim("C0", "All is well", [], rows=mistaken)]
    with pytest.raises(SystemExit) as end:
        tiny.command("latent_size", *flags, claims=claims, figures=tiny.no_figures)
    assert str(end.value).startswith("error: The claims were not judged: list indices must be")
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    assert "z2" in printed.out
    assert "±" in printed.out
    assert tiny.about(folder)["wanted"].keys() == {"z2", "z3"}
    assert json.loads((folder / "verdict.json").read_text()) == {}
    assert [row["run"] for row in tiny.rows_of(folder)] == ["z2", "z2", "z3", "z3"]


def test_a_run_trains_for_the_epochs_that_were_asked_for(tmp_path) -> None:
    """Also one that goes on until it has converged, whose blocks end elsewhere."""
    counts = ["--images", "5", "--latent-sizes", "2", "--epochs", "13", "--recon-scale", "1", "60"]
    folder = tiny.run("few_images", tmp_path, *counts, figures=tiny.no_figures)
    trained = {(row["run"], row["epochs"], row["steps"]) for row in tiny.rows_of(folder)}
    assert trained == {
        ("z2-n5", 13, 13),
        ("z2-n2", 13, 13),
        ("z2-n2-batch2-13-passes", 13, 13),
        ("z2-n2-batch1-6-passes", 6, 12),
        ("z2-n2-batch1-13-passes", 13, 26),
    }


def resumed_to_draw(out: Path, *more: Any, figures: Any = tiny.no_figures) -> dict[str, Any]:
    """What study.json says after a study that was finished in this folder is resumed."""
    tiny.run("latent_size", out, "--resume", *more, figures=figures)
    return tiny.about(out / "latent_size")


def test_figures_are_drawn_in_the_formats_that_were_asked_for(finished, tmp_path, capsys) -> None:
    folder = tmp_path / "latent_size"
    shutil.copytree(finished("latent_size"), folder, ignore=shutil.ignore_patterns("*.png"))

    def curves(lab: Any, rows: Any) -> dict[str, Any]:
        panel = vj.show.Panel("a", "", vj.study.against(rows, "latent_size", "mse"))
        return {"mse": vj.show.curves([panel], "latent units", "The error")}

    about = resumed_to_draw(tmp_path, "--format", "svg", "pdf", figures=curves)
    assert {path.name for path in folder.glob("mse*")} == {"mse.svg", "mse.pdf"}
    printed = capsys.readouterr().out
    assert f"wrote {folder / 'mse.svg'}\nwrote {folder / 'mse.pdf'}\n" in printed
    assert str(folder / "mse.svg") in printed.partition("mse.pdf\n")[2]  # to look at
    caption = about["figures"]["mse"]
    assert caption.startswith("The error. python -m experiments.latent_size --dataset digits ")
    below = caption.removeprefix("The error. ").splitlines()
    drawn = (folder / "mse.svg").read_text().replace("- -", "--")
    assert [line for line in below if line not in drawn] == []


def test_study_json_keeps_every_run_that_measured_anything(finished, tmp_path, monkeypatch) -> None:
    """And has none of those that only drew."""
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    shutil.copytree(finished("latent_size"), tmp_path / "latent_size")
    (first,) = tiny.about(tmp_path / "latent_size")["invocations"]
    assert resumed_to_draw(tmp_path, *ONE_SIZE)["invocations"] == [first]
    more = [*ONE_SIZE, "--nll-samples", 6]
    _, second = resumed_to_draw(tmp_path, *more)["invocations"]
    assert second["command"].endswith(" --latent-sizes 2 --nll-samples 6")
    assert second["date"] >= first["date"]
    assert resumed_to_draw(tmp_path, *more)["invocations"] == [first, second]


@pytest.mark.parametrize(
    "content", [b"{", b"[1]", b"\xff", b'{"invocations": 3}', b'{"figures": []}']
)
def test_a_damaged_study_json_is_one_message(content, finished, tmp_path, capsys) -> None:
    folder = tmp_path / "latent_size"
    shutil.copytree(finished("latent_size"), folder)
    (folder / "study.json").write_bytes(content)
    flags = [*tiny.STUDIES["latent_size"], "--out", tmp_path, "--resume"]
    message = tiny.fail(capsys, "latent_size", *flags, figures=tiny.no_figures)
    assert message.startswith(f"error: {folder / 'study.json'} is damaged (")
    assert "delete it" in message
    (folder / "study.json").unlink()  # as beside results of version 0.1
    assert resumed_to_draw(tmp_path)["invocations"] == []


@pytest.mark.parametrize("field", ["study", "dataset", "seed", "recon_scale", "config"])
def test_rows_of_other_models_under_the_same_name_are_refused(
    field, finished, tmp_path, capsys
) -> None:
    folder = tmp_path / "latent_size"
    shutil.copytree(finished("latent_size"), folder)
    first, *others = tiny.rows_of(folder)
    other = {"config": first["config"] | {"batch_size": 3}}.get(field, 7)
    (folder / "results.jsonl").unlink()
    vj.store.records.append(folder / "results.jsonl", [first | {field: other}, *others])
    flags = [*tiny.STUDIES["latent_size"], "--out", tmp_path, "--resume"]
    message = tiny.fail(capsys, "latent_size", *flags, figures=tiny.no_figures)
    assert "results.jsonl holds a row of another study, or of a model with other" in message


def test_a_diverging_run_is_named_with_its_last_good_state(tmp_path, capsys) -> None:
    wild = ["--learning-rate", "1e38", *ONE_SIZE, "--out", tmp_path]
    message = tiny.fail(capsys, "latent_size", *tiny.STUDIES["latent_size"], *wild)
    assert "Training diverged" in message
    assert "z2 lane 0 (seed 0, learning_rate 1e+38" in message
    assert "in epoch 1; its state after epoch 0 is in" in message
    folder = tmp_path / "latent_size"
    state = folder / "z2" / str(vj.store.checkpoint.latest(folder / "z2"))
    assert f"is in {state}" in message
    assert state.is_dir()
    assert not (folder / "results.jsonl").exists()
    assert not (folder / "verdict.json").exists()


def test_learning_that_overflows_the_optimizer_counts_as_diverged(tmp_path, capsys) -> None:
    huge = ["--recon-scale", "1e24", *ONE_SIZE, "--out", tmp_path]
    message = tiny.fail(capsys, "latent_size", *tiny.STUDIES["latent_size"], *huge)
    assert "Training diverged" in message


def test_healthy_lanes_are_recorded_beside_a_diverging_one(tmp_path) -> None:
    lab = tiny.open_lab("latent_size", tmp_path, *ONE_SIZE)
    run = lab.runs["z2"]
    rates = vj.stack([vj.knobs(run.config, learning_rate=1e38), vj.knobs(run.config)])
    lab.runs = {"grid": replace(run, name="grid", knobs=rates)}

    def measure(*_: Any) -> list[vj.store.Row]:
        return [{"mse": 1.0}, {"mse": 2.0}]

    def recorded() -> vj.study.recording.Recorded:
        return vj.study.recording.record(lab, vj.study.recording.prepare(lab), measure)

    rows, (diverged,), new = recorded()
    assert diverged.startswith("grid lane 0 (seed 0, learning_rate 1e+38")
    assert rows == tiny.rows_of(lab.folder)
    assert [(row["lane"], row["mse"]) for row in rows] == [(1, 2.0)]
    assert new
    lab.flags = replace(lab.flags, resume=True)
    assert recorded() == (rows, [diverged], False)


def test_a_study_whose_reader_has_left_draws_nothing_more_and_says_nothing(
    finished, tmp_path, capsys
) -> None:
    shutil.copytree(finished("latent_size"), tmp_path / "latent_size")

    def unread(*_: Any) -> dict[str, Any]:
        raise BrokenPipeError

    flags = [*tiny.STUDIES["latent_size"], "--out", tmp_path, "--resume"]
    assert tiny.fail(capsys, "latent_size", *flags, figures=unread) == "141 "


def test_a_refused_batch_size_leaves_the_folder_free(tmp_path, capsys) -> None:
    wrong = [*ONE_SIZE, "--out", tmp_path, "--batch-size", 5000]
    message = tiny.fail(capsys, "latent_size", *tiny.STUDIES["latent_size"], *wrong)
    assert "a batch_size of 1438" in message
    assert not list(tmp_path.iterdir())


def test_a_full_disk_and_a_file_in_the_way_are_one_message_each(
    tmp_path, capsys, monkeypatch
) -> None:
    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    flags = tiny.STUDIES["latent_size"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        message = tiny.fail(capsys, "latent_size", *flags, "--out", tmp_path)
    assert "Cannot write" in message
    assert "No space left on device. Free some space" in message
    (tmp_path / "file").write_text("in the way")
    message = tiny.fail(capsys, "latent_size", *flags, "--out", tmp_path / "file")
    assert "Not a directory" in message


LONG = [*ONE_SIZE, "--nll-samples", "2", "--epochs", "15", "--checkpoint-every", "1"]


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory) -> Path:
    """The folder of a study of 15 epochs."""
    return tiny.run("latent_size", tmp_path_factory.mktemp("whole"), *LONG, figures=tiny.no_figures)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_study_that_a_signal_ended_resumes_to_the_very_same_bits(
    number: signal.Signals, never_stopped: Path, tmp_path: Path
) -> None:
    """Killed at any time, or asked to stop, which it does after the epoch."""
    command = [sys.executable, "-m", "experiments.latent_size", *tiny.STUDIES["latent_size"]]
    ended = subprocess.Popen(
        [*command, *LONG, "--out", str(tmp_path)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = tmp_path / "latent_size"
    with ended:
        while (vj.store.checkpoint.latest(folder / "z2") or 0) < 33:
            assert ended.poll() is None
            time.sleep(0.01)
        ended.send_signal(number)
        _, said = ended.communicate(timeout=60)
    step = vj.store.checkpoint.latest(folder / "z2") or 0
    assert step < 165
    if number == signal.SIGTERM:
        assert ended.returncode == 143
        assert said.splitlines()[-2:] == [
            "stopping after this epoch; a second signal stops at once",
            f"stopped by SIGTERM after epoch {step // 11} of 15 of z2; what was trained is saved, "
            "--resume goes on",
        ]
        assert "Traceback" not in said
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
    flags = [*tiny.STUDIES["latent_size"], "--out", tmp_path]
    asked = []

    def stopped_by() -> int | None:
        asked.append(True)
        return signal.SIGTERM if len(asked) >= epoch else None

    with monkeypatch.context() as patch:
        patch.setattr(vj.study.signals, "deferred", lambda: nullcontext(stopped_by))
        message = tiny.fail(capsys, "latent_size", *flags, figures=tiny.no_figures)
    assert message.startswith("143 ")
    assert message.endswith(
        f"stopped by SIGTERM after {where} of z2; what was trained is saved, --resume goes on\n"
    )
    assert vj.store.checkpoint.latest(folder / "z2") == 11 * epoch
    assert not (folder / "z3").exists()
    tiny.run("latent_size", tmp_path, *ONE_SIZE, "--resume", figures=tiny.no_figures)
    assert tiny.rows_of(folder) == tiny.rows_of(finished("latent_size"))[:2]


def test_a_damaged_study_json_is_found_before_the_training(tmp_path, capsys, monkeypatch) -> None:
    folder = tmp_path / "latent_size"
    folder.mkdir()
    (folder / "study.json").write_text("{")
    monkeypatch.setattr(vj.parallel, "advance", tiny.not_again)
    flags = [*tiny.STUDIES["latent_size"], "--out", tmp_path, "--resume"]
    assert "study.json is damaged" in tiny.fail(capsys, "latent_size", *flags)
    assert [path.name for path in folder.glob("[!.]*")] == ["study.json"]


def test_without_git_a_row_names_no_commit(monkeypatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", missing)
    assert vj.study.provenance._commit() is None


def test_compiled_programs_go_once_a_run_has_another_config() -> None:
    config = vj.Config(image_shape=(4, 4, 1))
    one, same = (vj.Run(name, vj.Images("digits"), config, *vj.grid(config, (0,))) for name in "ab")
    other = replace(same, config=replace(config, latent_size=3))
    program: Any = jax.jit(lambda x: x + 1)
    program(1)
    vj.study.recording._make_room(same, one)
    assert program._cache_size() == 1
    vj.study.recording._make_room(other, same)
    assert program._cache_size() == 0
