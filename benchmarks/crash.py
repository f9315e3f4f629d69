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
- kills, and where they hit: start-up, training, inside a save, cache, recording (measuring, writing
  rows and verdicts) and drawing.
- resumes: how often a killed study was started again.
- ends: studies that ended by themselves and were compared.
- differing: those that differ, or failed to go on.
- hung: those that did not end in time.
- left: what killed processes have left that changes nothing: a checkpoint that is not the newest,
  which the next save deletes, or an unfinished entry of the cache, which is deleted a day later.

Ends that differ are described below the table, and their folders stay. The exit status is then 1.

Command: python -m benchmarks.crash --kills 200

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
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

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
WHERE = ("start-up", "training", "inside a save", "cache", "recording", "drawing")


@dataclass(frozen=True, kw_only=True)
class CrashFlags:
    """How often to kill, and where the runs are kept."""

    kills: int = 60
    """Kills in all, at least: the kinds of runs share them, and two processes, which take long to
    miss each other, have half of a share."""
    seed: int = 0
    """Draws the moments."""
    jobs: int = 2
    """Studies that run side by side."""
    kinds: tuple[str, ...] = ()
    """Only these kinds of runs, such as lanes or "two processes". Empty: all."""
    out: Path | None = None
    """A new folder for all runs and for crash.json, which holds what was found. None: a temporary
    one, which stays if an end differs."""

    def __post_init__(self) -> None:
        if min(self.kills, self.jobs) < 1 or self.seed < 0:
            raise vj.LabError("--kills and --jobs: use numbers above 0; --seed: 0 or more.")
        names = [kind.name for kind in KINDS]
        if unknown := sorted(set(self.kinds) - set(names)):
            raise vj.LabError(f"--kinds {unknown[0]!r} is unknown: use some of {names}.")
        if self.out and self.out.exists():
            raise vj.LabError(f"--out {self.out} is there already: give a new folder.")


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
    share: float = 1.0
    """Of the kills, relative to the other kinds."""


KINDS = (
    Kind("two processes", "recon_scale", (*DIGITS, *SMALL), processes=2, share=0.5),
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


class Whole(NamedTuple):
    """An undisturbed run."""

    end: dict[str, Any]
    seconds: float

    @property
    def steps(self) -> dict[str, int]:
        """The steps of each run of the study at its end."""
        held = {name: found for name, found in self.end.items() if isinstance(found, dict)}
        return {name: found["step"] for name, found in held.items() if "step" in found}


@dataclass
class Tally:
    """What happened to the studies of a kind."""

    kind: Kind
    seconds: float = 0.0
    where: Counter[str] = field(default_factory=Counter)
    aims: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    ends: int = 0
    hung: int = 0
    left: int = 0
    differing: list[str] = field(default_factory=list)
    """A line for each study that differs, failed or hung."""

    @property
    def kills(self) -> int:
        return self.where.total()


class HungError(Exception):
    """A process did not end in time."""


class FailedError(Exception):
    """A process that was not killed ended with another status than 0."""


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
        HungError: so many seconds have passed.
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
            raise HungError(f"no end after {limit:.0f} s")
        now = look(place)
        times += bool(now - seen)
        seen |= now
        time.sleep(0.001)
    time.sleep(aim.seconds)
    return running(processes)


def end(processes: Sequence[subprocess.Popen[bytes]], limit: float) -> list[int]:
    """The exit status of each process, all of which must end by themselves.

    Raises:
        HungError: so many seconds have passed.
    """
    until = time.monotonic() + limit
    try:
        return [process.wait(max(0.0, until - time.monotonic())) for process in processes]
    except subprocess.TimeoutExpired as error:
        raise HungError(f"no end after {limit:.0f} s") from error


def attempt_run(
    kind: Kind, place: Place, attempt: int, aim: Aim | None, victims: Sequence[int], limit: float
) -> bool:
    """Start a study and kill some of its processes at a moment. Returns whether it was killed.

    Raises:
        HungError: a process did not end in time.
        FailedError: one that nobody disturbed ended with another status than 0.
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
        raise FailedError(f"exit status {statuses} of attempt {attempt}, which said: {lines[-1]}")
    return False


def torn(place: Place) -> set[str]:
    """What a kill inside a save leaves: a state that is not renamed, a folder that is empty, two
    checkpoints, or a trace that is longer than the newest one."""
    found = unfinished_states(place)
    for config in place.study.glob("*/config.json"):
        folder = config.parent
        steps = [path for path in folder.iterdir() if path.name.isdecimal()]
        found |= {str(path) for path in steps if not any(path.iterdir())}
        found |= {str(path) for path in steps} if len(steps) > 1 else set()
        lanes = len(json.loads(config.read_text())["lanes"])
        newest = max((int(path.name) for path in steps), default=0)
        size = size_of(folder / "trace" / "objective.f32")
        found |= {f"{folder} {size}"} if size > 4 * lanes * newest else set()
    return found


def phase(log: str, steps: Mapping[str, int | None], whole: Mapping[str, int]) -> str:
    """What a process was about to do, as told by its log.

    Args:
        steps: the step of the newest checkpoint of each run.
        whole: the same at the end of an undisturbed run.
    """
    if "\nwrote " in log:
        return "drawing"
    begun = [name for name in whole if f"{name}: vae " in log or f"{name}: ae " in log]
    if not begun:
        return "start-up"
    return "recording" if steps[begun[-1]] == whole[begun[-1]] else "training"


def end_of(folder: Path) -> dict[str, Any]:
    """What the folder of a study holds that must be the same: by name, the content of each file but
    for what names commit and time, and for each run the arrays of its newest checkpoint, whose
    names depend on the machine's storage."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if any(map(is_state, path.parts[len(folder.parts) : -1])):
            continue
        if path.is_dir():
            if is_state(path.name):
                found[name] = {}
        elif path.name == "results.jsonl":
            rows = vj.store.records.read(path)
            found[name] = [{**row, "commit": None} for row in rows]
        elif path.name == "study.json":
            timed = dict.fromkeys(("invocations", "rows_checksum", "checksum"))
            found[name] = json.loads(path.read_text()) | timed
        else:
            found[name] = path.read_bytes()
        if path.name == "config.json":
            trained = vj.store.restore(path.parent)
            arrays = dict(arrays_in(trained.state))
            found[path.parent.name] = {"step": trained.step, **arrays}
    return found


def is_state(name: str) -> bool:
    """Whether a folder is named as a checkpoint is, or as one that is being written or deleted."""
    return re.fullmatch(r"\.?[0-9]+(\.old)?", name) is not None


def arrays_in(tree: Any, path: str = "state") -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Type and bytes of every array of a state, with its path."""
    if isinstance(tree, np.ndarray):
        yield path, (str(tree.dtype), tree.tobytes())
        return
    if not isinstance(tree, Mapping):
        tree = tree._asdict() if hasattr(tree, "_asdict") else dict(enumerate(tree))
    for name, inside in tree.items():
        yield from arrays_in(inside, f"{path}.{name}")


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """A line for each name that is not the same in both."""
    names = sorted(found.keys() | wanted.keys())
    said = {name: "differs" for name in names}
    said |= {name: "is missing" for name in names if name not in found}
    said |= {name: "is left over" for name in names if name not in wanted}
    same = {name for name in found.keys() & wanted.keys() if found[name] == wanted[name]}
    return [f"{name} {said[name]}" for name in names if name not in same]


def harmless(line: str) -> bool:
    """Whether a difference is a checkpoint that is not the newest, which the next save deletes."""
    name, _, what = line.partition(" ")
    return what == "is left over" and is_state(Path(name).name)


def place_of(kind: Kind, root: Path, name: str) -> Place:
    out = root / kind.name.replace(" ", "_") / name
    return Place(out / kind.study, out / "cache" if kind.own_cache else root / "cache")


def undisturbed(kind: Kind, root: Path, limit: float = 1800.0) -> Whole:
    """Run a study twice. The first time fills the cache of compiled programs, the second one is
    timed; both must end alike.

    Raises:
        HungError, FailedError: it does not end well although nobody killed it.
    """
    ends, seconds = [], 0.0
    for name in ("first", "second"):
        place, began = place_of(kind, root, name), time.monotonic()
        attempt_run(kind, place, 0, None, (), limit)
        seconds = time.monotonic() - began
        ends.append(end_of(place.study))
    if lines := differences(*ends):
        raise FailedError(f"two undisturbed runs differ: {'; '.join(lines)}")
    return Whole(ends[1], seconds)


def kill_and_resume(kind: Kind, place: Place, whole: Whole, seed: Sequence[int]) -> Tally:
    """A study that is killed and resumed until it ends by itself."""
    random, tally = np.random.default_rng(seed), Tally(kind)
    limit = max(120.0, PATIENCE * whole.seconds)
    try:
        for attempt in count():
            aim = draw_aim(random, kind, whole.seconds) if attempt < MOST else None
            some = random.choice([1, 2, 3]) if kind.processes > 1 else 1
            victims = [number for number in range(kind.processes) if some >> number & 1]
            before = torn(place), unfinished_entries(place)
            tally.resumes += attempt > 0
            killed = attempt_run(kind, place, attempt, aim, victims, limit)
            if not killed:
                break
            where = hit(kind, place, attempt, whole, *before)
            tally.where[where] += 1
            tally.aims[aim.sight if aim and aim.sight else "at random"] += 1
        lines = differences(end_of(place.study), whole.end)
        tally.ends += 1
        tally.left += sum(map(harmless, lines)) + len(unfinished_entries(place))
        if unlike := [line for line in lines if not harmless(line)]:
            tally.differing.append(f"{place.study}: {'; '.join(unlike)}")
    except HungError as error:
        tally.hung += 1
        tally.differing.append(f"{place.study} hung: {error}")
    except (FailedError, vj.LabError) as error:
        tally.differing.append(f"{place.study} failed: {error}")
    if not tally.differing and place.cache.parent == place.study.parent:
        shutil.rmtree(place.cache, ignore_errors=True)  # MNIST, decoded
    return tally


def hit(
    kind: Kind, place: Place, attempt: int, whole: Whole, saves: set[str], entries: set[str]
) -> str:
    """Where a kill has hit.

    Args:
        saves: what earlier kills have left inside a save.
        entries: what they have left in the cache.
    """
    if unfinished_entries(place) - entries:
        return "cache"
    if torn(place) - saves:
        return "inside a save"
    steps = {name: vj.store.checkpoint.latest(place.study / name) for name in whole.steps}
    return phase(log_of(place, attempt).read_text(errors="replace"), steps, whole.steps)


def studies(tallies: Sequence[Tally], kills: int) -> Generator[tuple[Tally, int], None, None]:
    """Studies to kill, the kinds in turn, until each has its share of the kills."""
    each = kills / sum(tally.kind.share for tally in tallies)
    for number in count():
        short = [tally for tally in tallies if tally.kills < each * tally.kind.share]
        if not short:
            return
        yield from ((tally, number) for tally in short)


def add(total: Tally, one: Tally) -> None:
    total.where += one.where
    total.aims += one.aims
    total.differing += one.differing
    for name in ("resumes", "ends", "hung", "left"):
        setattr(total, name, getattr(total, name) + getattr(one, name))


def measure(flags: CrashFlags, kinds: Sequence[Kind], root: Path, console: Console) -> list[Tally]:
    """Run all kinds undisturbed, then kill and resume until all kills are spent."""
    with ThreadPoolExecutor(flags.jobs) as pool:
        try:
            wholes = dict(zip(kinds, pool.map(partial(undisturbed, root=root), kinds), strict=True))
        except (HungError, FailedError) as error:
            raise vj.LabError(f"A study fails without any kill: {error}") from error
        tallies = [Tally(kind, wholes[kind].seconds) for kind in kinds]
        queue, lock = studies(tallies, flags.kills), threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    total, number = next(queue, (None, 0))
                if total is None:
                    return
                kind = total.kind
                place = place_of(kind, root, f"{number:03}")
                seed = (flags.seed, KINDS.index(kind), number)
                one = kill_and_resume(kind, place, wholes[kind], seed)
                with lock:
                    add(total, one)
                where = ", ".join(f"{place} {kills}" for place, kills in one.where.items())
                said = "; ".join(one.differing) or "ends alike"
                console.print(f"{kind.name} {number}: {where or 'no kill'}; {said}", soft_wrap=True)

        jobs = [pool.submit(work) for _ in range(flags.jobs)]
        try:
            for job in jobs:
                job.result()
        finally:  # after Ctrl-C, the studies that run are the last ones
            with lock:
                queue.close()
    return tallies


def tabulate(tallies: Sequence[Tally], title: str) -> Table:
    """A column for each kind, see the rows above."""
    table = Table("", *(tally.kind.name.replace(" ", "\n") for tally in tallies), title=title)
    rows: dict[str, list[Any]] = {"seconds": [round(tally.seconds, 1) for tally in tallies]}
    rows["kills"] = [tally.kills for tally in tallies]
    rows |= {f"  {where}": [tally.where[where] for tally in tallies] for where in WHERE}
    for name in ("resumes", "ends", "differing", "hung", "left"):
        found = [getattr(tally, name) for tally in tallies]
        rows[name] = [len(value) if isinstance(value, list) else value for value in found]
    for name, values in rows.items():
        table.add_row(name, *map(str, values))
    return table


def as_json(flags: CrashFlags, tallies: Sequence[Tally], seconds: float) -> dict[str, Any]:
    """What was found, for crash.json."""
    kinds = {
        tally.kind.name: {
            "seconds": tally.seconds,
            "kills": tally.kills,
            "where": dict(tally.where),
            "aims": dict(tally.aims),
            "resumes": tally.resumes,
            "ends": tally.ends,
            "hung": tally.hung,
            "left": tally.left,
            "differing": tally.differing,
        }
        for tally in tallies
    }
    return {"kills": flags.kills, "seed": flags.seed, "seconds": seconds, "kinds": kinds}


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
    root = flags.out.absolute() if flags.out else Path(tempfile.mkdtemp(prefix="vaejax-crash-"))
    kinds = chosen_kinds(flags, console)
    tallies = measure(flags, kinds, root, console)
    seconds = round(time.monotonic() - began, 1)
    kills = sum(tally.kills for tally in tallies)
    title = f"{kills} kills in {seconds / 60:.1f} minutes, seed {flags.seed}"
    Console().print(tabulate(tallies, title))
    vj.store.write_json(root / "crash.json", as_json(flags, tallies, seconds))
    if lines := [line for tally in tallies for line in tally.differing]:
        raise vj.LabError("\n".join(lines))
    if flags.out is None:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    with vj.study.failing_clearly():
        benchmark(vj.study.parse(CrashFlags, __doc__))


if __name__ == "__main__":
    main()
