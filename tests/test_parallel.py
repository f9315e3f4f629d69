"""vaejax.parallel and vaejax.fit on one device. On several: tests/test_devices.py."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import vaejax as vj
from tests.conv_nets import CONV
from tests.tiny import assert_same
from vaejax import loss, parallel, train
from vaejax.config import Config, Nets, grid, knobs, stack
from vaejax.errors import LabError
from vaejax.parallel import devices, memory, placement
from vaejax.store import checkpoint
from vaejax.trained import Trained, fit

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=2, encoder_widths=(8,), decoder_widths=(8,), batch_size=16
)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), np.uint8)
RATES, SCALES = (1e-3, 1e38), (1.0, 40.0)
GRID, SEEDS = grid(CONFIG, (0, 1), learning_rate=RATES, recon_scale=SCALES)


def steps(chunk: int | None, config: Config = CONFIG) -> Any:
    images, fresh = parallel.replicate(IMAGES), parallel.init(CONFIG, SEEDS)
    return parallel.advance(config, GRID, fresh, images, 2, chunk=chunk)


def advanced(chunk: int | None) -> tuple[Any, Any]:
    results = list(steps(chunk))
    traces = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *(trace for _, trace in results))
    return results[-1][0].on_host(), traces


@pytest.fixture(scope="module")
def fitted() -> Trained:
    return fit(CONFIG, GRID, SEEDS, IMAGES, 2)


def test_a_chunk_is_the_program_of_its_lanes_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores train four of eight lanes each; all comes back to the host."""
    monkeypatch.setattr(devices, "cores", lambda: 2)
    both = advanced(None)
    for rows in (slice(0, 4), slice(4, 8)):
        fresh = jax.vmap(partial(train.init, CONFIG))(np.asarray(SEEDS[rows], np.uint32))
        got, of_rows = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (both, GRID))
        want = train.train_lanes(CONFIG, of_rows, fresh, jnp.asarray(IMAGES), 2, clips=False)
        assert_same(got, devices.to_host(want))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(both))


@pytest.mark.parametrize(("cores", "chunk"), [(3, None), (2, 1)])
def test_lanes_in_chunks_are_lanes_together(
    fitted: Trained, monkeypatch: pytest.MonkeyPatch, cores: int, chunk: int | None
) -> None:
    """Up to rounding, and also where cores or chunks do not divide eight lanes."""
    monkeypatch.setattr(devices, "cores", lambda: cores)
    state, trace = advanced(chunk)
    assert state.diverged.tolist() == fitted.state.diverged.tolist() == [False] * 4 + [True] * 4
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, (state.params, trace), (fitted.state.params, fitted.trace))


def test_one_compilation_serves_all_chunks_and_a_state_is_that_of_its_time_on_the_host_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, original = [], loss.of_batch
    monkeypatch.setattr(loss, "of_batch", lambda *args: calls.append(1) or original(*args))
    config = replace(CONFIG, batch_size=8)  # not traced before
    early, late = (lanes.on_host() for lanes, _ in list(steps(3, config)))
    assert len(calls) == 1
    assert early.step.tolist() == [8] * 4 + [0] * 4
    assert late.step.tolist() == [16] * 4 + [0] * 4


def test_runs_in_which_no_lane_clips_have_no_clipping_in_their_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their programs are traced, and neither compiled nor run."""
    asked, original, config = [], train.clipped, replace(CONFIG, batch_size=4)

    def traced(*_: Any) -> None:
        raise RuntimeError("it is traced")

    monkeypatch.setattr(train, "clipped", lambda *args: asked.append(1) or original(*args))
    monkeypatch.setattr(jax.stages.Lowered, "compile", traced)
    for clip_norm, times in ((0.0, 0), (1.0, 1)):
        some, seeds = grid(config, (0,), clip_norm=(0.0, clip_norm), learning_rate=(3e-3,))
        with pytest.raises(RuntimeError, match="it is traced"):
            fit(config, some, seeds, IMAGES, 1)
        assert len(asked) == times


def test_fresh_weights_are_those_of_each_seed() -> None:
    seeds = [3, 0, 3, 1]
    want = jax.vmap(partial(train.init, CONFIG))(np.asarray(seeds, np.uint32))
    assert_same(parallel.init(CONFIG, seeds), devices.to_host(want))


def test_what_fit_gives_is_what_a_study_saves(fitted: Trained, tmp_path: Path) -> None:
    """The bits of the loop that studies save from, as a run that is written and restored."""
    both, looped = fit(CONFIG, GRID, SEEDS, IMAGES, 2, epochs_per_call=2), advanced(None)
    for trained in (fitted, both):
        assert_same((trained.state, trained.trace), looped)
    assert both.step == 8
    checkpoint.write(tmp_path, both)
    restored = checkpoint.restore(tmp_path)
    assert restored.run.to_json() == fitted.run.to_json()
    assert_same(restored[1:], both[1:])


@pytest.mark.parametrize(("epochs", "per_call"), [(-1, 1), (1, 0)])
def test_impossible_numbers_of_epochs_are_refused(epochs: int, per_call: int) -> None:
    with pytest.raises(vj.LabError, match=f"{epochs} epochs, {per_call} to a call: give 0 or more"):
        fit(CONFIG, GRID, SEEDS, IMAGES, epochs, epochs_per_call=per_call)


def test_no_epochs_give_fresh_models(tmp_path: Path) -> None:
    trained = fit(CONFIG, GRID, SEEDS, IMAGES, 0)
    assert trained.step == 0
    assert_same(trained.state, parallel.init(CONFIG, SEEDS))
    vj.store.write(tmp_path / "fresh", trained)
    assert_same(vj.store.restore(tmp_path / "fresh").state, trained.state)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES / 255, r"give uint8 of shape \(images, 6\)"),
        (IMAGES.reshape(-1, 2, 3), r"give uint8 of shape \(images, 6\)"),
        (IMAGES[:, :5], r"give uint8 of shape \(images, 6\)"),
        (IMAGES[:10], "10 training images fill no batch of 16: use a batch_size of 10 or less"),
    ],
)
def test_images_that_no_model_can_train_on_are_refused(
    images: np.ndarray, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no such checks
    with pytest.raises(LabError, match=message):
        fit(CONFIG, GRID, SEEDS, images, 1)


@pytest.mark.parametrize("batch_devices", [0, 2, -1])
def test_devices_that_do_not_divide_are_refused(batch_devices: int) -> None:
    with pytest.raises(LabError, match="1 devices cannot share batches"):
        parallel.replicate(IMAGES, batch_devices)


@pytest.mark.parametrize(
    ("lanes", "most", "across", "sizes"),
    [
        (8, 8, 1, [8]), (9, 8, 1, [5, 5]), (8, 3, 1, [3] * 3), (7, 1, 1, [1] * 7),
        (8, 8, 4, [8]), (9, 8, 4, [8, 8]), (2, 100, 8, [8]),
    ],
)  # fmt: skip
def test_chunks_are_as_few_and_as_equal_as_fit(
    lanes: int, most: int, across: int, sizes: list[int]
) -> None:
    found = placement.on_devices(lanes, most, across)
    assert [len(chunk) for chunk in found.chunks] == sizes
    assert np.unique(np.concatenate(found.chunks)).tolist() == [*range(lanes)]
    assert (found.at_once, found.stays) == (1, len(sizes) == 1)


@pytest.mark.parametrize(
    ("lanes", "most", "cores", "in_cache", "sizes", "at_once"),
    [
        (24, 100, 2, 4, [4] * 6, 2),  # what the cache of a core holds
        (24, 100, 16, 4, [2] * 12, 16),  # as many for each core
        (8, 100, 3, 100, [3] * 3, 3),
        (3, 100, 8, 100, [1] * 3, 8),
        (8, 5, 4, 2, [2] * 4, 2),  # as many at once as fit in memory
        (8, 1, 4, 2, [1] * 8, 1),
    ],
)
def test_cores_share_the_lanes(
    lanes: int, most: int, cores: int, in_cache: int, sizes: list[int], at_once: int
) -> None:
    found = placement.on_cores(lanes, most, cores, in_cache)
    assert [len(chunk) for chunk in found.chunks] == sizes
    assert (min(found.at_once, len(sizes)), found.stays) == (min(at_once, len(sizes)), True)


@pytest.mark.parametrize(
    ("epochs", "per_call", "trained", "want"),
    [(5, 2, 0, [2, 2, 1]), (2, 5, 0, [2]), (4, 2, 3, [1, 2, 1]), (0, 1, 7, [])],
)
def test_calls_end_where_those_of_a_run_that_never_stopped_end(
    epochs: int, per_call: int, trained: int, want: list[int]
) -> None:
    assert [*placement.calls(epochs, per_call, trained)] == want


def test_a_net_of_ones_own_and_one_that_fills_the_cache_train_one_by_one() -> None:
    large = replace(CONFIG, image_shape=(28, 28, 1), encoder_widths=(400,), decoder_widths=(400,))
    assert memory.lanes_in_cache(CONFIG) > 8
    assert memory.lanes_in_cache(large) == 1
    assert memory.lanes_in_cache(replace(CONFIG, nets=CONV)) == 1


@pytest.mark.parametrize(
    ("shape", "widths", "images", "nets"),
    [
        ((28, 28, 1), (400,), 60_000, None),
        ((8, 8, 1), (32, 16), 1437, None),
        ((8, 8, 1), (), 1437, CONV),
    ],
)
def test_the_memory_of_a_lane_is_on_the_safe_side_of_what_xla_reports(
    shape: tuple[int, int, int], widths: tuple[int, ...], images: int, nets: Nets | None
) -> None:
    """XLA plans the same memory with and without its optimizations."""
    config = Config(
        image_shape=shape, encoder_widths=widths, decoder_widths=widths[::-1], nets=nets
    )
    lanes = 2
    state = jax.eval_shape(jax.vmap(partial(train.init, config)), np.zeros(lanes, np.uint32))
    pixels = jax.ShapeDtypeStruct((images, config.pixels), jnp.uint8)
    program = train.train_lanes.lower(
        config, stack([knobs(config)] * lanes), state, pixels, 1, clips=False
    )
    used = program.compile().memory_analysis()
    assert used
    reported = used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes
    each = (reported - images * config.pixels) / lanes
    assert each <= memory.lane_bytes(config, images) <= 2 * each


def test_lanes_fit_beside_the_images_or_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.lanes_that_fit(CONFIG, 64) > 1000  # on this machine
    for lanes in (3, 0):
        room = (lanes + 0.5) * memory.lane_bytes(CONFIG, 64) + 64 * 6
        stats = {"bytes_limit": int(room / memory.MEMORY_SHARE)}
        small = SimpleNamespace(memory_stats=lambda stats=stats: stats, device_kind="small")
        monkeypatch.setattr(jax, "local_devices", lambda small=small: [small])
        if lanes:
            assert memory.lanes_that_fit(CONFIG, 64) == lanes
    with pytest.raises(LabError, match=r"One model and the 64 images take more than 70% of the 0"):
        memory.lanes_that_fit(CONFIG, 64)


@pytest.mark.parametrize("version", [0, 1])
def test_the_memory_of_a_container_is_its_limit(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a machine of 1 TiB, with the file of either version of cgroups, or with none."""
    files = tmp_path / "v2", tmp_path / "v1"
    monkeypatch.setattr(memory, "CONTAINER_LIMITS", files)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(total=2**40))
    assert memory.host_memory() == 2**40
    for text, expected in (("max", 2**40), (f"{2**63 - 4096}", 2**40), (f"{2**30}", 2**30)):
        files[version].write_text(f"{text}\n")
        assert memory.host_memory() == expected
