"""benchmarks.speed and benchmarks.gpu: all loops minimize the same objective, and the tables in
docs are what was measured. No test measures a time."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaejax as vj
from benchmarks import gpu, lab_loops, nets, speed, tables, timing

TINY = nets.Net("digits", 8, 2, 128, 11)


@pytest.fixture(scope="module")
def task() -> nets.Task:
    images = nets.load("digits", "train")
    return nets.task_of(TINY, images)


@pytest.fixture(scope="module")
def weights(task: nets.Task) -> Any:
    """Of two models: loops of one take the first."""
    return lab_loops.initial_weights(task.config, 2)


@pytest.fixture
def torch_loops() -> Any:
    pytest.importorskip("torch")
    return importlib.import_module("benchmarks.torch_loops")


def batch_of(task: nets.Task) -> tuple[np.ndarray, Any, np.ndarray]:
    """A batch, a key, and the noise that the lab draws for the batch with it."""
    key, shape = jax.random.key(3), (task.config.batch_size, task.config.latent_size)
    noise = jax.random.normal(jax.random.split(key)[1], shape)
    return task.images[: shape[0]], key, np.array(noise)


@pytest.fixture(scope="module")
def objective(task: nets.Task, weights: Any) -> float:
    """The lab's objective of the batch, for the first model."""
    images, key, _ = batch_of(task)
    first, knobs = jax.tree.map(lambda leaf: leaf[0], weights), vj.knobs(task.config)
    step = jnp.zeros((), int)
    return float(vj.loss.of_batch(first, task.config, knobs, jnp.asarray(images), key, step)[0])


def test_flax_minimizes_the_objective_of_the_lab(
    task: nets.Task, weights: Any, objective: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    flax_loop = importlib.import_module("benchmarks.flax_loop")
    images, key, noise = batch_of(task)
    model = flax_loop.VAE(TINY.width, TINY.latent, task.config.pixels)
    monkeypatch.setattr(jax.random, "normal", lambda *_: noise)
    x = images.astype(np.float32) / 255
    found = flax_loop.objective(model, flax_loop.as_flax(weights), x, key)
    assert float(found) == pytest.approx(objective, rel=1e-5)


def test_pytorch_minimizes_the_objective_of_the_lab(
    task: nets.Task, weights: Any, objective: float, torch_loops: Any
) -> None:
    images, _, noise = batch_of(task)
    model, x = torch_loops.model_of(task.config, weights, "cpu"), torch_loops.floats(images, "cpu")
    found = model(x, 1.0, 1.0, noise=torch_loops.torch.from_numpy(noise))
    assert found.item() == pytest.approx(objective, rel=1e-5)


@pytest.mark.parametrize(("copies", "samples"), [(20, None), (1, 500)])
def test_pytorch_measures_what_the_lab_measures(
    copies: int, samples: int | None, task: nets.Task, weights: Any, torch_loops: Any
) -> None:
    """Their noise differs, so every image is measured many times."""
    images, first = np.tile(task.images[:128], (copies, 1)), jax.tree.map(lambda a: a[:1], weights)
    own = lab_loops.evaluation(task.config, first, images, samples)
    theirs = torch_loops.evaluation(task.config, weights, images, "cpu", samples)
    assert next(theirs) == pytest.approx(next(own), abs=0.25)


def test_a_model_of_pytorch_alone_or_under_vmap_trains_like_one_of_the_lab(
    task: nets.Task, weights: Any, torch_loops: Any
) -> None:
    loops = (
        lab_loops.lanes(task),
        torch_loops.vmapped(task, weights, "cpu"),
        torch_loops.one_model(task, weights, "cpu"),
    )
    own, *theirs = [[next(loop) for _ in range(3)][-1] for loop in loops]
    assert theirs == pytest.approx([own] * 2, rel=0.02)


def test_a_study_of_pytorch_is_that_of_the_lab(torch_loops: Any) -> None:
    """The scales differ by a factor, and so do the losses."""
    images, turns = nets.load("digits", "train"), 2
    one = speed.phases(TINY._replace(steps=33), images, 2, turns)
    assert (one.decay, one.steps, one.scales[0]) == (66, 33, pytest.approx(20 / 64))
    weights = lab_loops.initial_weights(one.config, 2)
    ways = [
        lab_loops.lanes(one),
        torch_loops.vmapped(one, weights, "cpu"),
        torch_loops.one_by_one(one, weights, "cpu", turns),
    ]
    own, *theirs = [[next(way) for _ in range(turns)][-1] for way in ways]
    assert theirs == pytest.approx([own] * 2, rel=0.02)


def test_the_schedules_of_other_loops_are_those_of_the_lab(task: nets.Task) -> None:
    one = task._replace(rate=3e-3, decay=24)
    rates, kl_weights = np.transpose([one.at(step) for step in range(one.decay)])
    assert vj.train.learning_rates(one.knobs, 24) == pytest.approx(rates[None], rel=1e-5)
    lane = vj.Knobs(*(values[0] for values in one.knobs))
    at_step = jax.jit(jax.vmap(lambda step: vj.loss.annealed_kl_weight(lane, step)))
    assert at_step(jnp.arange(24)) == pytest.approx(kl_weights, rel=1e-5)


def test_the_products_of_a_step_are_eleven() -> None:
    config = nets.config_of(nets.LARGE)
    sizes = [(784, 400), (400, 40), (20, 400), (400, 784)]
    each = [2 * config.batch_size * inputs * outputs for inputs, outputs in sizes]
    assert nets.product_flops(config) == sum([*each, *each, *each[1:]])


def test_a_compiler_that_fails_is_named_and_the_others_go_on() -> None:
    def broken() -> Any:
        raise RuntimeError("no compiler\nmore")
        yield

    loops = [timing.Loop("a", 1, broken(), may_fail=True), timing.Loop("b", 1, iter([1.0] * 3))]
    failed, other = timing.take_turns(loops, 2, lambda _: None)
    assert failed["failed"] == "RuntimeError: no compiler"
    assert (len(other["seconds"]), other["result"]) == (2, 1.0)


def test_the_docs_show_what_was_measured() -> None:
    shown = tables.DOCUMENT.read_text()
    assert tables.PLACE.search(shown)
    assert shown == tables.updated(tables.MEASURED), "run python -m benchmarks.tables"


@pytest.mark.parametrize(
    ("content", "cause"),
    [(None, "cannot be read"), ("{", "cannot be read"), ('{"about": 1}', "lacks steps")],
)
def test_a_measurement_that_is_missing_or_not_whole_is_refused(
    content: str | None, cause: str, tmp_path: Path
) -> None:
    path = tmp_path / "speed.json"
    if content:
        path.write_text(content)
    with pytest.raises(vj.LabError, match=f"{cause}.*python -m benchmarks.speed --json"):
        tables.updated(path)
    with pytest.raises(vj.LabError, match="in a folder that exists"):
        timing.target(tmp_path / "no" / "speed.json")


def test_the_command_for_a_gpu_works_on_a_cpu_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its loops, plan and tables are those of benchmarks.speed."""
    tiny = {"nets": (TINY,), "evaluated": TINY, "lanes": (1, 2), "rounds": 1}
    monkeypatch.setattr(gpu, "QUICK", gpu.QUICK._replace(**tiny, study=(TINY, 2, 2)))
    for module, name in ((jax.config, "update"), (jax, "clear_caches")):
        monkeypatch.setattr(module, name, lambda *_: None)  # other tests keep their programs
    path = tmp_path / "gpu.json"
    gpu.benchmark(gpu.GpuFlags(quick=True, json=path))
    found = json.loads(path.read_text())
    losses = [loop["result"] for loop in found["steps"][0]["loops"][:-1]]
    assert losses == pytest.approx([losses[0]] * 3, rel=0.1)
    assert [part["title"] for part in found["evaluation"]] == ["ELBO", "NLL, 5 samples"]
    assert np.isfinite(found["study"]["loops"][0]["result"])
    assert re.search("(?s)64-8-2-8-64.*Evaluation.*2 models", capsys.readouterr().out)


def test_images_that_are_missing_may_be_random(monkeypatch: pytest.MonkeyPatch) -> None:
    assert nets.load("mnist", "test", random=True).shape == (10_000, 784)

    def missing(*_: Any) -> None:
        raise vj.LabError("mnist is not prepared.")

    monkeypatch.setattr(nets, "load", missing)
    with pytest.raises(vj.LabError, match=r"not prepared.*--random-images"):
        gpu.benchmark(gpu.GpuFlags())
