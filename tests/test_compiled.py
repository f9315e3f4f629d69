"""The training program, compiled for a TPU and for GPUs that are not there. It needs jax[tpu] or
jax[cuda13]."""

import importlib.util
from typing import Any

import jax
import numpy as np
import pytest

import vaejax as vj
from benchmarks import compiled

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


def test_chips_of_a_batch_only_sum(chips: Any) -> None:
    mesh = jax.sharding.Mesh(
        np.reshape(chips.devices, (1, 4)), chips.axis_names, axis_types=chips.axis_types
    )
    program = compiled.lowered("training", CONFIG, 4, mesh).compile()
    assert collectives(program) == {"all-reduce"}
