"""benchmarks.compiled, with the CPU in the place of accelerators; and the training program compiled
for a TPU and for GPUs that are not there, which needs jax[tpu] and jax-cuda13-plugin."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental import topologies

import vaejax as vj
from benchmarks import compiled
from docs.examples.conv_vae import CONV


def test_a_program_is_described_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    auto = (jax.sharding.AxisType.Auto,) * 2
    devices = np.reshape(jax.devices()[:1], (1, 1))
    mesh = jax.sharding.Mesh(devices, ("lanes", "batch"), axis_types=auto)
    monkeypatch.setattr(compiled, "mesh_of", lambda _: mesh)
    monkeypatch.setitem(compiled.COUNTS, "train", 1000)
    path = tmp_path / "compiled.json"
    flags: Any = {"targets": ("1 H100",), "programs": ("training",), "nets": ("MLP",)}
    compiled.benchmark(compiled.CompiledFlags(**flags, lanes=(2,), json=path))
    (found,) = json.loads(path.read_text())
    assert (found["lanes"], found["copies"], found["collectives"]) == (2, [], {})
    assert sum(found["mib"].values()) <= found["allotted_mib"]
    assert 0.5 < found["flop_by_rule"] < 1
    low, high = found["steps_per_second"]
    assert 0 < low < high
    assert "| 1 H100 | training | MLP | 2 |" in capsys.readouterr().out


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise RuntimeError("no plugin\nmore")

    monkeypatch.setattr(topologies, "get_topology_desc", missing)
    with pytest.raises(vj.LabError, match=r"v5e 2x2 \(no plugin\): install 'jax\[tpu\]'"):
        compiled.mesh_of("v5e 2x2")


COUNT = 1437
CONFIG = vj.Config(
    image_shape=(8, 8, 1), latent_size=4, encoder_widths=(32,), decoder_widths=(32,), batch_size=128
)
TARGETS: dict[compiled.Name, str] = {"v5e 2x2": "libtpu", "4 H100": "jax_cuda13_plugin"}
"""Four chips each, and the package that compiles for them."""


@pytest.fixture(params=TARGETS)
def chips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The mesh of the lab: lanes on four chips."""
    if importlib.util.find_spec(TARGETS[request.param]) is None:
        pytest.skip(f"{TARGETS[request.param]} is not installed")
    monkeypatch.setattr(compiled, "COUNTS", {"train": COUNT})
    return compiled.mesh_of(request.param)


def collectives(program: Any) -> set[str]:
    return set(compiled.COLLECTIVE.findall(program.as_text()))


def test_chips_of_different_lanes_never_speak_and_take_what_the_lab_allots(chips: Any) -> None:
    lanes = 64
    program = compiled.lowered("training", CONFIG, lanes, chips).compile()
    assert collectives(program) == set()
    memory = program.memory_analysis()
    sizes = ("argument", "output", "temp")
    taken = sum(getattr(memory, f"{size}_size_in_bytes") for size in sizes)
    images = COUNT * CONFIG.pixels
    allotted = lanes / 4 * vj.parallel.memory.lane_bytes(CONFIG, COUNT) + images
    assert taken < allotted


def test_chips_of_different_convolutional_lanes_never_speak(chips: Any) -> None:
    config = vj.Config(image_shape=(8, 8, 1), latent_size=4, nets=CONV)
    assert collectives(compiled.lowered("training", config, 64, chips).compile()) == set()


def test_chips_of_a_batch_only_sum(chips: Any) -> None:
    mesh = jax.sharding.Mesh(
        np.reshape(chips.devices, (1, 4)), chips.axis_names, axis_types=chips.axis_types
    )
    program = compiled.lowered("training", CONFIG, 4, mesh).compile()
    assert collectives(program) == {"all-reduce"}
