"""Whether a study that is killed at any moment ends in the very same bits as one that is not.

Tiny studies run in processes of their own, which are killed by SIGKILL and go on with --resume,
until one ends by itself. What is then in the folder is compared with an undisturbed run: rows of
results (but for the commit), verdicts, descriptions and figures; the arrays of the newest
checkpoint and the trace, bit for bit; and the names of all files.

The kinds of runs:

- lanes: models of two scales and seeds train side by side.
- warm-ups: remedies, with a warm-up and a cyclical schedule of the KL.
- until converged: a run ends once all lanes have converged.
- branches: runs that go on from the last state of another run.
- caches: real MNIST from TFDS_DATA_DIR, with empty caches of decoded images and of compiled
  programs. Without MNIST there it is left out.
- two processes: one study in two; either of them is killed, or both. The other one must end. If the
  two had not met yet, it waits for --connect-timeout before it does.

Two in five kills come at a random moment of the time that an undisturbed run takes, its start
included. The others wait until something is seen in the folder: a trace that grows, a state that
is written aside, a new checkpoint (the one before it is then deleted), a small file that is
written aside, or an entry of a cache. They come at once, or some milliseconds later.

The table has a column for each kind. Its rows:

- seconds: the time of an undisturbed run.
- kills, and the moments that they waited for.
- ends: studies that ended as the undisturbed one did.
- wrong: those that did not, that failed to go on, or that did not end in time. They are described
  below the table, and their folders stay. The exit status is then 1.

Command: python -m benchmarks.crash --studies 8

Cost: about 12 minutes on 2 idle cores. The same --seed draws the same moments, but what a process
has done by then also depends on the machine.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

import lazy_loader
import numpy as np
from rich.console import Console
from rich.table import Table

import vaejax as vj

ROOT = Path(__file__).parents[1]
DIGITS = ("--dataset", "digits", "--epochs", "20")
SMALL = ("--widths", "8", "--latent-sizes", "2", "--recon-scale", "1", "6000")
MNIST = ("--dataset", "mnist", "--train-images", "512", "--test-images", "256", "--epochs", "20")
MOST = 8
"""Kills of one study. After these it is left alone."""
PATIENCE = 20
"""Times as long as an undisturbed run may a process take until it counts as hung."""
SURVIVAL = 180.0
"""Seconds in which a process must end whose partner was killed. By default jax takes 100 of them
to miss a process that is silent."""
AT_RANDOM = "at random"
"""What a kill waits for that comes so many seconds after the start."""

jax: Any = lazy_loader.load("jax")  # --help does not wait for it


@dataclass(frozen=True, kw_only=True)
class CrashFlags:
    """What to kill, and how often."""

    studies: int = 3
    """Studies of each kind. Each is killed up to eight times, four times on average."""
    seed: int = 0
    """Draws the moments."""
    jobs: int = 2
    """Studies that run side by side."""
    kinds: tuple[str, ...] = ()
    """Only these kinds of runs, such as lanes or "two processes". Empty: all."""

    def __post_init__(self) -> None:
        if min(self.studies, self.jobs) < 1 or self.seed < 0:
            raise vj.LabError("--studies and --jobs: use numbers above 0; --seed: 0 or more.")
        names = [kind.name for kind in KINDS]
        if unknown := sorted(set(self.kinds) - set(names)):
            raise vj.LabError(f"--kinds {unknown[0]!r} is unknown: use some of {names}.")


class Place(NamedTuple):
    """Where a study runs."""

    study: Path
    """The folder of its results."""
    cache: Path
    """The cache of decoded images; that of compiled programs is in it."""


Sight = Callable[[Place], set[str]]
"""What there is to see in a place; a kill may wait for something new."""


def growing_traces(place: Place) -> set[str]:
    return {f"{path} {size_of(path)}" for path in place.study.glob("*/trace/objective.f32")}


def unfinished_states(place: Place) -> set[str]:
    """States that are not renamed yet."""
    return {str(path) for path in place.study.glob("*/.[0-9]*")}


def checkpoints(place: Place) -> set[str]:
    return {str(path) for path in place.study.glob("*/[0-9]*") if path.name.isdecimal()}


def unfinished_files(place: Place) -> set[str]:
    """Small files that are not renamed yet."""
    hidden = {*place.study.glob(".*"), *place.study.glob("[!.]*/.*")}
    return {str(path) for path in hidden if path.name != ".lock"}


def unfinished_entries(place: Place) -> set[str]:
    """Decoded images that are not in their place yet."""
    return {str(path) for path in place.cache.glob(".*")}


def cache_entries(place: Place) -> set[str]:
    return unfinished_entries(place) | {str(path) for path in place.cache.glob("compiled/*")}


def size_of(path: Path) -> int:
    """The size of a file; 0 if it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


SIGHTS: dict[str, tuple[Sight, float]] = {
    "trace": (growing_traces, 0.01),
    "state": (unfinished_states, 0.06),
    "deletion": (checkpoints, 0.02),
    "file": (unfinished_files, 0.005),
    "cache": (cache_entries, 0.3),
}
"""What a kill may wait for, and the most seconds that it then waits."""


class Kind(NamedTuple):
    """A kind of runs."""

    name: str
    study: str
    flags: tuple[str, ...]
    sights: tuple[str, ...] = ("trace", "state", "deletion", "file")
    processes: int = 1
    own_cache: bool = False
    """Whether each study begins with empty caches."""


KINDS = (
    Kind("two processes", "recon_scale", (*DIGITS, *SMALL), processes=2),
    Kind("branches", "dead_or_slow", (*DIGITS, "--widths", "8", "--times", "0.9", "1.4")),
    Kind(
        "warm-ups",
        "remedies",
        (*DIGITS, "--widths", "8", "--latent-size", "2", "--nll-samples", "2"),
    ),
    Kind("until converged", "few_images", (*DIGITS, *SMALL, "--images", "5", "--epochs", "6000")),
    Kind("lanes", "recon_scale", (*DIGITS, *SMALL)),
    Kind("caches", "recon_scale", (*MNIST, *SMALL), ("cache", "state"), own_cache=True),
)


class Aim(NamedTuple):
    """When to kill: so many seconds after the start, or after something was seen so often."""

    sight: str
    """A name of `SIGHTS`; empty: the start."""
    times: int
    seconds: float


def draw_aim(random: np.random.Generator, kind: Kind, seconds: float) -> Aim:
    """A moment of a run that takes so many seconds."""
    if random.random() < 0.4:
        return Aim("", 0, float(random.uniform(0, seconds)))
    sight = str(random.choice(kind.sights))
    at_once = random.random() < 0.3
    later = 0.0 if at_once else float(random.uniform(0, SIGHTS[sight][1]))
    return Aim(sight, int(random.integers(1, 5)), later)


@dataclass
class Tally:
    """What happened to the studies of a kind."""

    seconds: float = 0.0
    """Of an undisturbed run."""
    kills: Counter[str] = field(default_factory=Counter)
    """By what they waited for."""
    ends: int = 0
    wrong: list[str] = field(default_factory=list)
    """A line for each study that ended otherwise, or not at all."""


class WrongEndError(Exception):
    """A process did not end in time, or with another status than 0 though nobody killed it."""


def environment(cache: Path) -> dict[str, str]:
    """Of a study: its caches, in which every compiled program is kept, and logs that are written at
    once."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "VAEJAX_CACHE_DIR": str(cache),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def start(kind: Kind, place: Place, attempt: int) -> list[subprocess.Popen[bytes]]:
    """The processes of a study. What they print goes to files beside its folder."""
    out = place.study.parent
    command = [sys.executable, "-m", f"experiments.{kind.study}", *kind.flags, "--seeds", "0", "1"]
    command += ["--out", str(out), "--checkpoint-every", "1", *(["--resume"] if attempt else [])]
    if kind.processes > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        command += ["--distributed", "--coordinator", f"localhost:{port}"]
        command += ["--connect-timeout", "30", "--processes", str(kind.processes), "--process-id"]
    out.mkdir(parents=True, exist_ok=True)
    processes = []
    for number in range(kind.processes):
        own = [str(number)] if kind.processes > 1 else []
        with log_of(place, attempt, number).open("wb") as log:
            processes.append(
                subprocess.Popen(
                    command + own,
                    cwd=ROOT,
                    env=environment(place.cache),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return processes


def log_of(place: Place, attempt: int, process: int = 0) -> Path:
    return place.study.parent / f"{attempt}.{process}.log"


def running(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    return all(process.poll() is None for process in processes)


def wait_for(
    aim: Aim, place: Place, processes: Sequence[subprocess.Popen[bytes]], limit: float
) -> bool:
    """Wait until the moment to kill. Returns False if a process has ended before.

    Raises:
        WrongEndError: so many seconds have passed.
    """
    began = time.monotonic()
    if not aim.sight:
        while running(processes) and time.monotonic() < began + aim.seconds:
            time.sleep(0.005)
        return running(processes)
    look, _ = SIGHTS[aim.sight]
    seen, times = look(place), 0
    while times < aim.times:
        if not running(processes):
            return False
        if time.monotonic() > began + limit:
            raise WrongEndError(f"no end after {limit:.0f} s")
        now = look(place)
        times += bool(now - seen)
        seen |= now
        time.sleep(0.001)
    time.sleep(aim.seconds)
    return running(processes)


def end(processes: Sequence[subprocess.Popen[bytes]], limit: float) -> list[int]:
    """The exit status of each process, all of which must end by themselves.

    Raises:
        WrongEndError: so many seconds have passed.
    """
    until = time.monotonic() + limit
    try:
        return [process.wait(max(0.0, until - time.monotonic())) for process in processes]
    except subprocess.TimeoutExpired as error:
        raise WrongEndError(f"no end after {limit:.0f} s") from error


def attempt_run(
    kind: Kind, place: Place, attempt: int, aim: Aim | None, victims: Sequence[int], limit: float
) -> bool:
    """Start a study and kill some of its processes at a moment. Returns whether it was killed.

    Raises:
        WrongEndError: a process did not end in time, or failed though it was not killed.
    """
    processes = start(kind, place, attempt)
    try:
        if aim and wait_for(aim, place, processes, limit):
            for number in victims:
                processes[number].kill()
            end(processes, SURVIVAL)
            return True
        statuses = end(processes, limit)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    if any(statuses):
        log = log_of(place, attempt, statuses.index(next(filter(None, statuses))))
        lines = log.read_text(errors="replace").splitlines() or ["nothing"]
        raise WrongEndError(f"exit status {statuses} of attempt {attempt}, which said: {lines[-1]}")
    return False


def end_of(folder: Path) -> dict[str, Any]:
    """What the folder of a study holds that must be the same: by name, the content of each file but
    for what names commit and time, and for each run the arrays of its newest checkpoint, whose
    files depend on the machine's storage. A checkpoint that is older, or that is being written or
    deleted, changes nothing: the next save deletes it."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or re.search(r"(^|/)\.?[0-9]+(\.old)?/", name):
            continue
        found[name] = path.read_bytes()
        if path.name == "results.jsonl":
            found[name] = [row | {"commit": None} for row in vj.store.records.read(path)]
        elif path.name == "study.json":
            found[name] = json.loads(found[name]) | {"invocations": None}
        elif path.name == "config.json":
            trained = vj.store.restore(path.parent)
            arrays = [(str(leaf.dtype), leaf.tobytes()) for leaf in jax.tree.leaves(trained.state)]
            found[path.parent.name] = (trained.step, arrays)
    return found


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """A line for each name that is not the same in both."""
    names = sorted(found.keys() | wanted.keys())
    said = {name: "differs" for name in names}
    said |= {name: "is missing" for name in names if name not in found}
    said |= {name: "is left over" for name in names if name not in wanted}
    same = {name for name in found.keys() & wanted.keys() if found[name] == wanted[name]}
    return [f"{name} {said[name]}" for name in names if name not in same]


def place_of(kind: Kind, root: Path, name: str) -> Place:
    out = root / kind.name.replace(" ", "_") / name
    return Place(out / kind.study, out / "cache" if kind.own_cache else root / "cache")


def undisturbed(kind: Kind, root: Path, limit: float = 1800.0) -> tuple[dict[str, Any], float]:
    """Run a study twice. The first time fills the cache of compiled programs, the second one is
    timed; both must end alike. Returns the end and the seconds.

    Raises:
        WrongEndError: it does not end well although nobody killed it.
    """
    ends, seconds = [], 0.0
    for name in ("first", "second"):
        place, began = place_of(kind, root, name), time.monotonic()
        attempt_run(kind, place, 0, None, (), limit)
        seconds = time.monotonic() - began
        ends.append(end_of(place.study))
    if lines := differences(*ends):
        raise WrongEndError(f"two undisturbed runs differ: {'; '.join(lines)}")
    return ends[1], seconds


def kill_and_resume(
    kind: Kind, place: Place, wanted: dict[str, Any], seed: Sequence[int], tally: Tally
) -> str:
    """Kill and resume a study until it ends by itself. Returns how it ended, in words."""
    random, kills = np.random.default_rng(seed), 0
    try:
        for attempt in count():
            aim = draw_aim(random, kind, tally.seconds) if attempt < MOST else None
            some = random.choice([1, 2, 3]) if kind.processes > 1 else 1
            victims = [number for number in range(kind.processes) if some >> number & 1]
            limit = max(120.0, PATIENCE * tally.seconds)
            if not attempt_run(kind, place, attempt, aim, victims, limit):
                break
            kills += 1
            tally.kills[aim.sight if aim and aim.sight else AT_RANDOM] += 1
        if lines := differences(end_of(place.study), wanted):
            raise WrongEndError("; ".join(lines))
    except (WrongEndError, vj.LabError) as error:
        tally.wrong.append(f"{place.study} after {kills} kills: {error}")
        return tally.wrong[-1]
    tally.ends += 1
    if kind.own_cache:
        shutil.rmtree(place.cache)  # MNIST, decoded
    return f"{place.study} after {kills} kills: ends alike"


def measure(
    flags: CrashFlags, kinds: Sequence[Kind], root: Path, console: Console
) -> dict[str, Tally]:
    """Run all kinds undisturbed, then kill and resume studies of each."""
    with ThreadPoolExecutor(flags.jobs) as pool:
        try:
            wholes = dict(zip(kinds, pool.map(partial(undisturbed, root=root), kinds), strict=True))
        except WrongEndError as error:
            raise vj.LabError(f"A study fails without any kill: {error}") from error
        tallies = {kind.name: Tally(wholes[kind][1]) for kind in kinds}

        def one(number: int, kind: Kind) -> str:
            place, seed = place_of(kind, root, f"{number:03}"), (flags.seed, KINDS.index(kind))
            end = wholes[kind][0]
            return kill_and_resume(kind, place, end, (*seed, number), tallies[kind.name])

        for said in pool.map(one, *zip(*product(range(flags.studies), kinds), strict=True)):
            console.print(said, soft_wrap=True)
    return tallies


def tabulate(tallies: Mapping[str, Tally], title: str) -> Table:
    """A column for each kind, see the rows above."""
    table = Table("", *(name.replace(" ", "\n") for name in tallies), title=title)
    rows: dict[str, list[Any]] = {
        "seconds": [round(tally.seconds, 1) for tally in tallies.values()],
        "kills": [tally.kills.total() for tally in tallies.values()],
    }
    for aim in (AT_RANDOM, *SIGHTS):
        rows[f"  {aim}"] = [tally.kills[aim] for tally in tallies.values()]
    rows["ends"] = [tally.ends for tally in tallies.values()]
    rows["wrong"] = [len(tally.wrong) for tally in tallies.values()]
    for name, values in rows.items():
        table.add_row(name, *map(str, values))
    return table


def chosen_kinds(flags: CrashFlags, console: Console) -> list[Kind]:
    """The kinds that were asked for. Without MNIST, `caches` is left out."""
    kinds = [kind for kind in KINDS if not flags.kinds or kind.name in flags.kinds]
    if vj.data.prepared.find(vj.data.names.parse("mnist"), vj.data.prepared.data_dir()) is None:
        console.print("caches is left out: TFDS_DATA_DIR names no folder with MNIST in it")
        kinds = [kind for kind in kinds if not kind.own_cache]
    return kinds


def benchmark(flags: CrashFlags) -> None:
    """Run, kill, resume, compare, print."""
    began, console = time.monotonic(), Console(stderr=True, highlight=False)
    root = Path(tempfile.mkdtemp(prefix="vaejax-crash-"))
    tallies = measure(flags, chosen_kinds(flags, console), root, console)
    kills = sum(tally.kills.total() for tally in tallies.values())
    minutes = (time.monotonic() - began) / 60
    Console().print(tabulate(tallies, f"{kills} kills in {minutes:.1f} minutes, seed {flags.seed}"))
    if lines := [line for tally in tallies.values() for line in tally.wrong]:
        raise vj.LabError("\n".join(lines))
    shutil.rmtree(root)


def main() -> None:
    with vj.study.failing_clearly():
        benchmark(vj.study.parse(CrashFlags, __doc__))


if __name__ == "__main__":
    main()
