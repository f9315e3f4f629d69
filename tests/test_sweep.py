"""vaejax.sweep on one device: grids, chunks, memory. On several: tests/test_devices.py."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaejax import sweep, train
from vaejax.config import Config, knobs, stack
from vaejax.errors import LabError

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=2, encoder_widths=(8,), decoder_widths=(8,), batch_size=16
)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), np.uint8)
RATES, SCALES = (1e-3, 1e38), (1.0, 40.0)
GRID, SEEDS = sweep.grid(CONFIG, (0, 1), learning_rate=RATES, recon_scale=SCALES)


def fitted(chunk: int | None, epochs: int = 2, passes: int = 1) -> Any:
    mesh, state = sweep.mesh(), sweep.init(CONFIG, SEEDS)
    images = sweep.replicate(mesh, IMAGES)
    results = list(sweep.fit(mesh, CONFIG, GRID, state, images, epochs, passes, chunk))
    traces = [trace for _, trace in results]
    return results[-1][0](), jax.tree.map(lambda *parts: np.concatenate(parts, 1), *traces)


@pytest.fixture(scope="module")
def together() -> Any:
    return fitted(None)


def test_a_grid_is_every_combination_for_every_seed() -> None:
    lanes = list(zip(GRID.learning_rate, GRID.recon_scale, SEEDS, strict=True))
    want = [(rate, scale, seed) for rate in RATES for scale in SCALES for seed in (0, 1)]
    np.testing.assert_allclose(lanes, want)
    assert set(GRID.kl_weight.tolist()) == {1.0}


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(LabError, match="recon_scale=-1"):
        sweep.grid(CONFIG, (0,), recon_scale=(1.0, -1.0))


def test_a_sweep_is_fit_bit_for_bit_and_comes_back_to_the_host(together: Any) -> None:
    state, trace = together
    fresh = train.init_lanes(CONFIG, np.asarray(SEEDS, np.uint32))
    results = list(train.fit(CONFIG, GRID, fresh, IMAGES, 2))
    jax.tree.map(np.testing.assert_array_equal, state, sweep.to_host(results[-1][0]))
    alone = jax.tree.map(lambda *parts: np.concatenate(parts, 1), *(part for _, part in results))
    jax.tree.map(np.testing.assert_array_equal, trace, alone)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves((state, trace)))


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_lanes_in_chunks_are_lanes_together(together: Any, chunk: int) -> None:
    """Chunks that do not divide eight lanes are filled up, and leave no trace of it."""
    state, trace = fitted(chunk)
    assert state.diverged.tolist() == [False] * 4 + [True] * 4
    for got, want in zip(
        jax.tree.leaves((state.params, trace)),
        jax.tree.leaves((together[0].params, together[1])),
        strict=True,
    ):
        assert len(got) == 8
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_a_state_brought_to_the_host_earlier_is_that_of_its_time(together: Any) -> None:
    mesh, state = sweep.mesh(), sweep.init(CONFIG, SEEDS)
    steps = sweep.fit(mesh, CONFIG, GRID, state, sweep.replicate(mesh, IMAGES), 2, chunk=4)
    (early, _), (late, _) = steps
    assert early().step.tolist() == [4] * 4 + [0] * 4
    assert late().step.tolist() == [8] * 4 + [0] * 4


def test_lanes_that_diverge_do_not_touch_the_others(together: Any) -> None:
    state, _ = together
    assert state.diverged.tolist() == [False] * 4 + [True] * 4
    lanes, seeds = sweep.grid(CONFIG, (0, 1), learning_rate=RATES[:1] * 2, recon_scale=SCALES)
    fresh = train.init_lanes(CONFIG, np.asarray(seeds, np.uint32))
    *_, (healthy, _) = train.fit(CONFIG, lanes, fresh, IMAGES, 2)
    for got, want in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(healthy.params), strict=True
    ):
        assert np.isfinite(got).all()
        np.testing.assert_array_equal(got[:4], want[:4])


def test_one_compilation_serves_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, original = [], train.loss_fn
    monkeypatch.setattr(train, "loss_fn", lambda *args: calls.append(1) or original(*args))
    config = Config(image_shape=(2, 3, 1), latent_size=4, batch_size=8)  # not traced before
    mesh, lanes = sweep.mesh(), stack([knobs(config)] * 5)
    state, images = sweep.init(config, range(5)), sweep.replicate(mesh, IMAGES)
    for _ in sweep.fit(mesh, config, lanes, state, images, 2, chunk=2):
        pass
    assert len(calls) == 1


def test_fresh_weights_are_those_of_each_seed_however_many_are_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep, "INIT_LANES", 2)
    want = sweep.to_host(train.init_lanes(CONFIG, np.asarray([5, 6, 7], np.uint32)))
    jax.tree.map(np.testing.assert_array_equal, sweep.init(CONFIG, (5, 6, 7)), want)


@pytest.mark.parametrize(
    ("shape", "widths", "images"), [((28, 28, 1), (400,), 60_000), ((8, 8, 1), (32, 16), 1437)]
)
def test_the_memory_of_a_lane_is_on_the_safe_side_of_what_xla_reports(
    shape: tuple[int, int, int], widths: tuple[int, ...], images: int
) -> None:
    config = Config(image_shape=shape, encoder_widths=widths, decoder_widths=widths[::-1])

    def reported(lanes: int) -> float:
        state = jax.eval_shape(partial(train.init_lanes, config), np.zeros(lanes, np.uint32))
        pixels = jax.ShapeDtypeStruct((images, config.pixels), jnp.uint8)
        program = train.epoch_lanes.lower(config, stack([knobs(config)] * lanes), state, pixels, 1)
        used = program.compile().memory_analysis()
        assert used
        return used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes

    each = reported(2) - reported(1)
    assert each <= sweep.lane_bytes(config, images) <= 3 * each


def device(lanes: float) -> Any:
    """One with room for so many lanes, beside the images."""
    room = lanes * sweep.lane_bytes(CONFIG, 64) + 64 * 6
    limit = int(room / sweep.MEMORY_SHARE) + 1
    return SimpleNamespace(memory_stats=lambda: {"bytes_limit": limit}, device_kind="small")


@pytest.mark.parametrize(
    ("fit", "across", "lanes", "want"),
    [
        (8, 1, 8, 8),
        (8, 1, 9, 5),
        (3, 1, 8, 3),
        (3, 1, 7, 3),
        (1, 1, 7, 1),
        (2, 4, 8, 8),
        (2, 4, 9, 5),
    ],
)
def test_chunks_are_as_few_and_as_equal_as_fit(
    fit: int, across: int, lanes: int, want: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "local_devices", lambda: [device(fit + 0.5)])
    assert sweep.chunk_size(CONFIG, lanes, 64, across) == want


def test_a_device_too_small_for_one_lane_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jax, "local_devices", lambda: [device(0.9)])
    with pytest.raises(LabError, match=r"One model and the 64 images take more than the 0\.0 GiB"):
        sweep.chunk_size(CONFIG, 3, 64)


def test_all_lanes_fit_this_machine() -> None:
    assert sweep.chunk_size(CONFIG, 1000, 64) == 1000


@pytest.mark.parametrize("batch_devices", [0, 2, -1])
def test_devices_that_do_not_divide_are_refused(batch_devices: int) -> None:
    with pytest.raises(LabError, match="1 devices cannot share batches"):
        sweep.mesh(batch_devices)


def test_fewer_images_than_a_batch_are_refused() -> None:
    mesh = sweep.mesh()
    images = sweep.replicate(mesh, IMAGES[:10])
    with pytest.raises(LabError, match="10 training images fill no batch of 16"):
        next(sweep.fit(mesh, CONFIG, GRID, sweep.init(CONFIG, SEEDS), images, 1))
