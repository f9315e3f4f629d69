"""Damages checkpoints and caches, and checks that the lab notices.

A small study trains twice, with other seeds. Then, --cases times, one file of a run of the first,
of the cache of decoded images, or of the cache of compiled programs is damaged: it is cut at a
random byte, one random bit is flipped, it is emptied, or the same file of the other study takes its
place.
The commands' own functions read it, and it is put back.

The columns, each a number of cases:

- named: reading ends in the one message that names the file or its folder, and the remedy.
- harmless: what was read is the very same as before. A cache may have been built again.
- unnoticed: something else was read. Any such case is listed, and the exit status is 1.

Left out is what a user may edit: rows, verdicts, figures, labels and where the test images are.

Command: python -m benchmarks.damage [--cases 600] [--seed 1]

Cost: about half a minute on 2 cores.
"""

import itertools
import logging
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lazy_loader
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import vaejax as vj

jax: Any = lazy_loader.load("jax")  # --help does not wait for it

STUDY = ["-m", "experiments.autoencoder", "--dataset", "digits", "--quick", "--epochs", "2",
         "--latent-sizes", "2", "--widths", "8"]  # fmt: skip
PROGRAM = """
import jax, numpy as np
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
x = np.linspace(-1, 1, 4096, dtype=np.float32).reshape(64, 64)
print(np.asarray(jax.jit(lambda x: jax.numpy.tanh(x @ x).sum(0))(x)).tobytes().hex())
"""
"""A small program, compiled or taken from the cache."""


DAMAGES = ("flipped bit", "cut", "emptied", "swapped")
OUTCOMES = ("named", "harmless", "unnoticed")
COLUMNS = (*DAMAGES, *OUTCOMES)


@dataclass(frozen=True, kw_only=True)
class DamageFlags:
    """How much to damage."""

    cases: int = 300
    """Cases in all; each file is damaged at least once in each way if they suffice."""
    seed: int = 0
    """Of the random places."""

    def __post_init__(self) -> None:
        if self.cases < 1:
            raise vj.LabError(f"--cases {self.cases}: use a number above 0.")


class Target(NamedTuple):
    """A file, and the function that reads it."""

    kind: str
    """As the table names it."""
    path: Path
    other: Path | None
    """The same file of the other study."""
    read: Callable[[], Any]
    """What a command would read, in a form that can be compared."""
    folder: Path
    """A message must name it."""


def make_studies(folder: Path) -> tuple[Path, Path]:
    """The folders of two studies that differ in their seeds."""
    for name, seeds in (("one", ("0", "1")), ("two", ("2", "3"))):
        command = [sys.executable, *STUDY, "--seeds", *seeds, "--out", str(folder / name)]
        subprocess.run(command, check=True, capture_output=True)
    return folder / "one" / "autoencoder", folder / "two" / "autoencoder"


def study_targets(study: Path, other: Path) -> Iterator[Target]:
    """The files of the runs of a study."""

    def checkpoint(run: str) -> Any:
        found = vj.store.restore(study / run)
        arrays = jax.tree.leaves((found.state, found.trace))
        description = vj.store.checkpoint.of_training(found.run)
        return description, [array.tobytes() for array in arrays]

    for path in sorted(study.glob("*/**/*")):
        if path.is_file() and not path.name.startswith("."):
            inside = path.relative_to(study)
            read = partial(checkpoint, inside.parts[0])
            yield Target(kind(inside), path, other / inside, read, study)


def kind(path: Path) -> str:
    """What the table calls a file of a run."""
    if path.name == "config.json":
        return path.name
    return "trace" if path.suffix == ".f32" else "checkpoint"


def image_targets(folder: Path) -> Iterator[Target]:
    """A file of the cache of images."""
    images = np.arange(200 * 16, dtype=np.uint8).reshape(200, 4, 4, 1)
    labels = np.arange(200, dtype=np.int32)
    os.environ["VAEJAX_CACHE_DIR"] = str(folder)

    def fetch(split: str) -> Any:
        source = {"name": "made", "split": split}
        pixels = images if split == "train" else images[::-1]
        found = vj.data.cache.fetch(source, "1", lambda: (len(images), [(pixels, labels)]))
        return [array.tobytes() for array in found]

    for split in ("train", "test"):
        fetch(split)
    path, other = sorted(folder.glob("made-*"), reverse=True)
    yield Target("cache of images", path, other, lambda: fetch("train"), folder)


def program_targets(folder: Path) -> Iterator[Target]:
    """The file of a compiled program."""

    def run() -> Any:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder)}
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, check=True)
        return done.stdout

    run()
    for path in sorted(folder.glob("*-cache")):
        yield Target("cache of programs", path, None, run, folder)


def damaged(target: Target, damage: str, rng: random.Random) -> bytes | None:
    """The content of a file after a damage; None if it stays what it was."""
    content = target.path.read_bytes()
    if damage == "swapped":
        new = target.other.read_bytes() if target.other and target.other.exists() else content
    elif damage == "flipped bit" and content:
        bit = rng.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        new = bytes(flipped)
    else:
        new = content[: rng.randrange(len(content)) if damage == "cut" and content else 0]
    return None if new == content else new


def outcome(target: Target, content: bytes, want: Any) -> str:
    """What reading a damaged file comes to; the file is put back."""
    before = target.path.read_bytes()
    target.path.write_bytes(content)
    try:
        return "harmless" if target.read() == want else "read something else"
    except vj.LabError as error:
        return "named" if str(target.folder) in str(error) else f"not named: {error}"
    except Exception as error:  # whatever it is, a user would see its traceback
        return f"{type(error).__name__}: {error}"
    finally:
        target.path.write_bytes(before)


def main() -> None:
    """Damage, count, and end with status 1 if a damage went unnoticed."""
    flags = vj.study.command.parse(DamageFlags, __doc__)
    logging.disable(logging.WARNING)  # an entry of the cache that is built again is expected
    rng = random.Random(flags.seed)
    counts: Counter[tuple[str, str, str]] = Counter()
    unnoticed = []
    with vj.study.command.failing_clearly(), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        targets = [
            *study_targets(*make_studies(folder)),
            *image_targets(folder / "images"),
            *program_targets(folder / "programs"),
        ]
        wanted = [target.read() for target in targets]
        ways = [(index, damage) for damage in DAMAGES for index in range(len(targets))]
        many = itertools.islice(itertools.cycle(ways), flags.cases)
        for index, damage in track(list(many), "damaging", console=Console(stderr=True)):
            target = targets[index]
            content = damaged(target, damage, rng)
            if content is None:
                continue
            found = outcome(target, content, wanted[index])
            known = found if found in ("named", "harmless") else "unnoticed"
            counts[target.kind, damage, known] += 1
            if known == "unnoticed":
                unnoticed.append(f"{target.path.relative_to(folder)}, {damage}: {found}")
    show(counts)
    if unnoticed:
        sys.exit("\n".join(["error: not noticed, or not in one message:", *unnoticed]))


def show(counts: Counter[tuple[str, str, str]]) -> None:
    """Print a line for each kind of file, and one for all."""
    table = Table("file", *DAMAGES, *OUTCOMES, title=f"{counts.total()} damaged files")
    kinds = list(dict.fromkeys(kind for kind, *_ in counts))
    for name in [*kinds, "all"]:
        of_kind = {key: n for key, n in counts.items() if name in (key[0], "all")}
        cells = [sum(n for key, n in of_kind.items() if word in key) for word in COLUMNS]
        table.add_row(name, *map(str, cells))
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    main()
