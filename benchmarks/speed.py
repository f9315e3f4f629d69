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
- study: 32 models of a phase diagram, from nothing to trained, by the lab, and by PyTorch one
  after another, compiled, and under vmap. Compiling counts, importing does not.

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
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple

import lazy_loader
from rich.console import Console

import vaejax as vj
from benchmarks import growing, lab_loops, tables
from benchmarks.nets import DIGITS, LARGE, NETS, Net, Task, config_of, load, product_flops, task_of
from benchmarks.study import by_the_lab, study_of
from benchmarks.timing import Loop, Timed, machine, take_turns

jax: Any = lazy_loader.load("jax")  # --help does not wait for it
Part = Literal["steps", "evaluation", "growth", "study"]
PARTS: tuple[Part, ...] = ("steps", "evaluation", "growth", "study")
Show = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SpeedFlags:
    """What to measure, and how often."""

    parts: tuple[Part, ...] = PARTS
    """Which tables."""
    rounds: int | None = None
    """Rounds, in each of which every loop takes a turn. None: 5, or 2 with --quick."""
    quick: bool = False
    """A look: two nets, two rounds, few sizes, no torch.compile."""
    json: Path | None = None
    """Write all that was measured to this file."""

    def __post_init__(self) -> None:
        vj.study.at_least("--rounds", 1, self.rounds)
        if not self.parts:
            raise vj.LabError(f"--parts: name at least one of {', '.join(PARTS)}.")


class Plan(NamedTuple):
    """How much is measured."""

    nets: tuple[Net, ...] = NETS
    lanes: tuple[int, ...] = (1, 8, 32)
    vmapped: tuple[int, ...] = (8, 32)
    rounds: int = 5
    compiled: bool = True
    """Whether PyTorch is also timed with `torch.compile`."""
    torch: str | None = "cpu"
    """The device of PyTorch; None: without PyTorch."""
    evaluated: Net = LARGE
    test_images: tuple[int, int] = (10_000, 1000)
    """For the ELBO, and for the NLL."""
    samples: int = 100
    """Importance samples of the NLL."""
    sizes: growing.Sizes = growing.Sizes()
    study: tuple[int, int, int, int] = (8, 4, 24, 8)
    """Scales, seeds, epochs and turns of the study."""
    random: bool = False
    """Random bytes instead of images."""


QUICK = Plan(
    nets=(DIGITS._replace(steps=220), LARGE._replace(steps=10)),
    lanes=(1, 8), vmapped=(8,), rounds=2, compiled=False, test_images=(2000, 200),
    sizes=growing.Sizes((1000, 2000, 4000, 8000), (1, 2, 4, 8), (2, 8, 32, 128), 10),
    study=(4, 2, 4, 2),
)  # fmt: skip


def peer(name: str) -> Any:
    """A file of loops that needs a package that the lab does not require."""
    return importlib.import_module(f"benchmarks.{name}")


def torch_device() -> str:
    """The device of PyTorch beside JAX.

    Raises:
        LabError: there is no PyTorch.
    """
    if find_spec("torch") is None:
        raise vj.LabError("PyTorch, to compare with, is missing: pip install -e '.[bench]'")
    return peer("torch_loops").device_of(jax.default_backend())


def step_loops(plan: Plan, task: Task) -> list[Loop]:
    """The loops of a net, the lab's single model first."""
    most = max(plan.lanes[-1], *plan.vmapped, 1)
    weights = lab_loops.initial_weights(task, most)

    def first(models: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[:models], weights)

    loops = [Loop("lab", models, lab_loops.lanes(task, models)) for models in plan.lanes]
    if plan.torch:
        one, many = peer("torch_loops").one_model, peer("torch_loops").vmapped
        loops.append(Loop("PyTorch", 1, one(task, weights, plan.torch)))
        if plan.compiled:
            fast = one(task, weights, plan.torch, compile_it=True)
            loops.append(Loop("PyTorch, torch.compile", 1, fast, may_fail=True))
        for models in plan.vmapped:
            loops.append(Loop("PyTorch, vmap", models, many(task, first(models), plan.torch)))
    flax = peer("flax_loop").per_step(task, weights)
    loops.append(Loop("Flax, jitted step", 1, flax))
    loops.append(Loop("matrix products alone", 1, lab_loops.products(task, weights)))
    return loops


def take_named_turns(title: str, loops: list[Loop], rounds: int, show: Show) -> list[Timed]:
    """`take_turns`, shown with a title. What was compiled for other loops is forgotten first."""
    jax.clear_caches()
    return take_turns(loops, rounds, lambda now: show(f"{title}: {now}"))


def steps(plan: Plan, show: Show) -> list[dict[str, Any]]:
    """Training steps of each net."""
    found = []
    for net in plan.nets:
        task = task_of(net, load(net.dataset, "train", plan.random))
        layers = vj.study.provenance.layers(task.config)
        loops = take_named_turns(layers, step_loops(plan, task), plan.rounds, show)
        about = {"net": layers, "dataset": net.dataset, "batch": net.batch, "steps": task.steps}
        found.append({**about, "flops": product_flops(task.config), "loops": loops})
    return found


def evaluation(plan: Plan, show: Show) -> list[dict[str, Any]]:
    """ELBO and NLL of test images, for a net as it is before training."""
    config, samples = config_of(plan.evaluated), plan.samples
    images = load(plan.evaluated.dataset, "test", plan.random)
    weights = lab_loops.initial_weights(Task(config, images, 1), 1)
    some, few = (images[:count] for count in plan.test_images)
    measured = {
        "ELBO": (some, lab_loops.elbo(config, weights, some), None),
        f"NLL, {samples} samples": (few, lab_loops.nll(config, weights, few, samples), samples),
    }
    found = []
    for title, (images, own, drawn) in measured.items():
        loops = [Loop("lab", 1, own)]
        if plan.torch:
            theirs = peer("torch_loops").evaluation(config, weights, images, plan.torch, drawn)
            loops.append(Loop("PyTorch", 1, theirs))
        timed = take_named_turns(title, loops, plan.rounds, show)
        about = {"title": title, "net": vj.study.provenance.layers(config), "images": len(images)}
        found.append({**about, "loops": timed})
    return found


def growth(plan: Plan, show: Show) -> list[dict[str, Any]]:
    images = load("mnist", "train", plan.random)
    return growing.measure(images, plan.sizes, min(plan.rounds, 3), show)


def whole_study(plan: Plan, show: Show) -> dict[str, Any]:
    """All models of a study, from nothing to trained; loops take turns after equal shares."""
    images = load("mnist", "train", plan.random)
    one = study_of(images, *plan.study)
    models = len(one.seeds)
    loops = [Loop("lab", models, by_the_lab(one))]
    if plan.torch:
        theirs = peer("torch_study")
        loops.append(Loop("PyTorch, vmap", models, theirs.vmapped(one, plan.torch)))
        if plan.compiled:
            fast = theirs.one_by_one(one, plan.torch, compile_it=True)
            loops.append(Loop("PyTorch, one after another, torch.compile", 1, fast, may_fail=True))
        loops.append(Loop("PyTorch, one after another", 1, theirs.one_by_one(one, plan.torch)))
    timed = take_named_turns("study", loops, one.turns - 1, show)
    about = {"net": vj.study.provenance.layers(one.task.config), "models": models}
    sizes = {"epochs": one.task.epochs, "steps": one.task.steps, "images": len(one.task.images)}
    return {**about, **sizes, "loops": timed}


MEASURE: dict[str, Callable[[Plan, Show], Any]] = {
    "steps": steps, "evaluation": evaluation, "growth": growth, "study": whole_study,
}  # fmt: skip


def measure(plan: Plan, parts: tuple[Part, ...], path: Path | None = None) -> dict[str, Any]:
    """All that was measured, as JSON holds it. The file has it after each part."""
    start, found = perf_counter(), {"about": machine()}
    if plan.torch:
        found["about"] |= peer("torch_loops").about(plan.torch)
    with Console(stderr=True).status("") as status:
        for part in parts:
            found[part] = MEASURE[part](plan, status.update)
            found["about"]["seconds"] = perf_counter() - start
            write(found, path)
    return found


def write(found: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        vj.files.write_bytes(path, f"{json.dumps(found, indent=1)}\n".encode())


def target(path: Path | None) -> Path | None:
    """Where the JSON goes; asked before anything is measured.

    Raises:
        LabError: its folder is missing.
    """
    if path is None:
        return None
    whole = vj.files.own_path(path)
    if not whole.parent.is_dir() or whole.is_dir():
        raise vj.LabError(f"--json {path}: give a file in a folder that exists.")
    return whole


@contextmanager
def compiling_anew() -> Iterator[None]:
    """Take no program from a cache of earlier runs: start-up is what it is the first time."""
    jax.config.update("jax_enable_compilation_cache", False)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # else programs in it are used again
        yield


def benchmark(flags: SpeedFlags) -> None:
    """Measure, print, write."""
    path = target(flags.json)
    plan = QUICK if flags.quick else Plan()
    plan = plan._replace(rounds=flags.rounds or plan.rounds)
    with compiling_anew():
        found = measure(plan._replace(torch=torch_device()), flags.parts, path)
    tables.show(found)


def main() -> None:
    with vj.study.failing_clearly():
        benchmark(vj.study.parse(SpeedFlags, __doc__))


if __name__ == "__main__":
    main()
