"""benchmarks.speed and benchmarks.gpu: what is computed from the times, the tables, and that all
loops minimize the same objective. No test measures a time."""

import importlib
import json
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaejax as vj
from benchmarks import gpu, growing, lab_loops, nets, speed, study, tables, timing

TINY = nets.Net("digits", 8, 2, 128, 11)


@pytest.fixture(scope="module")
def task() -> nets.Task:
    return nets.task_of(TINY, nets.load("digits", "train"))


def fake(name: str, models: int, *seconds: float, **more: Any) -> timing.Timed:
    """A loop that was measured; its first turn took ten seconds more."""
    first = 10 + seconds[0] if seconds else 0
    return {"name": name, "models": models, "first": first, "seconds": list(seconds),
            "result": 100.0, **more}  # fmt: skip


def fake_measurement() -> dict[str, Any]:
    one, many = fake("lab", 1, 1.0, 2.0, 4.0), fake("lab", 8, 4.0, 8.0, 64.0)
    broken = {"name": "PyTorch, torch.compile", "models": 1, "failed": "CppCompileError: no | gcc"}
    bare = fake("matrix products alone", 1, 0.5, 0.5, 1.0, result=None)
    sizes = [1, 10, 100, 1000]
    growth = {"title": "things", "sizes": sizes, "loops": [fake(str(n), 1, n / 10) for n in sizes]}
    about = {
        "processor": "Abacus",
        "cores": 2,
        "device": "cpu",
        "commit": "abc",
        "versions": {},
        "seconds": 90,
    }
    step = {"net": "4-2-1-2-4", "dataset": "digits", "batch": 2, "steps": 10, "flops": 10**9}
    whole = {"net": "4-2-1-2-4", "models": 8, "epochs": 2, "steps": 20, "images": 30}
    evaluated = {"title": "ELBO", "net": "4-2-1-2-4", "images": 10}
    return {
        "about": {**about, "torch_device": "cpu", "torch_threads": 2},
        "steps": [{**step, "loops": [one, many, broken, bare]}],
        "evaluation": [{**evaluated, "loops": [one, fake("PyTorch", 1, 2.0, 3.0, 4.0)]}],
        "growth": [growth],
        "study": {**whole, "loops": [one, fake("PyTorch", 8, 3.0, 4.0, 16.0), broken]},
    }


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found_whatever_its_small_sizes_cost(exponent) -> None:
    sizes = [1, 2, 4, 8, 16, 32, 64, 128]
    seconds = [3.0 * size**exponent for size in sizes]
    found = timing.growth(sizes, [100.0] * 4 + seconds[4:])
    assert (found.exponent, found.least) == (pytest.approx(exponent, abs=1e-9), 16)
    assert exponent == 0 or found.r2 == pytest.approx(1)


def test_a_time_that_no_power_law_describes_has_a_small_r2() -> None:
    assert timing.growth([1, 2, 4, 8], [1.0, 1.0, 9.0, 1.0]).r2 < 0.1


def test_ratios_are_taken_within_each_round() -> None:
    # Both loops slow down alike by a factor of 100, and the ratio does not notice.
    assert timing.ratios([2.0, 200.0, 4.0], [1.0, 100.0, 1.0]) == (2.0, 2.0, 4.0)
    assert timing.spread([3.0, 1.0, 2.0, 9.0]) == (2.5, 1.0, 9.0)


def test_loops_take_turns_and_one_that_cannot_compile_says_why() -> None:
    order = []

    def turns(name: str) -> Iterator[float]:
        while True:
            order.append(name)
            yield float(len(order))

    def broken() -> Iterator[float]:
        raise RuntimeError("no compiler\nmore")
        yield

    loops = [timing.Loop("a", 1, turns("a")), timing.Loop("b", 2, turns("b"))]
    failing = timing.Loop("c", 1, broken(), may_fail=True)
    a, c, b = timing.take_turns([loops[0], failing, loops[1]], 2, lambda _: None)
    assert order == list("ababab")
    assert (len(a["seconds"]), a["result"], b["result"], b["models"]) == (2, 5.0, 6.0, 2)
    assert c == {"name": "c", "models": 1, "failed": "RuntimeError: no compiler"}
    with pytest.raises(RuntimeError):
        timing.take_turns([failing._replace(turns=broken(), may_fail=False)], 1, lambda _: None)


def test_a_row_is_the_time_of_a_model_beside_the_first_row() -> None:
    lab, lanes, broken, bare = tables.step_table(fake_measurement()["steps"][0]).rows
    assert lab[2:5] == ["200 (100 to 400)", "1 (1 to 1)", "5"]
    assert lanes[2:5] == ["100 (50 to 800)", "0.5 (0.5 to 2)", "10"]
    assert broken[2] == "does not work here: CppCompileError: no | gcc"
    assert bare[-1] == ""


def test_the_tables_of_a_study_and_of_a_growth() -> None:
    found = fake_measurement()
    lab, torch, _ = tables.study_table(found["study"]).rows
    assert lab[1:3] == ["18.0 s", "1.00"]  # 11 s in the first turn, and 7
    assert torch[1:4] == ["36.0 s", "2.00", "3 (2 to 4)"]
    assert tables.exponents_table(found["growth"]).rows[0][3:] == ["1.00", "1.000", "10"]
    assert tables.lanes_table(found["steps"], 2.0).rows[0][1:] == ["4 (4 to 16)", "no"]
    assert tables.lanes_table(found["steps"], 4.0).rows[0][2] == "yes"


def test_every_line_of_a_markdown_table_has_as_many_cells() -> None:
    for table in tables.tables(fake_measurement()):
        lines = tables.markdown(table).replace(r"\|", "").splitlines()
        assert {line.count("|") for line in lines} == {len(table.headers) + 1}


def test_the_docs_show_what_was_measured() -> None:
    for path, text in tables.documents(tables.read(tables.MEASURED)).items():
        assert tables.PLACE.search(text)
        assert path.read_text() == text, f"{path.name}: run python -m benchmarks.tables"
    shown = tables.documents(fake_measurement())
    assert all("Abacus" in text for text in shown.values())


def test_a_measurement_that_is_missing_or_not_whole_is_refused(tmp_path) -> None:
    path = tmp_path / "speed.json"
    for content, cause in ((None, "is missing"), ("{", "is no JSON"), ('{"about": 1}', "lacks")):
        if content:
            path.write_text(content)
        with pytest.raises(vj.LabError, match=f"{cause}.*python -m benchmarks.speed --json"):
            tables.read(path)
    with pytest.raises(vj.LabError, match="in a folder that exists"):
        speed.target(tmp_path / "no" / "speed.json")


def test_the_products_of_a_step_are_eleven() -> None:
    config = nets.config_of(nets.LARGE)
    sizes = [(784, 400), (400, 40), (20, 400), (400, 784)]
    each = [2 * config.batch_size * inputs * outputs for inputs, outputs in sizes]
    products = [*each, *each, *each[1:]]
    assert (len(products), nets.product_flops(config)) == (11, sum(products))


def test_the_schedules_of_the_study_are_those_of_the_lab() -> None:
    one = study.study_of(nets.load("digits", "train"), 2, 2, 2, 1, "digits")
    knobs = study.knobs_of(one)
    rates = vj.train.learning_rates(knobs, one.task.steps)
    assert rates == pytest.approx(np.tile(one.rates, (4, 1)), rel=1e-5)
    lane = vj.Knobs(*(np.asarray(values)[0] for values in knobs))
    at_step = jax.jit(jax.vmap(lambda step: vj.loss.annealed_kl_weight(lane, step)))
    assert at_step(jnp.arange(one.task.steps)) == pytest.approx(one.kl_weights, rel=1e-5)


def lab_objective(task: nets.Task, weights: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """A batch, the noise that the lab draws for it, and the lab's objective."""
    config, images = task.config, task.images[: task.config.batch_size]
    key = jax.random.key(3)
    noise = jax.random.normal(jax.random.split(key)[1], (len(images), config.latent_size))
    first = jax.tree.map(lambda leaf: leaf[0], weights)
    knobs = vj.knobs(config)
    found, _ = vj.loss.of_batch(first, config, knobs, jnp.asarray(images), key, jnp.zeros((), int))
    return images, np.array(noise), float(found)


def test_pytorch_and_flax_minimize_the_objective_of_the_lab(task, monkeypatch) -> None:
    weights = lab_loops.initial_weights(task, 2)
    images, noise, expected = lab_objective(task, weights)
    flax_loop = importlib.import_module("benchmarks.flax_loop")
    model = flax_loop.VAE(TINY.width, TINY.latent, task.config.pixels)
    with monkeypatch.context() as patch:
        patch.setattr(jax.random, "normal", lambda *_: noise)
        x = images.astype(np.float32) / 255
        found = flax_loop.objective(model, flax_loop.as_flax(weights), x, jax.random.key(0))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    torch = pytest.importorskip("torch")
    loops = importlib.import_module("benchmarks.torch_loops")
    vae = loops.model_of(task.config, weights, "cpu")
    found = vae(loops.floats(images, "cpu"), noise=torch.from_numpy(noise))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_pytorch_measures_what_the_lab_measures(task) -> None:
    """Their noise differs, so every image is measured many times."""
    pytest.importorskip("torch")
    loops = importlib.import_module("benchmarks.torch_loops")
    weights, many = lab_loops.initial_weights(task, 1), np.tile(task.images, (20, 1))
    expected = next(lab_loops.elbo(task.config, weights, many))
    found = next(loops.evaluation(task.config, weights, many, "cpu", None))
    assert found == pytest.approx(expected, abs=0.25)
    some = task.images[:128]
    expected = next(lab_loops.nll(task.config, weights, some, 500))
    found = next(loops.evaluation(task.config, weights, some, "cpu", 500))
    assert found == pytest.approx(expected, abs=0.25)


def test_a_model_under_vmap_or_alone_trains_like_one_of_the_lab(task) -> None:
    pytest.importorskip("torch")
    loops = importlib.import_module("benchmarks.torch_loops")
    theirs = importlib.import_module("benchmarks.torch_study")
    weights = lab_loops.initial_weights(task, 2)
    first = jax.tree.map(lambda leaf: leaf[:1], weights)
    pairs = (
        (loops.vmapped(task, weights, "cpu"), lab_loops.lanes(task, 2)),
        (loops.vmapped(task, first, "cpu"), loops.one_model(task, weights, "cpu")),
    )
    for pair in pairs:
        ends = [[next(one) for _ in range(3)][-1] for one in pair]
        assert ends[0] == pytest.approx(ends[1], rel=0.02)
    one = study.study_of(task.images, 2, 1, 4, 2, "digits")
    ends = [list(way(one, "cpu"))[-1] for way in (theirs.one_by_one, theirs.vmapped)]
    assert ends[0] == pytest.approx(ends[1], rel=0.05)


def test_the_command_for_a_gpu_works_on_a_cpu_too(tmp_path, monkeypatch, capsys) -> None:
    """Its programs are tiny, and its loops are those of benchmarks.speed."""
    plan = gpu.QUICK._replace(nets=(TINY,), evaluated=TINY, lanes=(1, 3), rounds=1)
    monkeypatch.setattr(gpu, "QUICK", plan)
    monkeypatch.setattr(gpu, "DIGITS", TINY)
    monkeypatch.setattr(gpu, "LATENT_SIZES", (2,))
    monkeypatch.setattr(speed, "compiling_anew", lambda: pytest.MonkeyPatch.context())
    path = tmp_path / "gpu.json"
    gpu.benchmark(gpu.GpuFlags(quick=True, json=path))
    found = json.loads(path.read_text())
    assert [part["title"] for part in found["evaluation"]] == ["ELBO", "NLL, 5 samples"]
    (trained,) = found["training"]
    assert (trained["models"], trained["net"]) == (3, "64-8-2-8-64")
    assert math.isfinite(trained["neg_elbo"])
    losses = [loop["result"] for loop in found["steps"][0]["loops"][:-1]]
    assert losses == pytest.approx([losses[0]] * 3, rel=0.1)
    out = " ".join(capsys.readouterr().out.split())
    assert "A step of 3 models side by side" in out
    assert "Training and evaluation of a study" in out


def test_images_that_are_missing_or_random(monkeypatch) -> None:
    assert nets.load("mnist", "test", random=True).shape == (10_000, 784)

    def missing(*_: Any) -> None:
        raise vj.LabError("mnist is not prepared.")

    monkeypatch.setattr(gpu, "load", missing)
    with pytest.raises(vj.LabError, match=r"not prepared.*--random-images"):
        gpu.check_images(["mnist"], False)


def test_growing_sizes_are_three_tables(monkeypatch) -> None:
    sizes = growing.Sizes((1000, 2000, 4000), (1, 2, 4), (2, 4, 8), 3)
    tasks = []

    def lanes(task: nets.Task, models: int) -> Iterator[float]:
        tasks.append((len(task.images), models, task.config.latent_size))
        yield from (1.0, 1.0)

    monkeypatch.setattr(growing, "lanes", lanes)
    images = nets.load("mnist", "train", random=True)
    found = growing.measure(images, sizes, 1, lambda _: None)
    assert [part["sizes"] for part in found] == [[1000, 2000, 4000], [1, 2, 4], [2, 4, 8]]
    few, large = 3 * nets.SMALL.batch, 3 * nets.LARGE.batch
    assert tasks[:3] == [(1000, 1, 4), (2000, 1, 4), (4000, 1, 4)]
    assert tasks[3:6] == [(few, 1, 4), (few, 2, 4), (few, 4, 4)]
    assert tasks[6:] == [(large, 1, 2), (large, 1, 4), (large, 1, 8)]
