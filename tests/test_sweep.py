"""vaejax.sweep on one device: chunks and memory. On several: tests/test_devices.py."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conv_nets import CONV
from vaejax import sweep, train
from vaejax.config import Config, Nets, grid, knobs, stack
from vaejax.errors import LabError

CONFIG = Config(
    image_shape=(2, 3, 1), latent_size=2, encoder_widths=(8,), decoder_widths=(8,), batch_size=16
)
IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6), np.uint8)
RATES, SCALES = (1e-3, 1e38), (1.0, 40.0)
GRID, SEEDS = grid(CONFIG, (0, 1), learning_rate=RATES, recon_scale=SCALES)


def steps(chunk: int | None, config: Config = CONFIG) -> Any:
    images = sweep.replicate(sweep.mesh(), IMAGES)
    return sweep.fit(config, GRID, sweep.init(CONFIG, SEEDS), images, 2, chunk=chunk)


def fitted(chunk: int | None) -> Any:
    results = list(steps(chunk))
    traces = [trace for _, trace in results]
    state = sweep.collect(results[-1][0])
    return state, jax.tree.map(lambda *parts: np.concatenate(parts, 1), *traces)


@pytest.fixture(scope="module")
def together() -> Any:
    return fitted(None)


def test_a_chunk_is_fit_of_its_lanes_bit_for_bit_and_comes_back_to_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two cores train four of eight lanes each."""
    monkeypatch.setattr(sweep, "cores", lambda: 2)
    state, trace = fitted(None)
    for rows in (slice(0, 4), slice(4, 8)):
        fresh = train.init_lanes(CONFIG, np.asarray(SEEDS[rows], np.uint32))
        of_rows = jax.tree.map(lambda values, rows=rows: values[rows], GRID)
        results = list(train.fit(CONFIG, of_rows, fresh, IMAGES, 2))
        got = jax.tree.map(lambda leaf, rows=rows: leaf[rows], (state, trace))
        traces = jax.tree.map(lambda *of: np.concatenate(of, 1), *(part for _, part in results))
        want = (sweep.to_host(results[-1][0]), traces)
        jax.tree.map(np.testing.assert_array_equal, got, want)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves((state, trace)))


@pytest.mark.parametrize("cores", [1, 3, 8, 16])
def test_lanes_of_any_number_of_cores_are_the_same(
    together: Any, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """Also where three cores do not divide eight lanes, and where some have nothing to do."""
    monkeypatch.setattr(sweep, "cores", lambda: cores)
    assert_the_same_lanes(fitted(None), together)


def test_a_net_of_ones_own_and_one_that_fills_the_cache_train_one_by_one() -> None:
    large = replace(CONFIG, image_shape=(28, 28, 1), encoder_widths=(400,), decoder_widths=(400,))
    assert sweep.lanes_in_cache(CONFIG) > 8
    assert sweep.lanes_in_cache(large) == 1
    assert sweep.lanes_in_cache(replace(CONFIG, nets=CONV)) == 1


def assert_the_same_lanes(got: Any, want: Any) -> None:
    """Up to rounding."""
    assert got[0].diverged.tolist() == [False] * 4 + [True] * 4
    for one, other in zip(
        jax.tree.leaves((got[0].params, got[1])),
        jax.tree.leaves((want[0].params, want[1])),
        strict=True,
    ):
        assert len(one) == 8
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_lanes_in_chunks_are_lanes_together(together: Any, chunk: int) -> None:
    """Chunks that do not divide eight lanes are filled up, and leave no trace of it."""
    assert_the_same_lanes(fitted(chunk), together)


@pytest.mark.parametrize("chunk", [None, 3])
def test_a_state_collected_later_is_that_of_its_time(chunk: int | None) -> None:
    early, late = (sweep.collect(lanes) for lanes, _ in list(steps(chunk)))
    assert early.step.tolist() == [4] * 4 + [0] * 4
    assert late.step.tolist() == [8] * 4 + [0] * 4


def test_lanes_that_diverge_do_not_touch_the_others(together: Any) -> None:
    state, _ = together
    assert state.diverged.tolist() == [False] * 4 + [True] * 4
    lanes, seeds = grid(CONFIG, (0, 1), learning_rate=RATES[:1] * 2, recon_scale=SCALES)
    fresh = train.init_lanes(CONFIG, np.asarray(seeds, np.uint32))
    *_, (healthy, _) = train.fit(CONFIG, lanes, fresh, IMAGES, 2)
    for got, want in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(healthy.params), strict=True
    ):
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got[:4], np.asarray(want)[:4], rtol=1e-4, atol=1e-6)


def test_one_compilation_serves_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, original = [], train.loss_fn
    monkeypatch.setattr(train, "loss_fn", lambda *args: calls.append(1) or original(*args))
    config = replace(CONFIG, batch_size=8)  # not traced before
    assert len(list(steps(3, config))) == 2
    assert len(calls) == 1


def test_fresh_weights_are_those_of_each_seed_however_many_are_drawn_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    want = sweep.to_host(train.init_lanes(CONFIG, np.arange(8, dtype=np.uint32)))
    monkeypatch.setattr(sweep, "INIT_LANES", 5)
    jax.tree.map(np.testing.assert_array_equal, sweep.init(CONFIG, range(8)), want)


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
    state = jax.eval_shape(partial(train.init_lanes, config), np.zeros(lanes, np.uint32))
    pixels = jax.ShapeDtypeStruct((images, config.pixels), jnp.uint8)
    program = train.epoch_lanes.lower(config, stack([knobs(config)] * lanes), state, pixels, 1)
    used = program.compile().memory_analysis()
    assert used
    reported = used.temp_size_in_bytes + used.argument_size_in_bytes + used.output_size_in_bytes
    each = (reported - images * config.pixels) / lanes
    assert each <= sweep.lane_bytes(config, images) <= 2 * each


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
    message = r"One model and the 64 images take more than 70% of the 0\.0 GiB"
    with pytest.raises(LabError, match=message):
        sweep.chunk_size(CONFIG, 3, 64)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((None, None), 2**40),
        (("max\n", None), 2**40),
        (("1073741824\n", None), 2**30),
        ((None, "9223372036854771712\n"), 2**40),
        ((None, "1073741824\n"), 2**30),
    ],
)
def test_the_memory_of_a_container_is_its_limit(
    texts: tuple[str | None, str | None],
    expected: int,
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a machine of 1 TiB, with a file for each version of cgroups, where there is one."""
    files = tuple(tmp_path / f"v{version}" for version in (2, 1))
    for file, text in zip(files, texts, strict=True):
        if text is not None:
            file.write_text(text)
    monkeypatch.setattr(sweep, "CONTAINER_LIMITS", files)
    machine = SimpleNamespace(total=2**40)
    monkeypatch.setattr(sweep.psutil, "virtual_memory", lambda: machine)
    assert sweep.host_memory() == expected


def test_all_lanes_fit_this_machine() -> None:
    assert sweep.chunk_size(CONFIG, 1000, 64) == 1000


@pytest.mark.parametrize("batch_devices", [0, 2, -1])
def test_devices_that_do_not_divide_are_refused(batch_devices: int) -> None:
    with pytest.raises(LabError, match="1 devices cannot share batches"):
        sweep.mesh(batch_devices)


def test_fewer_images_than_a_batch_are_refused() -> None:
    images = sweep.replicate(sweep.mesh(), IMAGES[:10])
    with pytest.raises(LabError, match="10 training images fill no batch of 16"):
        next(sweep.fit(CONFIG, GRID, sweep.init(CONFIG, SEEDS), images, 1))


def test_images_on_no_mesh_are_refused_with_the_remedy() -> None:
    state = sweep.init(CONFIG, SEEDS)
    with pytest.raises(LabError, match=r"on no mesh: put them there with sweep\.replicate"):
        next(sweep.fit(CONFIG, GRID, state, jnp.asarray(IMAGES), 1))
