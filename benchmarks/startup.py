"""Start-up and memory: how soon a command trains or shows its first figures, and what it takes.

Commands run as processes of their own. In a round each runs twice: first with an empty cache of
compiled programs, then with the cache that the first one has filled.

- digits: experiments.latent_size on digits, one epoch of three models of each of three sizes.
- mnist: the same on MNIST, of ten latent units.
- cifar10: experiments.recon_scale on CIFAR-10, one epoch, one seed of each scale and size.
- inspect: experiments.inspect_checkpoint of an MNIST model of ten latent units.

The columns, with a median over rounds, and the range:

- programs: compiled, or taken from the cache.
- first: seconds until the loss terms of the first epoch are on disk; of inspect, until the line of
  the negative ELBO is printed.
- all: seconds until the process has ended.
- peak: the largest resident set of the process, in MiB. It includes what is mapped from files, such
  as cached images and libraries.

Images are decoded beforehand. Training the model for inspect reads all packages from disk, so that
no timed command is the first to do so.

Command: python -m benchmarks.startup [--json FILE]

Cost: 5 minutes a round on 2 cores. There digits train their first epoch after 1.6 s with the cache.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rich.console import Console
from rich.markdown import Markdown

import vaejax as vj
from benchmarks.tables import cell, table
from benchmarks.timing import machine, target, write

Name = Literal["digits", "mnist", "cifar10", "inspect"]
ONE_EPOCH = {
    "digits": ["latent_size", "--dataset", "digits", "--epochs", "1"],
    "mnist": ["latent_size", "--latent-sizes", "10", "--epochs", "1"],
    "cifar10": ["recon_scale", "--seeds", "0", "--epochs", "1"],
}
FIGURE = "neg_elbo_nats"
"""In the first table of inspect_checkpoint."""
MEBIBYTE = 2**20 if sys.platform == "darwin" else 2**10
"""In the unit in which the system tells the resident set."""


@dataclass(frozen=True, kw_only=True)
class StartupFlags:
    """What to measure, and how often."""

    commands: tuple[Name, ...] = get_args(Name)
    """Which commands."""
    rounds: int = 3
    """Rounds, in each of which every command runs twice."""
    json: Path | None = None
    """Write all that was measured to this file."""

    def __post_init__(self) -> None:
        vj.study.at_least("--rounds", 1, self.rounds)
        vj.study.each_once("--commands", self.commands)


def run(page: Sequence[str], folder: Path) -> dict[str, float]:
    """What is measured of a page that runs with a cache in this folder, and its results in `out`.

    Raises:
        LabError: it failed.
    """
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", f"experiments.{page[0]}", *page[1:], "--out", str(out)]
    environment = os.environ | {"VAEJAX_CACHE_DIR": str(folder / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # the lab has its own in that folder
    shown, lines, began = [], [], time.time()
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, text=True, stdout=pipe, stderr=subprocess.STDOUT
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            shown += [time.time()] if FIGURE in line else []
        _, status, used = os.wait4(process.pid, 0)
        ended, process.returncode = time.time(), os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise vj.LabError(f"{' '.join(command)} failed:\n{''.join(lines[-20:])}")
    if page[0] != "inspect_checkpoint":  # the trace of the only epoch of each run
        shown = [path.stat().st_mtime for path in out.glob("*/*/trace/objective.f32")]
    peak = used.ru_maxrss / MEBIBYTE
    return {"first": min(shown, default=ended) - began, "all": ended - began, "peak": peak}


def prepare(commands: Sequence[Name], folder: Path) -> dict[Name, list[str]]:
    """The command line of each command, once images are decoded and a model is trained."""
    trained = folder / "trained"
    if "inspect" in commands:
        run(ONE_EPOCH["mnist"], folder)
        shutil.move(folder / "out", trained)
    os.environ["VAEJAX_CACHE_DIR"] = str(folder / "cache")
    for dataset in {"mnist", "cifar10"} & set(commands):
        for split in ("train", "test"):
            vj.data.load(dataset, split)
    inspect = ["inspect_checkpoint", str(trained / "latent_size" / "z10")]
    return {name: ONE_EPOCH.get(name, inspect) for name in commands}


def measure(flags: StartupFlags, folder: Path) -> list[dict[str, Any]]:
    """A row for each command with compiling, and one without, with all that was measured."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    with Console(stderr=True).status("images are decoded") as status:
        pages = prepare(flags.commands, folder)
        for turn in range(flags.rounds):
            for name, page in pages.items():
                shutil.rmtree(folder / "cache" / "compiled", ignore_errors=True)
                for programs in ("compiled", "from the cache"):
                    status.update(f"{name}, {programs}, round {turn + 1} of {flags.rounds}")
                    row = rows.setdefault((name, programs), {"command": name, "programs": programs})
                    for column, value in run(page, folder).items():
                        row.setdefault(column, []).append(value)
    return list(rows.values())


def benchmark(flags: StartupFlags) -> None:
    """Measure, print, write."""
    path, began = target(flags.json), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(flags, Path(folder))
    seconds = time.monotonic() - began
    headers = ("", "programs", "first, s", "all, s", "peak, MiB")
    cells = [
        [row["command"], row["programs"], *(cell(row[name]) for name in ("first", "all", "peak"))]
        for row in rows
    ]
    Console().print(Markdown(table(f"Start-up, {seconds:.0f} s in all", headers, cells)))
    write({"about": machine() | {"seconds": seconds}, "startup": rows}, path)


def main() -> None:
    with vj.study.failing_clearly():
        benchmark(vj.study.parse(StartupFlags, __doc__))


if __name__ == "__main__":
    main()
