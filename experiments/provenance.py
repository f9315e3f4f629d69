"""What a run is, in one line for the terminal and in a row for the record."""

import functools
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vaejax import loss, records
from vaejax.config import Run

SCHEDULE = ("decay_steps", "kl_warmup", "kl_cycle", "free_bits")


def describe(run: Run) -> str:
    """One line: the net, what it is trained on, and the sigma, or at variance 1 the beta, that this
    amounts to."""
    config = run.config
    widths = (*config.encoder_widths, config.latent_size, *config.decoder_widths)
    net = "-".join(map(str, (config.pixels, *widths, config.pixels)))
    scales: dict[str, dict[str, None]] = {}
    for index in range(len(run.seeds)):
        lane, (sigma, beta) = run.lane(index), effective(run, index)
        shared = f"kl_weight {lane['kl_weight']:g}" + "".join(
            f", {name} {lane[name]:g}" for name in SCHEDULE if lane[name]
        )
        scale = f"{lane['recon_scale']:g} (effective sigma {_show(sigma)}, or beta {_show(beta)})"
        scales.setdefault(shared, {})[scale] = None
    settings = "; ".join(f"{shared}, recon_scale {', '.join(of)}" for shared, of in scales.items())
    likelihood = config.likelihood
    if config.decoder_variance == "learned":
        likelihood += " of learned variance"
    return f"{run.name}: {config.model} {net}, {likelihood}, {len(run.seeds)} lanes; {settings}"


def effective(run: Run, lane: int) -> tuple[float, float]:
    """Effective decoder sigma (NaN if there is none) and beta of one lane."""
    sigma = loss.effective_sigma(run.config, run.knobs)
    beta = loss.effective_beta(run.config, run.knobs)
    return float(sigma[lane]), float(beta[lane])


def identity(study: str, run: Run, lane: int) -> records.Row:
    """What a row says about where it comes from."""
    sigma, beta = effective(run, lane)
    described = run.to_json()
    return {
        "study": study,
        "dataset": run.dataset,
        "split": run.split,
        "run": run.name,
        "lane": lane,
        "latent_size": run.config.latent_size,
        **run.lane(lane),
        "effective_sigma": sigma,
        "effective_beta": beta,
        "config": described["config"],
        **provenance(),
    }


@functools.cache
def provenance() -> dict[str, Any]:
    """Versions, device and commit of this process."""
    packages = ("jax", "flax", "optax", "numpy")
    return {
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages},
        "device": jax.devices()[0].device_kind,
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of this checkout; None where the code is not in a checkout of its own."""
    root = Path(__file__).parent.parent
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


def _show(value: float) -> str:
    return "none" if np.isnan(value) else f"{value:.4g}"
