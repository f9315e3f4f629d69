"""Pins JAX's settings: environment variables of a user must not change a result.

(`study.command` does the same for the terminal, `show.style` for matplotlib.) The memory of a
command is kept small here, too, and nowhere else.
"""

import ctypes
import functools
import gc
import os
from contextlib import suppress
from typing import Any

import jax

from vaejax.data import cache
from vaejax.errors import LabError, first_line

SETTINGS: dict[str, Any] = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_enable_x64": False,
    "jax_default_matmul_precision": None,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_softmax_custom_jvp": False,
    "jax_legacy_prng_key": "allow",
    "jax_disable_jit": False,
    "jax_no_tracing": False,
    "jax_no_execution": False,
    "jax_check_static_indices": False,
    "jax_disallow_mesh_context_manager": False,
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_debug_key_reuse": False,
    "jax_enable_checks": False,
    "jax_check_tracer_leaks": False,
    "jax_raise_persistent_cache_errors": False,
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_transfer_guard": "allow",
    "jax_array_garbage_collection_guard": "allow",
    "jax_thread_guard": False,
}
"""Every JAX setting by which an environment variable changes a random number, a type or a rounding
of JAX, or ends a program that is right. Where programs run, what the compiler makes of them and
what is logged is left to the user."""
LIBC = ctypes.CDLL(None)
COMPILED, LONG = "/jax/core/compile/backend_compile_duration", 0.05
"""What jax calls the end of a compilation, and the seconds of one that has used much memory."""
MALLOC = {-8: 2, -3: 16 * 2**20, -1: 64 * 2**20}
"""Options of glibc's `mallopt`, by number. M_ARENA_MAX: the pools that it allocates from; by itself
it has up to eight for each core, and none gives memory to another. M_MMAP_THRESHOLD: the bytes from
which an array is in no pool; M_TRIM_THRESHOLD: the free bytes that a pool keeps; by themselves both
grow with the largest array that was freed."""


def pin_settings() -> None:
    """Give JAX the settings of the lab, whatever `JAX_...` variables say."""
    for name, value in SETTINGS.items():
        with suppress(AttributeError):  # a version of JAX that does not have it
            jax.config.update(name, value)


def find_devices() -> None:
    """Have JAX find its devices."""
    try:
        jax.devices()
    except Exception as error:  # of many types, by platform and version
        asked = os.environ.get("JAX_PLATFORMS")
        remedy = (
            f"JAX_PLATFORMS is {asked!r}: unset it, or set it to cpu"
            if asked
            else "set JAX_PLATFORMS to cpu, or mend the installation of jax"
        )
        raise LabError(f"JAX finds no device ({first_line(error)}). {remedy}.") from error


def keep_compiled_programs() -> None:
    """Have jax keep what it compiles in the cache directory, so that the next command starts
    faster. A `JAX_COMPILATION_CACHE_DIR` that the user has set is left as it is."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache.root() / "compiled"))
        # Even the smallest program: to read it takes a few ms, to compile it about 20.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@functools.cache
def save_memory() -> None:
    """For the rest of the process: keep little of what is freed, and give it back to the system
    after each compilation; by itself glibc keeps hundreds of MB of what LLVM has used. What is
    imported is left out of garbage collections, which are then four times as quick."""
    gc.freeze()
    for option, value in MALLOC.items() if hasattr(LIBC, "mallopt") else ():
        LIBC.mallopt(option, value)
    jax.monitoring.register_event_duration_secs_listener(_after_compilation)


def _after_compilation(event: str, duration_secs: float, **_: Any) -> None:
    if event == COMPILED and duration_secs > LONG:
        give_back()


def free_memory() -> None:
    """Free the programs that are compiled so far, some 100 MB for a Config, and the arrays that
    orbax leaves in cycles."""
    jax.clear_caches()
    gc.collect()
    give_back()


def give_back() -> None:
    """Return to the system what is free, and mapped images, which are mapped again on use."""
    cache.release()
    if hasattr(LIBC, "malloc_trim"):  # only glibc has it
        LIBC.malloc_trim(0)


def prepare() -> None:
    """All of the above, before a command uses jax."""
    save_memory()
    gc.enable()
    pin_settings()
    keep_compiled_programs()
    find_devices()
