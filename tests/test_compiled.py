"""benchmarks.compiled, with the CPU in the place of accelerators: CI has no compiler for them."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.experimental import topologies

import vaejax as vj
from benchmarks import compiled


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
