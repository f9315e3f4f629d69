"""Speed of the lab on this machine: beside PyTorch and Flax, with growing sizes, in a whole study.

Parts (--parts):

- steps: training steps of four Bernoulli VAEs with Adam at 1e-3. 1, 8 and 32 models of the lab;
  PyTorch eager and with `torch.compile`, one model, from a tensor in memory; PyTorch with 8 and 32
  models under `torch.func.vmap`; a jitted Flax step, called from Python; and the bare matrix
  products of a step as one XLA program. All loops begin with the same weights.
- evaluation: the ELBO of the 10,000 test images of MNIST, and the NLL of a part of them with 100
  importance samples, by the lab and by PyTorch. The lab measures more besides: squared errors and
  codes.
- growth: the lab's time against the number of images, models and latent units. The exponent p of
  time ~ size^p is fitted over the upper half of the sizes.
- study: 32 models of a phase diagram, from first weights to trained, by the lab, and by PyTorch
  one after another, compiled, and under vmap. Compiling counts, importing does not.

In a round all loops of a table take turns, so that a busy machine slows all of them alike. The
turn before the first round compiles. Cells are the median over rounds, and the range. Ratios are
taken within each round. A row of 8 or 32 models has the time of a step divided by the number of
models.

Command: python -m benchmarks.speed [--json FILE]    (needs pip install -e '.[bench]')

With `taskset -c 0` before the command all loops have one core.

Cost: 10 minutes on 2 cores with --rounds 3. There 32 models of a phase diagram take PyTorch 4 times
as long as the lab, and a model among 32 takes 0.35 to 0.95 of the time of one alone. With --quick 2
minutes of computing.
"""

import importlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import lazy_loader
import numpy as np
from rich.console import Console
from rich.markdown import Markdown

import vaejax as vj
from benchmarks import lab_loops, nets, tables
from benchmarks.nets import COLOUR, DIGITS, LARGE, PHASES, SMALL, Net, Task, config_of, task_of
from benchmarks.tables import PARTS, Part
from benchmarks.timing import Loop, Timed, machine, take_turns, target, write

jax: Any = lazy_loader.load("jax")  # --help does not wait for it


@dataclass(frozen=True, kw_only=True)
class SpeedFlags:
    """What to measure, and how often."""

    parts: tuple[Part, ...] = PARTS
    """Which tables."""
    rounds: int | None = None
    """Rounds, in each of which every loop takes a turn. None: 5, or 2 with --quick."""
    quick: bool = False
    """A look: two nets, two rounds, few sizes, no torch.compile."""
    random_images: bool = False
    """Random bytes instead of MNIST and CIFAR-10: losses then mean nothing."""
    json: Path | None = None
    """Write all that was measured to this file."""

    def __post_init__(self) -> None:
        vj.study.at_least("--rounds", 1, self.rounds)
        if not self.parts:
            raise vj.LabError(f"--parts: name at least one of {', '.join(PARTS)}.")


class Plan(NamedTuple):
    """How much is measured."""

    nets: tuple[Net, ...] = (DIGITS, SMALL, LARGE, COLOUR)
    lanes: tuple[int, ...] = (1, 8, 32)
    vmapped: tuple[int, ...] = (8, 32)
    rounds: int = 5
    compiled: bool = True
    """Whether PyTorch is also timed with `torch.compile`."""
    evaluated: Net = LARGE
    test_images: tuple[int, int] = (10_000, 1000)
    """For the ELBO, and for the NLL."""
    samples: int = 100
    """Importance samples of the NLL."""
    growing: tuple[tuple[int, ...], ...] = (
        (1000, 2000, 5000, 10_000, 20_000, 40_000, 60_000),
        (1, 2, 4, 8, 16, 32, 64, 128),
        (2, 4, 8, 16, 32, 64, 128, 256, 512),
    )
    """Images, models and latent units."""
    growing_steps: int = 40
    """In a turn, for models and latent units."""
    study: tuple[Net, int, int] = (PHASES, 32, 8)
    """The net, the number of models, and the number of turns that they train."""


QUICK = Plan(
    nets=(DIGITS._replace(steps=220), LARGE._replace(steps=10)),
    lanes=(1, 8), vmapped=(8,), rounds=2, compiled=False, test_images=(2000, 200),
    growing=((1000, 2000, 4000, 8000), (1, 2, 4, 8), (2, 8, 32, 128)), growing_steps=10,
    study=(PHASES._replace(steps=312), 8, 2),
)  # fmt: skip


def layers(net: Net) -> str:
    """Such as 784-400-20-400-784."""
    return vj.study.provenance.layers(config_of(net))


class Bench(NamedTuple):
    """What to measure, and where to tell how far it is."""

    plan: Plan
    torch: str | None
    """The device of PyTorch; None: without PyTorch."""
    random: bool
    show: Callable[[str], None]

    def images(self, dataset: str, split: str = "train") -> np.ndarray:
        return nets.load(dataset, split, self.random)

    def turns(self, title: str, loops: list[Loop], rounds: int) -> list[Timed]:
        """What was compiled for other loops is forgotten first."""
        jax.clear_caches()
        return take_turns(loops, rounds, lambda now: self.show(f"{title}: {now}"))


def peer(name: str) -> Any:
    """A file of loops that needs a package that the lab does not require."""
    return importlib.import_module(f"benchmarks.{name}")


def alike(task: Task, models: int) -> Task:
    """So many models of one scale."""
    return task._replace(scales=(1.0,) * models)


def step_loops(plan: Plan, device: str | None, task: Task) -> list[Loop]:
    """The loops of a net, the lab's single model first."""
    most = max(*plan.lanes, *plan.vmapped)
    weights = lab_loops.initial_weights(task.config, most)
    loops = [Loop("lab", models, lab_loops.lanes(alike(task, models))) for models in plan.lanes]
    if device:
        torch = peer("torch_loops")
        loops.append(Loop("PyTorch", 1, torch.one_model(task, weights, device)))
        if plan.compiled:
            fast = torch.one_model(task, weights, device, compile_it=True)
            loops.append(Loop("PyTorch, torch.compile", 1, fast, may_fail=True))
        for models in plan.vmapped:
            many = torch.vmapped(alike(task, models), weights, device)
            loops.append(Loop("PyTorch, vmap", models, many))
    flax = peer("flax_loop").per_step(task, weights)
    loops.append(Loop("Flax, jitted step", 1, flax))
    loops.append(Loop("matrix products alone", 1, lab_loops.products(task, weights)))
    return loops


def steps(bench: Bench) -> list[dict[str, Any]]:
    """Training steps of each net."""
    found = []
    for net in bench.plan.nets:
        task = task_of(net, bench.images(net.dataset))
        about = {"net": layers(net), "dataset": net.dataset, "batch": net.batch,
                 "steps": task.steps, "flops": nets.product_flops(task.config)}  # fmt: skip
        loops = bench.turns(
            about["net"], step_loops(bench.plan, bench.torch, task), bench.plan.rounds
        )
        found.append({**about, "loops": loops})
    return found


def evaluation(bench: Bench) -> list[dict[str, Any]]:
    """ELBO and NLL of test images, for a net as it is before training."""
    plan, found = bench.plan, []
    config = config_of(plan.evaluated)
    images = bench.images(plan.evaluated.dataset, "test")
    weights = lab_loops.initial_weights(config, 1)
    titles = ("ELBO", None), (f"NLL, {plan.samples} samples", plan.samples)
    for (title, samples), count in zip(titles, plan.test_images, strict=True):
        some = images[:count]
        loops = [Loop("lab", 1, lab_loops.evaluation(config, weights, some, samples))]
        if bench.torch:
            theirs = peer("torch_loops").evaluation(config, weights, some, bench.torch, samples)
            loops.append(Loop("PyTorch", 1, theirs))
        about = {"title": title, "net": layers(plan.evaluated), "images": len(some)}
        found.append({**about, "loops": bench.turns(title, loops, plan.rounds)})
    return found


def growth(bench: Bench) -> list[dict[str, Any]]:
    """The lab's time at each size."""
    images, steps = bench.images("mnist"), bench.plan.growing_steps
    net, small = layers(LARGE), layers(SMALL)
    net = net.replace(f"-{LARGE.latent}-", "-z-")

    def few(net: Net) -> Task:
        return task_of(net._replace(steps=steps), images)

    kinds: dict[str, Callable[[int], Task]] = {
        f"images in an epoch ({small}, one model)":
            lambda size: Task(config_of(SMALL), images[:size], 1),
        f"models trained side by side, {steps} steps ({small})":
            lambda size: alike(few(SMALL), size),
        f"latent units z, {steps} steps ({net}, one model)":
            lambda size: few(LARGE._replace(latent=size)),
    }  # fmt: skip
    found = []
    for (title, task), sizes in zip(kinds.items(), bench.plan.growing, strict=True):
        tasks = [task(size) for size in sizes]
        loops = [Loop(f"{size:,}", len(task.scales), lab_loops.lanes(task))
                 for size, task in zip(sizes, tasks, strict=True)]  # fmt: skip
        timed = bench.turns("growth", loops, min(bench.plan.rounds, 3))
        found.append({"title": title, "sizes": list(sizes), "loops": timed})
    return found


def phases(net: Net, images: np.ndarray, models: int, turns: int) -> Task:
    """Scales from 20 to that of the ELBO. The rate begins at 3e-3."""
    epochs = 3
    task = task_of(net._replace(steps=net.steps // epochs), images)
    pixels = task.config.pixels
    scales = np.geomspace(20 / pixels, 1, models).tolist()
    steps = epochs * task.steps * turns
    return task._replace(epochs=epochs, scales=tuple(scales), rate=3e-3, decay=steps)


def study(bench: Bench) -> dict[str, Any]:
    """All models of a study; loops take turns after equal shares."""
    plan, (net, models, turns) = bench.plan, bench.plan.study
    task = phases(net, bench.images(net.dataset), models, turns)
    loops = [Loop("lab", models, lab_loops.lanes(task))]
    if bench.torch:
        torch, weights = peer("torch_loops"), lab_loops.initial_weights(task.config, models)
        loops.append(Loop("PyTorch, vmap", models, torch.vmapped(task, weights, bench.torch)))
        one_by_one = partial(torch.one_by_one, task, weights, bench.torch, turns)
        name = "PyTorch, one after another"
        if plan.compiled:
            loops.append(Loop(f"{name}, torch.compile", 1, one_by_one(True), may_fail=True))
        loops.append(Loop(name, 1, one_by_one()))
    about = {"net": layers(net), "models": models, "epochs": task.epochs * turns,
             "steps": task.decay, "images": len(task.images)}  # fmt: skip
    return {**about, "loops": bench.turns("study", loops, turns - 1)}


MEASURE: dict[Part, Callable[[Bench], Any]] = {
    "steps": steps, "evaluation": evaluation, "growth": growth, "study": study,
}  # fmt: skip


def torch_device() -> str | None:
    """The device of PyTorch beside JAX; None without PyTorch."""
    if find_spec("torch") is None:
        return None
    return peer("torch_loops").device_of(jax.default_backend())


def check_images(plan: Plan, random: bool) -> None:
    """Load the images before anything is measured.

    Raises:
        LabError: some are missing.
    """
    try:
        for net in (*plan.nets, plan.evaluated, plan.study[0]):
            for split in ("train", "test"):
                nets.load(net.dataset, split, random)
    except vj.LabError as error:
        raise vj.LabError(f"{error} Or use --random-images.") from error


def measure(flags: SpeedFlags, plan: Plan, torch: str | None) -> None:
    """Measure, and print the tables; the file has what was measured after each part. No program is
    taken from a cache of earlier runs: start-up is what it is the first time."""
    path, plan = target(flags.json), plan._replace(rounds=flags.rounds or plan.rounds)
    check_images(plan, flags.random_images)
    start, found = perf_counter(), {"about": machine()}
    if torch:
        found["about"] |= peer("torch_loops").about(torch)
    jax.config.update("jax_enable_compilation_cache", False)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        Console(stderr=True).status("") as status,
    ):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # else programs in it are used again
        for part in flags.parts:
            bench = Bench(plan, torch, flags.random_images, status.update)
            found[part] = MEASURE[part](bench)
            found["about"]["seconds"] = perf_counter() - start
            write(found, path)
    Console().print(Markdown(tables.document(found)))


def benchmark(flags: SpeedFlags) -> None:
    """Beside PyTorch."""
    device = torch_device()
    if device is None:
        raise vj.LabError("PyTorch, to compare with, is missing: pip install -e '.[bench]'")
    measure(flags, QUICK if flags.quick else Plan(), device)


def main() -> None:
    with vj.study.failing_clearly():
        benchmark(vj.study.parse(SpeedFlags, __doc__))


if __name__ == "__main__":
    main()
