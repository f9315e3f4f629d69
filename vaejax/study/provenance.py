"""What a run is, as one line for the terminal; where a row comes from, for the record."""

import functools
import platform
import subprocess
from collections.abc import Hashable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from vaejax import loss
from vaejax.config import Config
from vaejax.run import Run
from vaejax.store import records

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)
SCHEDULE = ("decay_steps", "kl_warmup", "kl_cycle", "free_bits", "clip_norm")


def grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """The distinct values of each key. Keys and values are in the order of their first
    appearance."""
    groups: dict[K, dict[V, None]] = {}
    for key, value in pairs:
        groups.setdefault(key, {})[value] = None
    return {key: list(values) for key, values in groups.items()}


def describe(run: Run) -> str:
    """One line: the net, the likelihood, and for each scale the decoder sigma, or at variance 1 the
    beta, that it amounts to."""
    config = run.config
    net = layers(config)
    if config.nets is not None:
        net = f"{config.nets.name} of {config.latent_size} latent units"
    learned = " of learned variance" if config.decoder_variance == "learned" else ""
    scales = grouped(
        (_schedule(lane), f"{lane['recon_scale']:g} (effective sigma {sigma}, or beta {beta})")
        for lane, sigma, beta in zip(run.lanes, *map(_shown, effective(run)), strict=True)
    )
    settings = "; ".join(f"{shared}, recon_scale {', '.join(of)}" for shared, of in scales.items())
    start = f"; begins from {run.start}" if run.start else ""
    return (
        f"{run.name}: {config.model} {net}, {config.likelihood}{learned}, {len(run.seeds)} lanes; "
        f"{settings}{start}"
    )


def _schedule(lane: Mapping[str, float]) -> str:
    others = "".join(f", {name} {lane[name]:g}" for name in SCHEDULE if lane[name])
    return f"kl_weight {lane['kl_weight']:g}{others}"


def _shown(values: Iterable[float]) -> list[str]:
    return ["none" if np.isnan(value) else f"{value:.4g}" for value in values]


def layers(config: Config) -> str:
    """The sizes of all layers of the MLPs, from pixels to pixels: 784-400-10-400-784."""
    widths = (*config.encoder_widths, config.latent_size, *config.decoder_widths)
    return "-".join(map(str, (config.pixels, *widths, config.pixels)))


def effective(run: Run) -> tuple[list[float], list[float]]:
    """The effective decoder sigma (NaN if there is none) and beta of each lane."""
    sigma = loss.effective_sigma(run.config, run.knobs)
    beta = loss.effective_beta(run.config, run.knobs)
    return np.asarray(sigma).tolist(), np.asarray(beta).tolist()


def identities(study: str, run: Run) -> list[records.Row]:
    """What the row of each lane says about where it comes from."""
    sigmas, betas = effective(run)
    config = run.to_json()["config"]
    return [
        {
            "study": study,
            "dataset": run.images.dataset,
            "split": run.images.train,
            "test": run.images.test,
            "train_digest": run.images.train_digest,
            "test_digest": run.images.test_digest,
            "run": run.name,
            "lane": index,
            "latent_size": run.config.latent_size,
            **lane,
            "effective_sigma": sigmas[index],
            "effective_beta": betas[index],
            "config": config,
            "start": run.start,
            **provenance(),
            **{name: values[index] for name, values in run.labels.items()},
        }
        for index, lane in enumerate(run.lanes)
    ]


@functools.cache
def provenance() -> dict[str, Any]:
    """The versions, the device and the commit of this process."""
    packages = ("jax", "flax", "optax", "numpy")
    return {
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages},
        "device": jax.devices()[0].device_kind,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of this checkout; None where the code is not in a checkout of its own."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # no git on this machine
        return None
    return git.stdout.strip() or None
