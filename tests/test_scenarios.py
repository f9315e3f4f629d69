"""Commands in any order, on one tiny study: every answer is the same wherever it stands.

A state machine of hypothesis runs the commands of a user one after another: a study, its report, a
look into its run, the explorer, an export. After each of them the table, the report, the run, the
page, the export and the rows that count say the same numbers; no epoch is trained twice; nothing
that was measured is lost; and what is refused is refused for its true cause.

    python -m tests.test_scenarios --sequences 2000    # many more than the suite runs
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
import tyro
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from matplotlib.figure import Figure

import vaejax as vj
from tests import tiny
from tests.html import Html

WIDE, HIGH, CHANNELS = 4, 4, 1
TRAIN, TEST, BATCH = 24, 12, 8
STEPS = TRAIN // BATCH
"""Of an epoch."""
SEEDS = (3, 1, 2)
FORMATS = ("png", "svg")
MEASURED = ("neg_elbo_nats", "mse")
"""What every command shows."""
CLOSE = 2e-5
"""Models alone and beside others differ by rounding."""


class Killed(BaseException):
    """What ends a command as SIGKILL does: nothing is written after it."""


@dataclass(frozen=True)
class Asked:
    """The flags of a study that differ between commands."""

    seeds: tuple[int, ...] = SEEDS[:1]
    epochs: int = 1
    tested: int | None = None
    samples: int = 2
    formats: tuple[str, ...] = FORMATS[:1]

    @property
    def flags(self) -> list[str]:
        tested = [] if self.tested is None else ["--test-images", str(self.tested)]
        return [
            *("--seeds", *map(str, self.seeds), "--epochs", str(self.epochs)),
            *("--nll-samples", str(self.samples), "--format", *self.formats, *tested),
        ]

    @property
    def test(self) -> str:
        return "test" if self.tested is None else f"test[:{self.tested}]"


def one_figure(lab: Any, rows: list[vj.store.Row]) -> dict[str, Any]:
    """Instead of the pictures of the study, which take longer than all the rest."""
    vj.study.outputs(lab.trained("z2"), 0, lab.test[:2])
    figure = Figure(figsize=(1, 1))
    figure.suptitle(f"The error of {len(rows)} models")
    return {"mse": figure}


class Commands(RuleBasedStateMachine):
    """The commands of one user in one folder."""

    met: ClassVar[Counter[tuple[str, str]]] = Counter()
    """How often one command came right after another, over all sequences."""
    lengths: ClassVar[list[int]] = []
    """How many commands each sequence has."""
    images: Path
    """Images of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.out = Path(tempfile.mkdtemp())
        self.asked: Asked | None = None
        """Of the last study that ended well; None: none yet."""
        self.table: dict[str, str] = {}
        """What its table said."""
        self.dirty = False
        """Whether a command was killed since then: a run may be further than its rows."""
        self.epochs: dict[int, int] = {}
        """Epochs that each seed was trained for."""
        self.rows: list[vj.store.Row] = []
        """All rows so far."""
        self.history: list[str] = []

    def teardown(self) -> None:
        names = [command.split()[0] for command in self.history]
        Commands.met.update(pairwise(names))
        Commands.lengths.append(len(names))
        shutil.rmtree(self.out)

    @property
    def folder(self) -> Path:
        return self.out / "latent_size"

    # What a user does.

    @rule(
        seeds=st.integers(1, 3), epochs=st.integers(1, 3), tested=st.sampled_from([None, 5]),
        samples=st.sampled_from([2, 3]), formats=st.sampled_from([FORMATS[:1], FORMATS[1:]]),
    )  # fmt: skip
    def study(
        self, seeds: int, epochs: int, tested: int | None, samples: int, formats: Any
    ) -> None:
        asked = Asked(SEEDS[:seeds], epochs, tested, samples, formats)
        self.note("study", *asked.flags)
        if why := self.must_be_refused(asked):
            self.refused(asked, why)
        else:
            self.trains(asked)

    @precondition(lambda self: self.asked)
    @rule()
    def again(self) -> None:
        assert self.asked is not None
        self.note("again")
        if why := self.must_be_refused(self.asked):
            self.refused(self.asked, why)
        else:
            self.trains(self.asked)

    @precondition(lambda self: self.levels())
    @rule(
        other=st.sampled_from(
            [
                (["--learning-rate", "0.01"], "learning_rate is 0.006, asked is 0.01"),
                (["--dataset", "digits"], "dataset is own, asked is digits"),
                (["--train-images", "16"], r"train is train, asked is train\[:16\]"),
            ]
        )
    )
    def with_another_setting(self, other: tuple[list[str], str]) -> None:
        flags, why = other
        self.note("with_another_setting", *flags)
        run, *_ = self.levels()
        asked = Asked(tuple(run), max(run.values()))
        self.refused(asked, why, *flags)

    @precondition(lambda self: self.asked)
    @rule()
    def without_resume(self) -> None:
        self.note("without_resume")
        assert self.asked is not None
        self.refused(self.asked, "holds results already", resume=False)

    @precondition(lambda self: self.history)
    @rule(seeds=st.integers(1, 3), epochs=st.integers(1, 3), writes=st.integers(0, 25))
    def killed(self, seeds: int, epochs: int, writes: int) -> None:
        """A study that is killed at one of the files that it writes."""
        asked = Asked(SEEDS[:seeds], epochs)
        self.note("killed", *asked.flags, "at", str(writes))
        if self.must_be_refused(asked):
            return
        with killed_at(writes), contextlib.suppress(Killed):
            self.run_study(asked)
            self.ended_well(asked)
            return
        self.dirty = True
        self.nothing_trained_is_lost()

    @precondition(lambda self: self.asked)
    @rule()
    def report(self) -> None:
        self.note("report")
        self.command("report", self.out)
        self.agrees_with_report()

    @precondition(lambda self: self.asked)
    @rule(seed=st.integers(0, 2))
    def inspect(self, seed: int) -> None:
        self.note("inspect", str(seed))
        assert self.asked is not None
        lane = seed % len(self.asked.seeds)
        flags = ["--lane", lane, "--nll-samples", self.asked.samples, "--out", self.out / "drawn"]
        with mock.patch.object(tiny.page("inspect_checkpoint"), "pictures", return_value={}):
            text = self.command("inspect_checkpoint", self.folder / "z2", *flags)
        for name in MEASURED:
            (shown,) = re.findall(rf"{name} +│ +(\S+)", text)
            self.agrees("inspect", lane, name, float(shown))

    @precondition(lambda self: self.asked)
    @rule()
    def explore(self) -> None:
        self.note("explore")
        assert self.asked is not None
        for lane, seed in enumerate(self.asked.seeds):
            self.command("explore", self.folder, "--seed", seed, "--images", 4, "--runs", "z2")
            page = (self.folder / "explore.html").read_text()
            (text,) = re.findall(r'<script[^>]*application/json[^>]*id="page"[^>]*>(.*?)</', page)
            (part,) = json.loads(text)["parts"]
            self.agrees("explore", lane, "mse", part["models"][0]["mse"])

    @precondition(lambda self: self.asked)
    @rule(seed=st.integers(0, 2))
    def export(self, seed: int) -> None:
        self.note("export", str(seed))
        assert self.asked is not None
        lane = seed % len(self.asked.seeds)
        self.command("export", self.folder / "z2", "--codes", "test", "--lane", lane)
        with np.load(self.folder / "z2" / f"lane{lane}-test.npz") as found:
            images = len(found["x"])
        if not self.dirty:
            assert images == (self.asked.tested or TEST)

    @precondition(lambda self: self.asked)
    @rule(cropped=st.booleans())
    def change_a_figure(self, cropped: bool) -> None:
        """Delete it, or crop it as an editor of pictures does."""
        self.note("change_a_figure")
        for path in self.folder.glob("mse.*"):
            if cropped and path.suffix == ".png":
                path.write_bytes(path.read_bytes()[:100])
            else:
                path.unlink()

    @precondition(lambda self: self.asked)
    @rule()
    def copy_a_run(self) -> None:
        self.note("copy_a_run")
        shutil.copytree(self.folder / "z2", self.folder / "z2 copy", dirs_exist_ok=True)

    # What must be so.

    def trains(self, asked: Asked) -> None:
        """A study that ends well: it trains what is missing, and no more."""
        known = {seed: epochs for level in self.levels() for seed, epochs in level.items()}
        trained = self.run_study(asked)
        missing = sum(asked.epochs - known.get(seed, 0) for seed in asked.seeds)
        assert trained == missing, f"trained {trained} epochs, {missing} were missing"
        self.ended_well(asked)

    def ended_well(self, asked: Asked) -> None:
        self.asked, self.dirty = asked, False
        self.nothing_trained_is_lost()
        assert self.levels()[0] == dict.fromkeys(asked.seeds, asked.epochs)
        rows = tiny.rows_of(self.folder)
        kept = [identity(row) for row in rows]
        assert all(identity(row) in kept for row in self.rows), "a row is lost"
        self.rows = rows
        for name in MEASURED:
            assert self.table[name] == vj.study.terminal.cell([row[name] for row in self.current()])
        self.agrees_with_report()

    def agrees_with_report(self) -> None:
        """The report shows the numbers of the table, and as many models. A study that was killed
        may have come as far as to count new rows."""
        wanted = self.table
        if self.dirty:
            rows = vj.store.findings.current_rows(self.folder)
            wanted = {
                name: vj.study.terminal.cell([row[name] for row in rows]) for name in MEASURED
            }
        self.command("report", self.out)
        page = Html((self.out / "report.html").read_text())
        tables = [page.table(index) for index in page.find("table")]
        names, ((*cells,), *more) = next(table for table in tables if "mse" in table[0])
        assert not more, "the report averages over more than one line"
        for name in MEASURED:
            shown = cells[names.index(name)]
            assert shown == wanted[name], f"the report says {shown}, the table {wanted}"

    def agrees(self, command: str, lane: int, name: str, found: float) -> None:
        """A number that a command shows of a lane is that of its row."""
        if self.dirty:
            return
        assert self.asked is not None
        row = next(row for row in self.current() if row["seed"] == self.asked.seeds[lane])
        assert found == pytest.approx(row[name], rel=CLOSE), f"{command} says {name} {found}"

    def current(self) -> list[vj.store.Row]:
        """The newest row of each seed that says what was asked."""
        assert self.asked is not None
        wanted = {"epochs": self.asked.epochs, "nll_samples": self.asked.samples}
        newest = {
            row["seed"]: row
            for row in self.rows
            if wanted.items() <= row.items() and row.get("test", self.asked.test) == self.asked.test
        }
        return [newest[seed] for seed in self.asked.seeds]

    def levels(self) -> list[dict[int, int]]:
        """Epochs of each seed: of the run, of the models that are being added to it, and so on."""
        found, folder = [], self.folder / "z2"
        while True:
            vj.store.merging.finish(folder)
            step = vj.store.checkpoint.latest(folder)
            if step is None:
                return found
            seeds = vj.store.checkpoint.read_run(folder).seeds
            found.append(dict.fromkeys(seeds, step // STEPS))
            folder /= vj.store.merging.ADDED

    def must_be_refused(self, asked: Asked) -> str | None:
        """Why a study is refused: there are other seeds, or more epochs, than are asked for."""
        wanted = list(asked.seeds)
        for level in self.levels():
            if set(level) - set(wanted):
                return f"seed is .*, asked is {' '.join(map(str, sorted(wanted)))}"
            if max(level.values()) > asked.epochs:
                return f"was trained for {max(level.values())} epochs already"
            wanted = [seed for seed in wanted if seed not in level]
            if not wanted:
                return None
        return None

    def nothing_trained_is_lost(self) -> None:
        found = {seed: epochs for level in self.levels() for seed, epochs in level.items()}
        assert all(found[seed] >= epochs for seed, epochs in self.epochs.items())
        self.epochs = found

    # How it is done.

    def note(self, *words: str) -> None:
        self.history.append(" ".join(words))

    def run_study(self, asked: Asked, *more: str, resume: bool = True) -> int:
        """Run the study; returns how many epochs it trained, of all models together."""
        trained = 0
        real = vj.parallel.advance

        def counting(config: Any, knobs: Any, *rest: Any, **named: Any) -> Iterator[Any]:
            nonlocal trained
            for lanes, trace in real(config, knobs, *rest, **named):
                trained += trace.objective.size // STEPS
                yield lanes, trace

        flags = [
            *("--dataset", self.images, "--widths", "4", "--latent-sizes", "2"),
            *("--batch-size", BATCH, "--checkpoint-every", "1", "--out", self.out),
            *tiny.FIXED,
            *(["--resume"] if resume and self.history[:-1] else []), *asked.flags, *more,
        ]  # fmt: skip
        with mock.patch.object(vj.parallel, "advance", counting):
            text = self.command("latent_size", *flags, figures=one_figure)
        self.table = table(text)
        return trained

    def refused(self, asked: Asked, why: str, *more: str, resume: bool = True) -> None:
        """The study ends in one message that says why, and changes nothing."""
        before = contents(self.folder)
        with pytest.raises(SystemExit) as end:
            self.run_study(asked, *more, resume=resume)
        assert re.search(why, str(end.value)), f"refused, but not for its cause: {end.value}"
        assert contents(self.folder) == before

    def command(self, name: str, *arguments: Any, **changes: Any) -> str:
        """Run a command; returns what it prints."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
            tiny.command(name, *arguments, **changes)
        return out.getvalue()


def identity(row: vj.store.Row) -> tuple[Any, ...]:
    """What tells a measurement from others."""
    return tuple(row.get(name) for name in ("seed", "epochs", "nll_samples", "test", *MEASURED))


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    return {str(path): path.read_bytes() for path in files}


def table(text: str) -> dict[str, str]:
    """The cells of the only line of the table of a study, by column."""
    by_name = {}
    lines = text.splitlines()
    (rule_,) = [index for index, line in enumerate(lines) if line and set(line.strip()) == {"─"}]
    cells = re.split(r" {2,}", lines[rule_ + 1].strip())
    columns = ("run", "beta", *tiny.page("latent_size").COLUMNS)
    for name, cell in zip(columns, cells, strict=True):
        by_name[name] = cell
    return by_name


@contextlib.contextmanager
def killed_at(writes: int) -> Iterator[None]:
    """Ends what runs at the file of this number that it writes, and every later one."""
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count > writes:
                raise Killed
            return real(*arguments, **named)

        return write

    with contextlib.ExitStack() as stack:
        for module, name in (
            (vj.store.records, "write_bytes"),
            (vj.store.trace_files, "extend"),
            (vj.store.checkpoint, "remove_all"),
        ):
            patched = mock.patch.object(module, name, counted(getattr(module, name)))
            stack.enter_context(patched)
        yield


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[None]:
    """Images to train on; programs stay compiled from one command to the next."""
    generator = np.random.default_rng(0)
    shape = (WIDE, HIGH, CHANNELS)
    train, test = (
        generator.integers(0, 256, (count, *shape), dtype=np.uint8) for count in (TRAIN, TEST)
    )
    np.savez(folder / "own.npz", x_train=train, x_test=test)
    Commands.images = folder / "own.npz"
    with mock.patch.object(vj.study.environment, "free_memory"):
        yield


def run_sequences(sequences: int, steps: int, seed: int | None = None) -> None:
    """Run as many sequences; without a seed they are the same at each time."""
    if seed is not None:
        random.seed(seed)
    run_state_machine_as_test(
        Commands,
        settings=settings(
            max_examples=sequences, stateful_step_count=steps, deadline=None, database=None,
            derandomize=seed is None, phases=(Phase.generate, Phase.shrink),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )  # fmt: skip


def test_every_answer_is_the_same_in_whatever_order_commands_run(tmp_path: Path) -> None:
    with prepared(tmp_path):
        run_sequences(6, 10)


def main(sequences: int = 2000, steps: int = 12, seed: int = 0) -> None:
    """Run many sequences; says which pairs of commands came one after the other."""
    os.environ.setdefault("VAEJAX_CACHE_DIR", tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as folder, prepared(Path(folder)):
        run_sequences(sequences, steps, seed)
    names = sorted({name for pair in Commands.met for name in pair})
    missing = [(a, b) for a in names for b in names if (a, b) not in Commands.met]
    long = sum(length >= 8 for length in Commands.lengths)
    print(f"{len(Commands.lengths)} sequences, {long} of eight or more commands")
    print(f"{Commands.met.total()} pairs of commands, of {len(names)} kinds")
    print(f"pairs that were not met: {missing or 'none'}")


if __name__ == "__main__":
    tyro.cli(main)
