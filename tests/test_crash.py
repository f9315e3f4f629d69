"""benchmarks.crash: when a study is killed, where that hit, and what counts as the same end. The
benchmark itself takes minutes."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

import vaejax as vj
from benchmarks import crash
from tests import tiny
from vaejax.errors import LabError

LANES = next(kind for kind in crash.KINDS if kind.name == "lanes")


def test_the_same_seed_draws_the_same_moments() -> None:
    def aims(seed: int) -> list[crash.Aim]:
        random = np.random.default_rng((seed, 0))
        return [crash.draw_aim(random, LANES, 8.0) for _ in range(200)]

    assert aims(1) == aims(1) != aims(2)
    at_random = [aim.seconds for aim in aims(1) if not aim.sight]
    assert 40 < len(at_random) < 120
    assert 0 <= min(at_random) < 2 < 6 < max(at_random) <= 8
    assert {aim.sight for aim in aims(1)} == {"", *LANES.sights}


@pytest.mark.parametrize(
    ("log", "steps", "where"),
    [
        ("", {"a": None, "b": None}, "start-up"),
        ("a: vae 64-2-64, gaussian", {"a": None, "b": None}, "training"),
        ("[Gloo] a: vae 64-2-64", {"a": 11, "b": None}, "training"),
        ("a: vae 64-2-64", {"a": 22, "b": None}, "recording"),
        ("a: vae 64-2-64\nb: ae 64-2-64", {"a": 22, "b": 11}, "training"),
        ("b: ae 64-2-64\nC5  More units: HELD.", {"a": 22, "b": 22}, "recording"),
        ("b: ae 64-2-64\nwrote x/verdict.json", {"a": 22, "b": 22}, "drawing"),
    ],
)
def test_the_log_and_the_checkpoints_tell_what_was_hit(log, steps, where) -> None:
    assert crash.phase(log, steps, {"a": 22, "b": 22}) == where


@pytest.fixture
def copied(finished, tmp_path: Path) -> crash.Place:
    """A finished study whose files a test may change."""
    shutil.copytree(finished("recon_scale"), tmp_path / "recon_scale")
    return crash.Place(tmp_path / "recon_scale", tmp_path / "cache")


def test_what_a_kill_inside_a_save_leaves_is_seen(copied: crash.Place) -> None:
    run = copied.study / "z2"
    assert crash.torn(copied) == set()
    (run / ".33").mkdir()
    assert len(crash.torn(copied)) == 1
    (run / ".33").rename(run / "33")
    assert crash.torn(copied) == {str(run / "22"), str(run / "33")}
    (run / "33").rmdir()
    with (run / "trace" / "objective.f32").open("ab") as file:
        file.write(b"1234")
    assert len(crash.torn(copied)) == 1


def test_a_copy_ends_alike_whatever_its_commit_and_date(copied: crash.Place, finished) -> None:
    rows = tiny.rows_of(copied.study)
    changed = "".join(json.dumps(row | {"commit": "other"}) + "\n" for row in rows)
    (copied.study / "results.jsonl").write_text(changed)
    about = tiny.about(copied.study) | {"invocations": []}
    (copied.study / "study.json").write_text(json.dumps(about))
    ends = [crash.end_of(folder) for folder in (copied.study, finished("recon_scale"))]
    assert crash.differences(*ends) == []
    assert {"z2", "z2/22", "z2/trace/kl.f32", "verdict.json"} <= ends[0].keys()
    assert crash.Whole(ends[0], 1.0).steps == {"z2": 22}
    leaves = jax.tree.leaves(vj.store.restore(copied.study / "z2").state)
    assert [content for name, content in ends[0]["z2"].items() if name != "step"] == [
        (str(leaf.dtype), leaf.tobytes()) for leaf in leaves
    ]


def test_one_bit_of_one_weight_makes_an_end_differ() -> None:
    weight = np.ones(3, np.float32)
    near = np.nextafter(weight, 2)
    wanted, found = ({"z2": {".params": value.tobytes()}} for value in (weight, near))
    assert crash.differences(found, wanted) == ["z2 differs"]


def test_what_is_missing_or_left_over_differs_but_for_an_older_checkpoint() -> None:
    lines = crash.differences({"z2/11": {}, "z2/.x": b""}, {"verdict.json": b""})
    assert lines == ["verdict.json is missing", "z2/.x is left over", "z2/11 is left over"]
    assert [crash.harmless(line) for line in lines] == [False, False, True]
    assert not crash.harmless("z2/11 is missing")


def test_a_kill_waits_until_something_is_seen_so_often(tmp_path: Path) -> None:
    write = "import sys, pathlib, time\nfor n in range(3):\n"
    write += " time.sleep(0.2); pathlib.Path(sys.argv[1], f'.mnist-{n}').mkdir()\n"
    place = crash.Place(tmp_path / "study", tmp_path)
    for times, reached, seen in ((2, True, 2), (4, False, 3)):
        command = [sys.executable, "-c", write + "time.sleep(0.2)", str(tmp_path)]
        with subprocess.Popen(command) as process:
            assert crash.wait_for(crash.Aim("cache", times, 0.0), place, [process], 60) == reached
            process.kill()
        assert len(crash.unfinished_entries(place)) == seen
        for folder in tmp_path.iterdir():
            folder.rmdir()


def test_a_process_that_does_not_end_is_named(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        with pytest.raises(crash.HungError, match="no end after 0 s"):
            crash.end([process], 0.05)
        process.kill()


def test_the_kinds_of_runs_share_the_kills() -> None:
    tallies = [crash.Tally(kind) for kind in crash.KINDS[:2]]
    assert [tally.kind.share for tally in tallies] == [0.5, 1]
    queue = crash.studies(tallies, 6)
    turns = []
    for tally, number in islice(queue, 100):
        turns.append((tally.kind.name, number))
        tally.where += Counter(training=2)
    assert [tally.kills for tally in tallies] == [2, 4]
    first, second = (kind.name for kind in crash.KINDS[:2])
    assert turns == [(first, 0), (second, 0), (second, 1)]


def test_the_table_of_all_kinds_fits_a_terminal_of_80_columns(capsys) -> None:
    tallies = [crash.Tally(kind, 12.3, Counter(drawing=2)) for kind in crash.KINDS]
    tallies[0].differing += ["one", "two"]
    Console(width=80).print(crash.tabulate(tallies, "12 kills"))
    rows = [line.strip("│ ").split() for line in capsys.readouterr().out.splitlines()]
    counts = {row[0]: [cell for cell in row if cell != "│"][1:] for row in rows if row}
    assert counts["kills"] == counts["drawing"] == ["2"] * len(crash.KINDS)
    assert counts["differing"] == ["2", *["0"] * (len(crash.KINDS) - 1)]
    assert "…" not in str(rows)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kills": 0}, "--kills and --jobs: use numbers above 0"),
        ({"kinds": ("lane",)}, "--kinds 'lane' is unknown: use some of"),
        ({"out": Path(__file__)}, "is there already: give a new folder"),
    ],
)
def test_bad_flags_are_refused(wrong, message: str) -> None:
    with pytest.raises(LabError, match=message):
        crash.CrashFlags(**wrong)
